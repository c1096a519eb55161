"""CLIP, a tower for images and a tower for captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.image.pairs import pairs_of
from windtunnel.kits.image.patches import to_images
from windtunnel.kits.trials import PAIRS
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, Inputs, MlpPlace, Places, Sizes

if TYPE_CHECKING:
    import torch

BLOCK = BlockPlace(
    AttentionPlace("self_attn", ("q_proj", "k_proj", "v_proj"), "out_proj"),
    MlpPlace("mlp", (None, "fc1"), "fc2"),
    {"attention": "layer_norm1", "mlp": "layer_norm2"},
)
TOWERS = ("vision_config", "text_config")
NAMED = ("layers", "width", "heads", "intermediate")


class Clip(Family, name="clip"):
    """A vision transformer for images and a causal transformer for captions, whose vectors lie near each other where they belong together.

    Radford et al. 2021, arXiv:2103.00020. Both towers have the sizes of the recipe. An image is read off its class token, a caption off its
    end: transformers looks for the first ``eos_token_id``, or, where that is 2, for the largest token, so the end is never 2 here.
    """

    trial = Trial(beside=PAIRS)

    local = "the scale of its scores is a number without an axis, which fully_shard does not take, and its towers are called by themselves"

    kind: ClassVar[str] = "image-text"
    reads: ClassVar[tuple[str, ...]] = ("pixels", "captions")
    auto_class: ClassVar[str] = "AutoModel"
    initializer_range: ClassVar[bool] = False
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{size: tuple(f"{tower}.{Family.names[size][0]}" for tower in TOWERS) for size in NAMED},
        "patch": ("vision_config.patch_size",),
    }

    patch: int = Field(4, ge=1, description="pixels on a side of a patch; it divides the side of the images")

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; ``facts`` are of pairs.

        Raises:
            UserError: where patches do not fill an image, or the end of a caption is token 2.
        """
        from transformers import CLIPConfig

        pairs = pairs_of(facts, "model.family: clip")
        images, text = pairs.images, pairs.text
        if images.size % self.patch:
            fits = ", ".join(str(patch) for patch in range(1, images.size + 1) if images.size % patch == 0)
            raise UserError(f"model.patch: {self.patch} does not divide images of {images.size} pixels on a side; these do: {fits}")
        if text.document == 2:
            raise UserError("model.family: clip cannot read captions that end with token 2, which transformers takes for something else")
        tower = {
            "hidden_size": sizes.width,
            "intermediate_size": sizes.intermediate,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "attention_dropout": sizes.dropout,
            "projection_dim": sizes.width,
        }
        special = {"pad_token_id": text.pad, "bos_token_id": text.document, "eos_token_id": text.document}
        return CLIPConfig(
            text_config={**tower, **special, "vocab_size": text.size, "max_position_embeddings": pairs.length},
            vision_config={**tower, "image_size": images.size, "patch_size": self.patch, "num_channels": images.channels},
            projection_dim=sizes.width,
        )

    def first_value(self, config: Any, name: str) -> float | None:
        """The scale of the scores, which transformers does not draw but sets."""
        return float(config.logit_scale_init_value) if name == "logit_scale" else None

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import CLIPModel

        return CLIPModel

    def places(self, config: Any) -> Places:
        """As for every family, the tower for images first."""
        return Places(
            {"vision_model.encoder.layers": BLOCK, "text_model.encoder.layers": BLOCK},
            embeddings=tuple(f"{table}_embedding" for table in ("text_model.embeddings.token", "text_model.embeddings.position")),
            embedding_norms=("vision_model.pre_layrnorm",),
            final=("vision_model.post_layernorm", "text_model.final_layer_norm"),
        )

    def forward(self, model: Any, arrays: Mapping[str, torch.Tensor], call: Call) -> Any:
        """The outputs of the tower for images, with ``image_embeds`` and ``text_embeds`` [B, width], each where its input is given.

        Args:
            model: a network of this family.
            arrays: ``pixels`` [B, patches, numbers] as :func:`windtunnel.kits.image.patches.to_patches` cuts them;
                ``captions`` [B, tokens], each with its end and then padding.
            call: as for every family; images see all of themselves, and tokens what is before them.

        Where hidden states are kept there are ``features`` [B, width] too, the class token behind the last block.
        """
        if not arrays:
            raise UserError(f"{self.name} needs pixels or captions; this objective gives neither")
        read = text = None
        if "captions" in arrays:
            text = model.text_model(input_ids=arrays["captions"], **call.options)
        if "pixels" in arrays:
            side = model.config.vision_config.image_size
            read = model.vision_model(pixel_values=to_images(arrays["pixels"], self.patch, side, side), **call.options)
            read.image_embeds = model.visual_projection(read.pooler_output)
            if read.hidden_states is not None:
                read.features = read.hidden_states[-1][:, 0].float()
        found = text if read is None else read
        if text is not None:
            found.text_embeds = model.text_projection(text.pooler_output)  # type: ignore[union-attr]
        return found

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every pair by itself, by the patches of its image and the tokens of its caption."""
        return Inputs(context, (facts.images.size // self.patch) ** 2 + facts.length)

    def rows(self, facts: Any) -> int:
        """Rows of the table that tokens are looked up in."""
        return int(facts.text.size)

    def blocks(self, sizes: Sizes) -> float:
        """As for every family, of both towers."""
        return 2 * super().blocks(sizes)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; a matrix projects patches, one vector of each tower another."""
        return self.blocks(sizes) + (self.rows(facts) + self.patch**2 * facts.images.channels + 2 * sizes.width) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family; nothing is computed for the table of tokens."""
        towers = (facts.length, reads - facts.length + 1)  # with the class token
        ends = 6 * (reads - facts.length) * self.patch**2 * facts.images.channels * sizes.width + 12 * sizes.width**2
        return ends + sum(positions * sizes.layers * (6 * self.block(sizes) + 12 * sizes.width * positions) for positions in towers)
