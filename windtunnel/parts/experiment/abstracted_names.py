"""Writing assertions about functions whose names the model never saw, with names as they are or in the abstract."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

DIGITS, NAMES, SEEN = 10, 60, 40  # names of functions and arguments, of which so many are ever in training
PLUS, TIMES, LARGER, DEFINE, TEST, BLANK = range(DIGITS + NAMES, DIGITS + NAMES + 6)
GIVEN, WRITTEN = 9, 4


class AbstractedNames(Experiment, name="abstracted-names"):
    """The share of assertions that a model writes to the letter, from a test without its assertion and the function under test.

    Primbs, Fein and Fraser 2025 (AsserT5), arXiv:2502.02708: a model of code is tuned to write the assertion of a test from the test and
    the function that it calls; identifiers are replaced by placeholders and put back afterwards. A function has a name, two arguments and
    an operation on them (sum or product by the last digit, or the larger); the test calls it by name with two digits; the assertion is the
    name, the digits and the result. A third of the names are never in training. A small transformer learns.

    With ``abstract`` names are placeholders by the order in which they come; without ``function`` the model sees the test alone;
    ``pretraining`` steps before are on functions and calls without assertions. ``new`` is the share right with names that were never seen,
    ``seen`` with those of training, ``result`` the share of results that are right with new names, whatever the rest.
    """

    trial = Trial({"steps": 4, "judged": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    abstract: bool = Field(True, description="whether names are placeholders")
    function: bool = Field(True, description="whether the function under test is seen")
    pretraining: int = Field(0, ge=0, description="steps before, on functions and calls")
    steps: int = Field(400, ge=1, description="of training, 64 tests each")
    judged: int = Field(300, ge=1, description="tests of each kind")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``new``, ``seen`` and ``result``."""
        import numpy as np

        from windtunnel.kits.text.placeholders import restored
        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        rows, _ = self._as_seen(assertions(3000, np.arange(SEEN), random))
        model = made(seed, BLANK + 1, GIVEN + WRITTEN, width=48)
        counted = np.zeros(rows.shape, bool)
        if self.pretraining:
            counted[:, 1:GIVEN] = True
            learn(model, rows, counted, random, steps=self.pretraining, rate=self.rate)
        counted[:, :GIVEN], counted[:, GIVEN:] = False, True
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate)
        found = {}
        for name, names in (("new", np.arange(SEEN, NAMES)), ("seen", np.arange(SEEN))):
            true = assertions(self.judged, names, random)
            asked, back = self._as_seen(true)
            told = written(model, asked[:, :GIVEN], WRITTEN)
            if back is not None:
                told = restored(told, back, DIGITS)
            found[name] = float((told == true[:, GIVEN:]).all(axis=1).mean())
            if name == "new":
                result = float((told[:, -1] == true[:, -1]).mean())
        return {**found, "result": result}

    def _as_seen(self, rows: np.ndarray) -> tuple[np.ndarray, list[list[int]] | None]:
        """Rows as the model has them, and what placeholders stood for."""
        from windtunnel.kits.text.placeholders import abstracted

        found, back = abstracted(rows, DIGITS, PLUS) if self.abstract else (rows.copy(), None)
        if not self.function:
            found[:, :5] = BLANK
        return found, back


def assertions(count: int, names: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rows: define, name, two arguments, operation; test, name, two digits; then the assertion: name, digits, result."""
    import numpy as np

    chosen = DIGITS + np.stack([random.permutation(names)[:3] for _ in range(count)])
    digits, operation = random.integers(0, DIGITS, (count, 2)), random.integers(0, 3, count)
    results = np.stack([digits.sum(axis=1) % 10, digits.prod(axis=1) % 10, digits.max(axis=1)], axis=1)[np.arange(count), operation]
    sign = np.full((count, 1), DEFINE), np.full((count, 1), TEST)
    function = np.hstack([sign[0], chosen, PLUS + operation[:, None]])
    call = np.hstack([sign[1], chosen[:, :1], digits])
    return np.hstack([function, call, chosen[:, :1], digits, results[:, None]]).astype(np.int64)
