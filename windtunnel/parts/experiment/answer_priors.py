"""Answers that are likely by themselves, where the task has only one right: how far they mislead, and which layer to tune against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

LETTERS, ALIKE, LENGTH, LAYERS = 7, 4, 6, 4  # letters, words that begin with each, length of a text, blocks
ANSWERS = LETTERS * LETTERS
FIRST = LETTERS * ALIKE  # the first letter's token
SIGN = FIRST + LETTERS


class AnswerPriors(Experiment, name="answer-priors"):
    """The share of acronyms that a model forms rightly, over acronyms that are as rare as each other is common.

    Zhu, Sucholutsky and Griffiths 2025, arXiv:2504.12585: errors of deterministic tasks lean to answers that are likely anyway; layers
    whose states foretell how likely an answer is by itself can be found by reading logits out of them; tuning these layers alone on a few
    easy prompts brings accuracy on answers that were not among them, and errors lean no more.

    Two words with one of seven initials each stand for one of 49 acronyms. In training acronyms have Zipf frequencies of exponent ``skew``,
    in texts of acronyms alone and in the task, so a model learns the common ones first. Judged are all alike. ``before`` is the share
    right, ``lean_before`` the correlation over acronyms of the share wrong with minus the logarithm of the frequency. Then one block alone
    is tuned on prompts whose answers are half of the acronyms, all alike, and the other half is judged: ``chosen`` by the block whose
    logits, read out of its states, go with frequencies most; ``others`` is the mean of the other blocks, each tuned as long, ``all`` that
    of all blocks tuned together. ``lean_after`` is of the chosen one, ``gap`` the correlation at it less the mean of the others.
    """

    trial = Trial({"steps": 3, "tuning": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    skew: float = Field(2.0, ge=0, description="exponent of the frequencies")
    steps: int = Field(250, ge=1, description="of training, 32 texts each")
    tuning: int = Field(60, ge=1, description="steps on prompts, 32 each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")
    slow: float = Field(1e-3, gt=0, description="learning rate of tuning")

    def measure(self, seed: int) -> dict[str, float]:
        """The seven numbers."""
        import copy

        import numpy as np

        from windtunnel.kits.text.small import learn, made

        random = np.random.default_rng(seed)
        share = (1.0 + random.permutation(ANSWERS)) ** -self.skew
        share /= share.sum()
        texts = letters(random.choice(ANSWERS, size=3000 * LENGTH // 2, p=share)).reshape(3000, LENGTH)
        asked = prompts(random.choice(ANSWERS, size=3000, p=share), random)
        rows = np.vstack([texts, np.hstack([texts[:, :1], asked])])
        counted = np.ones(rows.shape, bool)
        counted[len(texts) :, 1:-2] = False  # what is asked is not learned
        model = made(seed, SIGN + 1, LENGTH, width=32, layers=LAYERS)
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate, batch=32)
        every = np.repeat(np.arange(ANSWERS), 20)
        judged = np.hstack([letters(every[::-1])[:, :1], prompts(every, random)])
        before = right(model, judged)
        goes = going_with(model, judged[:, :-1], share)
        seen = np.isin(np.arange(ANSWERS), random.permutation(ANSWERS)[: ANSWERS // 2])
        few = np.flatnonzero(seen)[random.integers(seen.sum(), size=2000)]
        taught = np.hstack([letters(few[::-1])[:, :1], prompts(few, random)])
        only = np.zeros(taught.shape, bool)
        only[:, -2:] = True

        def tuned(blocks: list[int]) -> np.ndarray:
            """The share right of every acronym after these blocks alone were tuned."""
            found = copy.deepcopy(model)
            for name, weight in found.named_parameters():
                weight.requires_grad_(any(name.startswith(f"blocks.{block}.") for block in blocks))
            learn(found, taught, only, np.random.default_rng(seed), steps=self.tuning, rate=self.slow, batch=32)
            return right(found, judged)

        best = int(np.argmax(goes))
        each = [tuned([block]) for block in range(LAYERS)]
        rest = [block for block in range(LAYERS) if block != best]
        return {
            "before": float(before[~seen].mean()),
            "chosen": float(each[best][~seen].mean()),
            "others": float(np.mean([each[block][~seen].mean() for block in rest])),
            "all": float(tuned(list(range(LAYERS)))[~seen].mean()),
            "lean_before": correlation(1 - before, -np.log(share)),
            "lean_after": correlation(1 - each[best][~seen], -np.log(share[~seen])),
            "gap": float(goes[best] - np.mean([goes[block] for block in rest])),
        }


def prompts(answers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Two words with the initials of each answer, the sign, and its two letters."""
    import numpy as np

    words = np.stack([answers // LETTERS, answers % LETTERS], axis=1) * ALIKE + random.integers(ALIKE, size=(len(answers), 2))
    return np.hstack([words, np.full((len(answers), 1), SIGN), letters(answers)])


def letters(answers: np.ndarray) -> np.ndarray:
    """The two letters of each acronym, [acronyms, 2]."""
    import numpy as np

    return FIRST + np.stack([answers // LETTERS, answers % LETTERS], axis=1)


def right(model: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
    """Of every acronym the share of its prompts after which its letters are the likeliest; rows are sorted by acronym, as many of each."""
    import numpy as np
    import torch

    with torch.no_grad():
        told = model(torch.from_numpy(rows[:, :-1]))[:, -2:].argmax(dim=2).numpy()
    return np.asarray((told == rows[:, -2:]).all(axis=1).reshape(ANSWERS, -1).mean(axis=1))


def going_with(model: torch.nn.Module, rows: np.ndarray, share: np.ndarray) -> list[float]:
    """Of every block the mean correlation, over prompts, of the logits of the second letter, read out of its state, with ``share``.

    ``rows`` end with the first letter; of ``share`` the logarithm counts, of the acronyms with that letter.
    """
    import numpy as np
    import torch

    with torch.no_grad():
        states = model.states(torch.from_numpy(np.ascontiguousarray(rows)))  # type: ignore[operator]
        read = [model.read(state[:, -1])[:, FIRST:SIGN].numpy() for state in states]  # type: ignore[operator]
    after = np.log(share).reshape(LETTERS, LETTERS)[rows[:, -1] - FIRST]
    return [float(np.mean([correlation(row, own) for row, own in zip(each, after, strict=True)])) for each in read]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's; 0 where one of them does not vary."""
    import numpy as np

    return 0.0 if one.std() < 1e-12 or other.std() < 1e-12 else float(np.corrcoef(one, other)[0, 1])
