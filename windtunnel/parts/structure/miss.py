"""Train one small matrix for all shards, or blocks, of each weight matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Miss(Structure, name="miss"):
    """Freeze the model and train one small matrix beside each weight matrix, which all its shards or blocks share.

    Kang and Yin 2024, arXiv:2409.15371, whose versions bear several names:

    - ``shards`` (MiSS, later also Bone): the input is cut into shards of ``rank`` entries, and D [rank, out] times their sum is added.
    - ``blocks`` (Bone at first, later BAT): each block W_ij [rank, rank] of the matrix becomes ``W_ij + W_ij M_i + M_i``.

    D and M begin at zero, so the model begins as it was. The same as peft's MissConfig with ``init_weights`` True and "bat". At
    the end of the phase the change is added to the matrix.
    """

    trial = Trial({"rank": 4})
    identity = "what is frozen would train without it"

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they are frozen",
        "galore": "it projects the weight matrices of the blocks, and here they are frozen",
    }

    rank: int = Field(16, ge=1, description="entries of a shard, or the side of a block")
    share: Literal["shards", "blocks"] = Field("shards", description="what the small matrix is shared by")
    targets: Targets = Field("all", description="which matrices of the blocks get one")

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the model and add the small matrices.

        Raises:
            PartError: where no matrix is found, the rank is larger than a side of one or blocks do not fill it, or a structure is in
                place already.
        """
        import torch

        from windtunnel.kits.weights.adapters import Adapter, adapt, chosen
        from windtunnel.kits.weights.shaped_adapters import BlockAdapter, ShardAdapter

        def make(name: str, weight: Tensor) -> Adapter:
            out, inside = weight.shape
            if self.share == "shards":
                return ShardAdapter(torch.zeros(self.rank, out, dtype=weight.dtype))
            if out % self.rank or inside % self.rank:
                raise PartError(f"{self.name}: blocks of side {self.rank} do not fill {name} {tuple(weight.shape)}; use share: shards")
            return BlockAdapter(torch.zeros(out // self.rank, self.rank, self.rank, dtype=weight.dtype))

        adapt(model, self.name, chosen(model, self.targets, False, self.name), self.rank, make)

    def remove(self, model: PreTrainedModel) -> None:
        """Add the changes to the matrices."""
        from windtunnel.kits.weights.adapters import merge

        merge(model, self.name)
