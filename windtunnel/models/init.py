"""From settings to a Hugging Face configuration, and from a configuration to a network with reproducible first weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.pytorch_utils import Conv1D

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import Family


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a transformers configuration, with the fields that the configuration has.

    Raises:
        UserError: for a ``model_type`` that no family is called.
    """
    name = config.model_type.replace("_", "-")
    found = registry.find(Family, name)
    if found is None:
        raise UserError(f"models of type {config.model_type!r} are not supported; {nearest(name, registry.known(Family))}")
    family: Family = found.of(config)  # type: ignore[attr-defined]
    return family


def config_for(settings: ModelSettings, facts: Any, context: int) -> PreTrainedConfig:
    """The transformers configuration of ``settings`` for sequences of ``context`` units, of which the encoding tells ``facts``."""
    config = settings.family.config(settings.sizes(), facts, context)
    if settings.initializer_range is not None:
        config.initializer_range = settings.initializer_range
    return config


def hollow(config: PreTrainedConfig) -> PreTrainedModel:
    """The network of ``config`` in float32 on the CPU, whose buffers are whole and whose weights take no memory and hold nothing yet.

    Weights are on the meta device and untied; :func:`fresh` gives them values. So none is drawn that would be overwritten.
    """
    architecture = family_of(config).model_class()
    config._attn_implementation = "sdpa" if architecture._supports_sdpa else "eager"
    # What such a hook returns takes the parameter's place, which torch's annotation does not know.
    hook = register_module_parameter_registration_hook(_without_values)  # type: ignore[arg-type]
    try:
        with no_init_weights():  # drawing on the meta device draws nothing, and takes longer than all else here
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
    family = family_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed_of(seed, ""))
        model = hollow(config)
        names = [name for name, _ in model.named_parameters() if name not in model.all_tied_weights_keys]
        for parameter in model.parameters():  # a module draws its weights together; only the one that has just got memory is drawn
            parameter._is_hf_initialized = True  # type: ignore[attr-defined]
        for name in names:
            shape = model.get_parameter(name).shape
            value = given(name, shape) if given is not None else None
            if value is not None and value.shape != shape:
                raise ValueError(f"{name}: a value of shape {tuple(value.shape)} does not fit {tuple(shape)}")
            if value is None and (constant := family.first_value(config, name)) is not None:
                value = torch.full(shape, constant)
            parameter = _hold(model, name, value)
            if value is None:
                if isinstance(made := model.get_submodule(name.rpartition(".")[0]), Conv1D):  # whose first weights some families leave
                    torch.default_generator.manual_seed(_seed_of(seed, name))
                    _as_made(made, parameter)
                for owner, module in _initialisers(model, name):
                    # Parents may draw the weights of their children anew (as of residual projections), so the last one decides.
                    torch.default_generator.manual_seed(_seed_of(seed, name))
                    owner._init_weights(module)
            parameter._is_hf_initialized = True  # type: ignore[attr-defined]
        for name in names:
            del model.get_parameter(name)._is_hf_initialized  # type: ignore[attr-defined]
        model.tie_weights()
    return train_every_row(model).train()


def _as_made(module: Conv1D, parameter: nn.Parameter) -> None:
    """Draw a weight as transformers does when it makes the module: the rule that the family may have of its own comes after."""
    with torch.no_grad():
        parameter.normal_(0, 0.02) if parameter is module.weight else parameter.zero_()


def train_every_row(model: PreTrainedModel) -> PreTrainedModel:
    """``model``, whose tables give every row its gradient.

    torch gives none to the row of the padding token, which in many checkpoints is the end-of-text token too: what stands before every
    document would never be learnt. Padding that is nothing else takes no part in any loss, so its row has no gradient anyway.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None
    return model


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


def generator(seed: int, name: str) -> torch.Generator:
    """Random numbers that depend on ``seed`` and ``name`` alone."""
    return torch.Generator().manual_seed(_seed_of(seed, name))


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little") >> 1
