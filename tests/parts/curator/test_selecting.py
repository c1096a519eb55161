"""Curators that choose: they find what they are shown, refuse what leaks or is no number, and say what they scored."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.judging import numbered, of_source
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text import selecting
from windtunnel.slots import Curator, CuratorContext

GOOD, BAD = ([f"{first}{n}" for n in range(60)] for first in ("good", "bad"))


def text(words: list[str], seed: int) -> str:
    return " ".join(random.Random(seed).choices(words, k=40))


@pytest.fixture
def wanted(tmp_path: Path) -> dict:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(text(GOOD, 1000 + number))
    return {"files": {"path": str(tmp_path)}}


def kept(part: Curator, texts: list[str], context: CuratorContext | None = None) -> list[int]:
    form = pyarrow.large_string()
    batch = pyarrow.record_batch({"text": pyarrow.array(texts, form), "origin": pyarrow.array([str(n) for n in range(len(texts))], form)})
    rows = list(numbered(of_source(iter([batch.slice(0, 9), batch.slice(9)]), "notes")))
    found = part.decide([part.scan(one) for one in rows], context or CuratorContext(Tally("x")))
    why = [reason for one in rows for reason in part.judge(one, found)[1]]
    return [number for number, reason in enumerate(why) if reason is None]


def signs() -> tuple[pyarrow.RecordBatch, list[int], int, int]:
    return pyarrow.record_batch({"text": pyarrow.array(["=="], pyarrow.large_string()), "#": pyarrow.array([0])}), [0], 64, 2


POOL = [text(GOOD if number % 3 == 0 else BAD, number) for number in range(30)]


@pytest.mark.parametrize(
    "knobs", [{"importance": {"noise": False}}, {"importance": {}}, {"importance": {"per_word": True, "noise": False}}]
)
def test_importance_finds_what_is_like_the_target(wanted, knobs):
    (name, fields), *_ = knobs.items()
    found = kept(make(Curator, {name: {**fields, "target": wanted, "keep": 0.385, "buckets": 512}}), POOL)
    assert found == list(range(0, 30, 3))


def test_a_batch_without_a_document_that_is_judged_is_no_end(wanted):
    assert kept(make(Curator, {"classifier": {"reference": wanted, "keep": 0.5, "buckets": 512}}), POOL[:9])  # the second batch is empty


def test_the_classifier_finds_what_is_like_the_reference(wanted):
    assert kept(make(Curator, {"classifier": {"reference": wanted, "keep": 0.385, "buckets": 4096}}), POOL) == list(range(0, 30, 3))


def test_a_reference_that_is_in_the_pool_is_refused(wanted):
    knobs = {"reference": wanted, "keep": 0.385, "buckets": 4096}
    assert not selecting.overlap(["--"], [selecting.pooled(*signs())], 64, 2), "texts of signs alone are not the same text"
    with pytest.raises(PartError, match=r"1 documents of the reference are in the pool.*overlap: true"):
        kept(make(Curator, {"classifier": knobs}), [*POOL, text(GOOD, 1003)])
    assert 30 in kept(make(Curator, {"classifier": {**knobs, "overlap": True, "keep": 0.45}}), [*POOL, text(GOOD, 1003)])


def test_predictive_strength_learns_from_the_order_of_losses(monkeypatch):
    """Better models need fewer bits for good text and more for bad, as planted."""

    def bits(context, model, texts, **how):
        rank = int(model.partition(".")[2])
        return [4.0 - rank if "good" in one else 4.0 + rank for one in texts]

    monkeypatch.setattr("windtunnel.kits.text.judged.bits", bits)
    models = [{"folder": name} for name in ("worst", "middle", "best")]
    knobs = {"models": models, "keep": 0.385, "sample": 1.0, "shortest": 10, "buckets": 4096}
    context = CuratorContext(Tally("all"))
    part = make(Curator, {"predictive-strength": knobs})
    assert kept(part, POOL, context) == list(range(0, 30, 3))
    assert context.tally.documents("of them in the order of the models' quality") == 10
    assert part.strengths(POOL[:2], context).tolist() == [1.0, 0.0]
    with pytest.raises(PartError, match="order every document"):
        kept(part, POOL[::3])


def test_scores_that_are_no_numbers_choose_nothing():
    with pytest.raises(PartError, match="importance: the scores of 2 of 3 documents are not numbers"):
        selecting.best(np.array([np.nan, 1.0, np.nan]), np.ones(3), 0.5, "importance")
    assert selecting.best(np.array([1.0, 3.0, 2.0]), np.array([10, 100, 10]), 0.1, "x").tolist() == [False, True, False]


def test_a_scorer_that_gives_no_number_stops_before_it_chooses():
    from windtunnel.data.corpus.frame import frame
    from windtunnel.kits.text.choice import keep_best

    text = pyarrow.large_string()
    rows = pyarrow.record_batch({name: pyarrow.array(["a", "b"], text) for name in ("text", "origin", "source")})
    part = make(Curator, {"fraction": {"share": 0.5}})
    with pytest.raises(PartError, match="fraction: the scores of 1 of 2 documents are not numbers"):
        keep_best(part, frame(lambda: iter([rows]), rows.schema), (), 0.5, lambda one: float("nan") if one == "b" else 1.0)


def test_a_batch_without_text_is_no_trouble():
    text = pyarrow.large_string()
    rows = pyarrow.record_batch({"text": pyarrow.array([None, None], text), "origin": pyarrow.array(["a", "b"], text)})
    (batch,) = numbered(of_source(iter([rows]), "notes"))
    tests = {"builtin": {"text": "characters"}}
    for written in ("cascade", "normalise", "personal-data", "near-duplicates", {"decontaminate": {"tests": tests}}):
        part = make(Curator, written)
        found = part.decide([part.scan(batch)], CuratorContext(None)) if part.scans else {}
        assert list(part.judge(batch, found)[1]) == [None, None]


def test_features_count_every_run_of_every_document():
    found = selecting.features(["a b a", "", "b"], 1 << 20, 2)
    assert np.diff(np.append(0, found.ends)).tolist() == [5, 0, 1]
    assert len(set(found.values[:5].tolist())) == 4 and found.values[5] in found.values[:5]
    weights = np.zeros(1 << 20)
    weights[found.values[5]] = 2.0
    assert selecting.sums(found, weights).tolist() == [2.0, 0.0, 2.0] and selecting.means(found, weights).tolist() == [0.4, 0.0, 2.0]
