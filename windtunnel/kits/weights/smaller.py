"""Ways of making the weights of a trained model smaller without training, and how many bits what they leave would take."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

BITS = 16  # of every number that is not compressed, in the sizes that are reckoned


@dataclass(frozen=True)
class Rounding:
    """``4bit`` or ``4bit-64``: round to so many bits, in groups of 32 or so many inputs; the part `quantize-weights`."""

    form: ClassVar[str] = r"([2-8])bit(?:-(\d+))?"
    bits: int
    group: int = 32

    def apply(self, model: Any) -> None:
        """Change the weights in place. Raises PartError where groups do not divide the inputs of a matrix."""
        from windtunnel.core import registry
        from windtunnel.slots import Structure

        part = registry.make(Structure, {"quantize-weights": {"bits": self.bits, "group": self.group}})
        part.apply(model)
        part.remove(model)

    execute = apply  # computed with as ordinary numbers

    def bits_of(self, out: int, inside: int) -> float:
        """How many bits a matrix [out, in] takes."""
        return out * inside * (self.bits + BITS / self.group)


@dataclass(frozen=True)
class Pattern:
    """``2:4``: of every 4 consecutive inputs of an output keep the 2 of the largest magnitude."""

    form: ClassVar[str] = r"(\d+):(\d+)"
    kept: int
    size: int

    def apply(self, model: Any) -> None:
        """Change the weights in place. Raises PartError where groups do not divide the inputs of a matrix."""
        import torch

        from windtunnel.kits.weights.masks import keep_highest
        from windtunnel.models.anatomy import linears

        modules: dict[str, Any] = linears(model)
        masks = keep_highest(modules, self.kept / self.size, group=(self.kept, self.size), part=f"{self.kept}:{self.size}")
        with torch.no_grad():
            for name, module in modules.items():
                module.weight.mul_(masks[name])

    execute = apply  # computed with as ordinary numbers

    def bits_of(self, out: int, inside: int) -> float:
        """How many bits a matrix [out, in] takes: what is kept, and its place within its group."""
        return out * inside * self.kept / self.size * (BITS + math.ceil(math.log2(self.size)))


@dataclass(frozen=True)
class Factorisation:
    """``svd-50%``: the best two thin factors (Eckart and Young) that have so many percent of a matrix's numbers together."""

    form: ClassVar[str] = r"svd-(\d+)%"
    percent: int

    def rank(self, out: int, inside: int) -> int:
        """The inner size of the factors of a matrix [out, in], 1 at the least."""
        return max(1, int(self.percent / 100 * out * inside / (out + inside)))

    def apply(self, model: Any) -> None:
        """Change the weights in place, to the product of the factors."""
        import torch

        from windtunnel.kits.weights.factors import truncated
        from windtunnel.models.anatomy import linears, transposed

        found: dict[str, Any] = linears(model)
        with torch.no_grad():
            for module in found.values():
                weight = module.weight.T if transposed(module) else module.weight
                left, right = truncated(weight.detach(), self.rank(*weight.shape), 1.0)
                weight.copy_(left @ right)

    def execute(self, model: Any) -> None:
        """Put the factors themselves in the place of the matrices: two thin products."""
        from windtunnel.kits.weights.factors import Factors, impose, truncated

        impose(model, "svd", 1, lambda name, weight: Factors(*truncated(weight.detach(), self.rank(*weight.shape), 1.0), 1.0))

    def bits_of(self, out: int, inside: int) -> float:
        """How many bits the factors of a matrix [out, in] take."""
        return BITS * self.rank(out, inside) * (out + inside)


WAYS = (Rounding, Pattern, Factorisation)
Way = Rounding | Pattern | Factorisation


def way_of(name: str) -> Way:
    """What ``4bit``, ``2:4`` or ``svd-50%`` stands for. Raises ValueError for what is no way or cannot be."""
    match, kind = next(((match, kind) for kind in WAYS if (match := re.fullmatch(kind.form, name))), (None, None))
    if match is None or kind is None:
        raise ValueError(f"{name}: write 4bit (2 to 8, in groups of 32; 4bit-64: of 64), 2:4 (2 of every 4 are kept) or svd-50%")
    numbers = [int(number) for number in match.groups() if number is not None]
    if 0 in numbers or (kind is Pattern and numbers[0] >= numbers[1]) or (kind is Factorisation and numbers[0] >= 100):
        raise ValueError(f"{name}: leaves nothing, or takes nothing away")
    return kind(*numbers)


def bits_of(model: Any, shapes: Sequence[tuple[int, int]], way: Way | None) -> float:
    """How many bits ``model`` takes in a file that packs its blocks' matrices, of ``shapes`` [out, in], as ``way`` leaves them.

    None is the model as it is.
    """
    rest = sum(weight.numel() for weight in model.parameters()) - sum(out * inside for out, inside in shapes)
    return BITS * rest + sum(way.bits_of(*shape) if way else BITS * shape[0] * shape[1] for shape in shapes)
