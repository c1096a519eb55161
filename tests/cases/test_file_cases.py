"""Files that somebody has reported trouble with, each as small as it can be. The source stands beside the case."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.glance import Glance
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


FRENCH = "Le dîner fut gâté par la fumée ; où était passé le garçon ?"


def test_western_letters_of_old_files(tmp_path: Path) -> None:
    """jawah/charset_normalizer 358, 477, 571; chardet and uchardet tell them apart."""
    for name, text, encoding in (
        ("a", FRENCH, "latin-1"),
        ("b", "¿Cuándo vendrá el señor Ibáñez?", "cp1252"),
        ("c", "Übergröße für Müßige", "latin-1"),
    ):
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert texts(tmp_path / name) == [text]


PLAIN = "In the beginning there was plain text, which tells nothing of letters. "
NAMES = {"cp1252": ["Größe Nr. 7 – façade", "façade", "Übermaß “naïve”", "10 £"], "cp850": ["Größe, garçon"], "mac_roman": ["Größe, élève"]}


@pytest.mark.parametrize(("encoding", "names"), NAMES.items(), ids=list(NAMES))
def test_some_western_names_in_english_text(encoding: str, names: list[str], tmp_path: Path) -> None:
    """Met with a table of tickets: cp1252 was taken for cp852, as ``Gr÷▀e`` and ``fašade``. jawah/charset_normalizer 358, 571."""
    for name in names:
        (tmp_path / "a.txt").write_bytes("\n".join(f"{name} {PLAIN * 8}" for _ in range(60)).encode(encoding))
        assert texts(tmp_path / "a.txt")[0].startswith(name)


def test_letters_that_are_not_western_stay_as_they_are_recognised(tmp_path: Path) -> None:
    """Right before and to be kept: what looks at the words must not take them for Western ones."""
    for encoding, text in (
        ("cp1251", PLAIN * 9 + "он сказал: привет, друзья. "),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. "),
        ("cp1251", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
        ("koi8-r", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
        ("gb18030", "视野无限广，窗外有蓝天。微风迎客，软语伴茶。"),
        ("shift_jis", "いろはにほへと、ちりぬるを。わかよたれそ、つねならむ。"),
        ("iso8859-7", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. "),
    ):
        (tmp_path / encoding).write_bytes((text * 30).encode(encoding))
        assert texts(tmp_path / encoding) == [text * 30], encoding


def test_letters_that_come_late_in_a_table(tmp_path: Path) -> None:
    """simonw/datasette-upload-csvs 23, 25; danny-avila/rag_api 291: only the beginning of the file was looked at."""
    plain = "".join(f"{number},plain text that says nothing of letters\n" for number in range(8000))
    (tmp_path / "rows.csv").write_bytes(f"id,text\n{plain}8000,{FRENCH}\n".encode("cp1252"))
    assert texts(tmp_path / "rows.csv")[-1] == FRENCH


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_text_in_utf_16_with_and_without_its_mark(name: str, encoding: str, tmp_path: Path) -> None:
    """jqlang/jq 2351 (what PowerShell writes); microsoft/vscode 22564, CharsetDetector/UTF-unknown 5 and raphaelmansuy/code2prompt 30."""
    content = {"a.txt": FRENCH, "a.jsonl": json.dumps({"text": FRENCH}) + "\n", "a.csv": f"id,text\n1,{FRENCH}\n"}[name]
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert texts(tmp_path) == [FRENCH]


def test_numbers_of_two_bytes_are_no_text(tmp_path: Path) -> None:
    """Neighbour of the case above: notepad-plus-plus 3506 took such files for UTF-16."""
    (tmp_path / "ids.bin").write_bytes(b"".join(number.to_bytes(2, "little") for number in range(250)) * 40)
    with pytest.raises(UserError, match="binary file"):
        read(tmp_path / "ids.bin")


def test_one_bad_line_does_not_take_the_rest_of_the_file_with_it(beside: Path) -> None:
    """microsoft/graphrag 2424; NVIDIA-NeMo/Automodel 1694; johnkerl/miller 1297."""
    file = beside / "a.jsonl"
    file.write_bytes(b'{"text": "a river"}\n{"text": "cut of\n{"text": "\xff"}\n{"text": "a bridge"}\n')
    found, counts = read(beside)
    assert {row["text"] for row in found} == {"a river", "a bridge", "a good one"}
    assert counts == {"skipped: record, not valid JSON": 1, "skipped: record, not valid UTF-8": 1}
    with pytest.raises(UserError, match="line 2: not valid JSON"):
        read(file)


def test_joined_files_have_marks_in_their_middle(tmp_path: Path) -> None:
    """cityjson/cjio 21 and typicode/json-server 1666 meet the mark at the start; ``cat`` of two such files puts one further down."""
    (tmp_path / "a.jsonl").write_bytes("\ufeff".join(["", '{"text": "a river"}\n', '{"text": "a stone"}\n']).encode())
    (tmp_path / "b.json").write_bytes("\ufeff".join(["", '[{"text": "a lamp"}]\n', '[{"text": "a bridge"}]\n']).encode())
    assert texts(tmp_path) == ["a river", "a stone", "a lamp", "a bridge"]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("array", [True, False])
def test_json_lines_that_are_none(array: bool, indent: int | None, tmp_path: Path) -> None:
    """unslothai/unsloth 7422; marin-community/levanter 394; huggingface/datasets 4997: the name says one form, the file is another."""
    records = [{"text": "a river", "id": 1}, {"text": "a stone", "id": 2}]
    whole = json.dumps(records, indent=indent) if array else "\n".join(json.dumps(record, indent=indent) for record in records)
    (tmp_path / "a.jsonl").write_text(whole)
    assert texts(tmp_path) == ["a river", "a stone"]


def test_a_name_may_hide_that_a_file_is_compressed(tmp_path: Path) -> None:
    """rmoralespp/jsonl 15; mozilla-services/heka 1255; CEGRcode/scriptmanager 88; Genivia/ugrep 483 (a .tgz that is xz)."""
    line = b'{"text": "a river"}\n'
    packed = {
        "a.jsonl": gzip.compress(line),
        "b.jsonl": bz2.compress(line),
        "c.jsonl": lzma.compress(line),
        "d.txt": zstandard.compress(b"a river"),
    }
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
    assert texts(tmp_path) == ["a river"] * 4


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "sep=|"])
def test_a_table_may_name_its_separator(first: str, tmp_path: Path) -> None:
    """PowerShell/PowerShell 7776; mechatroner/vscode_rainbow_csv 108; tspence/csharp-csv-reader 28."""
    mark = first.strip('"')[-1]
    (tmp_path / "a.csv").write_text(f"{first}\r\nid{mark}text\r\n1{mark}a river, a stone\r\n")
    found, _ = read(tmp_path / "a.csv")
    assert found == [{"text": "a river, a stone", "id": "1", "origin": "a.csv:3"}]


def test_a_page_says_in_which_letters_it_is_written(tmp_path: Path) -> None:
    """raphaelmansuy/code2prompt 30 meets UTF-16; HTML's own rule is that what a page declares comes before any guess."""
    page = '<html><head><meta http-equiv="Content-Type" content="text/html; charset=windows-1251"></head><body><p>Да</p></body></html>'
    (tmp_path / "a.html").write_bytes(page.encode("cp1251"))
    assert texts(tmp_path) == ["Да"]


def test_empty_lines_above_a_header(tmp_path: Path) -> None:
    """microsoft/markitdown 2136; tidyverse/readr 680."""
    (tmp_path / "a.csv").write_text("\n,,\nid,text\n1,a river\n\n2,a stone\n")
    found, _ = read(tmp_path / "a.csv")
    assert [(row["text"], row["origin"]) for row in found if row["text"]] == [("a river", "a.csv:4"), ("a stone", "a.csv:6")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_number_of_thousands_of_digits(name: str, tmp_path: Path) -> None:
    """stanford-crfm/helm 1381; Liquid4All/ifstruct 3: Python turns no text of more than 4300 digits into a number."""
    records = [f'{{"text": "{text}", "answer": {answer}}}' for text, answer in (("a river", "9" * 5000), ("a stone", "3"))]
    (tmp_path / name).write_text("[" + ",".join(records) + "]" if name == "a.json" else "\n".join(records))
    found, _ = read(tmp_path / name)
    assert [(row["text"], row["answer"]) for row in found] == [("a river", "9" * 5000), ("a stone", "3")]


ESCAPED_LETTERS = {"iso-2022-jp": "これは川です。", "iso-2022-kr": "이것은 강입니다", "hz": "这是一条河"}


@pytest.mark.parametrize(("encoding", "text"), ESCAPED_LETTERS.items(), ids=list(ESCAPED_LETTERS))
def test_letters_that_are_written_with_escapes(encoding: str, text: str, tmp_path: Path) -> None:
    """MyCometG3/QLStephenSwift 19; eneam/mboxviewer 34: all bytes are ASCII, so the text passes for UTF-8."""
    (tmp_path / "a.html").write_bytes(f'<html><meta charset="{encoding}"><p>{text}</p></html>'.encode(encoding))
    assert texts(tmp_path) == [text]
    if encoding == "iso-2022-jp":
        (tmp_path / "a.html").write_bytes(text.encode(encoding))
        assert texts(tmp_path) == [text]


def test_colours_of_a_terminal_are_no_encoding(tmp_path: Path) -> None:
    """Neighbour of the case above: what a program prints to a terminal holds escapes too."""
    (tmp_path / "a.log").write_text("\x1b[1;32ma river\x1b[0m\x1b(B and $5")
    assert texts(tmp_path) == ["\x1b[1;32ma river\x1b[0m\x1b(B and $5"]


def test_halves_of_surrogate_pairs_are_named(tmp_path: Path) -> None:
    """Alexey-T/CudaText 6445; RotherOSS/otobo 4595: read as cp1252 they became six letters each."""
    (tmp_path / "a.txt").write_bytes(b"a river \xed\xa0\xbd\xed\xb8\x80 flows")
    with pytest.raises(UserError, match="CESU-8, from byte 8 on"):
        read(tmp_path / "a.txt")


def test_a_page_in_utf_16_without_its_mark_is_a_page(tmp_path: Path) -> None:
    """Neighbour of the texts above: what a file is, was looked for before its encoding was."""
    (tmp_path / "a.html").write_bytes("<html><body><p>a river and a stone</p></body></html>".encode("utf-16-le"))
    assert texts(tmp_path) == ["a river and a stone"]


def test_hidden_files_of_the_folder_one_works_in(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbour: what is below ``.`` has no name of a folder before it."""
    (beside / ".hidden.txt").write_text("a river")
    (beside / ".git").mkdir()
    (beside / ".git" / "a.txt").write_text("a stone")
    monkeypatch.chdir(beside)
    found, counts = read(Path("."))
    assert [row["origin"] for row in found] == ["good.txt"] and counts == {"skipped: hidden file": 2}


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbour of what a glob passes over: `check` of 55,000 files went through them three times and once more for each arm."""
    for number in range(4):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "a.txt").write_text(f"note {number}")
        (tmp_path / f"{number}" / "b.md").write_text(f"mark {number}")
    opened: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": opened.append(os.fspath(path)) or scandir(path))
    source = Files(path=str(tmp_path), glob="[0-2]/*.txt")
    source.refuse_missing()
    assert not opened
    about = Glance("notes", source).about()
    assert about["documents"] == 3 and sorted(map(os.path.basename, opened[1:])) == sorted(["0", "1", "2", tmp_path.name])
