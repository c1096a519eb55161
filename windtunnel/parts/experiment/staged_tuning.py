"""General text, a domain, examples of an answer's form, and preferences, one after the other; each can be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WORDS, DIGITS = 40, 10  # of general text; then digits, then digits as an answer has them
SHOWN, LENGTH, BETA = 30, 20, 0.1  # pairs of digits that are tuned on, of 100; words of a general text; of the preference loss


class StagedTuning(Experiment, name="staged-tuning"):
    """What each stage of a usual pipeline adds, on sums that have to be answered in a form of their own.

    Wang et al. 2025 (TeleChat2), arXiv:2507.18013: pre-training, supervised tuning and preferences (direct preference optimisation), then a
    further stage on code and mathematics. No stage is left out there. A network on the last two words learns general text of a made
    language; the domain are two digits and the last digit of their sum; tuning shows 30 of the 100 sums with the answer in digits of
    another script; preferences, of the same sums, put that answer before the one in common digits.

    ``domain``, ``tuning`` and ``preferences`` are the steps of each stage, 0 leaves it out; a share ``replay`` of every stage is general
    text. On the 70 other sums ``right`` is the share whose likeliest digit, of either script, is right, ``formal`` the share answered in
    the other script, ``both`` that of right answers in it, and ``margin`` how much likelier, in nats, the right answer is in that script
    than in common digits; ``general`` is nats a word of general text, and ``rise`` how much more that is than after the first stage, as a
    share.
    """

    trial = Trial({"general": 4, "domain": 3, "tuning": 2, "preferences": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    general: int = Field(600, ge=1, description="steps on general text")
    domain: int = Field(600, ge=0, description="steps on sums")
    tuning: int = Field(200, ge=0, description="steps on answers in the other script")
    preferences: int = Field(60, ge=0, description="steps on pairs of answers")
    replay: float = Field(0.3, ge=0, lt=1, description="share of general text in later stages")
    rate: float = Field(0.01, gt=0, description="learning rate of Adam; a half of it in the domain and in tuning, a fifth in preferences")

    def measure(self, seed: int) -> dict[str, float]:
        """``both``, ``right``, ``formal``, ``margin``, ``general`` and ``rise``."""
        import numpy as np
        import torch

        from windtunnel.kits.text.windowed import chances, drawn, language, learn, made, nats, windows

        random = np.random.default_rng(seed)
        odds = chances(language(WORDS, random))
        plain, held = (windows(drawn(odds, count, LENGTH, random)) for count in (1500, 200))
        sums = np.array([(one, two, (one + two) % DIGITS) for one in range(DIGITS) for two in range(DIGITS)])
        sums = WORDS + sums[random.permutation(len(sums))]
        formal = sums + np.array([0, 0, DIGITS])
        model = made(seed, WORDS + 2 * DIGITS)
        learn(model, [plain], [1.0], random, steps=self.general, rate=self.rate)
        first = nats(model, held)
        shares = [self.replay, 1 - self.replay]
        for rows, steps, rate in ((sums, self.domain, 2), (formal[:SHOWN], self.tuning, 2)):
            if steps:
                learn(model, [plain, rows], shares, random, steps=steps, rate=self.rate / rate)
        if self.preferences:
            prefer(model, formal[:SHOWN], sums[:SHOWN], plain, random, self)
        with torch.no_grad():
            logits = model(torch.from_numpy(sums[SHOWN:, :2]))[:, WORDS:].double()
        best, truth = logits.argmax(dim=1).numpy(), sums[SHOWN:, 2] - WORDS
        right, other = best % DIGITS == truth, best >= DIGITS
        rows = np.arange(len(truth))
        margin = (logits[rows, DIGITS + truth] - logits[rows, truth]).mean()
        last = nats(model, held)
        found = {"both": (right & other).mean(), "right": right.mean(), "formal": other.mean(), "margin": margin}
        return {name: float(number) for name, number in found.items()} | {"general": last, "rise": last / first - 1}


def prefer(model: Any, better: np.ndarray, worse: np.ndarray, plain: np.ndarray, random: np.random.Generator, part: StagedTuning) -> None:
    """Steps of direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290), with general text beside."""
    import copy

    import torch
    from torch import nn

    before = copy.deepcopy(model)

    def gain(rows: torch.Tensor) -> torch.Tensor:
        now = model(rows[:, :2]).log_softmax(dim=1)
        with torch.no_grad():
            then = before(rows[:, :2]).log_softmax(dim=1)
        return (now - then).gather(1, rows[:, 2:])[:, 0]

    def loss_of(step: int) -> torch.Tensor:
        chosen = random.integers(len(better), size=64)
        margin = gain(torch.from_numpy(better[chosen])) - gain(torch.from_numpy(worse[chosen]))
        loss = -nn.functional.logsigmoid(BETA * margin).mean()
        if part.replay:
            rows = torch.from_numpy(plain[random.integers(len(plain), size=64)])
            loss = loss + part.replay * nn.functional.cross_entropy(model(rows[:, :-1]), rows[:, -1])
        return loss

    take_steps(torch.optim.Adam(model.parameters(), part.rate / 5), loss_of, part.preferences)
