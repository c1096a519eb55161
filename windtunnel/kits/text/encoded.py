"""What a stream of text offers besides its numbers: its tokenizer, and its documents as text."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import PartError
from windtunnel.data.stream import Stream
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.slots import HeldOut

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

KEPT = "_as_text"  # where a stream keeps what it offers as text


def text_of(stream: Any, who: str) -> EncodedText:
    """What ``stream`` offers as text. Raises PartError naming ``who`` needs it, where its documents are no text."""
    found: EncodedText | None = getattr(stream, "__dict__", {}).get(KEPT)
    if found is None:
        _refuse_other(getattr(stream, "facts", None), who)
        found = EncodedText(stream)
        setattr(stream, KEPT, found)
    return found


def without_documents(tokenizer: Any, vocabulary: Vocabulary) -> Any:
    """What stands for a stream where an evaluation brings text of its own: its ``facts``, and of text the tokenizer alone."""
    found = SimpleNamespace(facts=vocabulary)
    setattr(found, KEPT, SimpleNamespace(tokenizer=tokenizer))
    return found


def tokenizer_of(stream: Any) -> Any:
    """The tokenizer of ``stream``, as transformers has it; None where there is no stream, or one of something else."""
    known = KEPT in getattr(stream, "__dict__", {}) or isinstance(getattr(stream, "facts", None), Vocabulary)
    return text_of(stream, "").tokenizer if known else None


def vocabulary_of(held_out: HeldOut, who: str) -> Vocabulary:
    """What is known of the tokens of held-out text. Raises PartError naming ``who`` needs it, where documents are no text."""
    return _refuse_other(held_out.facts, who)


def cut(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[int]]:
    """The tokens of both together, cut where those of ``question`` alone end or differ: a token that spans the cut is the answer's."""
    alone, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (question.rstrip(), question + answer))
    same = next((place for place, (one, other) in enumerate(zip(alone, both, strict=False)) if one != other), min(len(alone), len(both)))
    return both[:same], both[same:]


def _refuse_other(facts: Any, who: str) -> Vocabulary:
    if not isinstance(facts, Vocabulary):
        raise PartError(f"{who}: needs documents of text, encoded as tokens; it cannot be used with another encoding")
    return facts


class EncodedText:
    """A stream of tokens, as text. Made by :func:`text_of`."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    @property
    def vocabulary(self) -> Vocabulary:
        """Its size, special tokens, and for each token its bytes and whether it begins a word."""
        known: Vocabulary = self.stream.facts
        return known

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, as transformers has it."""
        self.stream.check_tokenizer()
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(self.stream.folder / "tokenizer"), local_files_only=True)
        return tokenizer

    @property
    def given(self) -> Path | None:
        """The folder of the tokenizer as it was given, with nothing added; None where it was trained or extended here."""
        folder = self.stream.folder / "given"
        return folder if folder.is_dir() else None

    def tokenizer_for(self, special: Collection[str]) -> Any:
        """What to hand on with a model whose recipe uses the ``special`` tokens (mask, spans, modes).

        The folder of the tokenizer as it was given, unless tokens that were added to it are used; else :attr:`tokenizer`.
        """
        added = self.vocabulary.rows_needed(special) == self.vocabulary.size
        return self.tokenizer if added or self.given is None else self.given

    def added_tokens(self) -> list[str]:
        """The special tokens that were added to the tokenizer that the stream was given."""
        if self.given is None:
            return []
        from transformers import AutoTokenizer

        before = AutoTokenizer.from_pretrained(self.given, local_files_only=True).get_vocab()
        return [token for token, _ in sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1]) if token not in before]

    def same_tokens(self, other: EncodedText) -> bool:
        """Whether ``other`` reads text with the same tokens, each of the same number."""
        if self.stream.fingerprint == other.stream.fingerprint:
            return True
        files = [stream.folder / "tokenizer" / "tokenizer.json" for stream in (self.stream, other.stream)]
        one, two = (json.loads(file.read_text(encoding="utf-8")) for file in files)
        numbers = [[(token["content"], token["id"]) for token in file["added_tokens"]] for file in (one, two)]
        return numbers[0] == numbers[1] and all(one.get(part) == two.get(part) for part in ("model", "pre_tokenizer", "normalizer"))

    def text(self, split: str, source: str, document: int) -> str:
        """One document as text, decoded from its tokens (exact for byte-level tokenizers)."""
        tokens = self.stream.read(split, source, document, 1).tolist()
        if self.vocabulary.end is not None:
            tokens = tokens[:-1]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def documents(self, split: str, source: str) -> Iterator[str]:
        """The documents of one source in one split as text, in stored order."""
        for document in range(len(self.stream.lengths(split, source))):
            yield self.text(split, source, document)

    def training_text(self, sources: Sequence[str]) -> Iterator[str]:
        """Training documents as text, one of each of ``sources`` in turn."""
        counts = {source: len(self.stream.lengths("train", source)) for source in sources}
        for document in range(max(counts.values(), default=0)):
            for source in sources:
                if document < counts[source]:
                    yield self.text("train", source, document)
