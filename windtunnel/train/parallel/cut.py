"""The matrices of a model's blocks cut over neighbouring ranks, which compute a layer between them (tensor parallelism).

Attention is cut by heads and the MLP by its inner units (Megatron-LM, Shoeybi et al. 2019, arXiv:1909.08053): of the matrices that read the
stream each rank holds some columns of the product, of those that write to it the rows that go with them, and the products are added up.
Everything else (tables, norms, head) is whole on each of these ranks, which read the same sequences and compute it alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, SequenceParallel, parallelize_module

from windtunnel.models.init import family_of

STYLES: dict[str, Callable[[], ParallelStyle]] = {
    "columns": ColwiseParallel,
    "rows": RowwiseParallel,
    "heads": lambda: SequenceParallel(sequence_dim=2, use_local_output=True),  # of [B, T, heads, size]
}


class Alike(ParallelStyle):
    """A module that all ranks hold whole and compute alike; its weights say so, for the optimizer and for checkpoints."""

    def __init__(self, made: dict[nn.Parameter, nn.Parameter]) -> None:
        super().__init__()
        self.made = made  # what tied weights have become

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def marked(_: str, part: nn.Module, mesh: DeviceMesh) -> None:
            for key, value in part._parameters.items():
                if value is not None and not isinstance(value, DTensor):
                    if value not in self.made:
                        whole = DTensor.from_local(value.detach(), mesh, [Replicate()], run_check=False)
                        self.made[value] = nn.Parameter(whole, value.requires_grad)
                    part._parameters[key] = self.made[value]

        def enter(_: nn.Module, inputs: Any, mesh: DeviceMesh) -> Any:
            convert = partial(DTensor.from_local, device_mesh=mesh, placements=[Replicate()], run_check=False)
            return tuple(convert(one) if isinstance(one, torch.Tensor) and not isinstance(one, DTensor) else one for one in inputs)

        def leave(_: nn.Module, output: Any, __: DeviceMesh) -> Any:
            return output.to_local() if isinstance(output, DTensor) else output

        return distribute_module(module, device_mesh, marked, enter, leave)


def cut(model: Any, mesh: DeviceMesh) -> None:
    """Let each rank of ``mesh``, of one axis, hold its part of the blocks of ``model``, as the family of the model says."""
    # It warns that the norm of the gradient is added up over one axis and then the other, which comes to the same on every rank.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    plan = family_of(model.config).cut(model)
    styles: dict[str, ParallelStyle] = {path: STYLES[how]() for path, how in plan.items()}
    made: dict[nn.Parameter, nn.Parameter] = {}
    for path, module in model.named_modules():
        if path not in plan and any(value is not None for value in module._parameters.values()):
            styles[path] = Alike(made)
    parallelize_module(model, mesh, styles, src_data_rank=None)  # all hold the same already
