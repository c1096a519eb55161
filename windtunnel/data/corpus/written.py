"""Texts that are written from a record: by a template from several fields, or from the turns of a chat."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from windtunnel.data.corpus.fields import as_text

CHATS = ("messages", "conversations")  # the fields in which chats come, as OpenAI and as ShareGPT write them
_SPEAKER, _SAID = ("role", "from"), ("content", "value")
_NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


class Template:
    """A text with the names of fields in braces, such as ``"{subject}\\n{body}"``; a brace itself is doubled.

    Attributes:
        fields: the fields that it names, each once.

    Raises:
        ValueError: where it names no field, or the braces do not fit.
    """

    def __init__(self, template: str) -> None:
        self._pieces = [(text, name) for text, name, *_ in _parsed(template)]
        self.fields = tuple(dict.fromkeys(name for _, name in self._pieces if name is not None))
        if not self.fields or "" in self.fields:
            raise ValueError(f"a template names fields in braces, such as '{{title}}\\n{{body}}', and this is {template!r}")

    def write(self, record: Mapping[str, Any]) -> str:
        """The text of a record; what is not text is written as JSON, and nothing where there is no value. Empty if no field has one."""
        values = {name: as_text(record.get(name)) or "" for name in self.fields}
        if not any(value.strip() for value in values.values()):
            return ""
        return "".join(text + (values[name] if name is not None else "") for text, name in self._pieces)


def _checked(template: str) -> str:
    Template(template)
    return template


TemplateText = Annotated[str, AfterValidator(_checked)]  # a field of settings, refused where :class:`Template` refuses it


def _parsed(template: str) -> list[tuple[str, str | None]]:
    """Text and the name of the field after it, as ``str.format`` has them, but with any name that a column may have."""
    found: list[tuple[str, str | None]] = []
    for text, name, form, conversion in string.Formatter().parse(template):
        whole = None if name is None else name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        found.append((text, whole))
    return found


def is_chat(value: Any) -> bool:
    """Whether a value is a list of turns, each with who speaks and what is said."""
    return isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) and _first(turn, _SPEAKER) for turn in value)


def is_empty_chat(value: Any) -> bool:
    """Whether a value is a chat in which nobody has spoken yet."""
    return value is None or value == []


def chat_text(turns: list[Mapping[str, Any]]) -> str:
    """A chat as plain text: ``User: ...``, a blank line, ``Assistant: ...``.

    No chat template of a tokenizer is used: its marks are special tokens, and special tokens in a corpus are read as the characters that
    they are.
    """
    return "\n\n".join(f"{_speaker(turn)}: {_said(turn)}" for turn in turns)


def _speaker(turn: Mapping[str, Any]) -> str:
    name = str(_first(turn, _SPEAKER))
    return _NAMES.get(name.lower(), name).capitalize()


def _said(turn: Mapping[str, Any]) -> str:
    content = _first(turn, _SAID)
    if isinstance(content, list):  # parts, of which those that are not text are images and the like
        content = "\n".join(text for text in map(_part, content) if text)
    calls = turn.get("tool_calls")
    said = [as_text(content) or "", as_text(calls) or "" if calls else ""]
    return "\n".join(one for one in said if one)


def _part(part: Any) -> str:
    """The text of a part: a text itself, or an object that has one under ``text`` or ``content``, there perhaps under ``value``."""
    if not isinstance(part, Mapping):
        return part if isinstance(part, str) else ""
    text = _first(part, ("text", "content"))
    return as_text(text.get("value") if isinstance(text, Mapping) else text) or ""


def _first(turn: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)
