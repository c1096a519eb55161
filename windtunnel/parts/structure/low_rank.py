"""Train weight matrices as products of two thin ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class LowRank(Structure, name="low-rank"):
    """Make every weight matrix of the blocks ``(alpha / rank) B A``, with A [rank, in] and B [out, rank] trained and nothing else.

    The plain factorisation of Glentis et al. 2025, "Scalable Parameter and Memory Efficient Pretraining for LLM", arXiv:2505.22922,
    drawn as in their code: A uniform within 1/sqrt(in), B within 1/sqrt(rank), neither zero. It is executed as two thin products, so it
    saves FLOPs as well as memory where rank (in + out) < in out. Embeddings, head, norms and biases stay as they are. A fused matrix
    (queries, keys and values of gpt2, gpt-neox and modernbert) is one, of one rank.

    ``begin: fresh`` forgets the weights the model has. ``factorise`` goes on from them, from the best approximation of that rank, which
    is what a phase after growth or after training wants.
    """

    trial = Trial({"rank": 4})
    identity = "a product of factors moves differently from its matrix, whatever the rank"

    conflicts: ClassVar[dict[str, str]] = {"muon": "it looks for the whole weight matrices of the blocks, and here there are factors"}

    rank: int = Field(16, ge=1, description="inner size of the product, smaller than both sides of every matrix (paper: 128 at width 512)")
    alpha: float = Field(16.0, gt=0, description="the product is multiplied by alpha / rank (paper: 32 at rank 128)")
    begin: Literal["fresh", "factorise"] = Field(
        "fresh", description="new factors, which forgets the weights, or the truncated SVD of the weights"
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Replace the matrices from now on. New factors depend on torch's generator and the name of the weight.

        Raises:
            PartError: where nothing can be factorised, or the rank is too large for a matrix; says which ranks fit.
        """
        from windtunnel.kits.weights.factors import Factors, impose

        seed, scale = drawn_seed(), self.alpha / self.rank
        impose(model, self.name, self.rank, lambda name, weight: Factors(*self._factors(name, weight, seed, scale), scale))

    def _factors(self, name: str, weight: Tensor, seed: int, scale: float) -> tuple[Tensor, Tensor]:
        from windtunnel.kits.weights.factors import truncated, uniform

        if self.begin == "factorise":
            return truncated(weight, self.rank, scale)
        (out, inside), rank = weight.shape, self.rank
        left = uniform((out, rank), rank**-0.5, seed, f"{name}.left")
        return left.to(weight.dtype), uniform((rank, inside), inside**-0.5, seed, f"{name}.right").to(weight.dtype)

    def remove(self, model: PreTrainedModel) -> None:
        """Fold the products into plain dense matrices."""
        from windtunnel.kits.weights.factors import fold

        fold(model, self.name)


def drawn_seed() -> int:
    """A seed from torch's generator, which the loop sets by seed and phase; then each weight draws by its name, as models do."""
    import torch

    return int(torch.randint(2**62, ()))
