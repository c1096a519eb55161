"""Adam in a low-rank subspace of each gradient."""

from __future__ import annotations

import math
from typing import Any

import torch


class Projected(torch.optim.Optimizer):
    """Adam in a low-rank subspace, for matrices. All of its state is tensors: ``step``, ``subspace``, ``exp_avg``, ``exp_avg_sq``.

    A group's ``transposed`` says that its matrices are stored [in, out], which only decides the side of square ones.
    """

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        """``settings``: lr, rank, every, scale, betas, eps, weight_decay."""
        super().__init__(groups, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update; a new subspace at steps 0, ``every``, 2 ``every`` and so on of each matrix."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    stored = group["transposed"]
                    self._update(weight.T if stored else weight, weight.grad.T if stored else weight.grad, self.state[weight], group)
        return loss

    def _update(self, weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        left = weight.shape[0] < weight.shape[1]
        if not state:
            state["step"] = torch.tensor(0.0)  # on the CPU: reading it does not wait for the device
        count = int(state["step"])
        if count % group["every"] == 0:
            state["subspace"] = leading(gradient, group["rank"], left)
        basis = state["subspace"]
        projected = basis.T @ gradient if left else gradient @ basis
        if "exp_avg" not in state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(projected), torch.zeros_like(projected)
        (fast, slow), first, second = group["betas"], state["exp_avg"], state["exp_avg_sq"]
        first.lerp_(projected, 1 - fast)
        second.mul_(slow).addcmul_(projected, projected, value=1 - slow)
        state["step"] += 1
        rate = group["lr"] * math.sqrt(1 - slow ** (count + 1)) / (1 - fast ** (count + 1))
        direction = first / second.sqrt().add_(group["eps"])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.addmm_(*((basis, direction) if left else (direction, basis.T)), alpha=-rate * group["scale"])


def leading(gradient: torch.Tensor, rank: int, left: bool) -> torch.Tensor:
    """The ``rank`` leading left (or right) singular vectors of ``gradient``, as columns, in its type.

    Of a gradient that is not finite they are not a number, for the loop to find: LAPACK would end the run with an error of its own.
    """
    if not bool(gradient.isfinite().all()):
        return gradient.new_full((gradient.shape[0 if left else 1], rank), math.nan)
    u, _, v = torch.linalg.svd(gradient.to(torch.promote_types(gradient.dtype, torch.float32)), full_matrices=False)
    return (u[:, :rank] if left else v[:rank].T).to(gradient.dtype).contiguous()
