"""Lines of furniture: they go, good lines stay, what was never seen decides nothing, and programs hold any string."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow
import pytest

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.judging import numbered, of_source
from windtunnel.kits.text.manual import furnished, furniture, pieces
from windtunnel.kits.text.programs import call_of
from windtunnel.slots import Curator, CuratorContext


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return pieces(random.Random(210))[:40]


def curator(folder: Path, good: list[str], bad: list[str], **knobs: object) -> Curator:
    for name, lines in (("good", good), ("bad", bad)):
        (folder / name).mkdir()
        (folder / name / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    knobs |= {"good": {"files": {"path": str(folder / "good")}}, "furniture": {"files": {"path": str(folder / "bad")}}}
    return make(Curator, {"page-furniture": knobs})


def cleaned(part: Curator, texts: list[str | None]) -> tuple[list[str | None], list[str | None]]:
    text = pyarrow.large_string()
    batch = pyarrow.record_batch({"text": pyarrow.array(texts, text), "origin": pyarrow.array([str(n) for n in range(len(texts))], text)})
    (rows,) = numbered(of_source(iter([batch]), "notes"))
    after, why = part.judge(rows, part.decide([part.scan(rows)], CuratorContext(None)))
    return after.column("text").to_pylist(), list(why)


def test_planted_furniture_goes_and_text_stays(texts, tmp_path):
    chance, words = random.Random(211), ["offers", "login", "travel", "forum", "shop"]
    examples = [furniture(chance, words) for _ in range(200)]
    part = curator(tmp_path, "\n".join(texts[:20]).split("\n"), examples, strings=[" [edit]"])
    pages = [furnished(text, chance, words, 0.5)[0].replace("\n", " [edit]\n", 1) for text in texts[20:]]
    after, why = cleaned(part, [*pages, None, "", "A few words.", "\n".join(examples[:9])])
    kept = [line for text in after[:20] for line in (text or "").split("\n")]
    good = [line for text in texts[20:] for line in text.split("\n")]
    assert sum(line in set(good) for line in kept) > 0.97 * len(kept) and len(kept) > 0.95 * len(good)
    assert not any("[edit]" in line for line in kept) and why[:20] == [None] * 20
    assert after[20:23] == [None, "", "A few words."] and why[20:] == [None, None, None, "page furniture: hardly a word is left"]


def test_a_program_may_hold_any_string(texts, tmp_path):
    odd = ", (a)='\\\"\n"
    part = curator(tmp_path, texts[0].split("\n") * 3, ["Home About"] * 3, strings=[odd])
    program = part.program(f"one{odd}two and more", {}, 0.0)
    assert call_of(program) == ("normalize", {"source_str": odd})
    assert part.program("Nothing of either kind", {}, 99.0) == ""


def test_without_examples_there_is_nothing_to_tell_by(tmp_path):
    with pytest.raises(PartError, match="no word stands in three"):
        cleaned(curator(tmp_path, ["one two"], ["three four"]), ["five"])
