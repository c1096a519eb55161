"""The fixed rule that splits documents, and the memory of which texts were seen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from windtunnel.data.corpus.digest import value_bytes
from windtunnel.data.corpus.fields import GROUP, IMAGE, ORIGIN, TEXT, text_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

SPLITS = ("train", "validation", "test")
KEY_BYTES = 16
_PIECE = 1 << 20


def content_key(text: str) -> bytes:
    """A 16-byte hash of ``text`` in which every run of white space counts as one space and none at the ends.

    So copies that differ in line ends or indentation by tabs count as the same text. The text is hashed in pieces, because
    splitting a document of hundreds of megabytes into words at once takes ten times its size in memory.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    begun = gap = False
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        words = " ".join(piece.split())
        if words:
            if begun and (gap or piece[0].isspace()):
                digest.update(b" ")
            digest.update(words.encode("utf-8"))
            begun, gap = True, piece[-1].isspace()
        else:
            gap = True
    return digest.digest()


def content_keys(rows: pyarrow.RecordBatch, content: Sequence[str] = ()) -> list[bytes | None]:
    """A 16-byte key of what each document is, None for one that holds nothing.

    ``content`` names the fields that count; see :func:`content_of`. Two documents have one key where these fields agree, texts up to white
    space. Where a document has nothing but text, its key is that of the text, whatever fields it might have.
    """
    texts = [text if text and not text.isspace() else None for text in text_of(rows)]
    names = content_of(rows.schema, content)
    if names == [TEXT]:
        return [text and content_key(text) for text in texts]  # type: ignore[misc]
    digests = [hashlib.blake2b(digest_size=KEY_BYTES) for _ in texts]
    held: list[set[str]] = [set() for _ in texts]
    for name in names:
        values = [text and content_key(text) for text in texts] if name == TEXT else value_bytes(rows.column(name))
        for row, value in enumerate(values):
            if value:
                digests[row].update(f"{name}\0{len(value)}\0".encode())
                digests[row].update(value)  # type: ignore[arg-type]
                held[row].add(name)
    found = zip(texts, held, digests, strict=True)
    return [None if not what else content_key(text or "") if what == {TEXT} else digest.digest() for text, what, digest in found]


def content_of(schema: pyarrow.Schema, content: Sequence[str] = ()) -> list[str]:
    """The fields of documents that say what they are, in alphabetical order: those of ``content``, where it names any.

    Else they are the text, and an image beside it, whose caption it is; without a text every field.
    """
    if content:
        return sorted({*content} & {*schema.names})
    if TEXT in schema.names:
        return sorted({TEXT, IMAGE} & {*schema.names})
    return sorted({*schema.names} - {ORIGIN, GROUP})


def split_keys(rows: pyarrow.RecordBatch, keys: Sequence[bytes]) -> list[bytes]:
    """The 16-byte key that decides on the split of each document: of its group where it has one, else its own of ``keys``."""
    if GROUP not in rows.schema.names:
        return list(keys)
    groups = rows.column(GROUP).to_pylist()
    return [key if group is None else group_key(group) for key, group in zip(keys, groups, strict=True)]


def group_key(group: str) -> bytes:
    """A 16-byte hash of the name of a group."""
    return hashlib.blake2b(group.encode("utf-8"), digest_size=KEY_BYTES, person=b"group").digest()


def fraction(key: bytes) -> float:
    """Where a document (or a group) stands between 0 (included) and 1, by the first eight bytes of its key: uniform over keys."""
    return (int.from_bytes(key[:8], "big") >> 11) / (1 << 53)


def split_of(position: float, *, validation: float, test: float) -> str:
    """The split of a document whose :func:`fraction` is ``position``.

    It depends on nothing but the document (or its group) and the two shares: not on the order of documents, nor on which others there are.
    """
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def shares_that_do(lowest: Sequence[float], total: int, settings: Mapping[str, float]) -> tuple[float, float] | None:
    """The smallest shares of validation and test, in hundredths and not below those set, that leave no split of a source empty.

    Args:
        lowest: where its documents stand (:func:`windtunnel.data.corpus.split.fraction`), ascending; of many, the lowest are enough.
        total: how many documents it has.
        settings: ``validation`` and ``test`` as they are set.
    """

    def enough(value: float) -> float:
        return (math.floor(value * 100) + 1) / 100

    for candidate in range(len(lowest)):
        test = max(settings["test"], enough(lowest[candidate]))
        later = [position for position in lowest if position >= test]
        if not later:
            continue
        validation = max(settings["validation"], enough(later[0] - test))
        held_out = sum(position < test + validation for position in lowest)
        if held_out < total and test < 0.5 and validation < 0.5:
            return round(validation, 2) if validation != settings["validation"] else validation, test
    return None


class Seen:
    """A set of 16-byte keys that takes 16 bytes each (a Python set takes about 100), as sorted arrays of growing size."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def new(self, keys: Sequence[bytes]) -> np.ndarray:
        """Which of ``keys`` occur for the first time (bool array), remembering all of them."""
        import numpy as np

        batch = np.array(keys, dtype=f"S{KEY_BYTES}")
        fresh = np.zeros(len(batch), dtype=bool)
        fresh[np.unique(batch, return_index=True)[1]] = True
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, batch), len(run) - 1)
            fresh &= run[place] != batch
        if fresh.any():
            self._runs.append(np.sort(batch[fresh]))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]
        return fresh
