"""Weight matrices held as the product of two thin ones, alone or with a sparse matrix added.

A factorised module stands where a weight matrix of a block stood, under the same name, and keeps the bias. The dense matrix is nowhere
between a forward and its backward pass. Matrices are [out, in] here, also where the family (gpt2) stores [in, out]. Where queries, keys
and values, or gate and up, are fused, the fused matrix is one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from windtunnel.core.errors import PartError
from windtunnel.models.anatomy import linear, linears, transposed
from windtunnel.models.init import generator


class Factors(nn.Module):
    """``scale * left @ right`` [out, in] in place of a weight matrix, executed as two thin products."""

    bias: nn.Parameter | None

    def __init__(self, left: Tensor, right: Tensor, scale: float) -> None:
        """``left`` [out, rank], ``right`` [rank, in]; the bias and where the matrix belongs are filled in by :func:`impose`."""
        super().__init__()
        self.left, self.right, self.scale, self.transposed = nn.Parameter(left), nn.Parameter(right), scale, False
        self.register_parameter("bias", None)

    @property
    def weight(self) -> Tensor:
        """Shape and type of the matrix [out, in] without values (on the meta device): T5 asks for the type at every forward."""
        return torch.empty(len(self.left), self.right.shape[1], dtype=self.left.dtype, device="meta")

    def dense(self) -> Tensor:
        """The matrix [out, in] itself, without gradient."""
        return (self.left @ (self.right * self.scale)).detach()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return functional.linear(functional.linear(x, self.right) * self.scale, self.left, self.bias)


class SparseFactors(Factors):
    """``scale * left @ right + S``, where S has ``values`` [n] at the fixed positions ``support`` and is zero elsewhere."""

    support: Tensor

    def __init__(self, left: Tensor, right: Tensor, scale: float, values: Tensor, support: Tensor) -> None:
        """``support``: int32 or int64 [n], positions in the flattened [out, in]. It is derived anew, so the state does not hold it."""
        super().__init__(left, right, scale)
        self.values = nn.Parameter(values)
        self.register_buffer("support", support, persistent=False)

    def dense(self) -> Tensor:
        """The matrix [out, in] itself, without gradient."""
        return composed(self.left, self.right, self.values, self.support, self.scale, self.left.dtype).detach()

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]. Not compiled: the compiler would keep the dense matrix instead of building it a second time."""
        kind = x.device.type
        cast = torch.is_autocast_enabled(kind) and x.dtype != torch.float64  # which autocast leaves alone
        dtype = torch.get_autocast_dtype(kind) if cast else x.dtype
        y: Tensor = SparsePlusLowRank.apply(x.to(dtype), self.left, self.right, self.values, self.support, self.scale)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(dtype)


class SparsePlusLowRank(torch.autograd.Function):
    """``x W^T`` for ``W = scale * left @ right + S``, computed in the type of ``x`` from parameters of any type.

    It keeps x, both factors, values and support, and builds W a second time in the backward pass. There W and its gradient are dense
    for one matrix at a time, so FLOPs are not saved: they rise by the product of the factors, twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: Tensor, right: Tensor, values: Tensor, support: Tensor, scale: float) -> Tensor:
        """``x`` [..., in]; returns [..., out]."""
        ctx.save_for_backward(x, left, right, values, support)
        ctx.scale = scale
        return functional.linear(x, composed(left, right, values, support, scale, x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, both factors and the values."""
        x, left, right, values, support = ctx.saved_tensors
        upstream = upstream.reshape(-1, len(left))
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (upstream @ composed(left, right, values, support, ctx.scale, x.dtype)).view_as(x)
        of_weight = upstream.T @ x.reshape(-1, x.shape[-1])
        of_left = of_weight @ (right * ctx.scale).to(x.dtype).T
        of_right = (left.to(x.dtype).T @ of_weight) * ctx.scale
        of_values = of_weight.reshape(-1).index_select(0, support)
        return of_x, of_left.to(left.dtype), of_right.to(right.dtype), of_values.to(values.dtype), None, None


def composed(left: Tensor, right: Tensor, values: Tensor, support: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """``scale * left @ right + S`` [out, in], computed in ``dtype``."""
    weight = left.to(dtype) @ (right * scale).to(dtype)
    weight.view(-1).index_add_(0, support, values.to(dtype))
    return weight


def uniform(shape: tuple[int, ...], bound: float, seed: int, name: str) -> Tensor:
    """Draws between ``-bound`` and ``bound`` that depend on ``seed`` and ``name`` alone."""
    return torch.empty(shape).uniform_(-bound, bound, generator=generator(seed, name))


def support_of(shape: tuple[int, int], count: int, seed: int, name: str) -> Tensor:
    """``count`` positions in the flattened ``shape``, drawn uniformly without replacement, ascending; int32 where they fit."""
    size = shape[0] * shape[1]
    chosen = torch.randperm(size, generator=generator(seed, name))[:count].sort().values
    return chosen.int() if size < 2**31 else chosen


def truncated(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """The balanced factors whose ``scale * left @ right`` is the best approximation of ``weight`` of that rank (Eckart and Young)."""
    u, s, v = torch.linalg.svd(weight.to(torch.promote_types(weight.dtype, torch.float32)), full_matrices=False)
    root = (s[:rank] / scale).sqrt()
    return (u[:, :rank] * root).to(weight.dtype), (root[:, None] * v[:rank]).to(weight.dtype)


def balanced(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product with ``left^T left = right right^T``, diagonal: U sqrt(S) and sqrt(S) V^T of its SVD.

    By QR of both and the SVD of a rank x rank matrix, so the product itself is never formed. A product of zero is left as it is (were
    both factors zero, neither would have a gradient again), and so is one that is not finite, for the loop to find.
    """
    wide = torch.promote_types(left.dtype, torch.float32)
    q, r = torch.linalg.qr(left.to(wide))
    p, t = torch.linalg.qr(right.to(wide).T)
    core = r @ t.T
    if not (bool(core.isfinite().all()) and bool(core.any())):
        return left, right
    u, s, v = torch.linalg.svd(core)
    root = s.sqrt()
    return (q @ (u * root)).to(left.dtype), ((root[:, None] * v) @ p.T).to(right.dtype)


# In a model -------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def impose(model: nn.Module, part: str, rank: int, make: Callable[[str, Tensor], Factors]) -> None:
    """Put ``make(name of the module, weight [out, in])`` in place of every weight matrix of the blocks; shared ones stay shared.

    Raises:
        PartError: for the part ``part``, where there is no matrix, a factorised one, one that is also used outside the blocks, or
            where ``rank`` is not smaller than both sides of each.
    """
    if any(isinstance(module, Factors) for module in model.modules()):
        raise PartError(f"{part}: matrices of this model are factorised already; remove that structure before applying another")
    found: dict[str, Any] = linears(model)
    if not found:
        raise PartError(f"{part}: the blocks of this model hold no weight matrix")
    narrow = min(found, key=lambda name: min(found[name].weight.shape))
    least = min(found[narrow].weight.shape)
    if rank >= least:
        fits = f"a rank of at most {least - 1} fits every matrix" if least > 1 else "no rank fits"
        raise PartError(f"{part}: rank {rank} is not smaller than both sides of {narrow} {tuple(found[narrow].weight.shape)}; {fits}")
    own = {f"{name}.weight" for name in found}
    outside = {id(weight) for name, weight in model.named_parameters(remove_duplicate=False) if name not in own}
    made: dict[int, Factors] = {}
    for name, module in found.items():
        if id(module.weight) in outside:
            raise PartError(f"{part}: {name}.weight is also used outside the blocks' matrices, and would be untied")
        stored_transposed = transposed(module)
        if id(module.weight) not in made:
            made[id(module.weight)] = make(name, module.weight.T if stored_transposed else module.weight).to(module.weight.device)
        factors = copy.copy(made[id(module.weight)])
        factors._parameters, factors.transposed = {**factors._parameters, "bias": module.bias}, stored_transposed
        model.set_submodule(name, factors.train(module.training))


def factorised(model: nn.Module, part: str) -> dict[str, Factors]:
    """Every factorised module by its name. Raises PartError, for the part ``part``, where there is none."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, Factors)}
    if not found:
        raise PartError(f"{part}: no matrix of this model is factorised; it acts where the structure is low-rank or sparse-low-rank")
    return found


@torch.no_grad()
def fold(model: nn.Module, part: str) -> None:
    """Put plain dense matrices back in place of factorised ones; the function stays, up to rounding. Raises PartError where none is."""
    weights: dict[int, nn.Parameter] = {}
    for name, factors in factorised(model, part).items():
        out, inside = factors.weight.shape
        key = id(factors.left)
        if key not in weights:
            dense = factors.dense()
            weights[key] = nn.Parameter(dense.T.contiguous() if factors.transposed else dense)
        with torch.device("meta"):  # no weights are drawn that would be thrown away
            module: Any = linear(out, inside, factors.transposed)
        module.weight, module.bias = weights[key], factors.bias
        model.set_submodule(name, module.train(factors.training))
