"""Supervised pre-training by neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class LeaveOneOut(Objective, name="look"):
    """Let the nearest of the other images name the class of each: the leave-one-out error of a weighted nearest-neighbour classifier.

    Feng et al. 2022, "Rethinking Supervised Pre-training for Better Downstream Transferring", arXiv:2110.06014 (LOOK): a class may lie in
    several places, where cross entropy pulls it together into one. Neighbours vote with exp(cosine / temperature); the loss is minus the
    logarithm of the share of the right class, so one near image of the class is enough. The nearest image of the class always votes, or
    the loss could be infinite. The paper's neighbours come from a queue of earlier features; here they are those of the step. Without a
    limit to ``neighbours``, a class's share is the one that neighbourhood components analysis maximises.

    Images without a label take no part; one whose class no other image of the step has votes, and does not count.
    """

    trial = Trial(model={"family": "vit", "head": "embed"}, beside=without(DIGITS, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("image-embedder",)
    fields: ClassVar[tuple[str, ...]] = ("pixels", "label")
    supervised: ClassVar[bool] = True
    together: ClassVar[bool] = True
    gathers: ClassVar[bool] = True

    patch: int = Field(2, ge=1, description="pixels on a side of a patch; the model's own")
    neighbours: int | None = Field(20, ge=1, description="how many of the nearest images vote (null: all)")
    temperature: float = Field(0.1, gt=0, description="what cosines are divided by")
    shift: int = Field(0, ge=0, description="pixels by which a training image is moved at most, up or down and to the left or right")
    mirror: bool = Field(False, description="whether half of the training images are mirrored, left to right")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``pixels`` float32 [B, T, patches, numbers], ``classes`` and ``labels`` int64 [B, T].

        ``classes`` is -1 for an image without a label; ``labels`` is -100 too where no other image of the step has the same.

        Raises:
            PartError: where patches do not fill an image, or no image of the step has a label.
        """
        import numpy as np

        from windtunnel.kits.image.patches import to_patches
        from windtunnel.kits.image.views import moved

        if facts.size % self.patch:
            raise PartError(f"look: patches of {self.patch} pixels do not fill images of {facts.size}")
        classes = np.where(rows["documents"] >= 0, rows["label"], -1).astype(np.int64)
        _, place, count = np.unique(classes, return_inverse=True, return_counts=True)
        labels = np.where((classes >= 0) & (count[place].reshape(classes.shape) > 1), classes, -100)
        if (classes < 0).all():
            raise PartError("look: no image of this step has a label; the source has to give labels")
        images = facts.scaled(rows["pixels"])
        if self.shift or self.mirror:
            images = moved(images, random, self.shift, self.mirror)
        pixels = np.ascontiguousarray(to_patches(images, self.patch), np.float32)
        return {"pixels": pixels, "classes": classes, "labels": labels}

    def measured_by(self) -> LeaveOneOut:
        """The same without moving or mirroring."""
        return self.model_copy(update={"shift": 0, "mirror": False})

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Minus the logarithm of the share of votes for the right class of each image [B, T].

        Raises:
            PartError: where the model has patches of another size.
        """
        import torch

        from windtunnel.kits.gather import first_row, gather
        from windtunnel.kits.neighbours import neighbour_loss
        from windtunnel.models.forward import forward

        if model.config.patch_size != self.patch:
            raise PartError(f"look: patch is {self.patch} and that of the model {model.config.patch_size}; give both one")
        outputs = forward(model, pixels=batch["pixels"].flatten(0, 1), needs=needs)
        vectors = torch.nn.functional.normalize(outputs.pooler_output.float(), dim=-1)
        labels, classes = batch["labels"], batch["classes"].flatten()
        others, theirs = gather(vectors), gather(classes)
        own = first_row(len(vectors)) + torch.arange(len(vectors), device=vectors.device)
        voting = (theirs >= 0)[None] & (own[:, None] != torch.arange(len(others), device=own.device))
        values = neighbour_loss(vectors @ others.T / self.temperature, classes[:, None] == theirs[None], voting, self.neighbours)
        return Loss(torch.where(labels.flatten() != -100, values, 0.0).view_as(labels), labels != -100, outputs)
