"""How low the rank is at which attention, and a gradient through it, can be approximated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

STEP = 1.15  # between ranks at which the gradient is tried


class AttentionRank(Experiment, name="attention-rank"):
    """The rank that stands for all of attention but for one percent, by the largest logit there is.

    Hu et al. 2024, arXiv:2406.03136: the gradient of LoRA in attention can be computed in almost linear time if logits stay below about
    the square root of the logarithm of the length, by products of low rank in the place of attention, and above it, under a common
    hypothesis, it cannot. Inputs, the matrix of query times key, values and targets are normal numbers, logits scaled so that the
    largest is ``bound``.

    ``gradient`` is the least rank to which exponentiated logits can be cut, by their singular values, so that the gradient of a squared
    loss by the matrix of query times key is right within ``error``. ``normalised`` is the least rank of attention itself, whose rows add up
    to one, and ``raised`` that of the exponentials, of which large logits leave a few. All are shares of the length. ``degree`` is that of
    the polynomial which is the exponential within ``error`` for every logit up to the bound, and ``features`` how many products of
    coordinates it has, over the length: the rank of the known algorithm, which needs no singular values.
    """

    trial = Trial({"length": 24, "width": 3})

    unit: ClassVar[str] = "share of the length"
    better: ClassVar[str] = "lower"

    bound: float = Field(1.0, gt=0, le=32, description="the largest logit")
    length: int = Field(256, ge=2, description="positions")
    width: int = Field(8, ge=1, description="numbers of a key")
    error: float = Field(0.01, gt=0, lt=1, description="relative error that is allowed")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above; ``gradient`` is the first."""
        import numpy as np

        random = np.random.default_rng(seed)
        inputs, values, targets = random.standard_normal((3, self.length, self.width))
        logits = inputs @ random.standard_normal((self.width, self.width)) @ inputs.T
        raised = np.exp(logits * (self.bound / np.abs(logits).max()))
        left, sizes, right = np.linalg.svd(raised)
        attention = raised / raised.sum(axis=1, keepdims=True)
        of_attention = self._rank(np.linalg.svd(attention, compute_uv=False))
        wanted = gradient(raised, inputs, values, targets)
        needed = self.length
        for rank in sorted({round(STEP**place) for place in range(math.ceil(math.log(self.length, STEP)))}):
            got = gradient((left[:, :rank] * sizes[:rank]) @ right[:rank], inputs, values, targets)
            if np.linalg.norm(got - wanted) <= self.error * np.linalg.norm(wanted):
                needed = rank
                break
        degree = self._degree()
        ranks = {"gradient": needed, "normalised": of_attention, "raised": self._rank(sizes)}
        ranks["features"] = math.comb(self.width + degree, degree)
        return {**{name: rank / self.length for name, rank in ranks.items()}, "degree": float(degree)}

    def _rank(self, sizes: np.ndarray) -> int:
        """The least rank whose best approximation is right within ``error``, from singular values."""
        import numpy as np

        left_out = np.sqrt(np.cumsum(sizes[::-1] ** 2)[::-1])
        return int((left_out > self.error * left_out[0]).sum())

    def _degree(self) -> int:
        """The least degree of a polynomial through Chebyshev's points that is the exponential within ``error`` up to the bound.

        What it is off by is summed itself, from the rest of Chebyshev's series: near the lower end the exponential is smaller than what
        rounding does to it at the upper one.
        """
        import numpy as np
        from scipy.special import iv

        most = 300 + 6 * math.ceil(self.bound)
        angle = np.linspace(0, math.pi, 2001)
        waves, sizes = np.cos(np.outer(np.arange(most), angle)), 2 * iv(np.arange(most), self.bound)
        for degree in range(most):
            rest, points = np.arange(degree + 1, most), degree + 1
            turns, place = np.divmod(rest, 2 * points)
            # At the points a wave of the rest looks like one of a lower degree, or its reverse, or like none.
            sign = np.where(turns % 2, -1, 1) * np.sign(points - place)
            off = sizes[rest] @ (waves[rest] - sign[:, None] * waves[np.minimum(place, 2 * points - place)])
            if np.abs(off / np.exp(self.bound * waves[1])).max() <= self.error:
                break
        return degree


def gradient(raised: np.ndarray, inputs: np.ndarray, values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of half the squared distance of what attention gives from ``targets``, by the matrix W of the logits X W X^T, [width, width].

    ``raised`` [length, length] are the exponentiated logits, ``inputs`` X, ``values`` and ``targets`` [length, width].
    """
    attention = raised / raised.sum(axis=1, keepdims=True)
    by_attention = (attention @ values - targets) @ values.T
    pulled = attention * by_attention
    found: np.ndarray = inputs.T @ (pulled - pulled.sum(axis=1, keepdims=True) * attention) @ inputs
    return found
