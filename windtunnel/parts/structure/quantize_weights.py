"""Round weight matrices to a few bits, at the end of a phase or while they train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class QuantizeWeights(Structure, name="quantize-weights"):
    """Round every weight matrix of the blocks to the nearest of 2^bits values, in groups of inputs that share a scale of 16 bits.

    ``when: end`` trains as without it and rounds once, which needs no data: post-training quantisation in the manner of FineQuant (Kim et
    al. 2023, arXiv:2308.09723). ``when: training`` computes with rounded weights in every step and lets gradients through as if
    they were not (quantisation-aware training). ``group`` 0 gives an output one scale; ``threshold`` halves groups, from all inputs down to
    ``group``, while that lowers their mean range by more than it: the manner of the paper's heuristic, whose threshold was not
    published. A weight takes ``bits + 16 / group`` bits, asymmetric ``bits + 32 / group``. Embeddings, head, norms and biases stay.

    What is kept and exported holds the rounded values as ordinary numbers, so every program loads it with equal logits.
    """

    trial = Trial({"bits": 4, "group": 8, "when": "training"})
    identity = "rounded weights are other weights, whatever the bits"

    bits: int = Field(4, ge=2, le=8, description="bits of a weight")
    group: int = Field(32, ge=0, description="consecutive inputs of an output that share a scale (0: all of them)")
    symmetric: bool = Field(True, description="whether values lie evenly round zero, or from the least to the largest of a group")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="how much a smaller group has to gain to be taken (default: all are `group`)"
    )
    when: Literal["end", "training"] = Field("end", description="rounded once at the end of the phase, or in every step")
    targets: Targets = Field("all", description="which matrices of the blocks are rounded")

    @model_validator(mode="after")
    def _has_a_least_group(self) -> QuantizeWeights:
        if self.threshold is not None and not self.group:
            raise ValueError("threshold halves groups down to `group`, which has to be above 0")
        if self.threshold is not None and self.when == "training":
            raise ValueError("threshold chooses groups by the weights, which move in training; it goes with when: end")
        return self

    def apply(self, model: PreTrainedModel) -> None:
        """Check that matrices can be rounded so; from now on compute with rounded ones, if that is asked for.

        Raises:
            PartError: where no matrix is found, groups do not divide inputs, or a structure is in place already.
        """
        from windtunnel.kits.weights.adapters import chosen
        from windtunnel.kits.weights.quantised import Rounded, rounded
        from windtunnel.models.anatomy import transposed

        found: dict[str, Any] = chosen(model, self.targets, False, self.name)
        for name, module in found.items():
            stored_transposed = transposed(module)
            weight = module.weight.detach().T if stored_transposed else module.weight.detach()
            rounding = self._rounding(name, weight)
            rounded(weight[:1], **rounding)
            if self.when == "training":
                made = Rounded()
                made.rounding, made.transposed, made.weight = rounding, stored_transposed, module.weight
                made.register_parameter("bias", module.bias)
                model.set_submodule(name, made.train(module.training))

    def _rounding(self, name: str, weight: Tensor) -> dict[str, Any]:
        from windtunnel.kits.weights.quantised import adapted_group

        group = self.group or weight.shape[1]
        if self.threshold is not None:
            group = adapted_group(weight, self.group, self.threshold)
        return {"bits": self.bits, "group": group, "symmetric": self.symmetric, "name": f"{self.name}: {name}"}

    def remove(self, model: PreTrainedModel) -> None:
        """Leave the rounded values as the weights of plain modules."""
        import torch
        from torch import nn

        from windtunnel.kits.weights.adapters import chosen
        from windtunnel.kits.weights.quantised import Rounded, rounded
        from windtunnel.models.anatomy import linear, transposed

        with torch.no_grad():
            if self.when == "end":
                plain: dict[str, Any] = chosen(model, self.targets, False, self.name)
                for name, module in plain.items():
                    weight = module.weight.T if transposed(module) else module.weight
                    weight.copy_(rounded(weight, **self._rounding(name, weight)))
                return
            found = {name: module for name, module in model.named_modules() if isinstance(module, Rounded)}
            if not found:
                raise PartError(f"{self.name}: no rounded matrix is in place; apply it first")
            for name, one in found.items():
                weight = one.shown()
                out, inside = weight.shape
                with torch.device("meta"):  # no weights are drawn that would be thrown away
                    made: Any = linear(out, inside, one.transposed)
                made.weight, made.bias = nn.Parameter(weight.T.contiguous() if one.transposed else weight), one.bias
                model.set_submodule(name, made.train(one.training))
