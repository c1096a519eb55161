"""Rows of the user's table: kinds of columns, values that are missing or new, labels, and a run on a file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.sets.columns import Learner, RowColumns
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import recipe_from
from windtunnel.slots import Encoding, Evaluation, Objective
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

ROWS = [
    {"age": "30", "city": "Ulm", "code": 7, "label": 1},
    {"age": "50", "city": "Ulm", "code": 8, "label": 0},
    {"age": "", "city": "Bern", "code": 7, "label": 10},
    {"age": "40", "city": None, "code": 8, "label": 2},
]


def learned(**knobs: Any) -> RowColumns:
    learner = Learner(["age", "city", "code"], knobs.pop("categories", ()), "label")
    for row in ROWS:
        learner.see(row)
    return learner.learned(**{"most": 64, "rarest": 1, **knobs})


def test_a_column_of_numbers_in_text_is_one_and_what_is_missing_or_new_has_a_number() -> None:
    columns = learned(categories=["code"])
    assert columns.numbers == ("age",) and columns.categories == {"city": ("Bern", "Ulm"), "code": ("7", "8")}
    assert columns.mean.tolist() == [40.0] and columns.deviation == pytest.approx([np.std([30, 50, 40])])
    assert columns.labels == ("0", "1", "2", "10"), "by size"
    numbers, codes = columns.coded(ROWS[2])
    assert np.isnan(numbers).all() and codes.tolist() == [2, 2]
    assert columns.coded({"age": 1e9, "city": "Rome", "code": 8.0})[1].tolist() == [0, 3], "8.0 is 8, Rome is unknown"
    assert columns.coded({"age": 1e9})[0].tolist() == [10.0] and columns.coded({})[1].tolist() == [1, 1]
    assert [columns.label(value) for value in (10, "10", 3, None)] == [3, 3, -1, -1]
    assert learned().numbers == ("age", "code")


def test_rare_values_are_read_as_unknown() -> None:
    assert learned(rarest=2).categories == {"city": ("Ulm",)}
    assert learned(most=1).categories == {"city": ("Ulm",)}


def test_columns_that_tell_little_are_named_with_what_helps() -> None:
    rare = "training rows, most too rare to be told apart"
    learner = Learner(["key", "day", "version", "plan", "age"], (), "label")
    for number in range(8):
        day, plan = f"2024-01-{number + 10}" if number else "", "ab"[number % 2]
        learner.see({"key": f"C{number}", "day": day, "version": "v1", "plan": plan, "age": number, "label": number % 2})
    assert list(learner.advice(learner.learned(64, 2))) == [
        f"column 'key' has 8 values in 8 {rare}: leave it out with `columns`, or write fewer kinds",
        f"column 'day' has 7 values in 7 {rare}: write dates as numbers, such as days since the first",
        "column 'version' has one value in all training rows, so it tells nothing",
    ]


def cells(columns: RowColumns) -> Any:
    settings = ModelSettings.model_validate({"family": "cells", "layers": 1, "width": 16, "heads": 2, "initializer_range": 0.5})
    return fresh(config_for(settings, columns, 1), 0).eval()


def test_every_cell_is_read_by_its_column_and_one_that_is_hidden_or_missing_is_not() -> None:
    columns = learned(categories=["code"])
    model = cells(columns)
    numbers, codes = torch.tensor([[0.5], [0.5]]), torch.tensor([[2, 3], [3, 2]])
    one = forward(model, numbers=numbers, categories=codes).logits
    assert one.shape == (2, 4) and not torch.allclose(one[0], one[1]), "2 in the first column is not 2 in the second"
    hidden = torch.tensor([[True, False, False]] * 2)
    assert torch.equal(
        forward(model, numbers=numbers, categories=codes, hidden=hidden).logits,
        forward(model, numbers=numbers + 3, categories=codes, hidden=hidden).logits,
    )
    gone = forward(model, numbers=torch.full((2, 1), torch.nan), categories=codes).logits
    assert gone.isfinite().all() and not torch.allclose(gone, one)


def test_rows_of_one_label_are_refused() -> None:
    with pytest.raises(UserError, match="two labels or more; all training rows have '0'"):
        cells(learned()._replace(labels=("0",)))


def test_cells_are_hidden_in_training_alone_and_labels_are_targets() -> None:
    columns, places = learned(), np.arange(3)[None]
    rows = {
        "numbers": np.zeros((1, 3, 2)),
        "categories": np.zeros((1, 3, 1), np.int64),
        "label": np.array([[2, -1, 0]]),
        "documents": places,
    }
    rows |= {"positions": places, "sources": places[:, 0]}
    objective = make(Objective, {"classify-rows": {"hide": 0.9}})
    batch = objective.batch(rows, columns, np.random.default_rng(0))
    assert batch["labels"].tolist() == [[2, -100, 0]] and batch["hidden"].any()
    assert not objective.measured_by().batch(rows, columns, np.random.default_rng(0))["hidden"].any()
    with pytest.raises(PartError, match="no training document has a label"):
        objective.batch(rows, columns._replace(labels=()), np.random.default_rng(0))


def test_a_run_on_a_csv_file_counts_what_is_missing_and_new_and_loses_no_row(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["size,colour,price,id"]
    for place in range(160):
        colour = "unheard-of" if place % 40 == 0 else f"c{place}" if place % 16 == 0 else random.choice(["red", "blue"])
        lines.append(f"{'' if place % 10 == 0 else round(random.normal(), 3)},{colour},{'high' if colour == 'red' else 'low'},{place}")
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    recipe = recipe_from(
        {
            "corpus": {"mine": {"files": {"path": str(tmp_path / "mine.csv")}}},
            "split": {"validation": 0.2, "test": 0.3, "near_duplicates": 1.0},
            "budget": {"steps": 60},
            "encoding": {"rows": {"label": "price", "columns": ["size", "colour"]}},
            "model": {"family": "cells", "layers": 1, "width": 16, "heads": 2},
            "objective": "classify-rows",
            "optimizer": {"adamw": {"learning_rate": 0.01}},
            "context": 8,
            "batch": 2,
            "evaluate_every": 1,
        }
    )
    said: list[str] = []
    stream = prepare(recipe, tmp_path / "cache", progress=said.append)
    facts = stream.facts
    assert facts.numbers == ("size",) and set(facts.categories) == {"colour"} and facts.labels == ("high", "low")
    assert sum(facts.missing.values()) == 16 and sum(facts.unknown.values()) >= 5
    assert any("column 'size' has no value in" in line for line in said), said
    assert any("column 'colour' has a value that is read as unknown in" in line for line in said)
    assert sum(sum(stream.sizes(split).values()) for split in ("train", "validation", "test")) == 160
    record = fly(recipe, 0, stream, tmp_path / "run", warn=lambda message: None)
    assert record["status"] == "finished", record["traceback"]
    assert record["test"]["bits_per_label"] < 0.7, "red is dear"


def test_rows_without_a_label_and_labels_that_are_amounts_are_told(tmp_path: Path) -> None:
    import pyarrow

    class Corpus:
        sources = ("mine",)
        labels: tuple[str, ...] = ("low", "high", "", "low", "high")

        def schema(self, source: str) -> Any:
            return pyarrow.schema([("size", pyarrow.int64()), ("label", pyarrow.string())])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            some = [{"size": size, "label": label} for size, label in enumerate(self.labels)]
            yield pyarrow.RecordBatch.from_pylist(some).select(columns)

    told: list[str] = []
    make(Encoding, "rows").fit(Corpus(), tmp_path, tell=told.append)
    assert "1 of 5 test rows have no label; they are read and do not count" in told and not any("amount" in line for line in told)
    Corpus.labels = ("0.5", "0.7", "0.9", "1.5")
    make(Encoding, "rows").fit(Corpus(), tmp_path, tell=told.append)
    assert any("'label', which is to be told, has 4 values in 4 training rows" in line for line in told)


def test_labels_that_no_training_row_has_are_told_where_nothing_can_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.data.held_out.choices", lambda *_: {})
    held_out: Any = SimpleNamespace(objective=make(Objective, "classify-rows"))
    with pytest.raises(
        PartError, match=r"a label that training documents have.* an amount, such as a price, is first cut into a few classes"
    ):
        make(Evaluation, "labels").evaluate(None, held_out)  # type: ignore[attr-defined]


def test_streams_of_one_table_have_the_same_numbers_and_of_another_not() -> None:
    from types import SimpleNamespace

    encoding = type(make(Encoding, "rows"))
    one, same, other = ({**learned()._asdict(), "mean": np.array([40.0, mean])} for mean in (7.5, 7.5, 8.0))
    streams: Any = [SimpleNamespace(fingerprint=place, stored=stored) for place, stored in enumerate((one, same, other))]
    assert encoding.same_numbers(streams[0], streams[1]) and not encoding.same_numbers(streams[0], streams[2])


def test_a_column_that_is_not_there_is_named() -> None:
    class Corpus:
        sources = ("mine",)

        def schema(self, source: str) -> Any:
            import pyarrow

            return pyarrow.schema([("colour", pyarrow.string()), ("origin", pyarrow.string())])

    told = {"label": "colour"}
    for knobs, said in (
        ({"label": "colur"}, "colour"),
        ({"columns": ["size"]}, "size"),
        (told, "no column to read"),
        ({**told, "columns": ["colour"]}, "'colour' is to be told, so it cannot be read"),
    ):
        with pytest.raises(UserError, match=said):
            make(Encoding, {"rows": knobs}).fit(Corpus(), Path())


def test_a_report_writes_rows_as_a_table_and_only_what_the_page_holds_as_pictures() -> None:
    from windtunnel.report import thumbnails
    from windtunnel.study.result import Sample

    one = Sample(source="mine", prompt="row 1", cells={"age": "30", "city": "<Ulm>"}, truth="label low", continuation="label high (80%)")
    two = Sample(source="mine", prompt="row 2", cells={"age": "–", "city": "Bern"})
    reading = SimpleNamespace(result=SimpleNamespace(samples={"baseline": [one, two]}), ranked=lambda: [])
    page = str(thumbnails.of_arms(reading))  # type: ignore[arg-type]
    assert '<td class="word">label low</td><td>label high (80%)</td><td>30</td><td>&lt;Ulm&gt;</td>' in page
    assert thumbnails.picture("data:image/svg+xml;base64,QQ==", "x") and not thumbnails.picture("data:text/html;base64,QQ==", "x")
