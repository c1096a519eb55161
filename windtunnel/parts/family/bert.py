"""BERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.core.trial import Trial
from windtunnel.kits.text.network import usual
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes

PLACES = Places(
    stacks={
        "bert.encoder.layer": BlockPlace(
            AttentionPlace("attention", ("self.query", "self.key", "self.value"), "output.dense"),
            MlpPlace("", (None, "intermediate.dense"), "output.dense"),
            {"attention": "attention.output.LayerNorm", "mlp": "output.LayerNorm"},
            residual="post",
        )
    },
    embeddings=tuple(f"bert.embeddings.{table}_embeddings" for table in ("word", "position", "token_type")),
    embedding_norms=("bert.embeddings.LayerNorm",),
    head="cls.predictions.decoder",
    transform=("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
)


class Bert(Family, name="bert"):
    """An encoder with learned positions that normalises after each addition.

    Devlin et al. 2018, arXiv:1810.04805.
    """

    trial = Trial(beside={"objective": "masked-token"})

    kind: ClassVar[str] = "encoder"
    auto_class: ClassVar[str] = "AutoModelForMaskedLM"

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import BertConfig

        dropout: dict[str, Any] = {"hidden_dropout_prob": sizes.dropout, "attention_probs_dropout_prob": sizes.dropout}
        return BertConfig(**usual(sizes, facts, context), **dropout)

    def positions(self, config: Any) -> int:
        """All that it has."""
        return int(config.max_position_embeddings)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import BertForMaskedLM

        return BertForMaskedLM

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family."""
        from windtunnel.models.forward import one_stack

        return one_stack(self, model, arrays, call)
