"""Cluster influence: long references leave room for others, the target is charged once, and what goes is told apart."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pytest
from tiny_models import build, moved

from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.selecting import target
from windtunnel.slots import Curator, CuratorContext

POOL = ["a b c d e", "f g h i j", "k l m"]


def encode(texts: list[str], add_special_tokens: bool) -> list[Any]:
    return [SimpleNamespace(ids=[5 + byte % 100 for byte in text.encode()]) for text in texts]


@pytest.fixture
def part(tmp_path: Path, monkeypatch) -> Any:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"text {number} " * (500 if number == 0 else 20))
    monkeypatch.setattr("windtunnel.kits.text.judged.reading", lambda *_: (0, SimpleNamespace(encode_batch=encode)))
    knobs = {"model": {"folder": "judge"}, "target": {"files": {"path": str(tmp_path)}}, "keep": 0.5, "tokens": 8, "references": 3}
    return make(Curator, {"cluster-influence": knobs})


def test_a_long_reference_leaves_room_for_others(part) -> None:
    assert [len(text) for text in target(part.target, 300, "x", each=128)] == [128, 128, 44]
    tally = Tally("all")
    part._influence(POOL, CuratorContext(tally, {"model": moved(build("llama")).eval().requires_grad_(False)}))
    assert tally.documents("documents of the target that the model read") == 3


def test_what_is_made_once_is_charged_once(part) -> None:
    model, known, spent = moved(build("llama")).eval().requires_grad_(False), {}, [0]

    def begun() -> Any:
        spent[0] = 0

        @contextmanager
        def counted(tokens: int) -> Any:
            yield
            spent[0] += tokens

        def once(name: str, compute: Any) -> Any:
            if name in known:
                spent[0] += known[name][1]
                return known[name][0]
            before = spent[0]
            value = compute()
            known[name] = value, spent[0] - before
            return value

        return part._influence(POOL, CuratorContext(Tally("x"), {"model": model}, {"model": None}, counted, once))

    influence = begun()
    answers, whole = [influence(["a b c"]), influence(["x y z"])], spent[0]
    influence = begun()
    assert [influence(["a b c"]), influence(["x y z"])] == answers and spent[0] == whole
    known.pop(list(known)[-1])  # interrupted
    influence = begun()
    assert influence(["a b c"]) == answers[0] and influence(["x y z"]) == pytest.approx(answers[1])
    assert spent[0] == whole, "what an interrupted curation had made is charged twice"


def test_what_goes_for_want_of_room_is_told_apart(part) -> None:
    form = pyarrow.large_string()
    rows = pyarrow.record_batch({"text": pyarrow.array(POOL, form), "#": pyarrow.array([4, 5, 6])})
    found = {"row": np.array([4, 6]), "score": np.array([-0.5, 0.25]), "good": np.array([False, True])}
    assert part.judge(rows, found)[1] == ["of a cluster of low influence: -0.5", None, "no room left, of a cluster of influence: 0.25"]
