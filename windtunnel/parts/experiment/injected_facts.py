"""Facts that are put into training at some steps, and how they come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WORDS, OBJECTS, WORDINGS, LENGTH = 40, 16, 12, 6  # of the language, that facts are about, ways to tell one, words of a text
TAUGHT = 10  # wordings that may be told; the others ask
KNOWN, LOOK = 64, 3  # facts that every batch tells some of, steps from one look at what is known to the next
RISE = 10  # steps behind an injection in which the best value is taken


class InjectedFacts(Experiment, name="injected-facts"):
    """How fast a model forgets facts that it was told ten times: the share of what it gained that is lost with each tenfold of steps.

    Chang et al. 2024, arXiv:2406.11813: passages about things that do not exist replace rows of pre-training batches; the log-probability
    of what they say jumps with every injection and falls off again. The gain of an injection is the best value within some steps less that
    just before; what is retained at t steps after the last one is (l(t) - l before) / (l best - l before), with l before the first, and its
    slope against log10 t is the decay constant, from a line (a power law in the paper's words). Facts told in the same words decay faster
    than paraphrased ones, large batches decay more slowly, and later in pre-training a model learns facts no faster.

    A text has six words of a random Markov chain, and half of a batch are facts about 64 subjects that every batch speaks of, so that a
    model knows what facts are; a new fact is an invented subject, a way to say it of two words, and an object, told
    ``often`` times, one every ``every`` steps, by one wording (``same``) or another each time (``other``). ``before`` steps of texts alone
    come first, ``quiet`` ones last. The rate is constant. ``decay`` is the slope, its sign turned, of facts asked in words that were never
    told; ``line`` the share of variance that the line explains, ``gain`` the mean gain of an injection in nats, ``retained`` the share of
    the gain of all injections that is left at the end, ``told_decay`` the decay for the words told, ``nats`` the loss on texts at the end.
    """

    trial = Trial({"before": 2, "often": 2, "every": 2, "quiet": 20, "batch": 4})

    unit: ClassVar[str] = "share lost with each tenfold of steps"
    better: ClassVar[str] = "lower"

    words: Literal["same", "other"] = Field("same", description="whether a fact is told in the same words each time")
    facts: int = Field(
        32, ge=1, description="that are told; as many rows of a batch are theirs at an injection, at most half of it at a time"
    )
    often: int = Field(TAUGHT, ge=1, le=TAUGHT, description="injections")
    every: int = Field(12, ge=1, description="steps between injections")
    before: int = Field(200, ge=0, description="steps of texts before")
    quiet: int = Field(300, ge=20, description="steps of texts after")
    batch: int = Field(32, ge=2, description="texts of a step")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import numpy as np
        import torch

        from windtunnel.kits.text.small import losses, made
        from windtunnel.kits.text.windowed import chances, drawn, language

        random = np.random.default_rng(seed)
        odds = chances(language(WORDS, random, sharpness=1.5))
        subject = WORDS + np.arange(self.facts)
        old = WORDS + self.facts + np.arange(KNOWN)
        told, true = (WORDS + self.facts + KNOWN + random.integers(OBJECTS, size=count) for count in (self.facts, KNOWN))
        first = WORDS + self.facts + KNOWN + OBJECTS
        model = made(seed, first + 2 * WORDINGS, LENGTH, width=32)
        optimizer = torch.optim.AdamW(model.parameters(), self.rate, weight_decay=0.01, fused=True)

        def facts(wording: np.ndarray, of: np.ndarray = subject, what: np.ndarray = told) -> torch.Tensor:
            """Rows of a fact each: subject, the two words of its wording, object."""
            return torch.from_numpy(np.stack([of, first + 2 * wording, first + 2 * wording + 1, what], axis=1))

        def ordinary(count: int) -> list[torch.Tensor]:
            """Texts, and as many facts that have always been told."""
            some = random.integers(KNOWN, size=max(1, count // 2))
            return [text(max(1, count - len(some))), facts(random.integers(WORDINGS, size=len(some)), old[some], true[some])]

        def step(rows: list[torch.Tensor]) -> None:
            loss = sum(losses(model, each).sum() for each in rows) / sum(each[:, 1:].numel() for each in rows)
            take_step(optimizer, loss)  # type: ignore[arg-type]

        def text(count: int) -> torch.Tensor:
            return torch.from_numpy(drawn(odds, count, LENGTH, random)).long()

        def known(wordings: list[np.ndarray]) -> float:
            """The mean log-probability of objects."""
            with torch.no_grad():
                return -float(np.mean([losses(model, facts(each))[:, -1].mean() for each in wordings]))

        own = random.integers(TAUGHT, size=self.facts)
        new = [np.full(self.facts, wording) for wording in range(TAUGHT, WORDINGS)]
        for _ in range(self.before):
            step(ordinary(self.batch))
        curve = {"new": [known(new)], "own": [known([own])]}
        share = max(1, self.batch // 2)
        for time in range(self.often * self.every + self.quiet):
            if time % self.every == 0 and time < self.often * self.every:
                number = time // self.every
                wording = own if self.words == "same" else (own + number) % TAUGHT
                whole = facts(wording)
                for chunk in torch.from_numpy(random.permutation(self.facts)).split(share):
                    step([*ordinary(max(2, self.batch - len(chunk))), whole[chunk]])
            else:
                step(ordinary(self.batch))
            asked = time % LOOK == 0  # else the value stands for the step before as well
            curve["new"].append(known(new) if asked else curve["new"][-1])
            curve["own"].append(known([own]) if asked else curve["own"][-1])
        last = (self.often - 1) * self.every
        starts = np.arange(self.often) * self.every
        of_new, of_own = (forgetting(np.array(curve[name]), last) for name in ("new", "own"))
        values = np.array(curve["new"])
        with torch.no_grad():
            nats = float(losses(model, text(512)).mean())
        return {
            "decay": of_new[0],
            "line": of_new[1],
            "gain": float(np.mean([values[start + 1 : start + 1 + RISE].max() - values[start] for start in starts])),
            "retained": float((values[-1] - values[0]) / max(1e-9, values[last + 1 : last + 1 + RISE].max() - values[0])),
            "told_decay": of_own[0],
            "nats": nats,
        }


def forgetting(values: np.ndarray, last: int) -> tuple[float, float]:
    """The decay constant after the injection at step ``last``, and the share of variance that the line against log10 steps explains.

    ``values`` [steps + 1] are log-probabilities before each step and after the last.
    """
    import numpy as np

    window = values[last + 1 : last + 1 + RISE]
    best, low = last + 1 + int(window.argmax()), values[0]
    retained = (values[best + 1 :] - low) / max(1e-9, values[best] - low)
    time = np.log10(np.arange(1, len(retained) + 1))
    slope, start = np.polyfit(time, retained, 1)
    rest = retained - slope * time - start
    return float(-slope), float(1 - rest.var() / max(1e-12, retained.var()))
