"""Weights, gradients and moments in shards: torch's ``fully_shard`` around the modules that a family names.

A module's weights are whole on a rank only while that module computes. What the loop asks is answered here for whole models too, so it is
the same loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from windtunnel.models.init import family_of, hollow
from windtunnel.train.parallel.cut import cut
from windtunnel.train.parallel.stored import fill


def sharded(model: Any) -> bool:
    """Whether each rank holds a part of ``model``."""
    return isinstance(model, FSDPModule)


def shard(model: Any, mesh: DeviceMesh | None, *, bfloat16: bool = False, offload: bool = False) -> None:
    """Let each rank of ``mesh`` keep its part of ``model``, which all hold whole and alike; None, or a model in shards, is left as it is.

    Gradients are added up over the ranks, not averaged: the loss is divided by the targets of the whole batch already. With ``bfloat16``
    the weights of blocks travel and compute so, and their gradients are added up in float32. With ``offload`` a rank's part waits in the
    machine's memory, not on its accelerator, and is updated there. While a block computes, the one after it is on its way.
    """
    if mesh is None or sharded(model):
        return
    # Nothing is added in place to what a model or a block returns, neither here nor in transformers.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    half: dict[str, Any] = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32, "cast_forward_inputs": False}
    where: dict[str, Any] = {"offload_policy": CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda") if offload else OffloadPolicy()}
    blocks = family_of(model.config).sharded(model)
    names = mesh.mesh_dim_names or ()
    if "tensor" in names:
        cut(model, mesh["tensor"])
        mesh = mesh["data", "shard"] if "data" in names else mesh["shard"]
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=MixedPrecisionPolicy(**(half if bfloat16 else {})), **where)
    fully_shard(model, mesh=mesh, **where)
    recording_as_before(model)
    for block, following in pairwise(blocks):
        block.set_modules_to_forward_prefetch([following])
        following.set_modules_to_backward_prefetch([block])
    for module in (*blocks, model):
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo has no sum with a factor
    model.one_pass = lambda act: act()
    register_fsdp_forward_method(model, "one_pass")


def recording_as_before(model: Any) -> None:
    """Let ``model`` keep hidden states and attentions when it is asked to.

    transformers looks up by the name of a class what its models can keep, and ``fully_shard`` has made the model one of another class: a
    model without a head of its own (``ViTModel``) would leave them out in silence.
    """
    from transformers.utils import output_capturing

    registry = getattr(output_capturing, "_CAN_RECORD_REGISTRY", None)  # private: another release may look elsewhere
    if registry is not None:
        dict.__setitem__(registry, str(model.__class__), model._can_record_outputs)  # releases before took names, later ones models


def at_rest(model: Any) -> None:
    """Let ``model`` hold nothing but its part: after a forward pass that no backward pass follows, the root still has its weights whole."""
    if sharded(model):
        model.reshard()


def add_up(model: Any, last: bool) -> None:
    """Say whether the coming backward pass is the ``last`` of a step: before it, gradients need not travel and are kept whole."""
    if sharded(model):
        model.set_requires_gradient_sync(last)


def own_gradients(model: Any) -> Iterator[torch.Tensor]:
    """The gradients that still have to be added up over the ranks; those of shards are already."""
    for parameter in model.parameters():
        if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
            yield parameter.grad


def full(value: torch.Tensor) -> torch.Tensor:
    """``value`` put together on every rank."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def locals_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """This rank's part of each tensor of ``state``, in the same memory."""
    return {name: value.to_local() if isinstance(value, DTensor) else value for name, value in state.items()}


def put_back(model: Any, kept: Mapping[str, torch.Tensor]) -> None:
    """Let ``model`` hold what :func:`locals_of` gave of its state, on whatever device that waited."""
    if not sharded(model):
        model.load_state_dict(kept)
        return
    with torch.no_grad():
        for name, value in locals_of(model.state_dict()).items():
            value.copy_(kept[name])


def hold(model: Any, device: torch.device) -> None:
    """Give the weights of ``model``, which have shapes and no content, memory on ``device``: each rank as much as it keeps of them."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for key, value in module._buffers.items():
            module._buffers[key] = None if value is None else value.to(device)
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                if parameter not in made:
                    made[parameter] = nn.Parameter(torch.empty_like(parameter, device=device), parameter.requires_grad)
                module._parameters[key] = made[parameter]


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Let ``optimizer`` hold the state ``saved``, whose tensors are whole or wait; of those that lie beside a shard it keeps its part."""
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in held):
        optimizer.load_state_dict(dict(saved))
        return
    pairs = []

    def part(parameter: torch.Tensor, value: Any) -> Any:
        if not isinstance(parameter, DTensor) or getattr(value, "shape", None) != parameter.shape:
            return value
        pairs.append((torch.empty_like(parameter, dtype=value.dtype).detach(), value))
        return pairs[-1][0]

    state = {number: {key: part(held[number], value) for key, value in entry.items()} for number, entry in saved["state"].items()}
    fill(pairs)
    optimizer.load_state_dict({**saved, "state": state})


def outline(model: Any) -> Any:
    """A model like ``model``, with its configurations and the shapes of its weights, and without these."""
    found: Any = hollow(type(model.config).from_dict(model.config.to_dict()))
    found.tie_weights()
    if hasattr(model, "generation_config"):  # which a model that writes nothing lacks
        found.generation_config = model.generation_config
    return found


def one_by_one(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of ``model`` by name, each put together for as long as it is looked at. Every rank has to go through all of them."""
    at_rest(model)
    for name, value in model.state_dict().items():
        yield name, full(value)
