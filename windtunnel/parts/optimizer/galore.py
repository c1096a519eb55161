"""Adam whose moments live in a low-rank subspace of each gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.optimizer.adamw import Beta, adamw
from windtunnel.slots import Optimizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_FACTORS = "galore projects the gradients of whole weight matrices, and here there are factors"


class GaLore(Optimizer, name="galore"):
    """Adam on the gradients of the blocks' matrices projected to ``rank`` dimensions; AdamW for everything else.

    Zhao et al. 2024, "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection", arXiv:2403.03507. Every ``every`` steps
    P becomes the leading singular vectors of the matrix's current gradient G on its smaller side; Adam's moments are those of P^T G (or
    G P), and its step, projected back and multiplied by ``scale``, is the update. Moments are kept when P changes, and not turned, so
    the signs of singular vectors, which are whatever the machine's LAPACK makes them, matter.
    Weights stay of full rank; what is saved is the moments. As in the authors' code, ``eps`` is added to the root of the uncorrected
    second moment, and what is not projected has the whole rate (theirs is 0.01, so 0.0025 for the matrices, at betas 0.9 and 0.999,
    eps 1e-6 and no decay). The decompositions are not in the FLOPs counted: the counter does not know them, the seconds do.
    """

    trial = Trial({"rank": 4, "every": 2})

    conflicts: ClassVar[dict[str, str]] = {"low-rank": _FACTORS, "sparse-low-rank": _FACTORS}

    local = "it decomposes whole gradients"

    learning_rate: float | None = Field(None, gt=0, description="peak rate (default: the one the model's size suggests)")
    rank: int = Field(16, ge=1, description="dimensions kept, fewer than the smaller side of every matrix (paper: 128 at width 512)")
    every: int = Field(200, ge=1, description="steps between two choices of the subspace")
    scale: float = Field(0.25, gt=0, description="what the updates of the matrices are multiplied with")
    weight_decay: float = Field(0.1, ge=0, description="decoupled decay of matrices and embeddings, norms and biases spared")
    betas: tuple[Beta, Beta] = Field((0.9, 0.95), description="decay of the first and the second moment")
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment")

    def build(self, model: PreTrainedModel, learning_rate: float) -> torch.optim.Optimizer:
        """One optimizer whose groups are the projected matrices, then those of AdamW, each with ``lr`` at its peak.

        Raises PartError where no trainable matrix lies inside a block, or the rank is too large for one; says which ranks fit.
        """
        from windtunnel.kits.optim.joined import Joined
        from windtunnel.kits.optim.projected import Projected
        from windtunnel.models.anatomy import linears, transposed

        rate = learning_rate if self.learning_rate is None else self.learning_rate
        found = {id(module.weight): (name, module) for name, module in linears(model).items() if module.weight.requires_grad}
        if not found:
            raise PartError("galore finds no trainable weight matrix inside the model's blocks; use adamw")
        name, narrow = min(found.values(), key=lambda entry: min(entry[1].weight.shape))  # type: ignore[union-attr, arg-type]
        least = min(narrow.weight.shape)  # type: ignore[union-attr, arg-type]
        if self.rank >= least:
            raise PartError(f"galore: rank {self.rank} is not below the smaller side of {name} ({least}); set rank to at most {least - 1}")
        kinds: dict[bool, list[Any]] = {}
        for _, module in found.values():
            kinds.setdefault(transposed(module), []).append(module.weight)
        settings = {"betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}
        groups = [{"params": weights, "transposed": stored, "name": "projected"} for stored, weights in kinds.items()]
        matrices = Projected(groups, lr=rate, rank=self.rank, every=self.every, scale=self.scale, **settings)
        rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in found]
        return Joined(matrices, adamw(rest, rate, **settings)) if rest else Joined(matrices)  # type: ignore[arg-type]
