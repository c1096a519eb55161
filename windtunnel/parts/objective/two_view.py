"""Contrastive learning of images from two views of each."""

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


class TwoView(Objective, name="two-view"):
    """Find the other view of an image among the views of all images of a step.

    Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", arXiv:2002.05709 (SimCLR): every image is
    read twice, each time cut out, mirrored and lit anew; the loss of a view is the cross entropy of its partner among all other views by
    cosine over ``temperature`` (NT-Xent). The vector that is compared is that of ``head: embed``, one layer of the class token, where
    SimCLR has two. An image counts once among the patches that budgets count, though two views of it are read; FLOPs count both.
    """

    trial = Trial(model={"family": "vit", "head": "embed"}, beside=without(DIGITS, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("image-embedder",)
    fields: ClassVar[tuple[str, ...]] = ("pixels",)
    together: ClassVar[bool] = True
    gathers: ClassVar[bool] = True
    views: ClassVar[int] = 2

    patch: int = Field(2, ge=1, description="pixels on a side of a patch; the model's own")
    temperature: float = Field(0.5, gt=0, description="what cosines are divided by")
    crop: float = Field(0.5, gt=0, le=1, description="the least share of an image's area that a view shows")
    mirror: bool = Field(False, description="whether half of the views are mirrored, left to right")
    light: float = Field(0.4, ge=0, lt=1, description="by how much the contrast and, in deviations, the brightness of a view may change")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``pixels`` float32 [B, T, 2, patches, numbers] and ``labels`` [B, T, 2], 0 where a view has a partner to be found.

        ``rows`` has ``pixels`` uint8 [B, T, channels, size, size]; T images are one sequence.

        Raises:
            PartError: where patches do not fill an image.
        """
        import numpy as np

        from windtunnel.kits.image.patches import to_patches
        from windtunnel.kits.image.views import cropped, lit, moved

        if facts.size % self.patch:
            raise PartError(f"two-view: patches of {self.patch} pixels do not fill images of {facts.size}")
        real = rows["documents"] >= 0
        images = facts.scaled(np.repeat(rows["pixels"][:, :, None], 2, axis=2))
        views = lit(moved(cropped(images, random, self.crop), random, 0, self.mirror), random, self.light)
        labels = np.where(np.repeat(real[:, :, None], 2, axis=2), 0, -100)
        return {"pixels": np.ascontiguousarray(to_patches(views, self.patch), np.float32), "labels": labels}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy of the partner of each view [B, T, 2].

        Raises:
            PartError: where the model has patches of another size, or the step holds a single image.
        """
        import torch

        from windtunnel.kits.gather import first_row, gather
        from windtunnel.models.forward import forward

        if model.config.patch_size != self.patch:
            raise PartError(f"two-view: patch is {self.patch} and that of the model {model.config.patch_size}; give both one")
        outputs = forward(model, pixels=batch["pixels"].flatten(0, 2), needs=needs)
        vectors = torch.nn.functional.normalize(outputs.pooler_output.float(), dim=-1)
        labels = batch["labels"]
        real = (labels != -100).flatten()
        places = torch.arange(len(vectors), device=vectors.device)
        own = first_row(len(vectors)) + places
        others = gather(vectors)
        if len(others) < 4:
            raise PartError("two-view: a step holds one image, which has none to be told from; raise context or batch")
        hidden = (gather(real.float()) == 0).expand(len(vectors), -1) & real[:, None]  # what stands for no image; it sees all itself
        hidden = hidden | (own[:, None] == torch.arange(len(others), device=own.device))
        scores = (vectors @ others.T / self.temperature).masked_fill(hidden, -torch.inf)
        values = torch.nn.functional.cross_entropy(scores, own ^ 1, reduction="none")
        return Loss(values.view_as(labels), labels != -100, outputs)
