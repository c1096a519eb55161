"""Whether two stretches far apart in a sequence are alike, told by gated convolutions with long or short filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

BASES = 4
MOTIF = 24  # bases


class LongFilters(Experiment, name="long-filters"):
    """The share of sequences of four letters told right, of which half hold the same 24 letters twice, a fixed distance apart.

    Nguyen et al. 2023 (HyenaDNA), arXiv:2306.15794, of Poli et al. 2023 (Hyena), arXiv:2302.10866: y = x1 (h * (x2 v)), products of
    projections of the input with a convolution between them whose filter is as long as the sequence and is computed by Fourier transforms,
    so that context is long at a cost of L log L. Here is one such layer in closed form: projections are the letters themselves, so that
    summed over letters and places y is h . r with r(d) how often a letter comes again d places later, and the filter h is a ridge
    regression on r over training sequences. ``context`` is the length of h. Without ``gate`` the layer is a convolution alone, and its sum
    over places is linear in how often each letter comes.

    ``right`` is on new sequences; ``products`` the multiplications of a sequence by Fourier transforms, three of 2 L log2 L for each letter
    and L between them, over the L * L of comparing all places.
    """

    trial = Trial({"length": 64, "apart": 30, "context": 40, "known": 20, "judged": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    length: int = Field(512, ge=2 * MOTIF, description="letters of a sequence")
    apart: int = Field(256, ge=MOTIF, description="letters from the begin of one stretch to that of the other")
    context: int = Field(512, ge=1, description="length of the filter")
    gate: bool = Field(True, description="whether the input multiplies what the filter gives")
    known: int = Field(1000, ge=10, description="training sequences")
    judged: int = Field(600, ge=10, description="new sequences")

    @model_validator(mode="after")
    def _fits(self) -> LongFilters:
        if self.apart + MOTIF > self.length:
            raise ValueError(
                f"apart: {self.apart} and {MOTIF} letters do not fit into a length of {self.length}; lower apart or raise length"
            )
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``right`` and ``products``."""
        import numpy as np

        random = np.random.default_rng(seed)
        rows, labels = sequences(self.known + self.judged, self.length, self.apart, random)
        given = repeats(rows, min(self.context, self.length)) if self.gate else np.eye(BASES)[rows].sum(axis=1)
        known, new = slice(0, self.known), slice(self.known, None)
        centre, scale = given[known].mean(axis=0), given[known].std(axis=0) + 1e-9
        given = (given - centre) / scale
        some, wanted = given[known], labels[known] - 0.5
        weights = ridge(some, wanted, len(some) / 2)
        right = ((given[new] @ weights > 0) == labels[new]).mean()
        spent = BASES * (3 * 2 * self.length * np.log2(2 * self.length) + 2 * self.length)
        return {"right": float(right), "products": float(spent / self.length**2)}


def sequences(count: int, length: int, apart: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Letters int64 [count, length], and whether the stretch that begins somewhere comes again ``apart`` letters later."""
    import numpy as np

    rows = random.integers(BASES, size=(count, length))
    labels = random.random(count) < 0.5
    first = random.integers(length - apart - MOTIF + 1, size=count)
    motif = random.integers(BASES, size=(count, MOTIF))
    places = first[:, None] + np.arange(MOTIF)
    np.put_along_axis(rows, places, motif, axis=1)
    np.put_along_axis(rows, places + apart, np.where(labels[:, None], motif, random.integers(BASES, size=motif.shape)), axis=1)
    return rows, labels


def repeats(rows: np.ndarray, context: int) -> np.ndarray:
    """How often a letter comes again 1, 2 ... ``context`` - 1 places later, [rows, context - 1], by Fourier transforms."""
    import numpy as np

    length = rows.shape[1]
    found = np.zeros((len(rows), 2 * length))
    for letter in range(BASES):
        turned = np.fft.rfft((rows == letter).astype(float), 2 * length, axis=1)
        found += np.fft.irfft(turned * turned.conj(), 2 * length, axis=1)
    return np.asarray(found[:, 1:context])
