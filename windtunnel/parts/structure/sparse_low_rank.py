"""Train weight matrices as a product of two thin ones plus a sparse matrix with a fixed support."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.structure.low_rank import drawn_seed
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from windtunnel.kits.weights.factors import SparseFactors


class SparseLowRank(Structure, name="sparse-low-rank"):
    """Make every weight matrix of the blocks ``(alpha / rank) B A + S``: thin factors, and a sparse S on random, fixed positions.

    SLTrain: Han et al. 2024, "SLTrain: a sparse plus low-rank approach for parameter and memory efficient pretraining",
    arXiv:2406.02214, drawn as in their code: A [rank, in] and the values of S uniform within 1/sqrt(in), B [out, rank] zero. S has
    floor(nonzero out in) positions, drawn once; only its values are trained. What training keeps is x, A, B, values and positions: the
    dense matrix is built for the forward and again for the backward pass, one at a time, which saves memory and costs FLOPs.

    All three train with one optimizer. The values are one-dimensional, so optimizers spare them the weight decay of matrices (the
    authors use none at all). The positions depend on ``seed`` and the weight's name alone and take 4 bytes each (the authors: 8).
    Embeddings, head, norms and biases stay as they are. A fused matrix (queries, keys and values of gpt2, gpt-neox and modernbert) is
    one, of one rank.

    ``begin: fresh`` forgets the weights the model has. ``factorise`` goes on from them, as a phase after growth or after training wants:
    A and B are the truncated SVD of the weight, and S takes what that leaves on its positions.
    """

    trial = Trial({"rank": 4})
    identity = "a product of factors moves differently from its matrix, whatever the rank"

    conflicts: ClassVar[dict[str, str]] = {"muon": "it looks for the whole weight matrices of the blocks, and here there are factors"}

    rank: int = Field(16, ge=1, description="inner size of the product, smaller than both sides of every matrix (paper: 128 at width 512)")
    alpha: float = Field(16.0, gt=0, description="the product is multiplied by alpha / rank (paper: 32 at rank 128)")
    nonzero: float = Field(0.03, gt=0, le=1, description="share of the positions of each matrix that S has, rounded down")
    seed: int = Field(0, ge=0, description="decides, with each weight's name, which positions S has")
    begin: Literal["fresh", "factorise"] = Field(
        "fresh", description="new weights, which forgets those there are, or a decomposition of them"
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Replace the matrices from now on. New weights depend on torch's generator and the name of the weight.

        Raises:
            PartError: where nothing can be factorised, the rank is too large for a matrix or no position would be left; says what fits.
        """
        from windtunnel.kits.weights.factors import impose

        seed = drawn_seed()
        impose(model, self.name, self.rank, lambda name, weight: self._factors(name, weight, seed))

    def _factors(self, name: str, weight: Tensor, seed: int) -> SparseFactors:
        from windtunnel.kits.weights.factors import SparseFactors, composed, support_of, truncated, uniform

        (out, inside), rank, scale = weight.shape, self.rank, self.alpha / self.rank
        count = int(self.nonzero * out * inside)
        if not count:
            raise PartError(f"sparse-low-rank: nonzero {self.nonzero:g} is none of the {out * inside} positions of {name}; use low-rank")
        support = support_of((out, inside), count, self.seed, f"{name}.weight").to(weight.device)
        if self.begin == "factorise":
            left, right = truncated(weight, rank, scale)
            rest = weight - composed(left, right, weight.new_empty(0), support[:0], scale, weight.dtype)
            return SparseFactors(left, right, scale, rest.reshape(-1).index_select(0, support), support)
        right, values = (
            uniform(shape, inside**-0.5, seed, f"{name}.{what}").to(weight)
            for what, shape in (("right", (rank, inside)), ("values", (count,)))
        )
        return SparseFactors(weight.new_zeros(out, rank), right, scale, values, support)

    def remove(self, model: PreTrainedModel) -> None:
        """Fold everything into plain dense matrices."""
        from windtunnel.kits.weights.factors import fold

        fold(model, self.name)
