"""Begin a model of any depth by repeating the stages of a learned one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, PositiveInt

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.models.anatomy import Block


class ExpandStages(Start, name="expand-stages"):
    """Begin every layer as a copy of the stage it belongs to, from a model learned under `shared-stages`; the copies then train freely.

    The expansion of SWS: Xia et al. 2024, "Exploring Learngene via Stage-wise Weight Sharing", arXiv:2404.16897. Stages keep their
    order, and each gets copies in proportion to its blocks in the learned model (at least one), what remains going one each to early
    stages; so at the learned depth the function is the very same. The depth may be any that has room for every stage. The authors
    publish no rule and one list, 12 layers of 5 stages as 3, 3, 2, 2, 2 copies; `order` writes that or any other. Embeddings, final
    norm and head are copied.
    """

    trial = Trial({"stages": 1}, model={"layers": 4}, before={"structure": {"shared-stages": {"stages": 1}}})

    stages: PositiveInt | tuple[PositiveInt, ...] = Field(5, description="stages of the learned model, as `shared-stages` has them")
    order: tuple[NonNegativeInt, ...] | None = Field(
        None, min_length=1, description="the stage (from 0) of every layer (default: in order and in proportion)"
    )
    source: Trained | None = Field(None, description="the learned model (default: that of the phase before)")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config``, every layer a copy of a stage.

        Raises:
            PartError: without a learned model, where the blocks of a stage differ, where the layers are fewer than the stages or not
                those of ``order``, or where anything but depth differs.
        """
        from windtunnel.kits.weights.grow import copy_layers, depths, grown_config, origin
        from windtunnel.kits.weights.sharing import refuse_all_but_depth, split
        from windtunnel.models.anatomy import anatomy

        source = origin(previous, context, self.name)
        refuse_all_but_depth(source.config, config, self.name)
        places = {}
        for stack, (old, new) in depths(source, config).items():
            stages = split(self.stages, old, self.name)
            refuse_unequal(stack, anatomy(source).stacks[stack], stages)
            places[stack] = self.places(stages, new)
        return copy_layers(source, grown_config(source.config, config, {"layers"}, places), seed, places, self.name)

    def places(self, stages: Sequence[int], depth: int) -> list[int]:
        """The learned layer that each of ``depth`` layers copies, given the blocks of each stage.

        All blocks of a stage hold the same; its copies are spread over them, so that at the learned depth each copies its own. Further
        up, the very first block is avoided where its stage has another, as modernbert's lacks a norm.
        """
        layout = self.layout(stages, depth)
        found = []
        for layer, stage in enumerate(layout):
            first, copy, copies = sum(stages[:stage]), layout[:layer].count(stage), layout.count(stage)
            found.append(max(first + copy * stages[stage] // copies, int(layer > 0 and stage == 0 and stages[0] > 1)))
        return found

    def layout(self, stages: Sequence[int], depth: int) -> tuple[int, ...]:
        """The stage of each of ``depth`` layers. Raises PartError where ``order`` does not fit."""
        if self.order is None:
            return tuple(stage for stage, copies in enumerate(proportional(stages, depth)) for _ in range(copies))
        named, last = len(self.order), len(stages) - 1
        if named != depth:
            raise PartError(f"expand-stages: order names the stages of {named} layers, not of {depth}; set layers: {named}")
        if max(self.order) > last:
            raise PartError(f"expand-stages: order names stage {max(self.order)}; the stages are 0 to {last}")
        return self.order


def proportional(stages: Sequence[int], depth: int) -> list[int]:
    """How many of ``depth`` layers each stage gets: in proportion to ``stages``, at least one, what remains to the early ones.

    Raises PartError for fewer layers than stages.
    """
    least = len(stages)
    if depth < least:
        raise PartError(f"expand-stages: {depth} layers are fewer than the {least} stages; set layers to at least {least}, or order")
    copies = [max(1, depth * length // sum(stages)) for length in stages]
    while sum(copies) > depth:  # only where short stages were raised to one: the longest, of equals the last, gives way
        copies[max(range(least), key=lambda stage: (copies[stage], stage))] -= 1
    for stage in range(depth - sum(copies)):
        copies[stage] += 1
    return copies


def refuse_unequal(stack: str, blocks: Sequence[Block], stages: Sequence[int]) -> None:
    """Raises PartError, with the deviation and the stages there are, where the blocks of a stage differ in what they both have."""
    import torch

    from windtunnel.kits.weights.sharing import holders

    for stage, length in enumerate(stages):
        start = sum(stages[:stage])
        for path, values in holders(blocks[start : start + length]).items():
            one, *others = values.items()
            for place, value in others:
                if not torch.equal(value, one[1]):
                    deviation = float((value - one[1]).detach().abs().max())
                    raise PartError(
                        f"expand-stages: the blocks of stage {stage} differ: {stack}.{start + place}.{path} is off layer {start + one[0]} "
                        f"by {deviation:.2g}; learn the model under `structure: shared-stages` and name its stages (its runs of equal "
                        f"blocks are stages: {runs(blocks)})"
                    )


def runs(blocks: Sequence[Block]) -> list[int]:
    """The lengths of the runs of neighbouring blocks that are equal in what both have."""
    import torch

    lengths = [1]
    for one, other in itertools.pairwise(blocks):
        before = dict(one.module.named_parameters())
        same = all(torch.equal(value, before[path]) for path, value in other.module.named_parameters() if path in before)
        lengths = [*lengths[:-1], lengths[-1] + 1] if same else [*lengths, 1]
    return lengths
