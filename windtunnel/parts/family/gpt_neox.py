"""GPT-NeoX, the architecture of Pythia."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.kits.text.network import usual
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes


class GptNeox(Family, name="gpt-neox"):
    """A decoder whose attention and MLP read the same stream in parallel, with rotary positions on a quarter of each head.

    Black et al. 2022, arXiv:2204.06745.
    """

    kind: ClassVar[str] = "decoder"
    rotary: ClassVar[bool] = True
    uncut: ClassVar[str] = ""

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import GPTNeoXConfig

        # A quarter of each head rotates. At small heads a quarter can be an odd number of dimensions, which cannot be paired.
        rotated = max(2, 2 * round(sizes.head_size / 8))
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": rotated / sizes.head_size}
        dropout: dict[str, Any] = {"attention_dropout": sizes.dropout, "hidden_dropout": sizes.dropout}
        return GPTNeoXConfig(**usual(sizes, facts, context), rope_parameters=rope, **dropout)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import GPTNeoXForCausalLM

        return GPTNeoXForCausalLM

    def places(self, config: Any) -> Places:
        """As for every family."""
        block = BlockPlace(
            AttentionPlace("attention", ("query_key_value",), "dense", by_head=True),
            MlpPlace("mlp", (None, "dense_h_to_4h"), "dense_4h_to_h"),
            {"attention": "input_layernorm", "mlp": "post_attention_layernorm"},
            residual="parallel" if config.use_parallel_residual else "pre",
        )
        return Places(
            stacks={"gpt_neox.layers": block},
            embeddings=("gpt_neox.embed_in",),
            final=("gpt_neox.final_layer_norm",),
            head="lm_head",
        )

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family."""
        from windtunnel.models.forward import one_stack

        return one_stack(self, model, arrays, call)
