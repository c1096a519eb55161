"""Masked-token prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.text.predict import loss_of_labels
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

LONGEST_SPAN = 10  # words, as SpanBERT clips its spans
SPAN_STOPS = 0.2  # probability that a span ends after each of its words


class MaskedToken(Objective, name="masked-token"):
    """Hide some tokens and predict them from both sides.

    Devlin et al. 2018, arXiv:1810.04805: of the chosen tokens 80 % become the mask, 10 % a random token, 10 % stay. ``unit`` is
    what is chosen as a whole: a token, a word, or a span of words of geometric length (p = 0.2, at most 10; Joshi et al. 2019,
    arXiv:1907.10529, which replaces a span's tokens all in the same way, as here). As many are chosen in every sequence as ``rate``
    says, as nearly as whole units allow; separators and padding never. Attention is full in both directions within each document,
    also in a decoder.

    Held-out text is scored at fixed random masks: bits per byte of masked tokens only, which is not comparable with bits per byte.
    """

    trial = Trial(model={"family": "bert"})

    kinds: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    by_mask: ClassVar[bool] = True
    measure: ClassVar[str] = "masked_bits_per_byte"

    rate: float = Field(0.15, gt=0, lt=1, description="share of tokens that is predicted")
    mask_share: float = Field(0.8, ge=0, le=1, description="share of those that becomes the mask")
    random_share: float = Field(0.1, ge=0, le=1, description="share of those that becomes a random token; the rest stays")
    unit: Literal["token", "word", "span"] = Field("token", description="what is chosen as a whole")

    @model_validator(mode="after")
    def _shares(self) -> MaskedToken:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(f"mask_share and random_share add up to {self.mask_share + self.random_share:g}, above 1")
        return self

    def special(self) -> tuple[str, ...]:
        """The mask."""
        return ("mask",)

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``tokens``, ``documents``, ``positions``, ``labels``, each int64 [sequences, context]."""
        import numpy as np

        tokens, documents, positions = (rows[key][:, :-1].astype(np.int64) for key in ("tokens", "documents", "positions"))
        maskable = (documents >= 0) & (vocabulary.token_bytes[tokens] > 0)
        units = self._units(tokens, documents, maskable, vocabulary, random)
        chosen = choose(units, maskable, self.rate, random)
        each = units if self.unit == "span" else np.arange(tokens.size).reshape(tokens.shape)
        draw = random.random(tokens.size + 1)[each]
        text = np.flatnonzero(vocabulary.token_bytes > 0)
        swapped = np.where(draw < self.mask_share + self.random_share, random.choice(text, size=tokens.shape), tokens)
        hidden = np.where(draw < self.mask_share, vocabulary.mask, swapped)
        return {
            "tokens": np.where(chosen, hidden, tokens),
            "documents": documents,
            "positions": positions,
            "labels": np.where(chosen, tokens, -100),
        }

    def _units(
        self, tokens: np.ndarray, documents: np.ndarray, maskable: np.ndarray, vocabulary: Vocabulary, random: np.random.Generator
    ) -> np.ndarray:
        """The number of the unit that each token belongs to, [B, T], counted over the whole batch."""
        import numpy as np

        begins = np.ones(tokens.shape, bool)
        if self.unit == "token":
            return np.cumsum(begins.ravel()).reshape(tokens.shape)
        inner = ~vocabulary.word_starts[tokens[:, 1:]] & maskable[:, 1:] & maskable[:, :-1] & (documents[:, 1:] == documents[:, :-1])
        begins[:, 1:] = ~inner
        if self.unit == "word":
            return np.cumsum(begins.ravel()).reshape(tokens.shape)
        # Spans: lengths in words are drawn until they cover the batch; whatever ends a word run (a separator, a row) ends a span too.
        lengths = np.arange(1, LONGEST_SPAN + 1)
        odds = (1 - SPAN_STOPS) ** (lengths - 1)
        word = np.cumsum(begins.ravel()) - 1
        cuts = np.cumsum(random.choice(lengths, size=word[-1] + 1, p=odds / odds.sum()))
        begins_span = np.zeros(word[-1] + 1, bool)
        begins_span[cuts[cuts <= word[-1]]] = True
        broken = np.ones(tokens.shape, bool)
        broken[:, 1:] = ~(maskable[:, 1:] & maskable[:, :-1] & (documents[:, 1:] == documents[:, :-1]))
        return np.cumsum((begins.ravel() & begins_span[word]) | broken.ravel()).reshape(tokens.shape)

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of the chosen tokens, in nats."""
        from windtunnel.models.forward import forward

        outputs = forward(model, batch["tokens"], batch["documents"], batch["positions"], causal=False, needs=needs)
        return loss_of_labels(outputs.logits, batch["labels"], outputs)


def choose(units: np.ndarray, maskable: np.ndarray, rate: float, random: np.random.Generator) -> np.ndarray:
    """Which tokens are chosen, bool [B, T]: in every row whole units at random, as near to ``rate`` of the maskable ones as they allow.

    Units are taken in random order while that brings the row's count nearer to what is wanted; those of more than twice as many
    tokens only where a row has no others. A row with a maskable token has at least one chosen.
    """
    import numpy as np

    width = units.shape[1]
    number = units - units.min()
    sizes = np.bincount(number[maskable], minlength=int(number.max()) + 1)
    wanted = np.maximum(np.rint(maskable.sum(axis=1) * rate), 1)[:, None]
    priority = random.random(len(sizes))[number] + (sizes[number] > 2 * wanted)
    priority = np.where(maskable, priority, 3.0)
    order = np.lexsort((np.broadcast_to(np.arange(width), units.shape), priority), axis=1)  # a unit's tokens stay together
    sorted_units = np.take_along_axis(number, order, axis=1)
    size = sizes[sorted_units]
    # ``done`` is how many maskable tokens come in units before this one.
    first = np.ones(units.shape, bool)
    first[:, 1:] = sorted_units[:, 1:] != sorted_units[:, :-1]
    done = np.maximum.accumulate(np.where(first, np.arange(width), 0), axis=1)
    taken = ((done + size / 2 <= wanted) | (done == 0)) & np.take_along_axis(maskable, order, axis=1)
    chosen = np.zeros(units.shape, bool)
    np.put_along_axis(chosen, order, taken, axis=1)
    return chosen
