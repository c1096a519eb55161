"""Masked image modelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class MaskedPatches(Objective, name="masked-patches"):
    """Hide some patches of every image and draw their pixels from the others.

    Xie et al. 2021, arXiv:2111.09886 (SimMIM): hidden patches become one learned vector, a linear head draws pixels, and the loss is the
    mean distance (L1) of the hidden pixels, whose channels have been brought to mean 0 and deviation 1. SimMIM hides blocks of 32 pixels
    that are larger than the patches of the model; here what is hidden is single patches of the model. ``loss: l2`` is the squared
    distance that He et al. 2021, arXiv:2111.06377 (MAE) use; their encoder does not read hidden patches, this one reads the vector.
    """

    trial = Trial(model={"family": "vit"}, beside=without(DIGITS, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("image-encoder",)
    fields: ClassVar[tuple[str, ...]] = ("pixels",)

    patch: int = Field(2, ge=1, description="pixels on a side of a patch; the model's own")
    ratio: float = Field(0.6, gt=0, lt=1, description="share of the patches of an image that is hidden")
    distance: Literal["l1", "l2"] = Field("l1", description="of drawn from true pixels: absolute or squared")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``pixels`` float32 [B, T, patches, numbers], ``masked`` and ``labels`` [B, T, patches] (0 where a patch is to be drawn).

        ``rows`` has ``pixels`` uint8 [B, T, channels, size, size]; T images are one sequence.
        """
        import numpy as np

        from windtunnel.kits.image.patches import to_patches

        if facts.size % self.patch:
            raise PartError(f"masked-patches: patches of {self.patch} pixels do not fill images of {facts.size}")
        pixels = to_patches(facts.scaled(rows["pixels"]), self.patch)
        count = pixels.shape[2]
        hidden = max(1, min(count - 1, round(self.ratio * count)))
        order = np.argsort(random.random(pixels.shape[:3]), axis=2)
        masked = np.argsort(order, axis=2) < hidden
        real = rows["documents"][:, :, None] >= 0
        return {"pixels": np.ascontiguousarray(pixels, np.float32), "masked": masked, "labels": np.where(masked & real, 0, -100)}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The distance of each patch [B, T, patches], a mean over its numbers; those that are hidden count.

        Raises:
            PartError: where the model has patches of another size.
        """
        from windtunnel.models.forward import forward, precise

        if model.config.patch_size != self.patch:
            raise PartError(f"masked-patches: patch is {self.patch} and that of the model {model.config.patch_size}; give both one")
        true = batch["pixels"].flatten(0, 1)
        outputs = forward(model, pixels=true, masked=batch["masked"].flatten(0, 1), needs=needs)
        apart = precise(outputs.logits - true)
        values = (apart.abs() if self.distance == "l1" else apart.square()).mean(dim=-1)
        return Loss(values.view_as(batch["labels"]), batch["labels"] != -100, outputs)
