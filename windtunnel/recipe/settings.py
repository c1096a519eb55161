"""How a corpus is split, and the short forms of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from pydantic_core import PydanticCustomError

from windtunnel.core.settings import Settings

SHORT, LONG = "tokenizer", "bpe"  # `tokenizer: {...}` is written for `encoding: {bpe: {...}}`


class SplitSettings(Settings):
    """How documents are held out and cleaned before anything else happens."""

    validation: float = Field(0.02, gt=0, lt=0.5, description="share of documents for validation")
    test: float = Field(0.05, gt=0, lt=0.5, description="share of documents for test")
    near_duplicates: float = Field(
        0.8, gt=0, le=1, description="estimated Jaccard similarity above which a training document is removed as a copy of a held-out one"
    )


def long_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as plain data, with ``encoding`` for ``tokenizer``. Raises PydanticCustomError where it has both."""
    if SHORT not in data:
        return dict(data)
    if "encoding" in data:
        message = f"`{SHORT}` is the short form of `encoding: {{{LONG}: ...}}`, which is written too; write one of them"
        raise PydanticCustomError("at_key", "{message}", {"key": SHORT, "message": message})
    return {**{key: value for key, value in data.items() if key != SHORT}, "encoding": {LONG: data[SHORT]}}


def encoding_knobs(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The knobs that a recipe as plain data writes for its ``bpe``, in the long or the short form; None where it has another encoding."""
    written = data.get(SHORT)
    if written is None:
        part = data.get("encoding", LONG)
        written = part.get(LONG, part) if isinstance(part, Mapping) else {} if part == LONG else None
        if isinstance(part, Mapping) and LONG not in part:
            return None
    return dict(written) if isinstance(written, Mapping) else None if written is None else {}
