"""GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.kits.text.network import ROOM, shared
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes

BLOCK = BlockPlace(
    AttentionPlace("attn", ("c_attn",), "c_proj"),
    MlpPlace("mlp", (None, "c_fc"), "c_proj"),
    {"attention": "ln_1", "mlp": "ln_2"},
)
PLACES = Places(
    stacks={"transformer.h": BLOCK},
    embeddings=("transformer.wte", "transformer.wpe"),
    final=("transformer.ln_f",),
    head="lm_head",
)


def with_inner_size(written: dict[str, Any]) -> dict[str, Any]:
    """Sizes and fields as written; an inner size that is left out means four times the width."""
    if written["intermediate"] is None and written["width"] is not None:
        return {**written, "intermediate": 4 * written["width"]}
    return written


class Gpt2(Family, name="gpt2"):
    """A decoder with learned positions and norms before each layer, whose matrices are stored transposed.

    Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
    """

    kind: ClassVar[str] = "decoder"
    uncut: ClassVar[str] = "its queries, keys and values are one matrix, whose columns are not in the order of heads"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Family.names,
        "layers": ("n_layer",),
        "width": ("n_embd",),
        "heads": ("n_head",),
        "intermediate": ("n_inner",),
        "positions": ("n_positions",),
    }

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import GPT2Config

        own: dict[str, Any] = {
            "n_embd": sizes.width,
            "n_layer": sizes.layers,
            "n_head": sizes.heads,
            "n_inner": sizes.intermediate,
            "n_positions": context + ROOM,
        }
        dropout: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), sizes.dropout)
        return GPT2Config(**own, **shared(sizes, facts), **dropout)

    @classmethod
    def written(cls, config: Any) -> dict[str, Any]:
        """As for every family; an inner size that is left out means four times the width."""
        return with_inner_size(super().written(config))

    def positions(self, config: Any) -> int:
        """All that it has."""
        return int(config.max_position_embeddings)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import GPT2LMHeadModel

        return GPT2LMHeadModel

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family."""
        from windtunnel.models.forward import one_stack

        return one_stack(self, model, arrays, call)
