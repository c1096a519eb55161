"""What curators share that act on some sources and leave the others alone."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import PartError, nearest
from windtunnel.data.corpus.frame import engine, streamed

if TYPE_CHECKING:
    import daft


def digest(text: str, seed: int = 0) -> bytes:
    """A hash of a document, another for every seed."""
    return hashlib.blake2b(text.encode("utf-8", errors="replace"), digest_size=16, key=seed.to_bytes(8, "little")).digest()


def text_of(part: Any, documents: daft.DataFrame) -> daft.Expression:
    """The texts of ``documents``, null where one has none.

    Raises:
        PartError: where no source has text, so that ``part`` would do nothing.
    """
    if "text" not in documents.column_names:
        fields = ", ".join(name for name in documents.column_names if name not in ("origin", "source"))
        raise PartError(f"{part.name}: works on text, and the documents have none; their fields are {fields}")
    return engine().col("text")


def wanted(part: Any, documents: daft.DataFrame, sources: Sequence[str]) -> daft.Expression:
    """The expression that says which rows are of ``sources`` (none named: of any).

    Raises:
        PartError: for a source that the documents are not of.
    """
    daft = engine()
    known = documents.select("source").distinct().to_pydict()["source"]
    for source in sources:
        if source not in known:
            raise PartError(f"{part.name}: no source is called {source!r}; {nearest(source, known)}")
    return daft.col("source").is_in(list(sources or known))


def keep_best(part: Any, documents: daft.DataFrame, sources: Sequence[str], keep: float, rank: Callable[[str], Any]) -> daft.DataFrame:
    """Of each source named, the documents of the lowest ``rank``, as many as make up the share ``keep`` of its characters.

    At least one of each stays, and the first that passes the share is left out. Order, other sources and documents without text are
    unchanged.
    """
    return keep_scored(part, documents, sources, keep, lambda texts: map(rank, texts))


def keep_scored(
    part: Any,
    documents: daft.DataFrame,
    sources: Sequence[str],
    keep: float,
    scores: Callable[[Iterator[str]], Iterable[Any]],
    which: str = "lowest",
) -> daft.DataFrame:
    """As :func:`keep_best` by ``scores``, which takes the texts in order and yields a number for each in that order.

    ``which`` of them stay: the lowest, the highest, or those in the middle, by characters.
    """
    daft = engine()
    words = text_of(part, documents)
    judged = wanted(part, documents, sources) & words.not_null()
    found: dict[str, list[tuple[Any, bytes, int]]] = {}
    waiting: deque[tuple[str, bytes, int]] = deque()

    def texts() -> Iterator[str]:
        for text, source in streamed(documents.where(judged), ("text", "source")):
            waiting.append((source, digest(text), len(text)))
            yield text

    unknown = total = 0
    for score in scores(texts()):
        source, key, size = waiting.popleft()
        found.setdefault(source, []).append((score, key, size))
        unknown, total = unknown + (score != score), total + 1
    if unknown:
        raise PartError(f"{part.name}: the scores of {unknown:,} of {total:,} documents are not numbers, so none can be chosen by them")
    kept = {key for entries in found.values() for key in _best(_ranked(entries, which), keep)}
    stays = words.fill_null("").apply(lambda text: digest(text) in kept, return_dtype=daft.DataType.bool())
    return documents.where(~judged | stays)


def _ranked(entries: list[tuple[Any, bytes, int]], which: str) -> list[tuple[Any, bytes, int]]:
    """``entries`` (score, key, size) with a rank for the score, of which the lowest are wanted."""
    if which == "lowest":
        return entries
    if which == "highest":
        return [(-score, key, size) for score, key, size in entries]
    ranked, before, half = [], 0.0, sum(size for *_, size in entries) / 2
    for _, key, size in sorted(entries):
        ranked.append((abs(before + size / 2 - half), key, size))
        before += size
    return ranked


def _best(entries: Iterable[tuple[Any, bytes, int]], keep: float) -> list[bytes]:
    ordered = sorted(entries)
    room = keep * sum(size for *_, size in ordered)
    chosen, held = [ordered[0][1]], ordered[0][2]
    for _, key, size in ordered[1:]:
        if held + size > room * (1 + 1e-9):
            break
        chosen.append(key)
        held += size
    return chosen
