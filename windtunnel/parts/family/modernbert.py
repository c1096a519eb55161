"""ModernBERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.core.trial import Trial
from windtunnel.kits.text.network import usual
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes

PLACES = Places(
    stacks={
        "model.layers": BlockPlace(
            AttentionPlace("attn", ("Wqkv",), "Wo"),
            MlpPlace("mlp", ("Wi",), "Wo"),
            {"attention": "attn_norm", "mlp": "mlp_norm"},
        )
    },
    embeddings=("model.embeddings.tok_embeddings",),
    embedding_norms=("model.embeddings.norm",),
    final=("model.final_norm",),
    head="decoder",
    transform=("head.dense", "head.norm"),
)


class ModernBert(Family, name="modernbert"):
    """An encoder with rotary positions and a gated MLP, most of whose layers attend within a window of 128 tokens.

    Warner et al. 2024, arXiv:2412.13663.
    """

    trial = Trial(beside={"objective": "masked-token"})

    kind: ClassVar[str] = "encoder"
    auto_class: ClassVar[str] = "AutoModelForMaskedLM"
    gated: ClassVar[bool] = True
    rotary: ClassVar[bool] = True

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import ModernBertConfig

        separators: dict[str, Any] = {"cls_token_id": facts.document, "sep_token_id": facts.document}
        dropout: dict[str, Any] = dict.fromkeys(("attention_dropout", "embedding_dropout", "mlp_dropout"), sizes.dropout)
        return ModernBertConfig(**usual(sizes, facts, context), **separators, **dropout)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import ModernBertForMaskedLM

        return ModernBertForMaskedLM

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family; its local layers see what is within the window."""
        import torch

        from windtunnel.models.forward import one_stack

        index = torch.arange(arrays["tokens"].shape[1], device=arrays["tokens"].device)
        near = (index[:, None] - index[None, :]).abs() <= model.config.sliding_window
        return one_stack(self, model, arrays, call, near)
