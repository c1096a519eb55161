"""Train with one set of weights in each stage of blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SharedStages(Structure, name="shared-stages"):
    """Let all blocks of a stage share one full set of parameters (attention, mlp, norms, biases): that of the stage's first block.

    The learngene of SWS: Xia et al. 2024, "Exploring Learngene via Stage-wise Weight Sharing", arXiv:2404.16897, whose 16 blocks are
    5 stages of 3, 3, 4, 3, 3; `expand-stages` repeats the stages at another depth. One stage shares a single block throughout. Every
    stage has the same width, as in the authors' experiments. Both stacks of an encoder-decoder are split alike. A parameter that
    the stage's first block lacks (a norm of modernbert) is held by the next one.
    """

    trial = Trial({"stages": 1})
    identity = {"stages": 2}

    conflicts: ClassVar[dict[str, str]] = {"galore": "it projects the matrix that each block holds, and here most blocks read another's"}

    stages: PositiveInt | tuple[PositiveInt, ...] = Field(
        5, description="blocks of each stage, or how many stages (split evenly, what remains to those from the middle outward)"
    )

    def apply(self, model: PreTrainedModel) -> None:
        """Share the parameters of each stage from now on. Stages of one block each change nothing.

        Raises:
            PartError: where the stages do not make up the model's depth, or parameters are shared already.
        """
        from windtunnel.kits.weights.sharing import refuse_shared, share, split
        from windtunnel.models.anatomy import anatomy

        refuse_shared(model, self.name)
        stacks = anatomy(model).stacks.values()
        lengths = [split(self.stages, len(blocks), self.name) for blocks in stacks]
        for blocks, stages in zip(stacks, lengths, strict=True):
            for stage, length in enumerate(stages):
                first = sum(stages[:stage])
                share(blocks[first : first + length])

    def remove(self, model: PreTrainedModel) -> None:
        """Give every block a copy of its stage's parameters."""
        from windtunnel.kits.weights.sharing import split, unshare
        from windtunnel.models.anatomy import anatomy

        if any(length > 1 for blocks in anatomy(model).stacks.values() for length in split(self.stages, len(blocks), self.name)):
            unshare(model, self.name)
