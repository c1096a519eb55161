"""Train a factor and a summand for every channel of a frozen model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class ScaleShift(Structure, name="scale-shift"):
    """Freeze the model and train, for every output of each weight matrix, a factor and a summand; norms train their own.

    Lian et al. 2022, "Scaling & Shifting Your Features" (SSF), arXiv:2210.08823. What follows a norm there is the norm's own factor and
    summand here: the same function. Factors begin at one and summands at zero, so the model begins as it was; the authors draw
    both with a deviation of 0.02 (``noise``). With ``shift: false`` it is the factors of (IA)3 (Liu et al. 2022, arXiv:2205.05638),
    on outputs alone. At the end of the phase both go into the matrix and its bias.
    """

    trial = Trial({"shift": False})
    identity = "what is frozen would train without it"

    usual_rate: ClassVar[float] = 5.0

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they are frozen",
        "galore": "it projects the weight matrices of the blocks, and here they are frozen",
    }

    shift: bool = Field(True, description="whether summands train too; matrices need a bias to hold them")
    norms: bool = Field(True, description="whether the factors and summands of norms train")
    noise: float = Field(0.0, ge=0, description="deviation of factors from one and of summands from zero at the start (paper: 0.02)")
    targets: Targets = Field("all", description="which matrices of the blocks get them")

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the model and add factors and summands; with ``noise`` they depend on torch's generator and the name of the weight.

        Raises:
            PartError: where no matrix is found, none has a bias that could hold a summand, or a structure is in place already.
        """
        import torch

        from windtunnel.kits.weights.adapters import adapt, chosen
        from windtunnel.kits.weights.shaped_adapters import ChannelAdapter
        from windtunnel.models.anatomy import anatomy
        from windtunnel.models.init import generator
        from windtunnel.parts.structure.low_rank import drawn_seed

        seed = drawn_seed()
        found = chosen(model, self.targets, False, self.name)
        biased = {name for name, module in found.items() if module.bias is not None}
        view = anatomy(model)
        if self.shift and not biased:
            raise PartError(f"{self.name}: no matrix of {view.family} has a bias that could hold a shift; set shift: false")

        def drawn(name: str, kind: str, weight: Tensor) -> Tensor:
            return self.noise * torch.randn(len(weight), generator=generator(seed, f"{name}.{kind}")).to(weight.dtype)

        def make(name: str, weight: Tensor) -> ChannelAdapter:
            shift = drawn(name, "shift", weight) if self.shift and name in biased else None
            return ChannelAdapter(1 + drawn(name, "scale", weight), shift)

        adapt(model, self.name, found, 1, make)
        norms = [norm for block in view.blocks for norm in block.norms.values()] + list(view.final_norms.values())
        for norm in norms if self.norms else ():
            norm.requires_grad_(True)

    def remove(self, model: PreTrainedModel) -> None:
        """Put factors and summands into the matrices and their biases."""
        from windtunnel.kits.weights.adapters import merge

        merge(model, self.name)
