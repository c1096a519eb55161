"""A part of a corpus that is too large: documents drawn by a hash of what they are, so that the same ones are drawn wherever they stand."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from windtunnel.data.corpus.digest import sizes
from windtunnel.data.corpus.fields import ORIGIN, TEXT, text_of
from windtunnel.data.corpus.frame import Document
from windtunnel.data.corpus.tally import Tally

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
LEAST = 0.75  # of what was asked for; a sample of few documents may well be so much smaller
OUT = "left out: not in the sample"


def bytes_of(text: str) -> int:
    """``1GB``, ``250 MB`` or a plain number of bytes. Raises ValueError for anything else."""
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([a-z]*)\s*", text.lower())
    unit = "" if found is None or found[2] in ("b", "bytes") else found[2].removesuffix("ytes")
    if found is None or unit not in UNITS:
        raise ValueError(f"{text!r} is no size; write it as 1GB or 250MB")
    return int(float(found[1]) * UNITS[unit])


def sampled(documents: Iterator[Document], size: int, whole: int, tally: Tally) -> Iterator[Document]:
    """About ``size`` bytes of ``documents``, of which there are about ``whole``: those whose hash is low enough, as they come.

    Every document is read once and none is held. Where there are more bytes than ``whole``, reading ends at ``size``; where there are
    fewer, as of PDF, whose files are larger than their text, the table says so.
    """
    limit, taken = size / max(1, whole), 0
    for document in documents:
        kept, held, left = _drawn(document, limit)
        if left[0]:
            tally.count(OUT, *left)
        if kept is not None:
            taken += held
            yield kept
        if taken >= size:
            tally.count("left out: the sample is full, the rest was not read", 0)
            return
    if limit < 1 and 0 < taken < LEAST * size:
        share, more = taken / size, size * size / taken
        tally.count(f"sample: {share:.0%} of what was asked for, as these files hold more than text; ask for {more:.2g} bytes", 0)


def _drawn(document: Document, limit: float) -> tuple[Document | None, int, tuple[int, int]]:
    """What of ``document`` is drawn, or None; its bytes; and how many documents and bytes are not."""
    if isinstance(document, tuple):
        size, inside = _size(document[0]), _hash(document[0]) < limit
    elif isinstance(document, Mapping):
        content = document.get(TEXT)
        size = _size(content)
        inside = _hash(content if content else _plain({key: value for key, value in document.items() if key != ORIGIN})) < limit
    else:
        import numpy as np
        import pyarrow

        held = sizes(document)
        rows = [text or _plain(row) for text, row in zip(text_of(document), _rows(document), strict=True)]
        chosen = np.array([_hash(row) < limit for row in rows], dtype=bool)
        kept = document.filter(pyarrow.array(chosen)) if chosen.any() else None
        return kept, int(held[chosen].sum()), (int((~chosen).sum()), int(held[~chosen].sum()))
    return (document, size, (0, 0)) if inside else (None, 0, (1, size))


def _rows(batch: Any) -> list[Any]:
    """The rows without their origin, where there is no text to tell them apart; else nothing of them is looked at."""
    if TEXT in batch.schema.names:
        return [None] * batch.num_rows
    names = [name for name in batch.schema.names if name != ORIGIN]
    return list(batch.select(names).to_pylist())


def _plain(row: Any) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def _size(text: Any) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0


def _hash(text: Any) -> float:
    """A number from 0 to 1 that the text alone decides."""
    digest = hashlib.blake2b(str(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
