"""Prediction in a random order, by which a decoder learns from both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.kits.text.predict import loss_of_labels
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class PermutedOrder(Objective, name="permuted-order"):
    """Predict tokens in an order drawn for each sequence, each from those that come before it in that order, on either side.

    Yang et al. 2019 (XLNet), arXiv:1906.08237. Tokens stay at their positions; only the order of prediction is drawn. The last ``share`` of
    the order is predicted, as its first tokens have too little to go by. What predicts must know its position and not its token, for
    which the paper keeps a second stream of states; here that stream are mask tokens behind the text, one for each target, with its
    position. They see what comes before it and, unlike the paper's stream, themselves; nobody else sees them. Both streams have the
    model's weights, and the second begins as the mask's vector, as there. Targets are single tokens, where the paper also draws spans,
    positions are the family's own, and there are no segments and no memory of earlier ones.

    The masks take room, so a sequence of a context holds less text. Held-out text is scored from left to right, each token asked for by a
    mask, which is a true likelihood; half of each window is read, as the masks take the other.
    """

    by_mask: ClassVar[bool] = True

    share: float = Field(1 / 6, gt=0, le=1, description="share of the tokens that is predicted, the last of the order")
    order: Literal["random", "left-to-right"] = Field("random", description="in which order tokens are predicted")

    def special(self) -> tuple[str, ...]:
        """The mask."""
        return ("mask",)

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Text and masks behind it: ``tokens``, ``documents``, ``positions``, ``labels``, ``order``, ``reach``, int64 [sequences, context].

        A position sees those of its document whose ``order`` is at most its ``reach``, and itself.

        Raises:
            UserError: where the context is too short for one token that is known and one that is predicted.
        """
        import numpy as np

        from windtunnel.kits.text.corrupt import window

        count, width = rows["tokens"].shape[0], rows["tokens"].shape[1] - 1
        length = int(width / (1 + self.share))
        targets = min(max(1, round(self.share * length)), width - length)
        if length < 2 or targets < 1:
            raise UserError(f"permuted-order: a context of {width} is too short to predict {self.share:g} of a text and hold its masks")
        documents = window(rows["documents"], np.full(count, length), random)
        used = np.argsort(documents < 0, axis=1, kind="stable")[:, :length]  # the columns that are read, then padding
        documents = np.take_along_axis(documents, used, axis=1).astype(np.int64)
        tokens = np.where(documents >= 0, np.take_along_axis(rows["tokens"], used, axis=1), vocabulary.pad).astype(np.int64)
        positions = np.where(documents >= 0, np.take_along_axis(rows["positions"], used, axis=1), 0).astype(np.int64)
        # The first token of a piece is known from the beginning: nothing stands before it that could tell it.
        known = np.ones(documents.shape, bool)
        known[:, 1:] = (documents[:, 1:] != documents[:, :-1]) | (documents[:, 1:] < 0)
        place = np.arange(length)
        keys = np.where(known, place - float(length), place if self.order == "left-to-right" else random.random((count, length)))
        sequence = np.argsort(keys, axis=1)
        order = np.empty_like(sequence)
        np.put_along_axis(order, sequence, np.broadcast_to(place, sequence.shape), axis=1)
        asked = sequence[:, length - targets :]
        masked = ~np.take_along_axis(known, asked, axis=1)

        def behind(text: np.ndarray, masks: np.ndarray, rest: int) -> np.ndarray:
            whole = np.full((count, width), rest, np.int64)
            whole[:, :length], whole[:, length : length + targets] = text, np.where(masked, masks, rest)
            return whole

        def of_targets(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, asked, axis=1)

        return {
            "tokens": behind(tokens, np.full(asked.shape, vocabulary.mask), vocabulary.pad),
            "documents": behind(documents, of_targets(documents), -1),
            "positions": behind(positions, of_targets(positions), 0),
            "labels": behind(np.full(tokens.shape, -100), of_targets(tokens), -100),
            "order": behind(order, np.full(asked.shape, width), width),
            "reach": behind(order, of_targets(order) - 1, -1),
        }

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of the targets, at their masks, in nats."""
        from windtunnel.models.forward import forward

        seen = batch["order"][:, None, :] <= batch["reach"][:, :, None]
        outputs = forward(model, batch["tokens"], batch["documents"], batch["positions"], seen=seen, needs=needs)
        return loss_of_labels(outputs.logits, batch["labels"], outputs)

    def measured_by(self) -> PermutedOrder:
        """From left to right, every token."""
        return PermutedOrder(share=1.0, order="left-to-right")
