"""Next-token prediction behind what is known of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.text.predict import loss_of_next
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class Conditioned(Objective, name="conditioned"):
    """Predict every token from those before it and the metadata of its document, which stands before the text and is not predicted.

    Gao et al. 2025 (MeCo), arXiv:2501.01956, first stage; the second is a phase of `next-token` on the same stream. What is shown is the
    knob ``metadata`` of the encoding (`tokenizer: {metadata: "{origin}\\n\\n"}`); a document without any is read as by `next-token`. It
    stands behind the separator, and before every piece of a document, also one from its middle. A sequence stays as long as it was, so
    what no longer fits is not seen: at equal compute fewer tokens of text are read, as in the paper.

    ``tags`` are controls. ``hashed`` shows in the place of each document's metadata other tokens that stand for the same, ``shuffled``
    those of another document in the batch, the same for all pieces of a document; where the batch holds no other, none. ``dropped`` is how
    often a piece is read without, so that the model knows text that nothing is said of (Korbak et al. 2023, arXiv:2302.08582, whose
    metadata is what a rule says of the text: the curator `score`).

    Held-out text is scored without metadata; the evaluation `conditioned-bits` scores it with.
    """

    trial = Trial(beside={"tokenizer": {"vocabulary": 512, "sentinels": 16, "metadata": "{source}\n", "metadata_tokens": 4}})

    fields: ClassVar[tuple[str, ...]] = ("tokens", "metadata")

    tags: Literal["real", "hashed", "shuffled"] = Field("real", description="what is shown: each document's own, a code for it, another's")
    dropped: float = Field(0.0, ge=0, le=1, description="the chance that a piece is read without any")

    def special(self) -> tuple[str, ...]:
        """None."""
        return ()

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``tokens``, ``documents``, ``positions``, ``labels``, each int64 [sequences, context]."""
        import numpy as np

        plain = NextToken()
        batch = plain.whole(plain.prepare(rows, vocabulary, random))
        target = np.concatenate([np.full((len(rows["tokens"]), 1), -100), batch["labels"]], axis=1)
        pieces = _pieces(rows["documents"])
        heads = [rows["tokens"][row, begin] == vocabulary.document for row, begin, _ in pieces]
        tags = self._shown([rows["metadata"][row, begin] for row, begin, _ in pieces], heads, vocabulary, random)
        if self.dropped:
            tags = [tag[:0] if random.random() < self.dropped else tag for tag in tags]
        names = ("tokens", "documents", "positions", "labels")
        found = {name: np.full(rows["tokens"].shape, fill) for name, fill in zip(names, (vocabulary.pad, -1, 0, -100), strict=True)}
        used = np.zeros(len(rows["tokens"]), np.int64)
        for (row, begin, end), tag in zip(pieces, tags, strict=True):
            text = rows["tokens"][row, begin:end].astype(np.int64)
            head = int(text[0] == vocabulary.document)
            tokens = np.concatenate([text[:head], tag, text[head:]])[: len(target[row]) - used[row]]
            labels = np.concatenate([target[row, begin : begin + head], np.full(len(tag), -100), target[row, begin + head : end]])
            place = slice(used[row], used[row] + len(tokens))
            number = rows["documents"][row, begin]
            for name, values in zip(names, (tokens, number, np.arange(len(tokens)), labels[: len(tokens)]), strict=True):
                found[name][row, place] = values
            used[row] += len(tokens)
        return {"labels": found.pop("labels")[:, 1:], **{name: values[:, :-1] for name, values in found.items()}}

    def _shown(self, tags: list[np.ndarray], heads: list[bool], vocabulary: Vocabulary, random: np.random.Generator) -> list[np.ndarray]:
        """What stands before each piece, of the metadata of its document: tokens without padding, int64. ``heads`` begin a document."""
        import numpy as np
        import xxhash

        tags = [tag[tag != vocabulary.pad].astype(np.int64) for tag in tags]
        if self.tags == "shuffled":
            return _rotated(tags, heads, random)
        if self.tags == "hashed":
            usual = np.flatnonzero(vocabulary.token_bytes > 0)
            seeds = [xxhash.xxh32_intdigest(tag.tobytes()) for tag in tags]
            return [usual[np.random.default_rng(seed).integers(len(usual), size=len(tag))] for seed, tag in zip(seeds, tags, strict=True)]
        return tags

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of every next token of a text, in nats."""
        return loss_of_next(model, batch, needs)

    def measured_by(self) -> Objective:
        """Next-token prediction, without metadata."""
        return NextToken()


def _pieces(documents: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, begin and end of each piece in ``documents`` [sequences, length], row by row."""
    import numpy as np

    found = []
    for row, numbers in enumerate(documents):
        ends = [*(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        found += [(row, begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True) if numbers[begin] >= 0]
    return found


def _rotated(tags: list[np.ndarray], heads: list[bool], random: np.random.Generator) -> list[np.ndarray]:
    """For each piece the tag of another document: documents stand in a circle in random order, and each has the tag of the next one.

    A piece that does not begin a document is taken for a part of the last one before it with the same tag.
    """
    latest: dict[bytes, int] = {}
    document: list[int] = []
    own: list[np.ndarray] = []
    for tag, head in zip(tags, heads, strict=True):
        key = tag.tobytes()
        if head or key not in latest:
            latest[key] = len(own)
            own.append(tag)
        document.append(latest[key])
    if len(own) == 1:
        return [tags[0][:0]] * len(tags)
    circle = random.permutation(len(own)).tolist()
    following = dict(zip(circle, [*circle[1:], *circle[:1]], strict=True))
    return [own[following[one]] for one in document]
