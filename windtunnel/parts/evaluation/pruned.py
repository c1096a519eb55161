"""How much of a model can be removed without training it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.weights.patterns import group_of
from windtunnel.parts.evaluation.bits_per_byte import BitsPerByte
from windtunnel.slots import Evaluation, HeldOut, Objective

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Pruned(Evaluation, name="pruned"):
    """Bits per byte after removing the smallest weights of the blocks at once, for a list of sparsities, without training again.

    The sweep of Jaiswal et al. 2023, "The Emergence of Essential Sparsity", arXiv:2306.03805: one threshold on the magnitude for all
    matrices of the blocks together; embeddings, head, norms and biases stay. ``pruned/50%`` is the measure with half of the weights
    gone, ``pruned/0%`` the same text unpruned, ``pruned/2:4`` the pattern that keeps two of every four consecutive inputs (the
    paper's code counts those removed; for 2:4 it is the same). With ``score: random``, the control, names begin with
    ``pruned_random``. The model is put back bitwise.

    ``removable_weights`` (or ``removable_random``) is the largest share that can go before the measure is worse by more than
    ``tolerance``, read between the two sparsities around it on a straight line: a cut-off and not a fitted turning point, for which
    see :mod:`windtunnel.laws.knee`. ``near_zero_weights`` is the share of weights below ``near_zero`` times the root mean square of
    their matrix: 0.080 at the default for weights drawn from a normal distribution, so that growing sparser shows as a rise. The
    paper's own threshold was not published. No FLOPs of evaluations are counted in a budget; a sweep reads ``tokens`` for each entry.
    """

    trial = Trial({"sparsities": [0.0, 0.5, 0.9]})

    local = "it removes the least weights of whole matrices"

    unit: ClassVar[str] = "bits per byte"
    better: ClassVar[str] = "lower"

    sparsities: tuple[float, ...] = Field(
        tuple(step / 10 for step in range(10)), min_length=1, description="shares of the blocks' weights that are removed"
    )
    tracked: tuple[float, ...] | None = Field(None, description="the sparsities measured on validation during training (default: all)")
    patterns: tuple[str, ...] = Field((), description='patterns that are measured besides, such as "2:4" (two of every four are kept)')
    score: Literal["magnitude", "random"] = Field("magnitude", description="what the weights with the lowest of are removed")
    seed: int = Field(0, ge=0, description="decides, with each weight's name, the random scores")
    tokens: int = Field(4096, ge=1, description="most tokens of each source that a sweep reads (never more than other evaluations)")
    tolerance: float = Field(0.01, gt=0, description="how much worse, relatively, the measure may be for removable_weights")
    near_zero: float = Field(0.1, gt=0, description="what counts as near zero, in root mean squares of the weight's matrix")

    @field_validator("sparsities", "tracked")
    @classmethod
    def _shares_in_order(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (list(value) != sorted(set(value)) or not all(0 <= share < 1 for share in value)):
            raise ValueError("sparsities are shares from 0 to below 1, rising, none twice")
        return value

    @field_validator("patterns")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(group_of(pattern) is None for pattern in value):
            raise ValueError("unstructured is what sparsities are for; patterns are written as 2:4")
        return value

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The sweep, then ``removable_weights`` of a whole sweep that holds 0, and ``near_zero_weights``.

        Raises:
            PartError: where the blocks hold no weight matrix, groups do not divide inputs, or no text was read.
        """
        import torch

        from windtunnel.kits.weights.masks import keep_highest
        from windtunnel.models.anatomy import linears

        modules = linears(model)
        if not modules:
            raise PartError("pruned: the blocks of this model hold no weight matrix")
        tracking = self.tracked is not None and held_out.split == "validation"
        sparsities = self.tracked if tracking and self.tracked is not None else self.sparsities
        tag = "pruned" if self.score == "magnitude" else "pruned_random"
        weights: dict[str, Any] = {name: module.weight for name, module in modules.items()}
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        text = dataclasses.replace(held_out, batches=lambda source, objective: limited(held_out, source, objective, self.tokens))

        def measured(kept: float, group: tuple[int, int] | None = None) -> float:
            masks = keep_highest(modules, kept, score=self.score, seed=self.seed, group=group, part=self.name)
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.mul_(masks[name])
            try:
                return next(iter(BitsPerByte().evaluate(model, text).values()))
            finally:
                with torch.no_grad():
                    for name, weight in weights.items():
                        weight.copy_(before[name])

        curve = {share: measured(1 - share) for share in sparsities}
        numbers = {f"{tag}/{100 * share:g}%": value for share, value in curve.items()}
        for pattern in () if tracking else self.patterns:
            kept, size = group_of(pattern) or (1, 1)
            numbers[f"{tag}/{pattern}"] = measured(kept / size, (kept, size))
        if not tracking and len(curve) > 1 and 0.0 in curve:
            numbers["removable_weights" if self.score == "magnitude" else "removable_random"] = removable_share(curve, self.tolerance)
        if self.score == "magnitude":
            small = sum(int((w.abs() < self.near_zero * w.square().mean().sqrt()).sum()) for w in before.values())
            numbers["near_zero_weights"] = small / sum(weight.numel() for weight in before.values())
        return numbers


def removable_share(curve: dict[float, float], tolerance: float) -> float:
    """The sparsity at which ``curve`` (sparsity: loss, rising sparsities from 0) first exceeds its beginning by ``tolerance`` of it."""
    limit = curve[0.0] * (1 + tolerance)
    for (share, low), (after, high) in pairwise(curve.items()):
        if high > limit:
            return share + (after - share) * (limit - low) / (high - low)
    return max(curve)


def limited(held_out: HeldOut, source: str, objective: Objective, tokens: int) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of ``source`` up to the sequence in which ``tokens`` labels are reached; later sequences lose their labels.

    By sequence and not by batch, so that the batch size does not decide what is read.
    """
    import torch

    left = tokens
    for batch in held_out.batches(source, objective):
        counts = (batch["labels"] != -100).sum(dim=1)
        before = counts.cumsum(0) - counts
        yield {**batch, "labels": torch.where((before < left)[:, None], batch["labels"], -100)}
        left -= int(counts.sum())
        if left <= 0:
            return
