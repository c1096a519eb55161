"""Whether a model that learned to differentiate does so with symbols that it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

NUMBERS, SYMBOLS, SEEN = 50, 12, 9  # tokens of numbers, of symbols, and how many symbols are ever in training
BLANK, BY, PLUS, EQUALS, SWAPPED = range(NUMBERS + SYMBOLS, NUMBERS + SYMBOLS + 5)
GIVEN, WRITTEN = 10, 7


class DifferentiatedStrings(Experiment, name="differentiated-strings"):
    """The share of derivatives of two terms that a model writes rightly: as trained, with other symbols, or with sides exchanged.

    Meadows, Valentino and Freitas 2023, arXiv:2307.09998: derivations are made by a symbolic engine, a model learns to write them, and is
    judged on the same ones with symbols renamed, forms exchanged, and steps removed; unseen symbols hurt most. Here the premise is ``a s^m
    + b s^n`` or the same by terms exchanged, by which symbol it is to be differentiated, and the answer ``am s^(m-1) + bn s^(n-1)``,
    compared as polynomials. Three of twelve symbols are never in training, so their vectors stay as they were drawn.

    ``symbols`` is how many are in training. With ``renamed`` the premise's symbol is replaced by one of three placeholders, in the order in
    which symbols come, and put back afterwards. ``as_trained`` is the share right with symbols of training, ``unseen`` with the three
    others, ``exchanged`` with terms in falling order, where training has them rising. A small transformer learns.
    """

    trial = Trial({"steps": 4, "judged": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    symbols: int = Field(3, ge=1, le=SEEN, description="in training")
    renamed: bool = Field(False, description="whether symbols are replaced by placeholders")
    steps: int = Field(400, ge=1, description="of training, 64 derivatives each")
    judged: int = Field(200, ge=1, description="derivatives of each kind that are judged")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``as_trained``, ``unseen`` and ``exchanged``."""
        import numpy as np

        from windtunnel.kits.text.placeholders import abstracted, restored
        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        rows = derivatives(4000, np.arange(self.symbols), random)
        if self.renamed:
            rows, _ = abstracted(rows, NUMBERS, BLANK)
        counted = np.zeros(rows.shape, bool)
        counted[:, GIVEN:] = True
        model = made(seed, SWAPPED + 1, GIVEN + WRITTEN, width=48)
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate)

        def right(symbols: np.ndarray, falling: bool = False) -> float:
            true = derivatives(self.judged, symbols, random, falling=falling)
            asked, back = abstracted(true, NUMBERS, BLANK) if self.renamed else (true, None)
            found = written(model, asked[:, :GIVEN], WRITTEN)
            if back is not None:
                found = restored(found, back, NUMBERS)
            return float(np.mean([polynomial(one) == polynomial(two) for one, two in zip(found, true[:, GIVEN:], strict=True)]))

        own = np.arange(self.symbols)
        return {"as_trained": right(own), "unseen": right(np.arange(SEEN, SYMBOLS)), "exchanged": right(own, falling=True)}


def derivatives(count: int, symbols: np.ndarray, random: np.random.Generator, *, falling: bool = False) -> np.ndarray:
    """Rows of tokens: by which symbol, the two terms (number, symbol, power), an equals sign, and the two terms of the derivative."""
    import numpy as np

    symbol = NUMBERS + symbols[random.integers(len(symbols), size=count)]
    powers = np.stack([random.permutation(np.arange(1, 6))[:2] for _ in range(count)])
    powers = -np.sort(-powers, axis=1) if falling else np.sort(powers, axis=1)
    factors = random.integers(1, 10, (count, 2))
    rows = np.full((count, GIVEN + WRITTEN), BLANK)
    rows[:, 0], rows[:, 1], rows[:, 5], rows[:, GIVEN - 1] = BY, symbol, PLUS, EQUALS
    for term in range(2):
        rows[:, 2 + 4 * term : 5 + 4 * term] = np.stack([factors[:, term], symbol, powers[:, term]], axis=1)
        place = GIVEN + 4 * term
        rows[:, place : place + 3] = np.stack([factors[:, term] * powers[:, term], symbol, powers[:, term] - 1], axis=1)
    rows[:, GIVEN + 3] = PLUS
    return rows


def polynomial(written: np.ndarray) -> tuple[tuple[int, int, int], ...] | None:
    """The terms of what is written, in order and added up, or None where it is no sum of two terms."""
    terms: dict[tuple[int, int], int] = {}
    if len(written) != WRITTEN or written[3] != PLUS:
        return None
    for first in (0, 4):
        number, symbol, power = map(int, written[first : first + 3])
        if number >= NUMBERS or power >= NUMBERS or not NUMBERS <= symbol < BLANK:
            return None
        terms[symbol, power] = terms.get((symbol, power), 0) + number
    return tuple(sorted((*key, value) for key, value in terms.items()))
