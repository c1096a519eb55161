"""From settings to a Hugging Face configuration, and from a configuration to a network with reproducible first weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from windtunnel.core.errors import UserError, nearest
from windtunnel.models.settings import KINDS, ModelSettings
from windtunnel.slots import Vocabulary

ROOM = 16  # positions beyond the context, for the tokens that an objective adds (modes, sentinels, a start token)

ARCHITECTURES: dict[str, type[PreTrainedModel]] = {
    "llama": LlamaForCausalLM,
    "qwen2": Qwen2ForCausalLM,
    "qwen3": Qwen3ForCausalLM,
    "gpt2": GPT2LMHeadModel,
    "gpt-neox": GPTNeoXForCausalLM,
    "bert": BertForMaskedLM,
    "modernbert": ModernBertForMaskedLM,
    "t5": T5ForConditionalGeneration,
}


def family_of(config: PreTrainedConfig) -> str:
    """The family, as :data:`windtunnel.models.settings.KINDS` spells it, of a transformers configuration.

    Raises:
        UserError: for a ``model_type`` that is not one of ours.
    """
    family = config.model_type.replace("_", "-")
    if family not in KINDS:
        raise UserError(f"models of type {config.model_type!r} are not supported; {nearest(family, KINDS)}")
    return family


def config_for(settings: ModelSettings, vocabulary: Vocabulary, context: int) -> PreTrainedConfig:
    """The transformers configuration of ``settings`` for sequences of ``context`` tokens, plain enough that AutoModel loads it.

    Everything that settings do not say (normalisation epsilon, rope base, scale of the first weights) is the family's own default.
    The document separator is the begin- and end-of-sequence token. The attention of ``modernbert`` keeps its window of 128 tokens.

    Raises:
        ValueError: where heads do not divide the width.
        UserError: where a family cannot do what the settings ask.
    """
    sizes = settings.sizes()
    family, width, heads = sizes.family, int(sizes.width or 0), int(sizes.heads or 1)
    head_size = width // heads
    dropout = sizes.dropout
    rotary = family not in ("gpt2", "bert", "t5")
    if rotary and head_size % 2:
        raise UserError(
            f"model: {family} rotates pairs of dimensions, so a head needs an even size; width {width} / {heads} heads = {head_size}"
        )
    if family in ("gpt2", "gpt-neox", "bert", "modernbert", "t5") and sizes.key_value_heads != heads:
        raise UserError(
            f"model.key_value_heads: {family} has as many heads of keys and values as heads ({heads}); llama and qwen may have fewer"
        )
    pad = None if vocabulary.pad == vocabulary.document else vocabulary.pad  # the row of the padding token is never trained
    special: dict[str, Any] = {"pad_token_id": pad, "bos_token_id": vocabulary.document, "eos_token_id": vocabulary.document}
    shared: dict[str, Any] = {"vocab_size": vocabulary.size, "tie_word_embeddings": sizes.tied, "use_cache": False, **special}
    usual: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": heads,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": context + ROOM,
        **shared,
    }
    if family in ("llama", "qwen2", "qwen3"):
        usual |= {"num_key_value_heads": sizes.key_value_heads, "attention_dropout": dropout}  # they have no other dropout
        if family == "llama":
            return LlamaConfig(**usual, head_dim=head_size)
        return Qwen2Config(**usual) if family == "qwen2" else Qwen3Config(**usual, head_dim=head_size)
    if family == "gpt2":
        names: dict[str, Any] = {
            "n_embd": width,
            "n_layer": sizes.layers,
            "n_head": heads,
            "n_inner": sizes.intermediate,
            "n_positions": context + ROOM,
        }
        return GPT2Config(**names, **shared, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)
    if family == "gpt-neox":
        # A quarter of each head rotates. At small heads a quarter can be an odd number of dimensions, which cannot be paired.
        rotated = max(2, 2 * round(head_size / 8))
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": rotated / head_size}
        return GPTNeoXConfig(**usual, rope_parameters=rope, attention_dropout=dropout, hidden_dropout=dropout)
    if family == "bert":
        return BertConfig(**usual, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    if family == "modernbert":
        separators: dict[str, Any] = {"cls_token_id": vocabulary.document, "sep_token_id": vocabulary.document}
        return ModernBertConfig(**usual, **separators, attention_dropout=dropout, embedding_dropout=dropout, mlp_dropout=dropout)
    if not sizes.tied:
        raise UserError("model.tied: transformers ties the embeddings of every t5, so it cannot be false for this family")
    begins: dict[str, Any] = {"decoder_start_token_id": vocabulary.pad}  # T5's convention
    return T5Config(
        **shared,
        **begins,
        d_model=width,
        d_kv=head_size,
        d_ff=int(sizes.intermediate or 0),
        num_layers=int(sizes.layers or 0),
        num_decoder_layers=sizes.layers,
        num_heads=heads,
        dropout_rate=dropout,
        feed_forward_proj="gated-gelu",
    )


def hollow(config: PreTrainedConfig) -> PreTrainedModel:
    """The network of ``config`` in float32 on the CPU, whose buffers are whole and whose weights take no memory and hold nothing yet.

    Weights are on the meta device and untied; :func:`fresh` gives them values. So none is drawn that would be overwritten.
    """
    architecture = ARCHITECTURES[family_of(config)]
    config._attn_implementation = "sdpa" if architecture._supports_sdpa else "eager"
    # What such a hook returns takes the parameter's place, which torch's annotation does not know.
    hook = register_module_parameter_registration_hook(_without_values)  # type: ignore[arg-type]
    try:
        model = architecture(config).float()
    finally:
        hook.remove()
    for name in model.all_tied_weights_keys:  # drawing the head must not draw the embedding a second time
        module, _, key = name.rpartition(".")
        setattr(model.get_submodule(module), key, nn.Parameter(torch.empty_like(model.get_parameter(name))))
    return model


def fresh(config: PreTrainedConfig, seed: int, given: Callable[[str, torch.Size], torch.Tensor | None] | None = None) -> PreTrainedModel:
    """A network of ``config`` in float32 on the CPU, in training mode, whose weights are drawn as its family draws them.

    Every weight comes from a generator of its own, seeded by ``seed`` and the weight's name. So two networks that share a name and
    a shape share the weight, whatever else differs between them: an arm begins where its baseline begins. The distribution is that
    of the family's own ``_init_weights``, applied to one weight at a time.

    Args:
        config: the transformers configuration.
        seed: what every weight is drawn from, together with its name.
        given: asked for each weight by name and shape; a tensor of that shape is copied instead of drawing, None draws. A weight
            that is tied to another is not asked for.

    Raises:
        ValueError: for a given weight of another shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed_of(seed, ""))
        model = hollow(config)
        names = [name for name, _ in model.named_parameters() if name not in model.all_tied_weights_keys]
        for name in names:
            shape = model.get_parameter(name).shape
            value = given(name, shape) if given is not None else None
            if value is not None and value.shape != shape:
                raise ValueError(f"{name}: a value of shape {tuple(value.shape)} does not fit {tuple(shape)}")
            parameter = _hold(model, name, value)
            if value is None:
                for owner, module in _initialisers(model, name):
                    # Parents may draw the weights of their children anew (the residual projections of gpt2), so the last one decides.
                    torch.default_generator.manual_seed(_seed_of(seed, name))
                    owner._init_weights(module)
            parameter._is_hf_initialized = True  # type: ignore[attr-defined]  # initialising its neighbours leaves it alone
        for name in names:
            del model.get_parameter(name)._is_hf_initialized  # type: ignore[attr-defined]
        model.tie_weights()
    return model.train()


def _without_values(_: nn.Module, __: str, parameter: nn.Parameter) -> nn.Parameter | None:
    """``parameter`` without memory; one that has none stays what it is, so that tied weights stay tied."""
    return None if parameter.is_meta else nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)


def _hold(model: PreTrainedModel, name: str, value: torch.Tensor | None) -> nn.Parameter:
    """Give the weight ``name`` memory, holding a copy of ``value`` if there is one."""
    module, _, key = name.rpartition(".")
    empty = model.get_parameter(name)
    parameter = nn.Parameter(torch.empty(empty.shape, dtype=empty.dtype), empty.requires_grad)
    if value is not None:
        parameter.detach().copy_(value)
    setattr(model.get_submodule(module), key, parameter)
    return parameter


def _initialisers(model: PreTrainedModel, name: str) -> list[tuple[PreTrainedModel, nn.Module]]:
    """The modules around the weight ``name``, innermost first, each with the (sub)model whose rule it is initialised by."""
    owner, module = model, cast(nn.Module, model)
    path = [(owner, module)]
    for key in name.split(".")[:-1]:
        module = getattr(module, key)
        owner = module if isinstance(module, PreTrainedModel) else owner
        path.append((owner, module))
    return path[::-1]


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little") >> 1
