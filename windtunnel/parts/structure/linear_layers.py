"""Train all layers of a model as one straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LinearLayers(Structure, name="linear-layers"):
    """Make every parameter of block i of L (attention, mlp, norms and biases alike) ``B + (i / L) A``, with one trained pair A, B.

    The learngene of TLEG: Xia et al. 2024, "Transformer as Linear Expansion of Learngene", arXiv:2312.05614. Only B and A are trained
    and stored, whatever the depth; `expand-line` evaluates the line at another depth. Block 0 holds B. The first weights follow the
    authors' code in kind and the model's family in scale: B is the family's own draw for the first block, the matrices of A are its
    draw for the last one (the authors: both truncated normal of deviation 0.02), and A is zero for norms and biases. An
    encoder-decoder has one line in each stack. A parameter that block 0 lacks (a norm of modernbert) is held by the first block that
    has it, which is the same line; one that a single block has (the position table of t5) stays as it is.
    """

    identity = "blocks on a line share their weights; with one block only its slope has nothing to do"

    conflicts: ClassVar[dict[str, str]] = {"galore": "it projects the matrix that each block holds, and here most blocks read another's"}

    slope: Literal["drawn", "through-ends"] = Field(
        "drawn",
        description="how A begins: drawn (for a new model), or through the first and the last block (goes on with a model that is a line)",
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Replace the parameters of the blocks by their line from now on.

        Raises:
            PartError: where a stack has a single block, or parameters are shared already.
        """
        from windtunnel.kits.weights.sharing import refuse_shared, share
        from windtunnel.models.anatomy import anatomy

        refuse_shared(model, self.name)
        for stack, blocks in anatomy(model).stacks.items():
            if not share(blocks, self.slope, depth=len(blocks)):
                raise PartError(f"linear-layers: {stack} has {len(blocks)} block, which makes no line; set layers to at least 2")

    def remove(self, model: PreTrainedModel) -> None:
        """Fold every block into plain weights, with the values that the line gives it."""
        from windtunnel.kits.weights.sharing import unshare

        unshare(model, self.name)
