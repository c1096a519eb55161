"""ViT, the vision transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.image.patches import to_images, to_patches
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, Inputs, MlpPlace, Places, Sizes

BLOCK = BlockPlace(
    AttentionPlace("attention", ("q_proj", "k_proj", "v_proj"), "o_proj"),
    MlpPlace("mlp", (None, "fc1"), "fc2"),
    {"attention": "layernorm_before", "mlp": "layernorm_after"},
)
UNNAMED = ("tied", "rows", "positions")  # it has no table of units
# By the head: classes of transformers, what objectives ask for, and what loads an exported model.
CLASSES = {"draw": "ViTForMaskedImageModeling", "classify": "ViTForImageClassification", "embed": "ViTModel"}
KINDS = {"draw": "image-encoder", "classify": "image-classifier", "embed": "image-embedder"}
AUTO = {"draw": "AutoModelForMaskedImageModeling", "classify": "AutoModelForImageClassification", "embed": "AutoModel"}


class Vit(Family, name="vit"):
    """An encoder of square images, cut into patches that each become one position, with a head that draws, names or places an image.

    Dosovitskiy et al. 2020, arXiv:2010.11929. With ``head: draw``, mask token and linear head are those of SimMIM, Xie et al. 2021,
    arXiv:2111.09886. With ``head: classify``, a matrix reads the class token behind the last norm; there is no mask token. With ``head:
    embed``, a layer with tanh makes a vector of as many numbers of it, for objectives that compare images.
    """

    trial = Trial(beside=DIGITS)

    reads: ClassVar[tuple[str, ...]] = ("pixels", "masked")
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{size: names for size, names in Family.names.items() if size not in UNNAMED},
        "patch": ("patch_size",),
        "head": ("architectures",),
    }

    patch: int = Field(2, ge=1, description="pixels on a side of a patch; it divides the side of the images")
    head: Literal["draw", "classify", "embed"] = Field(
        "draw", description="what it predicts: the pixels of patches, the class of an image, or a vector by which images are compared"
    )

    @property
    def kind(self) -> str:  # type: ignore[override]
        """What objectives ask for."""
        return KINDS[self.head]

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        """The class of transformers that loads an exported model."""
        return AUTO[self.head]

    @classmethod
    def of(cls, config: Any) -> Self:
        """As for every family."""
        return cls(patch=config.patch_size, head=_head(config.architectures))

    @classmethod
    def written(cls, config: Any) -> dict[str, Any]:
        """As for every family."""
        found = super().written(config)
        return {**found, "head": _head(found["head"])}

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; of the images it asks ``facts`` for ``size`` (pixels on a side) and ``channels``.

        Raises:
            UserError: where patches do not fill an image.
        """
        from transformers import ViTConfig

        if facts.size % self.patch:
            fits = ", ".join(str(patch) for patch in range(1, facts.size + 1) if facts.size % patch == 0)
            raise UserError(f"model.patch: {self.patch} does not divide images of {facts.size} pixels on a side; these do: {fits}")
        if self.head == "classify" and facts.classes == 1:
            raise UserError("model.head: classify needs images of two classes or more; these all have one")
        config = ViTConfig(
            architectures=[CLASSES[self.head]],
            hidden_size=sizes.width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.intermediate,
            hidden_dropout_prob=sizes.dropout,
            attention_probs_dropout_prob=sizes.dropout,
            image_size=facts.size,
            patch_size=self.patch,
            num_channels=facts.channels,
            encoder_stride=self.patch,
        )
        if self.head == "classify":
            config.num_labels = facts.classes
        return config

    def model_class(self) -> Any:
        """As for every family."""
        import transformers

        return getattr(transformers, CLASSES[self.head])

    def places(self, config: Any) -> Places:
        """As for every family; the patches are projected and drawn by convolutions, which are no places of the anatomy."""
        within = "" if self.head == "embed" else "vit."
        return Places({f"{within}layers": BLOCK}, final=(f"{within}layernorm",))

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """The outputs of ``model``, with ``logits``: what it draws for each patch, as ``pixels``, or of each class [B, classes].

        With ``head: embed`` they have ``pooler_output`` instead, a vector for each image [B, width]. Where hidden states are kept there are
        ``features`` [B, width] too: the mean of the patches behind the last block, or where the head reads the class token, that.

        Args:
            model: a network of this family.
            arrays: ``pixels`` [B, patches, patch * patch * channels], all patches of each image as
                :func:`windtunnel.kits.image.patches.to_patches` cuts them; ``masked`` bool [B, patches], whose pixels are not read.
            call: as for every family; every position sees every other.
        """
        if "pixels" not in arrays:
            raise UserError(f"{self.name} needs pixels; this objective gives none")
        side = model.config.image_size
        images = to_images(arrays["pixels"], self.patch, side, side)
        if self.head != "draw":
            outputs = model(pixel_values=images, **call.options)
        else:
            outputs = model(pixel_values=images, bool_masked_pos=arrays.get("masked"), **call.options)
            outputs.logits = to_patches(outputs.reconstruction, self.patch)
        if outputs.hidden_states is not None:
            last = outputs.hidden_states[-1]
            outputs.features = last[:, 1:].float().mean(dim=1) if self.head == "draw" else last[:, 0].float()
        return outputs

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every image by itself, by its patches. The class token is not counted."""
        return Inputs(context, (facts.size // self.patch) ** 2)

    def rows(self, facts: Any) -> int:
        """Numbers in a patch."""
        return int(self.patch**2 * facts.channels)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; patches are projected by one matrix, and drawn, named or placed by another."""
        head = facts.classes if self.head == "classify" else self.rows(facts) if self.head == "draw" else sizes.width
        return sizes.layers * self.block(sizes) + (self.rows(facts) + head) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family; one position is the class token's."""
        positions = reads + 1
        ends = 6 * reads * (2 if self.head == "draw" else 1) * self.rows(facts) * sizes.width
        return ends + positions * sizes.layers * (6 * self.block(sizes) + 12 * sizes.width * positions)


def _head(architectures: Any) -> str:
    """What a model predicts, by the class that its configuration says it was written by; without one it draws."""
    return next((head for head, name in CLASSES.items() if list(architectures or ()) == [name]), "draw")
