"""Contrastive learning of images and captions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import CLIP, PAIRS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

LARGEST = math.log(100)  # of the logarithm of the scale of scores


class ContrastivePairs(Objective, name="contrastive-pairs"):
    """Find the caption of every image among the captions of a step, and the image of every caption among its images.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020: cross entropy in both
    directions over cosines times a learned scale of at most 100. A step compares ``batch`` times ``context`` pairs. Two pairs whose
    captions are the same are told to be strangers, as in the paper, unless ``alike`` leaves them out of each other's comparison.
    """

    trial = Trial(model=CLIP, beside=without(PAIRS, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("image-text",)
    fields: ClassVar[tuple[str, ...]] = ("pixels", "caption")
    together: ClassVar[bool] = True
    gathers: ClassVar[bool] = True

    patch: int = Field(4, ge=1, description="pixels on a side of a patch; the model's own")
    alike: bool = Field(False, description="whether pairs with one caption are left out of each other's comparison")
    shift: int = Field(0, ge=0, description="pixels by which a training image is moved at most, up or down and to the left or right")
    mirror: bool = Field(False, description="whether half of the training images are mirrored, left to right")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``pixels`` float32 [B, T, patches, numbers], ``captions`` int64 [B, T, tokens], ``groups`` [B, T] and ``labels`` [B, T, 2].

        ``groups`` is the same number for pairs with one caption. The two labels of a pair are 0: its caption and its image are to be found.

        Raises:
            PartError: where patches do not fill an image, or documents are no pairs.
        """
        import numpy as np

        from windtunnel.kits.image.pairs import pairs_of
        from windtunnel.kits.image.patches import to_patches
        from windtunnel.kits.image.views import moved

        size = pairs_of(facts, self.name).images.size
        if size % self.patch:
            raise PartError(f"contrastive-pairs: patches of {self.patch} pixels do not fill images of {size}")
        images = facts.scaled(rows["pixels"])
        if self.shift or self.mirror:
            images = moved(images, random, self.shift, self.mirror)
        captions = rows["caption"].astype(np.int64)
        _, groups = np.unique(captions.reshape(-1, captions.shape[-1]), axis=0, return_inverse=True)
        real = np.repeat((rows["documents"] >= 0)[:, :, None], 2, axis=2)
        return {
            "pixels": np.ascontiguousarray(to_patches(images, self.patch), np.float32),
            "captions": captions,
            "groups": groups.reshape(captions.shape[:2]),
            "labels": np.where(real, 0, -100),
        }

    def measured_by(self) -> ContrastivePairs:
        """The same without moving or mirroring."""
        return self.model_copy(update={"shift": 0, "mirror": False})

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropies [B, T, 2] of the caption of each image and of the image of each caption.

        Raises:
            PartError: where the model has patches of another size.
        """
        import torch
        from torch.nn.functional import cross_entropy, normalize

        from windtunnel.kits.gather import first_row, gather
        from windtunnel.models.forward import forward

        patch = model.config.vision_config.patch_size
        if patch != self.patch:
            raise PartError(f"contrastive-pairs: patch is {self.patch} and that of the model {patch}; give both one")
        outputs = forward(model, pixels=batch["pixels"].flatten(0, 1), captions=batch["captions"].flatten(0, 1), needs=needs)
        images, texts = (normalize(vectors.float(), dim=-1) for vectors in (outputs.image_embeds, outputs.text_embeds))
        labels, groups = batch["labels"], batch["groups"].flatten()
        real = (labels != -100).flatten(0, 1).all(dim=1)
        own = first_row(len(images)) + torch.arange(len(images), device=images.device)
        hidden = gather(real.float())[None] == 0
        if self.alike:
            hidden = hidden | (groups[:, None] == gather(groups)[None])
        hidden = hidden & (own[:, None] != torch.arange(hidden.shape[1], device=own.device))  # never what is to be found
        with torch.no_grad():  # the weight itself, so that its gradient lives on and an exported model has the same scale
            model.logit_scale.clamp_(max=LARGEST)  # type: ignore[union-attr, operator]
        scale = model.logit_scale.exp()  # type: ignore[union-attr, operator]
        both = ((images, texts), (texts, images))
        scores = [(scale * one @ gather(other).T).masked_fill(hidden, -torch.inf) for one, other in both]
        values = torch.stack([cross_entropy(each, own, reduction="none") for each in scores], dim=1)
        return Loss(values.view_as(labels), labels != -100, outputs)
