"""Train shallow bottoms of the model in turn, each step updating only the top layers of one of them."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from windtunnel.models.anatomy import Block


class SubDepths(Structure, name="sub-depths"):
    """Each step trains the bottom ``layers``, or twice or three times as many, up to all, drawn at random, with the one head of them all.

    The first stage of bert2BERT's two-stage pre-training, Chen et al. 2022, arXiv:2110.07143; their BERT of 12 layers trains 3, 6, 9
    or all. Of the layers of a step only the top ``layers`` are updated, and the final norm and head; those below only compute, so a
    step costs their forward pass and nothing for what lies above. Embeddings learn in steps of the shallowest bottom and, where the
    head is tied to them, as the head in every step. (That the head is shared and always updated is not from the text of the paper,
    which could not be read in full; what it does with embeddings is not known, and this is the reading in which nothing below the
    updated layers needs a gradient.) A phase without the structure is the second stage. With ``layers`` as many as the model has
    it is plain training.
    """

    trial = Trial({"layers": 1})
    identity = {"layers": 2}

    layers: int = Field(3, ge=1, description="how many layers a step updates, and by how many the bottoms differ in depth")

    def apply(self, model: PreTrainedModel) -> None:
        """Check that bottoms of this model can be trained. It stays whole until :meth:`take`.

        Raises:
            PartError: for an encoder-decoder, or where ``layers`` does not divide the model's.
        """
        self.variants(model)

    def variants(self, model: PreTrainedModel) -> int:
        """How many bottoms there are; the last is the whole model."""
        blocks = self._blocks(model)
        if len(blocks) % self.layers:
            fits = ", ".join(str(size) for size in range(1, len(blocks) + 1) if len(blocks) % size == 0)
            raise PartError(f"sub-depths: bottoms of {self.layers} layers do not add up to {len(blocks)}; these do: {fits}")
        return len(blocks) // self.layers

    def take(self, model: PreTrainedModel, variant: int) -> None:
        """Make ``model`` its bottom number ``variant`` (from 0): ``(variant + 1) * layers`` deep, learning in the top ``layers`` of it."""
        depth = (variant + 1) * self.layers
        for block in self._blocks(model):
            _restore(block.module)
            # A method of the module itself, so that a copy of the model computes with the copy's weights.
            if block.index >= depth:
                block.module.forward = MethodType(_passing, block.module)
            elif block.index < depth - self.layers:
                block.module.forward = MethodType(_without_gradient, block.module)

    def remove(self, model: PreTrainedModel) -> None:
        """Make the model whole; its weights were never changed."""
        for block in self._blocks(model):
            _restore(block.module)

    def _blocks(self, model: PreTrainedModel) -> tuple[Block, ...]:
        from windtunnel.models.anatomy import anatomy

        view = anatomy(model)
        if len(view.stacks) > 1:
            raise PartError(f"sub-depths: {view.family} has an encoder and a decoder, so no bottom of it makes predictions; use one stack")
        return view.blocks


def _restore(module: nn.Module) -> None:
    """Give ``module`` the forward of its class again."""
    module.__dict__.pop("forward", None)


def _passing(module: nn.Module, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    """The forward of a block that is not there."""
    return hidden_states


def _without_gradient(module: nn.Module, *arguments: Any, **named: Any) -> Any:
    """The forward of a block that only computes: what comes out is a constant to the blocks above, and to the embeddings below."""
    import torch

    with torch.no_grad():
        return type(module).forward(module, *arguments, **named)
