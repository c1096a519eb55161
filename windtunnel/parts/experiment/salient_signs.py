"""Weights cut to their signs but for some channels, by how those channels are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MIDDLE = "1.weight"


class SalientSigns(Experiment, name="salient-signs"):
    """What is left of a network whose middle matrix has about 1.6 bits a weight, after training and without labels.

    Zhao et al. 2025, "PTQ1.61", arXiv:2502.13179: the ``share`` of input channels with the largest activations on calibration images keep
    4 bits, with a least and a largest number a row, and of the others the sign about the row's mean m is kept: (sign(w - m) s + m) r_out
    r_in, where s is the mean of |w - m|. With ``fitted`` s, r_out and r_in, which begin at 1, are trained by the squared error of the
    layer's outputs on calibration images. ``channels``: ``activation`` as in the paper, ``norm`` of the weights, ``random``, ``none``
    (signs alone). ``rule: round`` rounds all weights to ``levels`` levels between the least and largest of a row.

    ``error`` is the relative error of the layer's outputs on held-out images, ``accuracy`` that of the network, ``dense`` that before,
    and ``bits`` those of a weight: signs, 4 bits, and 16 for every number of a row or column that is stored, and the mask of channels.
    """

    trial = Trial({"training": 5, "steps": 3, "width": 16})

    unit: ClassVar[str] = "relative error"
    better: ClassVar[str] = "lower"

    rule: Literal["signs", "round"] = Field("signs", description="what becomes of weights")
    channels: Literal["activation", "norm", "random", "none"] = Field("activation", description="which channels keep 4 bits")
    share: float = Field(0.2, gt=0, lt=1, description="of the channels")
    fitted: bool = Field(False, description="whether scales are trained on calibration images")
    levels: int = Field(4, ge=2, le=16, description="of rounding, where the rule is that")
    width: int = Field(256, ge=2, description="of both hidden layers")
    training: int = Field(250, ge=1, description="steps before")
    images: int = Field(128, ge=1, description="of calibration")
    steps: int = Field(150, ge=0, description="of fitting scales")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``accuracy``, ``dense`` and ``bits``."""
        import numpy as np

        from windtunnel.kits.image.tiny import begun, classified, dealt, right, said, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        first = begun((64, self.width, self.width, 10), seed)
        known = data.train
        first = trained(first, classified(data.images[known], data.labels[known]), len(known), self.training, 3e-3, random)
        shown = said(first, data.images[data.chosen[: self.images]], 1)
        weight, kept = first[MIDDLE], self._kept(first[MIDDLE], shown, random)
        if self.rule == "round":
            made, stored = rounded(weight, self.levels), float(np.log2(self.levels)) * weight.numel() + 32 * len(weight)
        else:
            made = self._signs(weight, kept, shown, random)
            stored = weight.numel() + 3.0 * len(weight) * float(kept.sum()) + 16 * 2 * len(weight)
            stored += (weight.shape[1] + 32 * len(weight)) * bool(kept.any()) + 16 * sum(weight.shape) * self.fitted
        held = said(first, data.images[data.held], 1)
        off = (held @ (made - weight).T).norm() / (held @ weight.T).norm()
        return {
            "error": float(off),
            "accuracy": right(first | {MIDDLE: made}, data.images[data.held], data.labels[data.held]),
            "dense": right(first, data.images[data.held], data.labels[data.held]),
            "bits": stored / weight.numel(),
        }

    def _kept(self, weight: Tensor, shown: Tensor, random: object) -> Tensor:
        """Which channels keep 4 bits [in]."""
        import torch

        kept = torch.zeros(weight.shape[1], dtype=torch.bool)
        if self.channels == "none" or self.rule == "round":
            return kept
        scores = {
            "activation": lambda: shown.abs().mean(dim=0),
            "norm": lambda: weight.norm(dim=0),
            "random": lambda: torch.from_numpy(random.random(weight.shape[1])),  # type: ignore[attr-defined]
        }[self.channels]()
        kept[scores.topk(max(1, round(self.share * len(scores)))).indices] = True
        return kept

    def _signs(self, weight: Tensor, kept: Tensor, shown: Tensor, random: object) -> Tensor:
        import torch

        from windtunnel.kits.image.tiny import trained

        rest = weight[:, ~kept]
        middle = rest.mean(dim=1, keepdim=True)
        signs = torch.where(rest >= middle, 1.0, -1.0)
        free = {
            "scale": (rest - middle).abs().mean(dim=1, keepdim=True),
            "out": torch.ones(len(weight), 1),
            "in": torch.ones(1, rest.shape[1]),
        }

        def made(held: dict[str, torch.Tensor]) -> torch.Tensor:
            found = rounded(weight, 16).clone()
            found[:, ~kept] = (signs * held["scale"] + middle) * held["out"] * held["in"]
            return found

        if self.fitted and self.steps:
            wanted = shown @ weight.T
            free = trained(
                free,
                lambda held, rows: (shown[rows] @ made(held).T - wanted[rows]).square().mean() / wanted.square().mean(),
                len(shown),
                self.steps,
                1e-2,
                random,  # type: ignore[arg-type]
                batch=64,
            )
        return made(free).detach()


def rounded(weight: Tensor, levels: int) -> Tensor:
    """``weight`` on so many equal levels between the least and the largest of each row."""
    low, high = weight.amin(dim=1, keepdim=True), weight.amax(dim=1, keepdim=True)
    width = (high - low).clamp(min=1e-12) / (levels - 1)
    return ((weight - low) / width).round() * width + low
