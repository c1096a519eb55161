"""Files that somebody has reported trouble with, each as small as it can be. The source stands beside the case."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source.files import Files


def read(path: Path, **options: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The documents of ``path``, and the counts of the table."""
    tally = Tally("notes")
    found = [row for batch in batches(Files(path=str(path), **options).documents(tally)) for row in batch.to_pylist()]
    return found, {row["what"]: row["documents"] for row in tally.rows()}


def texts(path: Path, **options: Any) -> list[str]:
    return [row["text"] for row in read(path, **options)[0]]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Path]:
    """A folder with one good file, so that others in it are skipped and counted."""
    (tmp_path / "good.txt").write_text("a good one")
    yield tmp_path


LONG = "id,text\n1,a river\n2,a stone, a lamp, and so it went on\n3,a bridge\n"
ESCAPED = 'id,text\n1,a river\n2,"he said \\"hi, there\\" and went"\n3,a bridge\n'
OPEN = 'id,text\n1,a river\n2,"a quote that nobody closes\n3,a bridge\n'


@pytest.mark.parametrize("rows", [LONG, ESCAPED, OPEN], ids=["commas", "backslashes", "open quote"])
def test_rows_of_a_table_that_do_not_fit_are_told(rows: str, beside: Path) -> None:
    """microsoft/markitdown 2390; semantic-reasoning/wirelog 982; dathere/qsv 2613. The open quote: cldf/csvw 52, apple/turicreate 1692."""
    file = beside / "rows.csv"
    file.write_text(rows)
    with pytest.raises(UserError, match="line 3"):
        read(file)
    found, counts = read(beside)
    assert "a river" in [row["text"] for row in found] and sum(counts.values()) == 1 and "skipped: record" in next(iter(counts))
    assert not any("lamp" in row["text"] or "hi" in row["text"] or "nobody" in row["text"] for row in found)


def test_a_separator_at_the_end_of_every_line_is_no_further_field(tmp_path: Path) -> None:
    """Right before and to be kept: spreadsheets write such files."""
    (tmp_path / "rows.csv").write_text("id,text\n1,a river,\n2,a stone,,\n")
    assert texts(tmp_path / "rows.csv") == ["a river", "a stone"]


def test_a_header_may_have_a_line_break_between_quotes(tmp_path: Path) -> None:
    """tidyverse/readr 784; pola-rs/polars 8402; duckdb/duckdb 16760."""
    (tmp_path / "rows.csv").write_text('"number\nof note",text\n1,a river\n')
    assert texts(tmp_path / "rows.csv") == ["a river"]


def two_columns(path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a river"]), pyarrow.array(["other"])], names=["text", "text"])
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".csv":
        path.write_text("text,text\na river,other\n")
    else:
        path.write_text('{"text": "a lamp"}\n{"text": "a river", "text": "other"}\n')


@pytest.mark.parametrize("name", ["joined.parquet", "joined.arrow", "joined.csv", "joined.jsonl"])
def test_two_columns_of_one_name(name: str, beside: Path) -> None:
    """apache/arrow 37428; apache/datafusion 24387; pola-rs/polars 27393. For JSON RFC 8259, section 4: readers differ in what they take."""
    two_columns(beside / name)
    with pytest.raises(UserError, match="'text' occurs twice"):
        read(beside / name)
    found, counts = read(beside)
    assert {row["text"] for row in found} <= {"a good one", "a lamp"} and sum(counts.values()) == 1


def test_other_columns_of_one_name_are_left_out_and_noted(tmp_path: Path) -> None:
    """As above: a join of two tables writes both keys."""
    (tmp_path / "rows.csv").write_text("key,text,key\n1,a river,2\n")
    found, counts = read(tmp_path / "rows.csv")
    assert found == [{"text": "a river", "origin": "rows.csv:2"}]
    assert counts == {"left out: column whose name occurs twice": 1}


def test_a_file_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    """arsenetar/dupeguru 335; tfeldmann/organize 429; run-llama/llama_index 10369."""
    folder = tmp_path / os.fsdecode(b"alt\xfc")
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("a river")
    found, _ = read(tmp_path)
    assert found == [{"text": "a river", "origin": "alt\\xfc/caf\\xe9.txt"}]
    json.dumps(found).encode()


def test_folders_behind_links_are_read_once_and_loops_end(tmp_path: Path) -> None:
    """huggingface/datasets 6764 (fixed by 7133); allenai/ir_datasets 160; cvg/Hierarchical-Localization 283; cytomining/CytoTable 441."""
    notes, other = tmp_path / "notes", tmp_path / "other"
    (notes / "real").mkdir(parents=True)
    (other / "deep").mkdir(parents=True)
    for number, place in enumerate((notes / "a.txt", notes / "real" / "b.txt", other / "c.txt", other / "deep" / "d.txt")):
        place.write_text(f"note {number}")
    (notes / "more").symlink_to("../other")
    (notes / "loop").symlink_to("..")
    (notes / "again").symlink_to("real")
    (other / "back").symlink_to("../notes")
    found = sorted(row["origin"] for row in read(notes)[0])
    assert len(found) == 4 and {"a.txt", "real/b.txt"} < set(found)
    assert sorted(texts(notes, glob="**/d.txt")) == ["note 3"]


def test_what_a_glob_passes_over_is_counted(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbour of the links to folders; anomalyco/opencode 24972 and BurntSushi/ripgrep 241 meet both (grep and find tell them)."""
    (beside / "gone.txt").symlink_to("nowhere")
    (beside / "closed").mkdir()
    scandir = os.scandir

    def closed(path: Any = ".") -> Any:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert read(beside)[1] == {"skipped: link to nothing": 1, "skipped: unreadable folder (Permission denied)": 1}
