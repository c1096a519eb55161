"""Texts that are written from several fields, and chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source.files import Files

MAIL = [{"subject": "Wings", "body": "They lift.", "size": 3}, {"subject": None, "body": "No subject.", "size": 4}]
CHAT = [
    {"role": "user", "content": "What lifts?"},
    {"role": "assistant", "content": [{"type": "text", "text": "A wing."}, {"type": "image"}]},
]
SHARED = [{"from": "human", "value": "What lifts?"}, {"from": "gpt", "value": "A wing."}]
SAID = "User: What lifts?\n\nAssistant: A wing."


def rows(path: Path, **knobs: Any) -> list[dict[str, Any]]:
    return [row for batch in batches(Files(path=str(path), **knobs).documents(Tally("mail"))) for row in batch.to_pylist()]


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".csv":
        path.write_text(";".join(records[0]) + "\n" + "".join(";".join(str(v or "") for v in record.values()) + "\n" for record in records))
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", ["mail.jsonl", "mail.csv", "mail.parquet"])
def test_a_template_writes_the_text(name: str, tmp_path: Path) -> None:
    found = rows(write(tmp_path / name, MAIL), template="{subject}\n{body} {{{size}}}")
    assert [row["text"] for row in found] == ["Wings\nThey lift. {3}", "\nNo subject. {4}"]
    assert set(found[0]) == {"text", "origin"}
    found = rows(tmp_path / name, template="{subject}\n{body}", keep=["subject", "size"], group="size")
    assert set(found[0]) == {"text", "origin", "subject", "size", "group"} and found[1]["text"] == "\nNo subject."


@pytest.mark.parametrize("name", ["mail.jsonl", "mail.csv", "mail.parquet"])
def test_a_field_of_a_template_that_is_not_there_is_named_with_the_nearest(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no (field|.*column) 'subjekt'.*did you mean 'subject'"):
        rows(write(tmp_path / name, MAIL), template="{subjekt}\n{body}")


@pytest.mark.parametrize("template", ["no field", "{}", "{open"])
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"template|expected"):
        Files(path=".", template=template)


def test_a_record_without_any_value_has_no_text(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.jsonl", [{"a": None, "b": " "}]), template="{a} and {b}")[0]["text"] == ""


@pytest.mark.parametrize(("field", "turns"), [("messages", CHAT), ("conversations", SHARED), ("dialog", CHAT)])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_chat_is_written_with_who_speaks(field: str, turns: Any, form: str, tmp_path: Path) -> None:
    plain = [{**turn, "content": "A wing."} if isinstance(turn.get("content"), list) else turn for turn in turns]
    path = write(tmp_path / f"chat.{form}", [{"id": 1, field: turns if form == "jsonl" else plain}])
    found = rows(path, **({"field": field} if field == "dialog" else {}))
    assert found == [{"text": SAID, "id": 1, "origin": f"chat.{form}:1"}]


def test_calls_of_tools_are_part_of_a_chat(tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}, {"role": "tool", "content": "3"}]
    assert rows(write(tmp_path / "a.jsonl", [{"messages": turns}]))[0]["text"] == 'Assistant: [{"name": "add"}]\n\nTool: 3'


def test_text_goes_before_a_chat_and_messages_may_be_something_else(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"text": "a river", "messages": CHAT}])
    assert rows(tmp_path / "a.jsonl")[0]["text"] == "a river"
    write(tmp_path / "b.jsonl", [{"messages": 3, "name": "x"}])
    assert rows(tmp_path / "b.jsonl") == [{"messages": 3, "name": "x", "origin": "b.jsonl:1"}]


def test_a_line_that_was_decoded_stands_in_the_table() -> None:
    """The report counted such files and showed nothing of them, so that wrong letters could not be seen."""
    tally = Tally("letters")
    tally.count("decoded from cp1252", where="a.txt: Größe")
    tally.count("skipped: binary file", where="b.png")
    assert [row.get("examples") for row in tally.rows()] == [["a.txt: Größe"], None]
