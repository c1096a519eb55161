"""How much a training step on a document would help on a target: gradients of a model's matrices, compared without holding them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from windtunnel.kits.text.judged import losses_of, padded
from windtunnel.models.anatomy import linears


class Influence:
    """The direction in which a model's matrices get better on a target, and how far a document's own gradient goes that way.

    Zhang et al. 2024 (Quad), arXiv:2409.16986. The influence of a document is the cosine of its gradient with the target's, where the
    latter is multiplied by the inverse of an approximate Hessian: for each matrix the Kronecker product of the second moments of what goes
    in and of the gradient of what comes out (K-FAC, Martens and Grosse 2015, arXiv:1503.05671). The cosine is that of their code; above
    zero is helpful. Of a document's gradient nothing is held but what its tokens send through each matrix. A matrix through which ``pool``
    sends nothing has no curvature to go by, and no part in the direction.

    Args:
        model: a causal one; its weights stay as they are.
        target: token numbers of documents of the target, each after the separator.
        pool: those from which the second moments are taken; None compares plain gradients.
        damping: what is added to the second moments, as a share of their mean.
        batch: documents in one pass.
    """

    def __init__(
        self, model: Any, target: Sequence[list[int]], pool: Sequence[list[int]] | None, *, damping: float = 0.1, batch: int = 16
    ) -> None:
        self.model, self.batch = model, batch
        self.matrices = linears(model)
        gradient: dict[str, torch.Tensor] = {}
        for flows in self._flows(target):
            for name, (came, left) in flows.items():
                gradient[name] = gradient.get(name, 0) + torch.einsum("bto,bti->oi", left, came)
        dtypes = {name: one.dtype for name, one in gradient.items()}
        if pool is not None:
            moments: dict[str, list[torch.Tensor]] = {}
            for flows in self._flows(pool):
                for name, pair in flows.items():
                    found = [torch.einsum("bti,btj->ij", one, one) for one in pair]
                    moments[name] = [one + other for one, other in zip(moments[name], found, strict=True)] if name in moments else found
            for name, (inner, outer) in moments.items():
                gradient[name] = _solved(inner, outer, gradient[name], damping)
        size = torch.sqrt(sum((one.double() ** 2).sum() for one in gradient.values()))  # type: ignore[arg-type]
        self.direction = {name: (one.double() / size.clamp(min=1e-300)).to(dtypes[name]) for name, one in gradient.items()}

    def of(self, documents: Sequence[list[int]]) -> list[float]:
        """The influence of each document, -1 to 1; 0 of one without a token that is predicted."""
        found: list[float] = []
        for flows in self._flows(documents):
            along: Any = 0.0
            size: Any = 0.0
            for name, (came, left) in flows.items():
                along = along + torch.einsum("bto,oi,bti->b", left, self.direction[name], came).double()
                size = size + (torch.bmm(came, came.mT) * torch.bmm(left, left.mT)).sum(dim=(1, 2)).double()
            found += (along / size.clamp(min=1e-30).sqrt()).tolist()
        return found

    def _flows(self, documents: Sequence[list[int]]) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """For each batch, what came into each matrix and the gradient of what left it, [documents, tokens, width] each.

        Where no token is predicted, as in padding, what came in is 0.
        """
        for first in range(0, len(documents), self.batch):
            rows = padded(documents[first : first + self.batch], self.model.device)
            with torch.enable_grad(), _watched(self.matrices) as seen:
                losses, counts = losses_of(self.model, *rows)
                (losses.sum(dim=1) / counts.clamp(min=1)).sum().backward()
                predicts = (rows[1][:, 1:] == 0).unsqueeze(2)
                flows = {name: (came.detach() * predicts, left.grad) for name, (came, left) in seen.items() if left.grad is not None}
                yield flows


@contextmanager
def _watched(matrices: dict[str, nn.Module]) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """What goes into each of ``matrices`` and what comes out, whose gradient is kept. Weights need no gradient again behind it."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name: str) -> Any:
        def kept(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            output = output.requires_grad_() if not output.requires_grad else output
            output.retain_grad()
            seen[name] = (inputs[0], output)
            return output

        return kept

    hooks = [module.register_forward_hook(watch(name)) for name, module in matrices.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _solved(inner: torch.Tensor, outer: torch.Tensor, gradient: torch.Tensor, damping: float) -> torch.Tensor:
    """(outer + damping * its mean)^-1 gradient (inner + damping * its mean)^-1, float64 because matrices differ by orders of magnitude."""
    levels = [one.diagonal().mean().double() for one in (inner, outer)]
    if not all(level > 0 for level in levels):
        return torch.zeros_like(gradient, dtype=torch.float64)
    left, right = (_damped(one, level, damping) for one, level in zip((outer, inner), levels[::-1], strict=True))
    found = torch.linalg.solve(right, torch.linalg.solve(left, gradient).T).T
    return found.double() / levels[0] / levels[1]


def _damped(moment: torch.Tensor, level: torch.Tensor, damping: float) -> torch.Tensor:
    """``moment`` in units of its mean ``level``, which keeps the solving in range, and ``damping``."""
    return moment / level.to(moment.dtype) + damping * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
