"""Train a few columns of each weight matrix where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Progress, Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class PartialColumns(Structure, name="partial-columns"):
    """Freeze the model but for ``columns`` input columns of each weight matrix, drawn at random, which train in place.

    Woo et al. 2025, "PaCA", arXiv:2503.01905. The forward pass is the plain one, without products beside it, and of a matrix's
    inputs the backward pass needs those entries alone that meet trained columns. The authors multiply the columns by a factor like
    LoRA's, which under Adam is the same as another rate, and is left out. peft has no such structure: its ShiRA trains the same
    entries with a mask, and keeps all inputs.
    """

    trial = Trial({"columns": 4})
    identity = "what is frozen would train without it"

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they are frozen",
        "galore": "it projects the weight matrices of the blocks, and here they are frozen",
        **dict.fromkeys(("interpolate", "pull-to-start", "reptile"), "it moves columns after they were put into their matrices"),
    }

    columns: int = Field(8, ge=1, description="how many columns of each matrix train")
    targets: Targets = Field("all", description="which matrices of the blocks have some")

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the model and set columns apart. Which ones depends on torch's generator and the name of the weight.

        Raises:
            PartError: where no matrix is found, there are more columns than one has, or a structure is in place already.
        """
        import torch

        from windtunnel.kits.weights.adapters import adapt, chosen
        from windtunnel.kits.weights.shaped_adapters import ColumnAdapter
        from windtunnel.models.init import generator
        from windtunnel.parts.structure.low_rank import drawn_seed

        seed = drawn_seed()

        def make(name: str, weight: Tensor) -> ColumnAdapter:
            places = torch.randperm(weight.shape[1], generator=generator(seed, name))[: self.columns].sort().values.to(weight.device)
            return ColumnAdapter(weight[:, places].clone(), places)

        adapt(model, self.name, chosen(model, self.targets, False, self.name), self.columns, make, "columns")

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Put the columns as they are now into their matrices."""
        from windtunnel.kits.weights.adapters import adapters

        for adapter in adapters(model, self.name).values():
            adapter.write()

    def remove(self, model: PreTrainedModel) -> None:
        """Leave the matrices as they have become."""
        from windtunnel.kits.weights.adapters import merge

        merge(model, self.name)
