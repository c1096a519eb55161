"""The size of a model from one dial, and which architecture each family is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from windtunnel.core.settings import Settings

KINDS = {
    "llama": "decoder",
    "qwen2": "decoder",
    "qwen3": "decoder",
    "gpt2": "decoder",
    "gpt-neox": "decoder",
    "bert": "encoder",
    "modernbert": "encoder",
    "t5": "encoder-decoder",
}


class ModelSettings(Settings):
    """A network's family and sizes. ``depth`` derives every size that is not set by hand.

    The dial is ``layers = depth`` and ``width = 2 * depth**2`` rounded to a multiple of 32 (at least 64), so that parameters grow
    roughly as the fifth power of depth: 8 is 1.6 million, 12 is 12, 16 is 50, 24 is 380 and 32 is 1,600 million parameters without
    embeddings, which keeps small models deep enough to behave like large ones and reaches the usual aspect ratios at the top.
    """

    family: Literal["llama", "qwen2", "qwen3", "gpt2", "gpt-neox", "bert", "modernbert", "t5"] = Field("llama", description="architecture")
    depth: int = Field(8, ge=1, le=96, description="the dial: sets layers, width, heads and the default learning rate")
    layers: int | None = Field(None, ge=1, description="transformer blocks (default: depth); for t5 in the encoder and in the decoder")
    width: int | None = Field(None, ge=8, description="hidden size (default: 2 depth^2, a multiple of 32)")
    heads: int | None = Field(None, ge=1, description="attention heads (default: width over a head size of 32, 64 or 128)")
    key_value_heads: int | None = Field(None, ge=1, description="heads of keys and values, for llama and qwen (default: heads)")
    intermediate: int | None = Field(None, ge=8, description="inner size of the MLP (default: 8/3 width if gated, else 4 width)")
    tied: bool = Field(True, description="whether the output head is the input embedding")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate wherever the family has it")

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelSettings:
        self.sizes()
        return self

    @property
    def kind(self) -> str:
        """decoder, encoder or encoder-decoder."""
        return KINDS[self.family]

    def sizes(self) -> ModelSettings:
        """The same settings with every size filled in. Raises ValueError where heads do not divide the width."""
        width = self.width or max(64, 32 * round(2 * self.depth**2 / 32))
        head_size = 32 if width < 512 else 64 if width < 2048 else 128
        heads = self.heads or max(1, width // head_size)
        key_value_heads = self.key_value_heads or heads
        gated = self.family in ("llama", "qwen2", "qwen3", "modernbert", "t5")
        intermediate = self.intermediate or (32 * round(width * 8 / 3 / 32) if gated else 4 * width)
        if width % heads:
            near = [h for h in range(1, width + 1) if width % h == 0]
            raise ValueError(f"{heads} heads do not divide width {width}; these do: {', '.join(map(str, near))}")
        if heads % key_value_heads:
            raise ValueError(f"{key_value_heads} key_value_heads do not divide {heads} heads")
        return self.model_copy(
            update={
                "layers": self.layers or self.depth,
                "width": width,
                "heads": heads,
                "key_value_heads": key_value_heads,
                "intermediate": intermediate,
            }
        )

    def learning_rate(self) -> float:
        """The default AdamW peak rate of this width: 0.003 at 128, inversely proportional to width."""
        return 0.003 * 128 / (self.sizes().width or 128)
