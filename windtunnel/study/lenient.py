"""What a result file holds, typed, as far as it can be read: a report shows what there is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from windtunnel.core.typed import JsonBlock
from windtunnel.study.paper_result import PaperResult
from windtunnel.study.result import StudyResult

Some = TypeVar("Some", bound=JsonBlock)


def as_result(found: StudyResult | Mapping[str, Any]) -> StudyResult:
    """The content of a result file, typed; of a paper's a :class:`PaperResult`.

    A report shows what there is of a result. So a value that cannot be what its field says counts as not known, and an entry of a list
    that lacks what it needs as not there.
    """
    if isinstance(found, StudyResult):
        return found
    return leniently(PaperResult if {"paper", "expectations"} & found.keys() else StudyResult, found)


def paper_result(found: PaperResult | Mapping[str, Any]) -> PaperResult:
    """As :func:`as_result`, of a file that is known to be a paper's."""
    return found if isinstance(found, PaperResult) else leniently(PaperResult, found)


def leniently(kind: type[Some], found: Mapping[str, Any]) -> Some:
    """``found`` as ``kind``, without what cannot be what its field says."""
    content: Any = found
    while True:
        try:
            return kind.model_validate(content)
        except ValidationError as error:
            if content is found:
                content = copy.deepcopy(dict(found))
            # From behind, because places in a list move up when one before them is taken out.
            for place in sorted({tuple(one["loc"]) for one in error.errors(include_url=False)}, key=_in_order, reverse=True):
                _take_out(content, place)


def _in_order(place: tuple[Any, ...]) -> list[tuple[bool, int, str]]:
    return [(isinstance(key, int), key if isinstance(key, int) else 0, str(key)) for key in place]


def _take_out(content: Any, place: tuple[Any, ...]) -> None:
    """Remove what lies at ``place``, or where nothing does, the entry that it is missing from."""
    holder, last, inner = None, None, content
    for key in place:
        there = key in inner if isinstance(inner, dict) else isinstance(inner, list) and isinstance(key, int) and key < len(inner)
        if not there:
            break
        holder, last, inner = inner, key, inner[key]
    if holder is not None:
        del holder[last]
