"""T5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.text.network import shared
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes


class T5(Family, name="t5"):
    """An encoder and a decoder with relative positions, RMS norms before each layer and a gated MLP (version 1.1, but with a tied head).

    Raffel et al. 2020, arXiv:1910.10683; the gate is that of Shazeer 2020, arXiv:2002.05202. ``layers`` are those of the encoder and
    those of the decoder.
    """

    trial = Trial(beside={"objective": "span-corruption"})

    kind: ClassVar[str] = "encoder-decoder"
    # Its positions are relative, and its encoder sees everything.
    reads: ClassVar[tuple[str, ...]] = ("tokens", "documents", "positions", "prefix", "decoder_tokens", "decoder_documents")
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Family.names,
        "layers": ("num_layers", "num_decoder_layers"),
        "width": ("d_model",),
        "heads": ("num_heads",),
        "intermediate": ("d_ff",),
        "head_size": ("d_kv",),
    }
    gated: ClassVar[bool] = True
    head_power: ClassVar[float] = -0.5
    initializer_range: ClassVar[bool] = False

    def unable(self, sizes: Sizes) -> dict[str, str]:
        """As for every family."""
        untied = {"tied": f"transformers ties the embeddings of every {self.name}, so it cannot be false for this family"}
        return super().unable(sizes) | ({} if sizes.tied else untied)

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import T5Config

        begins: dict[str, Any] = {"decoder_start_token_id": facts.pad}  # its convention
        return T5Config(
            **shared(sizes, facts),
            **begins,
            d_model=sizes.width,
            d_kv=sizes.head_size,
            d_ff=sizes.intermediate,
            num_layers=sizes.layers,
            num_decoder_layers=sizes.layers,
            num_heads=sizes.heads,
            dropout_rate=sizes.dropout,
            feed_forward_proj="gated-gelu",
        )

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import T5ForConditionalGeneration

        return T5ForConditionalGeneration

    def places(self, config: Any) -> Places:
        """As for every family."""
        attention = AttentionPlace("layer.0.SelfAttention", ("q", "k", "v"), "o")
        cross = AttentionPlace("layer.1.EncDecAttention", ("q", "k", "v"), "o")
        inputs: tuple[str | None, ...] = ("wi_0", "wi_1") if config.is_gated_act else (None, "wi")
        norms = {"attention": "layer.0.layer_norm"}
        reading = BlockPlace(attention, MlpPlace("layer.1.DenseReluDense", inputs, "wo"), norms | {"mlp": "layer.1.layer_norm"})
        norms |= {"mlp": "layer.2.layer_norm", "cross": "layer.1.layer_norm"}
        writing = BlockPlace(attention, MlpPlace("layer.2.DenseReluDense", inputs, "wo"), norms, cross)
        return Places(
            stacks={"encoder.block": reading, "decoder.block": writing},
            embeddings=("shared",),
            final=("encoder.final_layer_norm", "decoder.final_layer_norm"),
            head="lm_head",
        )

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family; positions and a prefix mean nothing here."""
        import torch

        from windtunnel.models.forward import PADDING, as_added, attention_mask, in_one_pass

        tokens, written = arrays["tokens"], arrays.get("decoder_tokens")
        if written is None:
            raise UserError("an encoder-decoder needs decoder_tokens; this objective gives none")
        documents, written_documents = arrays.get("documents"), arrays.get("decoder_documents")
        if (documents is None) != (written_documents is None):
            # Only one side has padding or several documents: the other is one document without padding.
            documents = torch.zeros_like(tokens) if documents is None else documents
            written_documents = torch.zeros_like(written) if written_documents is None else written_documents
        within = across = after = None
        if documents is not None and written_documents is not None:
            within = attention_mask(documents, causal=False)
            after = attention_mask(written_documents, causal=True)
            # Decoder padding may find no padding in the encoder; it then looks at everything, as an empty softmax is not a number.
            across = (written_documents[:, :, None] == documents[:, None, :]) | (written_documents == PADDING)[:, :, None]
            across = across[:, None]
            if call.additive:
                within, across, after = as_added(within), as_added(across), as_added(after)
        # The encoder is called by itself because transformers gives one mask to it and to the decoder's attention over it, and with
        # packed documents these are different masks.
        reading = {"input_ids": tokens, "attention_mask": within, **call.options}
        writing = {"attention_mask": across, "decoder_input_ids": written, "decoder_attention_mask": after, "use_cache": False}

        def both(whole: Any) -> Any:
            return whole(encoder_outputs=model.encoder(**reading), **writing, **call.options)

        return in_one_pass(model, both)

    def block(self, sizes: Sizes) -> float:
        """As for every family, with half of the decoder's attention over the encoder; its keys and values are made of what is read."""
        return super().block(sizes) + 2 * sizes.width * sizes.width

    def blocks(self, sizes: Sizes) -> float:
        """As for every family, of both stacks."""
        return 2 * super().blocks(sizes)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family."""
        return self.blocks(sizes) + self.rows(facts) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family."""
        matrices = 6 * ((reads + writes) * sizes.layers * self.block(sizes) + writes * self.rows(facts) * sizes.width)
        return matrices + 12 * sizes.layers * sizes.width * (reads * reads + writes * writes + reads * writes)
