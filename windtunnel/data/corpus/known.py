"""Which corpus was prepared before of the same sources and settings, told by how sources look and without reading them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.keys import differing
from windtunnel.data.corpus.corpus import FORMAT, RULES, Corpus
from windtunnel.data.corpus.curation import Curation
from windtunnel.data.corpus.reading import look_of, reading_versions
from windtunnel.slots import Curator, Source


class FoundCorpus(NamedTuple):
    """Whether it can be ``told`` without reading which corpus sources give as they look now, and that ``corpus``, where it is there."""

    told: bool
    corpus: Corpus | None


def found_corpus(
    sources: Mapping[str, Source],
    *,
    validation: float,
    test: float,
    near_duplicates: float,
    by: Mapping[str, Any] | None,
    held_out: Mapping[str, Source],
    held_out_validation: float,
    curators: Sequence[Curator],
    cache: Path,
) -> FoundCorpus:
    """What :func:`windtunnel.data.corpus.prepare.prepare_corpus` would find of the same settings, where no curator holds a model.

    Nothing is prepared.
    """
    shares = {"validation": validation, "test": test, "near_duplicates": near_duplicates}
    sources, settings = asked(sources, shares, by, held_out, held_out_validation)
    pointer = pointer_of(cache, sources, settings, curators, Curation())
    told = pointer is not None and any(cache.glob("key-*.json"))  # after `clean --cache` nothing can be told
    return FoundCorpus(told, known_corpus(cache, pointer))


def asked(
    sources: Mapping[str, Source],
    shares: Mapping[str, float],
    by: Mapping[str, Any] | None,
    held_out: Mapping[str, Source] | None,
    held_out_validation: float,
) -> tuple[Mapping[str, Source], dict[str, Any]]:
    """All sources, held-out ones too, and the settings that decide what becomes of them."""
    if not sources and not held_out:
        raise UserError("the corpus has no source")
    settings: dict[str, Any] = {**shares, **(by or {})}
    if held_out:
        settings |= {"held_out": list(held_out), "held_out_validation": held_out_validation}
        sources = {**sources, **held_out}
    return sources, settings


def pointer_of(
    cache: Path, sources: Mapping[str, Source], settings: dict[str, Any], curators: Sequence[Curator], curation: Curation
) -> Path | None:
    """The file that says which corpus these settings gave while the sources looked as they look now; None where a source cannot tell."""
    looks: list[Any] = []
    for name, source in sources.items():
        signature = getattr(source, "signature", None)
        if signature is None:
            return None
        with naming_source(name):
            looks.append([name, differing(source), signature()])
    for curator in curators:
        look = look_of(curator)
        if look is None:
            return None
        looks.append([differing(curator), look])
    everything: list[Any] = [FORMAT, RULES, reading_versions(), settings, looks]
    if curation.runs:
        everything.append(sorted(curation.runs))
    return cache / f"key-{hashlib.blake2b(json.dumps(everything).encode(), digest_size=16).hexdigest()}.json"


def known_corpus(cache: Path, pointer: Path | None) -> Corpus | None:
    """The corpus that ``pointer`` names below ``cache``; None where there is none, or it is damaged."""
    if pointer is None or not pointer.is_file():
        return None
    try:
        return Corpus.open(cache / json.loads(pointer.read_text(encoding="utf-8"))["fingerprint"])
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None  # damaged or removed by hand: prepared afresh


@contextlib.contextmanager
def naming_source(source: str) -> Iterator[None]:
    """Errors inside say that they are about ``source``."""
    try:
        yield
    except UserError as error:
        raise (PartError if isinstance(error, PartError) else UserError)(f"corpus source {source!r}: {error}") from error
