"""How a corpus is split, and the short forms of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.core.errors import with_article
from windtunnel.core.settings import Settings, unit

SHORT, LONG = "tokenizer", "bpe"  # `tokenizer: {...}` is written for `encoding: {bpe: {...}}`


def named(name: Any, what: str) -> str:
    """The key ``name`` of a source or an arm as text. Raises an error that points there for one that no table could show."""
    found = str(name)
    if not found.strip() or not found.isprintable():
        message = "the name of {what} is at least a letter, and on one line"
        raise PydanticCustomError("name", message, {"key": found, "what": with_article(what)})
    return found


class SplitSettings(Settings):
    """How documents are held out and cleaned before anything else happens."""

    validation: float = Field(
        0.02, gt=0, lt=0.5, description="share of documents for validation", examples=[0.05], json_schema_extra=unit("share of documents")
    )
    test: float = Field(
        0.05, gt=0, lt=0.5, description="share of documents for test", examples=[0.1], json_schema_extra=unit("share of documents")
    )
    near_duplicates: float = Field(
        0.8,
        gt=0,
        le=1,
        description="estimated Jaccard similarity above which a training document is removed as a copy of a held-out one",
        examples=[0.9],
        json_schema_extra=unit("Jaccard similarity"),
    )
    field: str | None = Field(
        None, min_length=1, description="the field that decides instead of a hash, by `since` or `where`", examples=["published"]
    )
    since: dict[Literal["validation", "test"], str | float] = Field(
        {},
        description="the value of the field, such as a date, from which on documents are held out, by split",
        examples=[{"test": "2024-07-01"}],
    )
    where: dict[Literal["validation", "test"], tuple[str, ...]] = Field(
        {},
        description="the values of the field that stand for a split, by split; all others are training",
        examples=[{"validation": "dev", "test": ["test", "challenge"]}],
    )
    held_out_validation: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the documents of each source under held_out that are validation; the rest is test",
        examples=[0],
        json_schema_extra=unit("share of documents"),
    )

    @field_validator("since", mode="before")
    @classmethod
    def _dates_as_text(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: one.isoformat() if isinstance(one, date) else one for key, one in value.items()}

    @field_validator("where", mode="before", json_schema_input_type=dict[Literal["validation", "test"], str | tuple[str, ...]])
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: tuple(map(str, one)) if isinstance(one, (list, tuple)) else (str(one),) for key, one in value.items()}

    @model_validator(mode="after")
    def _one_rule(self) -> SplitSettings:
        rules = [name for name in ("since", "where") if getattr(self, name)]
        if self.field is None and rules:
            raise _at(rules[0], f"`{rules[0]}` says which values of a field are held out: name the field, as in field: published")
        if self.field is not None and len(rules) != 1:
            raise _at("field", "a field splits by one of `since` (from a date or number on) and `where` (by names)")
        if rules and "test" not in getattr(self, rules[0]):
            raise _at(rules[0], f"say what is test, as in {rules[0]}: {{test: ...}}; without validation a share of the rest is it")
        if len(self.since) == 2:
            validation, test = self.since["validation"], self.since["test"]
            if isinstance(validation, str) != isinstance(test, str) or validation >= test:  # type: ignore[operator]
                raise _at("since", f"validation begins at {validation}, which is not before test at {test}")
        return self

    def by(self) -> dict[str, Any]:
        """The rule by which a field decides, as :class:`windtunnel.data.corpus.placing.Placing` reads it; empty where a hash does."""
        return {} if self.field is None else self.model_dump(mode="json", include={"field", "since" if self.since else "where"})


def _at(key: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("at_key", "{message}", {"key": key, "message": message})


def long_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as plain data, with ``encoding`` for ``tokenizer``. Raises PydanticCustomError where it has both."""
    if SHORT not in data:
        return dict(data)
    if "encoding" in data:
        raise _at(SHORT, f"`{SHORT}` is the short form of `encoding: {{{LONG}: ...}}`, which is written too; write one of them")
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
