"""A sample of a source: the documents that a hash draws, about as many bytes as were asked for, wherever they stand."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.glance import Glance
from windtunnel.data.corpus.sample import OUT, bytes_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.recipe import shorthand
from windtunnel.slots import Source

LINES = [{"text": f"document {number} " + "word " * (number % 7), "number": number} for number in range(4000)]


def read(tally: Tally | None = None, **knobs: Any) -> list[dict[str, Any]]:
    return list(make(Source, {"files": knobs}).documents(tally or Tally("big")))


@pytest.mark.parametrize(("text", "size"), [("1GB", 10**9), ("250 MB", 250 * 10**6), ("1.5gb", 15 * 10**8), ("77", 77), ("2e9", 2 * 10**9)])
def test_sizes_are_written_with_their_unit(text: str, size: int) -> None:
    assert bytes_of(text) == size
    assert bytes_of("250 Mbytes") == 250_000_000 and bytes_of("12 bytes") == 12
    assert make(Source, {"files": {"path": "x", "sample": text}}).sample == size


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises((UserError, ValidationError), match="write it as 1GB or 250MB"):
        make(Source, shorthand({"files": {"path": "x", "sample": "many"}}))


def test_a_sample_is_about_as_large_as_asked_and_the_same_in_any_order_and_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    (one / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    for part in range(4):
        lines = [json.dumps(line) + "\n" for line in reversed(LINES[part::4])]
        (other / f"{part}.jsonl").write_text("".join(lines))
    whole = (one / "all.jsonl").stat().st_size
    tally = Tally("big")
    drawn = read(tally, path=str(one), sample=whole // 4)
    assert {row["number"] for row in drawn} == {row["number"] for row in read(path=str(other), sample=whole // 4)}
    assert 0.2 < len(drawn) / len(LINES) < 0.3 and tally.documents(OUT) == len(LINES) - len(drawn)
    fewer = {row["number"] for row in read(path=str(one), sample=whole // 8)}
    assert fewer < {row["number"] for row in drawn}, "a smaller sample is a part of a larger one"
    assert len(read(path=str(one), sample=10 * whole)) == len(LINES)
    found = Glance("big", make(Source, {"files": {"path": str(one), "sample": whole // 4}})).about()
    assert found["bytes"] <= whole // 4


def test_a_sample_ends_where_it_is_full(tmp_path: Path) -> None:
    text = "".join(json.dumps({"text": f"{number} " + "same " * 400}) + "\n" for number in range(500))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(text.encode()))  # shrinks by far more than text usually does
    tally = Tally("big")
    drawn = read(tally, path=str(tmp_path), sample=100_000)
    assert 100_000 <= sum(len(row["text"]) for row in drawn) < 103_000
    assert any("the sample is full" in row["what"] for row in tally.rows())


def test_rows_without_a_text_are_drawn_by_their_fields(tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text("a,b\n" + "".join(f"{number},{number**2}\n" for number in range(1000)))
    size = (tmp_path / "numbers.csv").stat().st_size
    drawn = read(path=str(tmp_path), field=None, sample=size // 2)
    assert 350 < len(drawn) < 650


def test_a_sample_that_is_smaller_than_asked_for_is_told(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.html").write_text(f"<html><body><!--{'markup' * 200}--><p>{number} {'words ' * 40}</p></body></html>")
    tally = Tally("big")
    text = sum(len(row["text"]) for row in read(tally, path=str(tmp_path), sample=200_000))
    told = next(row["what"] for row in tally.rows() if row["what"].startswith("sample:"))
    more = float(told.removesuffix(" bytes").rpartition(" ")[2])
    assert text < 60_000 and 180_000 < text * more / 200_000 < 220_000
