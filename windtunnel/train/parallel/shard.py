"""Weights, gradients and moments in shards: torch's ``fully_shard`` around the modules that a family names.

A module's weights are whole on a rank only while that module computes. What the loop asks is answered here for whole models too, so it is
the same loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from windtunnel.models.init import family_of, hollow
from windtunnel.train import ranks


def sharded(model: Any) -> bool:
    """Whether each rank holds a part of ``model``."""
    return isinstance(model, FSDPModule)


def shard(model: Any, mesh: DeviceMesh | None) -> None:
    """Let each rank of ``mesh`` keep its part of ``model``, which all hold whole and alike; None, or a model in shards, is left as it is.

    Gradients are added up over the ranks, not averaged: the loss is divided by the targets of the whole batch already.
    """
    if mesh is None or sharded(model):
        return
    for module in (*family_of(model.config).sharded(model), model):
        fully_shard(module, mesh=mesh)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo has no sum with a factor


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


def stored(model: Any, state: Any) -> Any:
    """What a checkpoint holds of ``state``, which is that of ``model`` or of its optimizer. Every rank has to come here.

    Shards are put together, one tensor after another, and rank 0 alone keeps them, in the machine's memory. So a run may go on on any mesh.
    """
    at_rest(model)
    return whole(state) if sharded(model) else state


def whole(value: Any) -> Any:
    """``value`` with every shard in it (in dictionaries, lists and tuples) put together on rank 0, and None in its place elsewhere."""
    if isinstance(value, DTensor):
        together = full(value)
        return None if ranks.rank() else together.to("cpu")
    if isinstance(value, Mapping):
        return {key: whole(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(whole(entry) for entry in value)
    return value


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


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Let ``optimizer`` hold the state ``saved``, whose tensors are whole; of those that lie beside a shard it keeps its part."""
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in held):
        optimizer.load_state_dict(dict(saved))
        return

    def part(parameter: torch.Tensor, value: Any) -> Any:
        if not isinstance(parameter, DTensor) or not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
            return value
        own = distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None)
        return own.clone()  # it is a view, which would hold the whole

    state = {number: {key: part(held[number], value) for key, value in entry.items()} for number, entry in saved["state"].items()}
    optimizer.load_state_dict({**saved, "state": state})


def gathered(model: Any) -> Any:
    """``model`` whole, in the machine's memory, on rank 0, and None on the others. Every rank has to come here."""
    if not sharded(model):
        return model
    at_rest(model)
    values = whole(model.state_dict())
    if ranks.rank():
        return None
    found: nn.Module = hollow(type(model.config).from_dict(model.config.to_dict()))
    found.load_state_dict(values, assign=True)
    found.tie_weights()  # type: ignore[operator]
    found.generation_config = model.generation_config
    return found
