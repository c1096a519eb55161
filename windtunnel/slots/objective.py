"""The contract of objectives: what they read, and the loss they return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from windtunnel.core.part import Part, required
from windtunnel.slots.encoding import ALL, Facts

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class Loss(NamedTuple):
    """The loss of every target in nats, which of them count (bool, same shape), and the model's outputs for loss terms."""

    values: torch.Tensor
    counts: torch.Tensor
    outputs: Any


class Objective(Part):
    """What the model is asked to predict. ``kinds`` are the architectures it works on.

    ``fields`` are those of the documents that it reads; it is handed no other. A ``label`` is read only by one that is ``supervised``.
    ``together`` says that the loss of a row depends on the other rows: a step then takes them as one micro-batch. With several ranks it
    has to be one that ``gathers`` what it needs of the rows of all. ``by_mask`` says that a model tells a token at a mask in its place, and
    not at the token before it.
    """

    acts = ("prepare", "loss")
    kinds: ClassVar[tuple[str, ...]] = ("decoder",)
    fields: ClassVar[tuple[str, ...]] = ("tokens",)
    supervised: ClassVar[bool] = False
    together: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    by_mask: ClassVar[bool] = False
    views: ClassVar[int] = 1  # how often a step reads each of its units, each time anew

    def special(self) -> tuple[str, ...]:
        """As for every part. An objective that does not say is taken to use all."""
        return (ALL,)

    @required
    def prepare(self, rows: dict[str, np.ndarray], facts: Facts, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Rows of the stream as what :meth:`loss` needs, of a fixed shape, with ``labels`` (-100 where nothing is predicted).

        ``rows``: its :attr:`fields`, each [sequences, length, *shape]; ``documents`` (piece number within the sequence, -1 for padding)
        and ``positions`` (counted from the beginning of the piece), [sequences, length] integers; ``sources`` [sequences]. ``length``
        is the context, for text one more. ``facts`` are what the encoding knows of its numbers, for text a vocabulary.
        """
        raise NotImplementedError

    def batch(self, rows: Mapping[str, np.ndarray], facts: Facts, random: np.random.Generator) -> dict[str, np.ndarray]:
        """What :meth:`prepare` makes of ``rows``, of whose fields it sees its own alone."""
        seen = (*self.fields, "documents", "positions", "sources")
        return self.prepare({name: rows[name] for name in seen}, facts, random)

    def whole(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``batch`` with the arrays that :meth:`prepare` leaves out of some batches, so that two can be put together."""
        return batch

    @required
    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The loss of every target. ``needs`` names outputs that loss terms ask for: hidden_states, attentions, logits."""
        raise NotImplementedError

    def measured_by(self) -> Objective:
        """The objective that held-out text is scored with; by default this one."""
        return self
