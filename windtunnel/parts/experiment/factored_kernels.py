"""What changes of convolution kernels cost in numbers, as products of matrices and as a core with a factor for each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FactoredKernels(Experiment, name="factored-kernels"):
    """The relative error of the best approximation of a kernel's change [out, in, 3, 3], by how many numbers it may have.

    Si et al. 2024, "FLoRA: Low-Rank Core Space for N-dimension", arXiv:2405.14739: a change is a core with a factor for each axis
    (Tucker) in the place of a product of two matrices (LoRA; the kernel is read as [out, in x 9], as peft does). ``form: core`` has the
    ranks (r, r, s, s), with s of 1 to 3 chosen best, found by rounds of higher-order orthogonal iteration; ``product`` the rank that has
    no more numbers than ``numbers``, by the singular value decomposition.

    ``change``: ``core``, a normal core of ranks (r, r, 2, 2) with normal factors, r a quarter of ``channels``; ``product``, a product of
    rank 3; ``noise``; ``learned``, what the second of two convolutions has moved by when they learned upright digits of scikit-learn and
    then ones turned by a quarter. ``numbers`` is a share of the kernel's. Numbers are ``error``, what was left of the norm, and ``used``,
    the share of numbers.
    """

    trial = Trial({"channels": 8, "change": "core"})

    unit: ClassVar[str] = "share of the norm"
    better: ClassVar[str] = "lower"

    form: Literal["core", "product"] = Field("core", description="what the change is approximated by")
    change: Literal["core", "product", "noise", "learned"] = Field("learned", description="what is approximated")
    channels: int = Field(16, ge=8, description="of inputs and of outputs")
    numbers: float = Field(0.21, gt=0, le=1, description="how many the approximation may have, as a share of the kernel's")
    steps: int = Field(120, ge=1, description="of learning each of the two tasks")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``used``.

        Raises:
            PartError: where so few numbers are allowed that nothing fits.
        """
        import numpy as np

        random = np.random.default_rng(seed)
        change = self._change(random, seed)
        allowed = self.numbers * change.size
        if self.form == "product":
            flat = change.reshape(len(change), -1)
            rank = int(allowed // sum(flat.shape))
            if not rank:
                raise PartError(f"{self.name}: {allowed:.0f} numbers are less than a product of rank 1 has ({sum(flat.shape)})")
            values = np.linalg.svd(flat, compute_uv=False)
            left = float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))
            return {"error": left, "used": rank * sum(flat.shape) / change.size}
        found = []
        for small in (1, 2, 3):
            fits = [rank for rank in range(1, self.channels + 1) if held((rank, rank, small, small), change.shape) <= allowed]
            if fits:
                ranks = (fits[-1], fits[-1], small, small)
                found.append((core_error(change, ranks), held(ranks, change.shape) / change.size))
        if not found:
            raise PartError(f"{self.name}: {allowed:.0f} numbers are less than a core of ranks 1 has ({held((1,) * 4, change.shape)})")
        error, used = min(found)
        return {"error": error, "used": used}

    def _change(self, random: np.random.Generator, seed: int) -> NDArray[np.float64]:
        """[out, in, 3, 3]."""
        import numpy as np

        shape = (self.channels, self.channels, 3, 3)
        if self.change == "learned":
            return learned(self.name, random, seed, self.channels, self.steps)
        if self.change == "noise":
            return random.standard_normal(shape)
        if self.change == "product":
            return np.asarray((random.standard_normal((self.channels, 3)) @ random.standard_normal((3, self.channels * 9))).reshape(shape))
        ranks = (self.channels // 4, self.channels // 4, 2, 2)
        made = random.standard_normal(ranks)
        for axis, (size, rank) in enumerate(zip(shape, ranks, strict=True)):
            made = multiplied(made, random.standard_normal((size, rank)), axis)
        return made


def multiplied(tensor: np.ndarray, matrix: np.ndarray, axis: int) -> NDArray[np.float64]:
    """``tensor`` with ``matrix`` [new, old] applied to its axis ``axis``."""
    import numpy as np

    return np.asarray(np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis))


def held(ranks: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """How many numbers a core of ``ranks`` has together with its factors."""
    from math import prod

    return prod(ranks) + sum(rank * size for rank, size in zip(ranks, shape, strict=True))


def core_error(change: np.ndarray, ranks: tuple[int, ...], rounds: int = 15) -> float:
    """What is left of the norm of ``change`` behind the best core of ``ranks`` that higher-order orthogonal iteration finds.

    De Lathauwer et al. 2000. Factors begin as leading singular vectors of each axis and are made in turn from the tensor that the others
    leave.
    """
    import numpy as np

    def leading(tensor: np.ndarray, axis: int) -> np.ndarray:
        flat = np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
        vectors: np.ndarray = np.linalg.svd(flat, full_matrices=False)[0][:, : ranks[axis]]
        return vectors

    factors = [leading(change, axis) for axis in range(change.ndim)]
    for _ in range(rounds):
        for axis in range(change.ndim):
            projected = change
            for other, factor in enumerate(factors):
                if other != axis:
                    projected = multiplied(projected, factor.T, other)
            factors[axis] = leading(projected, axis)
    core = change
    for axis, factor in enumerate(factors):
        core = multiplied(core, factor.T, axis)
    return float(np.sqrt(max(0.0, 1 - (core**2).sum() / (change**2).sum())))


def learned(part: str, random: np.random.Generator, seed: int, channels: int, steps: int) -> NDArray[np.float64]:
    """What the second of two convolutions moves by from upright digits to ones turned by a quarter."""
    import numpy as np
    import torch

    from windtunnel.kits.image.tiny import Weights, dealt, trained, turned

    data, generator = dealt(part, random), torch.Generator().manual_seed(seed)
    sizes = {"one": (channels, 1, 3, 3), "two": (channels, channels, 3, 3), "head": (10, channels * 4)}
    first = {name: torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5 for name, shape in sizes.items()}

    def loss(weights: Weights, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        conv, pool = torch.nn.functional.conv2d, torch.nn.functional.max_pool2d
        found = pool(torch.relu(conv(images.view(-1, 1, 8, 8), weights["one"], padding=1)), 2)
        found = pool(torch.relu(conv(found, weights["two"], padding=1)), 2).flatten(1)
        return torch.nn.functional.cross_entropy(found @ weights["head"].T, labels)

    weights, labels = [first], data.labels[data.train]
    for degrees in (0.0, 90.0):
        images = turned(data.images[data.train], degrees)

        def of_rows(one: Weights, rows: torch.Tensor, images: torch.Tensor = images) -> torch.Tensor:
            return loss(one, images[rows], labels[rows])

        weights.append(trained(weights[-1], of_rows, len(images), steps, 3e-3, random))
    return np.asarray((weights[2]["two"] - weights[1]["two"]).double().numpy())
