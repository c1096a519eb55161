"""What a step costs: FLOPs and memory counted on the real one, which is then undone."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from windtunnel.models.anatomy import linears
from windtunnel.models.flops import counter, counting
from windtunnel.slots import Structure
from windtunnel.train.checkpoint import load_state_dict, state_dict
from windtunnel.train.held import Held
from windtunnel.train.parallel.shard import locals_of, put_back

IN_MEMORY = 1 << 28  # bytes of weights that are simply copied


def mean_density(structure: Structure | None, model: Any, points: int = 1000) -> float:
    """The density of ``structure`` averaged over a phase."""
    return sum(structure.density(model, (point + 0.5) / points) for point in range(points)) / points if structure else 1.0


class Counted(NamedTuple):
    """What was counted: FLOPs, how many of them the blocks' weight matrices take, the tensors that it held, and the FLOPs of attention.

    Ranks that compute a layer between them each count its matrices whole, and attention for their own heads alone.
    """

    flops: float
    matrices: float
    held: Held
    attention: float


def count_step(model: torch.nn.Module, step: Callable[[], None], *, matrices: bool) -> Counted:
    """What one call of ``step`` costs; ``matrices`` are counted where asked for (else 0).

    ``step`` is the real thing, with every forward, backward, teacher and update; the caller undoes it.
    """
    sparse = 0.0

    def passed(module: Any, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        # The counter's own table by module is no use here: it adds the backward pass of one matrix to the next with the same input,
        # and takes a teacher of the same class for the model.
        nonlocal sparse
        if not counting():
            return
        products = 1
        if torch.is_grad_enabled():
            products += int(inputs[0].requires_grad) + int(module.weight.requires_grad)
        sparse += 2.0 * products * module.weight.numel() * (inputs[0].numel() // inputs[0].shape[-1])

    hooks = [module.register_forward_hook(passed) for module in linears(model).values()] if matrices else []
    try:
        with counter() as counts, Held(arguments=True) as held:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    found = {str(name): float(flops) for name, flops in counts.get_flop_counts().get("Global", {}).items()}
    kernels = [flops for name, flops in found.items() if "attention" in name]
    products = [flops for name, flops in found.items() if "bmm" in name]  # which also make the angles of positions, where kernels attend
    return Counted(float(counts.get_total_flops()), sparse, held, sum(kernels or products))


def snapshot(model: torch.nn.Module, states: list[Any], folder: Path) -> Callable[[], None]:
    """Remember weights, buffers and part states now; the returned function puts them back.

    The counted step is to need no more memory than any other. So weights on an accelerator wait in the machine's memory, and many weights
    (above ``IN_MEMORY`` bytes) in the machine's memory wait in a file in ``folder``, which goes with the returned function.
    """
    weights = locals_of(model.state_dict())
    on_cpu = all(value.device.type == "cpu" for value in weights.values())
    remembered = copy.deepcopy([state_dict(state) for state in states])
    file = None
    if on_cpu and sum(value.numel() * value.element_size() for value in weights.values()) > IN_MEMORY:
        file = tempfile.NamedTemporaryFile(dir=folder, prefix="counted-")  # noqa: SIM115 (lives as long as what is returned)
        torch.save(weights, file.name)
    kept = {} if file else {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}

    def restore() -> None:
        put_back(model, torch.load(file.name, mmap=True, weights_only=True) if file else kept)
        for state, old in zip(states, remembered, strict=True):
            load_state_dict(state, copy.deepcopy(old))  # which is put back once for each variant, and a step may change it in place

    return restore
