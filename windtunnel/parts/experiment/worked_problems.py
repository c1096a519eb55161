"""Problems in words that a model answers itself, or turns into a program that is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

DIGITS, PLACES, OPERATIONS, KNOWN, NEW = 10, 3, 4, 6, 2  # digits of a number; phrases of each operation, in training and not
OPERATION = DIGITS  # tokens: digits, operations, phrases, the sign before what is to be written, a blank
PHRASE = OPERATION + OPERATIONS
SIGN = PHRASE + OPERATIONS * (KNOWN + NEW)
BLANK = SIGN + 1
ASKED = 1 + 2 * PLACES  # a phrase and two numbers; a program is as long, an operation and two numbers
SMALL = 200  # numbers of training are below


class WorkedProblems(Experiment, name="worked-problems"):
    """The share of problems answered rightly by a small model that writes the result, or a program that a machine runs.

    Drori et al. 2022, arXiv:2112.15594: a model of code is asked to write a program that solves a question of university mathematics, the
    program is run, and where that fails, the questions nearest to it with their programs are shown as examples; 81 percent are solved, 19
    by a model that answers itself.

    A problem is a phrase and two numbers of three digits; each of four operations (sum, difference, product, larger; modulo 1000) has
    six phrases in training and two more that are not. Training has ``examples`` problems with numbers below 200. ``writes`` is the
    ``result``, or a ``program``: the operation and both numbers, which is run. ``shown`` is no solved problem, one at ``random``, or the
    ``nearest`` by common words, which is one of the same phrase. Phrases that are not in training have solved problems to be shown as well.
    ``right`` is on new problems like those of training, ``large`` with numbers from 200 on, ``phrases`` with the other phrases.
    """

    trial = Trial({"steps": 2, "judged": 10})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    writes: Literal["result", "program"] = Field("program", description="what the model writes")
    shown: Literal["nothing", "random", "nearest"] = Field("nothing", description="which solved problem stands before")
    examples: int = Field(3000, ge=1, description="training problems")
    steps: int = Field(300, ge=1, description="of training, 32 problems each")
    judged: int = Field(200, ge=1, description="problems of each kind")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``right``, ``large`` and ``phrases``."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        known = np.arange(OPERATIONS * KNOWN)
        rows = self._rows(problems(self.examples, known, 0, SMALL, random), random)
        start = rows.shape[1] - self._length
        counted = np.zeros(rows.shape, bool)
        counted[:, start:] = True
        model = made(seed, BLANK + 1, rows.shape[1], width=32)
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate, batch=32)
        kinds = {
            "right": (known, 0, SMALL),
            "large": (known, SMALL, DIGITS**PLACES),
            "phrases": (np.arange(OPERATIONS * KNOWN, OPERATIONS * (KNOWN + NEW)), 0, SMALL),
        }
        found = {}
        for name, (phrases, low, high) in kinds.items():
            asked = problems(self.judged, phrases, low, high, random)
            told = written(model, self._rows(asked, random)[:, :start], self._length)
            answers = number(told) if self.writes == "result" else run(told)
            found[name] = float((answers == run(programs(asked))).mean())
        return found

    @property
    def _length(self) -> int:
        return PLACES if self.writes == "result" else ASKED

    def _rows(self, asked: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Perhaps a solved problem, then each of ``asked``, the sign, and what is to be written."""
        import numpy as np

        sign = np.full((len(asked), 1), SIGN)
        parts = [asked, sign, self._solved(asked)]
        if self.shown != "nothing":
            other = problems(len(asked), np.arange(OPERATIONS * KNOWN), 0, SMALL, random)
            if self.shown == "nearest":
                other[:, 0] = asked[:, 0]
            parts = [other, sign, self._solved(other), *parts]
        return np.hstack(parts)

    def _solved(self, asked: np.ndarray) -> np.ndarray:
        """What a model is to write for ``asked``."""
        return digits(run(programs(asked))) if self.writes == "result" else programs(asked)


def problems(count: int, phrases: np.ndarray, low: int, high: int, random: np.random.Generator) -> np.ndarray:
    """Rows of a phrase and two numbers from ``low`` to below ``high``, [count, ASKED]."""
    import numpy as np

    chosen = PHRASE + phrases[random.integers(len(phrases), size=count)]
    return np.hstack([chosen[:, None], *(digits(random.integers(low, high, size=count)) for _ in range(2))])


def programs(asked: np.ndarray) -> np.ndarray:
    """The operation of each problem's phrase, and its numbers."""
    found = asked.copy()
    found[:, 0] = OPERATION + (asked[:, 0] - PHRASE) % OPERATIONS
    return found


def run(some: np.ndarray) -> np.ndarray:
    """What programs [rows, ASKED] come to, -1 where one cannot be read."""
    import numpy as np

    whole = (some[:, 0] >= OPERATION) & (some[:, 0] < PHRASE) & (some[:, 1:] < DIGITS).all(axis=1)
    one, other = number(some[:, 1 : 1 + PLACES]), number(some[:, 1 + PLACES :])
    every = np.stack([one + other, one - other, one * other, np.maximum(one, other)], axis=1) % DIGITS**PLACES
    return np.where(whole, every[np.arange(len(some)), np.clip(some[:, 0] - OPERATION, 0, OPERATIONS - 1)], -1)


def digits(numbers: np.ndarray) -> np.ndarray:
    """[rows, PLACES], the first one the greatest."""
    import numpy as np

    return numbers[:, None] // DIGITS ** np.arange(PLACES - 1, -1, -1) % DIGITS


def number(some: np.ndarray) -> np.ndarray:
    """The inverse of :func:`digits`; -1 where a token is none."""
    import numpy as np

    return np.where((some < DIGITS).all(axis=1), some @ DIGITS ** np.arange(PLACES - 1, -1, -1), -1)
