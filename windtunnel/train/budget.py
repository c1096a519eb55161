"""What a step costs and how many steps a budget buys."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from windtunnel.core.errors import UserError
from windtunnel.models.anatomy import linears
from windtunnel.recipe import Budget
from windtunnel.slots import Structure

IN_MEMORY = 1 << 28  # bytes of weights that are simply copied


def counter() -> FlopCounterMode:
    """A FLOP counter that also knows the attention kernels of the CPU, which torch's own table leaves out."""

    def forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(grad_out: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_backward_flop_count(grad_out, query, key, value)

    mapping: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: forward,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def mean_density(structure: Structure | None, model: Any, points: int = 1000) -> float:
    """The density of ``structure`` averaged over a phase."""
    return sum(structure.density(model, (point + 0.5) / points) for point in range(points)) / points if structure else 1.0


def count_step(model: torch.nn.Module, step: Callable[[], None], *, matrices: bool) -> tuple[float, float]:
    """FLOPs of one call of ``step``, and with ``matrices`` how many of them the blocks' weight matrices take (else 0).

    ``step`` is the real thing, with every forward, backward, teacher and update; the caller undoes it.
    """
    sparse = 0.0

    def passed(module: Any, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        # The counter's own table by module is no use here: it adds the backward pass of one matrix to the next with the same input,
        # and takes a teacher of the same class for the model.
        nonlocal sparse
        products = 1
        if torch.is_grad_enabled():
            products += int(inputs[0].requires_grad) + int(module.weight.requires_grad)
        sparse += 2.0 * products * module.weight.numel() * (inputs[0].numel() // inputs[0].shape[-1])

    hooks = [module.register_forward_hook(passed) for module in linears(model).values()] if matrices else []
    try:
        with counter() as counts:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    return float(counts.get_total_flops()), sparse


def snapshot(model: torch.nn.Module, states: list[Any], folder: Path) -> Callable[[], None]:
    """Remember weights, buffers and part states now; the returned function puts them back.

    The counted step is to need no more memory than any other. So weights on an accelerator wait in the machine's memory, and many weights
    (above ``IN_MEMORY`` bytes) in the machine's memory wait in a file in ``folder``, which goes with the returned function.
    """
    weights = model.state_dict()
    on_cpu = all(value.device.type == "cpu" for value in weights.values())
    remembered = copy.deepcopy(states)
    file = None
    if on_cpu and sum(value.numel() * value.element_size() for value in weights.values()) > IN_MEMORY:
        file = tempfile.NamedTemporaryFile(dir=folder, prefix="counted-")  # noqa: SIM115 (lives as long as what is returned)
        torch.save(weights, file.name)
    kept = {} if file else {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}

    def restore() -> None:
        model.load_state_dict(torch.load(file.name, mmap=True, weights_only=True) if file else kept)
        for state, old in zip(states, remembered, strict=True):
            state.clear()
            state.update(old)

    return restore


def steps_of(
    budget: Budget, share: float, *, flops: float, effective_flops: float, tokens: int, ahead: Mapping[str, float] | None = None
) -> int | None:
    """How many whole steps ``share`` of ``budget`` buys, by what one costs; None where only the clock can tell (a budget in seconds).

    ``ahead`` is what has been spent of it before the first step, by unit.

    Raises:
        UserError: when it does not buy a single step.
    """
    if budget.unit == "seconds":
        return None
    cost = {"flops": flops, "effective_flops": effective_flops, "tokens": float(tokens), "steps": 1.0}[budget.unit]
    spent = (ahead or {}).get(budget.unit, 0.0)
    steps = int((budget.amount * share - spent) / cost + 1e-9)
    if steps < 1:
        before = f" after {spent:.3g} that its parts spent before the first" if spent else ""
        raise UserError(
            f"the budget of {budget.amount:g} {budget.unit} is too small: a share of {share:g} is {budget.amount * share:.3g} "
            f"{budget.unit}, and one step costs {cost:.3g}{before}; raise the budget, or lower batch, context or depth"
        )
    return steps


def left_of(budget: Budget, charged: Mapping[str, float]) -> Budget:
    """What remains of ``budget`` once what other models cost (``charged``, by unit) is paid.

    Raises:
        UserError: when nothing remains.
    """
    cost = charged.get(budget.unit, 0.0)
    if cost >= budget.amount:
        raise UserError(
            f"the models this recipe needs cost {cost:.3g} {budget.unit} of its budget of {budget.amount:.3g}, and nothing is left to "
            "train with; give them a smaller budget or share"
        )
    return budget if not cost else Budget(**{budget.unit: type(budget.amount)(budget.amount - cost)})
