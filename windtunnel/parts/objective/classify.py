"""Classification of images."""

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


class Classify(Objective, name="classify"):
    """Name the class of every image: the cross entropy of its label, in nats.

    Training images may be moved by up to ``shift`` pixels in each direction (what comes in is the mean of the training images) and
    mirrored with a chance of one half, drawn anew each time; held-out images are read as they are. Images without a label are read and
    do not count.
    """

    trial = Trial(model={"family": "vit", "head": "classify"}, beside={**without(DIGITS, "objective"), "evaluations": "labels"})

    kinds: ClassVar[tuple[str, ...]] = ("image-classifier",)
    fields: ClassVar[tuple[str, ...]] = ("pixels", "label")
    supervised: ClassVar[bool] = True

    patch: int = Field(2, ge=1, description="pixels on a side of a patch; the model's own")
    shift: int = Field(0, ge=0, description="pixels by which a training image is moved at most, up or down and to the left or right")
    mirror: bool = Field(False, description="whether half of the training images are mirrored, left to right")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``pixels`` float32 [B, T, patches, numbers] and ``labels`` int64 [B, T], -100 where there is none.

        ``rows`` has ``pixels`` uint8 [B, T, channels, size, size] and ``label`` [B, T]; T images are one sequence.

        Raises:
            PartError: where patches do not fill an image, or an image has a label that no training image has.
        """
        import numpy as np

        from windtunnel.kits.image.patches import to_patches
        from windtunnel.kits.image.views import moved

        if facts.size % self.patch:
            raise PartError(f"classify: patches of {self.patch} pixels do not fill images of {facts.size}")
        label = np.where(rows["documents"] >= 0, rows["label"], -1)
        if facts.classes and label.max(initial=-1) >= facts.classes:
            raise PartError(f"classify: an image has the label {label.max()}, and training images have 0 to {facts.classes - 1} alone")
        images = facts.scaled(rows["pixels"])
        if self.shift or self.mirror:
            images = moved(images, random, self.shift, self.mirror)
        pixels = np.ascontiguousarray(to_patches(images, self.patch), np.float32)
        return {"pixels": pixels, "labels": np.where(label >= 0, label, -100).astype(np.int64)}

    def measured_by(self) -> Classify:
        """The same without moving or mirroring."""
        return self.model_copy(update={"shift": 0, "mirror": False})

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy of each label [B, T]; the outputs have ``logits`` [B, T, classes].

        Raises:
            PartError: where no training image has a label, or the model has patches of another size.
        """
        import torch

        from windtunnel.models.forward import forward

        if not model.config.num_labels:
            raise PartError("classify: no training image has a label; give images classes, or learn without with masked-patches")
        if model.config.patch_size != self.patch:
            raise PartError(f"classify: patch is {self.patch} and that of the model {model.config.patch_size}; give both one")
        outputs = forward(model, pixels=batch["pixels"].flatten(0, 1), needs=needs)
        labels = batch["labels"]
        values = torch.nn.functional.cross_entropy(outputs.logits.float(), labels.flatten(), ignore_index=-100, reduction="none")
        outputs.logits = outputs.logits.view(*labels.shape, -1)
        return Loss(values.view_as(labels), labels != -100, outputs)
