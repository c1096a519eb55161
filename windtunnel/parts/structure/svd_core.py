"""Train a small core between frozen singular vectors of each weight matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Progress, Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class SvdCore(Structure, name="svd-core"):
    """Freeze the model and train ``U C V`` beside weight matrices, where U and V are singular vectors of the matrix and C is small.

    - ``diagonal``: C is a diagonal, a change of the singular values: SVFit (Sun et al. 2024, arXiv:2409.05926).
    - ``core``: C is a matrix [rank, rank]; LoRA-XS by another name.
    - ``core-and-up``: U trains as well, until its columns are frozen one after the other, that of the largest singular value first, over
      the first ``freeze`` of the phase: LaMDA (Azizi et al. 2024, arXiv:2406.12832) as the paper tells it. Its released code uses random
      vectors and freezes almost nothing. Frozen columns are put back after every step, or moments and decay would move them.

    C begins at zero, so the model begins as it was. Rates are far above LoRA's. At the end of the phase the product is added to the
    matrix.
    """

    trial = Trial({"rank": 4, "train": "core-and-up"})
    identity = "what is frozen would train without it"

    usual_rate: ClassVar[float] = 5.0

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they are frozen",
        "galore": "it projects the weight matrices of the blocks, and here they are frozen",
    }

    rank: int = Field(16, ge=1, description="how many singular vectors on each side")
    train: Literal["diagonal", "core", "core-and-up"] = Field("diagonal", description="what trains: a diagonal, a matrix, and U with it")
    basis: Literal["top", "bottom", "random"] = Field(
        "top", description="vectors of the largest or the smallest singular values, or a random orthogonal basis"
    )
    freeze: float = Field(0.3, gt=0, le=1, description="share of the phase after which all columns of U are frozen")
    targets: Targets = Field("all", description="which matrices of the blocks get one")

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the model and add the products. A random basis depends on torch's generator and the name of the weight.

        Raises:
            PartError: where no matrix is found, the rank is larger than a side of one, or a structure is in place already.
        """
        import torch

        from windtunnel.kits.weights.adapters import Core, adapt, chosen
        from windtunnel.parts.structure.low_rank import drawn_seed

        seed = drawn_seed()

        def make(name: str, weight: Tensor) -> Core:
            up, down = self._basis(name, weight.float(), seed)
            core = torch.zeros((self.rank,) if self.train == "diagonal" else (self.rank, self.rank))
            return Core(up.contiguous(), down.contiguous(), core, self.train == "core-and-up").to(weight.dtype)

        adapt(model, self.name, chosen(model, self.targets, False, self.name), self.rank, make)

    def _basis(self, name: str, weight: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Orthonormal columns [out, rank] and rows [rank, in]."""
        import torch

        from windtunnel.models.init import generator

        if self.basis == "random":
            drawn = (torch.randn(side, self.rank, generator=generator(seed, f"{name}.{side}.{at}")) for at, side in enumerate(weight.shape))
            up, down = (torch.linalg.qr(matrix).Q for matrix in drawn)
            return up, down.T
        u, _, v = torch.linalg.svd(weight, full_matrices=False)
        place = slice(self.rank) if self.basis == "top" else slice(len(v) - self.rank, None)
        return u[:, place], v[place]

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Put frozen columns of U back."""
        from windtunnel.kits.weights.adapters import adapters

        if self.train == "core-and-up" and progress is not None:
            for adapter in adapters(model, self.name).values():
                adapter.freeze(int(self.rank * min(1.0, progress.done / self.freeze)))

    def remove(self, model: PreTrainedModel) -> None:
        """Add the products to the matrices."""
        from windtunnel.kits.weights.adapters import merge

        merge(model, self.name)
