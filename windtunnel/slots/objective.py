"""The contract of objectives: what they know of the tokenizer, and the loss they return."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from windtunnel.core.part import Part

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Vocabulary:
    """What an objective may know of the tokeniser: its size and its special tokens.

    ``document`` separates documents (it begins each one, so it also ends the one before). ``spans`` are the sentinels of span
    corruption, ``modes`` the mode tokens of UL2 by name (R, S, X). ``token_bytes[i]`` is how many UTF-8 bytes token i stands for
    (0 for special tokens), an int32 array; ``word_starts[i]`` whether token i begins a word, a bool array.
    """

    size: int
    document: int
    pad: int
    mask: int
    spans: tuple[int, ...]
    modes: Mapping[str, int]
    token_bytes: np.ndarray
    word_starts: np.ndarray

    def rows_needed(self, special: Collection[str]) -> int:
        """How many rows of an embedding a run needs that feeds text, the separator, padding and the ``special`` tokens to its model.

        ``special`` are of ``mask``, ``spans`` and ``modes``. Where one of them lies above all text, it is the size of the vocabulary.
        """
        kinds = {"mask": (self.mask,), "spans": self.spans, "modes": tuple(self.modes.values())}
        last_text = max((number for number, size in enumerate(self.token_bytes.tolist()) if size), default=0)
        plain = 1 + max(last_text, self.document, self.pad)
        return self.size if any(number >= plain for kind in special for number in kinds[kind]) else plain


class Loss(NamedTuple):
    """The loss of every target in nats, which of them count (bool, same shape), and the model's outputs for loss terms."""

    values: torch.Tensor
    counts: torch.Tensor
    outputs: Any


class Objective(Part):
    """What the model is asked to predict. ``kinds`` are the architectures it works on."""

    kinds: ClassVar[tuple[str, ...]] = ("decoder",)

    def special_tokens(self) -> tuple[str, ...]:
        """As for every part. An objective that does not say is taken to use all."""
        return ("mask", "spans", "modes")

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Rows of the stream as what :meth:`loss` needs, of a fixed shape, with ``labels`` (-100 where nothing is predicted).

        ``rows``: ``tokens``, ``documents`` (piece number within the sequence, -1 for padding) and ``positions`` (counted from the
        beginning of the piece), all [sequences, context + 1] integers; ``sources`` [sequences].
        """
        raise NotImplementedError

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The loss of every target. ``needs`` names outputs that loss terms ask for: hidden_states, attentions, logits."""
        raise NotImplementedError

    def measured_by(self) -> Objective:
        """The objective that held-out text is scored with; by default this one."""
        return self
