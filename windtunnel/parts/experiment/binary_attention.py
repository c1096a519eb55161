"""Attention in ones and zeros, or from signs, and what is left of it by the rule that is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class BinaryAttention(Experiment, name="binary-attention"):
    """The relative error of attention that is binary, by rule.

    ``of: rows``: rows of softmax over ``tokens`` normal logits of standard deviation ``spread`` stand for one number times ones and
    zeros. A one is, by ``rule``: ``mean``, above the mean of the row; ``elastic``, at least half of a scale of four times the mean of
    all, which rounding gives where that scale begins (BiPFT and BiT); ``quarter``, at least a quarter of the row's largest (He et al.
    2023, arXiv:2211.07091, BiViT); ``best``, above the threshold that suits the row best, an oracle. ``scale: row`` has a number for each
    row, ``matrix`` one for all; both are least squares.

    ``of: scores``: products of queries and keys [tokens, ``width``], both linear in normal inputs of as many numbers, from their signs
    times the mean sizes, and a full-precision product of ``rank`` beside it, fitted on other inputs to what signs leave out (Xing et al.
    2024, arXiv:2312.08937, BiPFT, whose estimators are trained). ``error`` is relative to what is stood for, by the norm, and ``ones``
    the share of ones (1 for scores).
    """

    trial = Trial({"tokens": 8, "count": 4, "width": 4})

    unit: ClassVar[str] = "relative error"
    better: ClassVar[str] = "lower"

    of: Literal["rows", "scores"] = Field("rows", description="what is binary")
    rule: Literal["mean", "elastic", "quarter", "best"] = Field("quarter", description="which numbers of a row are ones")
    scale: Literal["row", "matrix"] = Field("matrix", description="what has a number that ones are multiplied by")
    spread: float = Field(2.0, gt=0, description="standard deviation of logits")
    rank: int = Field(0, ge=0, description="of the product beside signs")
    tokens: int = Field(64, ge=2, description="of a row")
    count: int = Field(64, ge=1, description="matrices, or texts")
    width: int = Field(32, ge=1, description="numbers of a query")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``ones``."""
        import numpy as np

        random = np.random.default_rng(seed)
        if self.of == "scores":
            return {"error": self._scores(random), "ones": 1.0}
        from windtunnel.kits.vectors import softmax

        rows = softmax(self.spread * random.standard_normal((self.count * self.tokens, self.tokens)))
        ones = binary(rows, self.rule)
        if self.scale == "row":
            found = ones * ((rows * ones).sum(axis=1) / np.maximum(ones.sum(axis=1), 1))[:, None]
        else:
            found = ones * (rows * ones).sum() / max(ones.sum(), 1)
        return {"error": float(np.linalg.norm(rows - found) / np.linalg.norm(rows)), "ones": float(ones.mean())}

    def _scores(self, random: np.random.Generator) -> float:
        import numpy as np

        weights = random.standard_normal((2, self.width, self.width)) / self.width**0.5
        products = []
        for _ in range(2):  # to fit on, and to judge on
            given = random.standard_normal((self.count, self.tokens, self.width))
            queries, keys = (given @ weight for weight in weights)
            whole = queries @ keys.transpose(0, 2, 1)
            signs = np.sign(queries) @ np.sign(keys).transpose(0, 2, 1) * np.abs(queries).mean() * np.abs(keys).mean()
            products.append((given, whole, whole - signs))
        given, _, left = products[0]
        back = np.linalg.pinv(given)  # [texts, width, tokens]
        mean = (back @ left @ back.transpose(0, 2, 1)).mean(axis=0)
        first, sizes, second = np.linalg.svd(mean)
        matrix = (first[:, : self.rank] * sizes[: self.rank]) @ second[: self.rank]
        given, whole, left = products[1]
        return float(np.linalg.norm(left - given @ matrix @ given.transpose(0, 2, 1)) / np.linalg.norm(whole))


def binary(rows: Array, rule: str) -> Array:
    """Ones and zeros [N, tokens] for rows that add up to one."""
    import numpy as np

    if rule == "mean":
        return np.asarray(rows > rows.mean(axis=1, keepdims=True)).astype(float)
    if rule == "elastic":
        return np.asarray(rows >= 2 * rows.mean()).astype(float)
    if rule == "quarter":
        return np.asarray(rows >= 0.25 * rows.max(axis=1, keepdims=True)).astype(float)
    ordered = -np.sort(-rows, axis=1)
    gained = ordered.cumsum(axis=1) ** 2 / np.arange(1, rows.shape[1] + 1)  # what the n largest, at their mean, explain
    least = np.take_along_axis(ordered, gained.argmax(axis=1)[:, None], axis=1)
    return np.asarray(rows >= least).astype(float)
