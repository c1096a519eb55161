"""Series through the trainer that text goes through: what is read of tables, what windows hold, and what is said of them."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from example_result import example

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.data.held_out import held_out
from windtunnel.kits.series.forecasts import windows_of
from windtunnel.kits.series.grid import Irregular, coarse, frequency_number, regular
from windtunnel.kits.series.heads import quantiles
from windtunnel.kits.series.samples import plot
from windtunnel.kits.series.windows import Windows, naive_error, scaled, seasonal_naive
from windtunnel.models.init import config_for, family_of, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import recipe_from
from windtunnel.report import samples as report_samples
from windtunnel.report.reading import Reading
from windtunnel.slots import Call, Documents, Encoding, Evaluation, Objective, Packing, Source
from windtunnel.train.export import export_run
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

FACTS = Windows(24, 12)
CALL = Call(False, False, {"return_dict": True})
MODEL: dict[str, Any] = {"family": "patchtst", "layers": 1, "width": 16, "heads": 2, "patch": 4}
RECIPE: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-series": {"count": 24, "steps": 96, "frequencies": ["monthly"]}}},
    "budget": {"steps": 6},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": {"series": {"past": 24, "horizon": 12}},
    "model": MODEL,
    "objective": "forecast",
    "packing": "scattered",
    "context": 4,
    "batch": 4,
    "evaluate_every": 1,
    "precision": "float32",
    "compile": "no",
}


# Tables -------------------------------------------------------------------------------------------------------------------------


def series_in(path: Path, **knobs: Any) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    tally = Tally("mine")
    found = {one["origin"]: one for one in make(Source, {"series-files": {"path": str(path), **knobs}}).documents(tally)}
    return found, {row["what"]: row["documents"] for row in tally.rows()}


def test_a_long_table_becomes_series_and_what_is_wrong_with_them_is_counted(tmp_path: Path) -> None:
    day = datetime(2024, 1, 1)
    rows = [("hours", day + timedelta(hours=step), step) for step in (3, 0, 1, 2, 5, 6, 7, 8)]  # out of order, without hour 4
    rows += [("months", datetime(2024, month, 1), month) for month in range(1, 13)]
    rows += [("flat", day + timedelta(days=step), 7) for step in range(9)]
    rows += [("short", day, 1), ("torn", day, 1), ("torn", day + timedelta(days=1), "")]
    rows += [("mixed", day + timedelta(hours=step), step) for step in (0, 1, 2, 3, 4, 4.37, 5, 6.61)]
    rows += [("twice", day + timedelta(days=step // 2), step) for step in range(8)]
    rows += [("", day, 1)]
    table = tmp_path / "meters.csv"
    table.write_text("id,time,value\n" + "".join(f"{name},{time.isoformat()},{value}\n" for name, time, value in rows), encoding="utf-8")
    found, counted = series_in(table)
    assert list(found) == ["hours", "months", "flat", "twice"]
    assert found["hours"]["values"][:4] == [0, 1, 2, 3] and np.isnan(found["hours"]["values"][4]) and found["hours"]["period"] == 24
    assert (found["months"]["frequency"], found["months"]["period"]) == ("monthly", 12) and found["months"]["group"] == "months"
    assert found["twice"]["values"] == [1, 3, 5, 7]
    assert counted == {
        "gaps: steps without a value": 1,
        "constant: kept, but nothing to learn from": 1,
        "skipped: fewer than two values": 2,
        "skipped: steps of several lengths": 1,
        "several values at one time: the last is taken": 4,
        "skipped: rows without a value of 'id'": 1,
    }
    assert series_in(table, period=6)[0]["hours"]["period"] == 6
    table.write_text("id,time,value\na,1,0.5\na,2,'1,5'\na,3,2\n".replace("'", '"'), encoding="utf-8")
    assert series_in(table)[1] == {"values that are no numbers: read as gaps": 1, "gaps: steps without a value": 1}


def test_a_folder_of_wide_tables_is_a_series_a_column_and_files_are_not_split(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "date,load,name\n" + "".join(f"{year}-12-31,{year},x\n" for year in range(1990, 2000)), encoding="utf-8"
    )
    (tmp_path / "b.tsv").write_text(
        "date\tload\theat\n" + "".join(f"2024-01-{day:02d}\t{day}\t1.5\n" for day in range(1, 9)), encoding="utf-8"
    )
    (tmp_path / "c.csv").write_text("other\n1\n", encoding="utf-8")
    found, counted = series_in(tmp_path, time="date")
    assert {name: (one["frequency"], one["group"]) for name, one in found.items()} == {
        "a.csv: load": ("yearly", "a.csv"),
        "b.tsv: load": ("daily", "b.tsv"),
        "b.tsv: heat": ("daily", "b.tsv"),
    }
    assert counted["skipped: no table of series"] == 1
    with pytest.raises(UserError, match="has no column 'time'"):
        series_in(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no such file or folder"):
        series_in(tmp_path / "nothing")


def test_a_column_that_is_named_and_not_there_is_refused(tmp_path: Path) -> None:
    """Without the column that says what is never split, customers would stand in training and in test."""
    table = tmp_path / "meters.csv"
    table.write_text("customer,id,time,kwh\n" + "".join(f"c{step % 2},m{step % 2},{step // 2},{step}\n" for step in range(12)))
    assert {one["group"] for one in series_in(table, value="kwh", group="customer")[0].values()} == {"c0", "c1"}
    for knobs, said in (({"group": "custmer"}, "group names"), ({"id": "idx"}, "id names"), ({"value": "kWh"}, "value names")):
        with pytest.raises(UserError, match=f"has no column '{next(iter(knobs.values()))}', which {said}; did you mean"):
            series_in(table, **knobs)


def test_times_that_are_rounded_lie_on_a_grid_and_long_series_have_to() -> None:
    rounded = regular([round(1900 + step / 12, 3) for step in range(600)], range(600), print)
    assert (rounded.frequency, rounded.period, len(rounded.values)) == ("monthly", 12, 600)
    assert np.array_equal(regular([1e-8 * step for step in (0, 1, 2, 4)], range(4), lambda *_: None).values[:3], [0, 1, 2])
    assert regular([0.1 * step for step in range(30)], range(30), print).period == 1, "no years"
    jitter = np.random.default_rng(0).integers(0, 3, 500)
    hours = regular(
        [f"{datetime(2024, 1, 1) + timedelta(hours=step, seconds=int(jitter[step]))}" for step in range(500)], range(500), print
    )
    assert hours.frequency == "hourly" and not np.isnan(hours.values).any()
    times = np.arange(6000.0)
    times[5000:5100] += 0.4
    with pytest.raises(Irregular, match="100 of 6,000 times lie between two"):
        regular(times.tolist(), range(6000), print)


def test_times_of_zones_stand_in_one(recwarn: pytest.WarningsRecorder) -> None:
    here = timezone(timedelta(hours=2))
    found = regular([datetime(2024, 1, 1, 2, tzinfo=here), datetime(2024, 1, 1, 1, tzinfo=UTC)], [1, 2], print)
    assert (found.frequency, found.values.tolist()) == ("hourly", [1, 2]) and not recwarn.list


def test_months_may_come_twice_or_every_other() -> None:
    counted: dict[str, int] = {}
    twice = regular(["2024-01-01", "2024-02-01", "2024-02-01", "2024-03-01"], [1, 2, 3, 4], counted.__setitem__)
    assert (twice.frequency, twice.values.tolist()) == ("monthly", [1, 3, 4])
    assert counted == {"several values at one time: the last is taken": 1}
    other = regular(["2024-01-01", "2024-03-01", "2024-05-01"], [1, 2, 3], print)
    assert (other.frequency, other.period) == ("unnamed", 6)
    with pytest.raises(Irregular, match="fewer than two values"):
        regular(["2024-01-01"] * 3, [1, 2, 3], print)


def test_times_lie_on_a_grid_or_are_refused() -> None:
    months = regular([1949 + step / 12 for step in range(30)], range(30), print)
    assert (months.frequency, months.period) == ("monthly", 12) and months.values.tolist() == list(range(30))
    ends = regular(["2024-01-31", "2024-02-29", "2024-03-31", "2024-05-31"], [1, 2, 3, 5], lambda *_: None)
    assert ends.frequency == "monthly" and np.isnan(ends.values[3])
    with pytest.raises(Irregular, match="neither a date, such as 2020-01-31, nor"):
        regular(["yesterday", "today"], [1, 2], print)
    with pytest.raises(Irregular, match="steps of 1 from its first"):
        regular([0, 1, 2, 3e9], [1, 2, 3, 4], print)


# Windows ------------------------------------------------------------------------------------------------------------------------


def test_what_scales_a_window_sees_its_past_alone() -> None:
    random = np.random.default_rng(0)
    past, future = random.normal(1e6, 3, (5, 24)), random.normal(1e6, 3, (5, 12))
    past[0, :10], past[1, 5], past[2] = np.nan, np.nan, 4.0
    future[3, 2] = np.nan
    objective = make(Objective, "forecast")
    rows = {"past": past[None], "future": future[None], "frequency": np.zeros((1, 5), np.int64), "documents": np.arange(5)[None]}
    one = objective.prepare(rows, FACTS, random)
    other = objective.prepare(rows | {"future": rows["future"] * 100}, FACTS, random)
    assert all((one[name] == other[name]).all() for name in ("past", "observed", "labels"))
    known = np.where(one["observed"], one["past"], np.nan)[0]
    assert np.nanmean(known, axis=1) == pytest.approx(0, abs=1e-5) and np.nanstd(known[[0, 1, 3, 4]], axis=1) == pytest.approx(1, abs=1e-4)
    assert (one["labels"][0, 2] == -100).all() and one["labels"][0, 3].tolist().count(-100) == 1, (
        "a flat past has no scale; gaps do not count"
    )
    assert (one["past"][0, 0, :10] == one["past"][0, 0, 10]).all() and one["past"][0, 1, 5] == one["past"][0, 1, 4]
    found = scaled(past, future)
    assert found.future[4] * found.deviation[4] + found.mean[4] == pytest.approx(future[4], rel=1e-6)


def test_seasonal_naive_is_the_value_of_a_season_before() -> None:
    past = np.arange(10.0)[None] + np.zeros((3, 1))
    past[1, 8] = np.nan
    assert seasonal_naive(past, np.array([4, 4, 1]), 6).tolist() == [[6, 7, 8, 9, 6, 7], [6, 7, 4, 9, 6, 7], [9] * 6]
    assert seasonal_naive(past, np.array([40, 4, 1]), 2)[0].tolist() == [9, 9], "a season longer than the past: the last value"
    assert naive_error(past, np.array([4, 1, 1])).tolist() == [4, 1, 1] and np.isnan(naive_error(np.full((1, 5), np.nan), np.array([1]))[0])


def test_new_series_and_later_times_are_held_out_and_training_reaches_into_neither(tmp_path: Path) -> None:
    stream = prepare(recipe_from(RECIPE), tmp_path)
    documents = {one["origin"]: np.array(one["values"]) for one in make(Source, RECIPE["corpus"]["drawn"]).documents(Tally("x"))}
    place = {float(values[step]): (name, step) for name, values in documents.items() for step in range(len(values))}
    seen = {}
    for split in ("train", "validation", "test"):
        held = windows_of(stream, split, "drawn")
        seen[split] = {(*place[float(one)], int(later)) for one, later in zip(held.future[:, 0], held.later, strict=True)}
        assert len(stream.units(split, "drawn")) == len(stream.lengths(split, "drawn"))
    trained = {name for name, _, _ in seen["train"]}
    assert {step for _, step, _ in seen["train"]} == {12, 24, 36, 48, 60}, "of 96 steps the last two horizons are held out"
    for split, begin in (("validation", 72), ("test", 84)):
        assert {(name, step) for name, step, later in seen[split] if later} == {(name, begin) for name in trained}
        assert not {name for name, _, later in seen[split] if not later} & trained
    assert len({name for entries in seen.values() for name, _, _ in entries}) == 24


def test_what_is_held_out_does_not_depend_on_how_densely_training_windows_lie(tmp_path: Path) -> None:
    usual, dense = (
        prepare(recipe_from(RECIPE | {"encoding": {"series": {"past": 24, "horizon": 12, **knobs}}}), tmp_path)
        for knobs in ({}, {"stride": 5})
    )
    for split in ("validation", "test"):
        one, two = (windows_of(stream, split, "drawn") for stream in (usual, dense))
        assert np.array_equal(one.future, two.future)
    assert len(windows_of(dense, "train", "drawn").past) > 2 * len(windows_of(usual, "train", "drawn").past)


def test_series_that_give_no_window_are_told(tmp_path: Path) -> None:
    class Corpus:
        def schema(self, source: str) -> Any:
            return pyarrow.schema([("values", pyarrow.list_(pyarrow.float64()))])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            yield pyarrow.RecordBatch.from_pylist([{"values": list(range(steps))} for steps in (13, 14, 40)]).select(columns)

    told: list[str] = []
    fitted = make(Encoding, {"series": {"past": 8, "horizon": 2, "later": 2}}).fit(Corpus(), tmp_path, tell=told.append)
    pieces = [len(piece.arrays["past"]) for piece in fitted.encode("train", "mine")]
    assert len(pieces) == 3 and told == [
        f"{pieces.count(0)} of 3 train series of mine give no window: one needs 18 steps or more (known, horizon, and later) "
        "with values among them"
    ]


def test_coarser_series_are_means_of_what_is_there() -> None:
    values = np.array([np.nan, 1, 3, np.nan, 5, np.nan, np.nan, 2, 4])
    means, period, frequency = coarse(values, 2, 12, frequency_number("monthly"))
    assert np.isnan(means[2]) and means[[0, 1, 3]].tolist() == [2, 5, 3] and (period, frequency) == (6, 0)
    assert coarse(values, 3, 12, frequency_number("monthly"))[1:] == (4, frequency_number("quarterly"))


def test_scattered_gives_every_unit_once() -> None:
    layout = make(Packing, "scattered").pack(Documents(np.array([3, 0, 5, 1])), 4, np.random.default_rng(0))
    units = list(zip(layout.document.tolist(), layout.start.tolist(), strict=True))
    assert sorted(units) == [(document, unit) for document, count in ((0, 3), (2, 5), (3, 1)) for unit in range(count)]
    assert (layout.stop - layout.start == 1).all() and layout.first.tolist() == [0, 4, 8, 9] and units != sorted(units)


# Models -------------------------------------------------------------------------------------------------------------------------


def test_a_model_is_what_its_configuration_says_and_its_forecast_moves_with_the_series() -> None:
    for knobs in ({}, {"prefix": "frequency"}, {"head": "student-t"}, {"head": "normal", "prefix": "frequency"}):
        config = config_for(ModelSettings.model_validate(MODEL | knobs), FACTS, 4)
        again = type(config).from_dict(json.loads(json.dumps(config.to_dict())))
        assert family_of(again) == family_of(config) == ModelSettings.model_validate(MODEL | knobs).family
        model = fresh(config, 0).eval()
        past = torch.randn(3, 24)
        arrays = {"past": past, "observed": torch.ones(3, 24, dtype=torch.bool), "frequency": torch.tensor([0, 3, 8])}
        said = family_of(config).forward(model, arrays, CALL).logits
        moved = family_of(config).forward(model, arrays | {"past": past * 5 + 7}, CALL).logits
        assert said.shape == (3, 12)
        assert torch.allclose(moved, said * 5 + 7, atol=1e-3) == ("prefix" not in knobs), "a prefix goes with a past that is scaled"
        other = family_of(config).forward(model, arrays | {"frequency": torch.tensor([1, 2, 5])}, CALL).logits
        assert torch.allclose(other, said) == ("prefix" not in knobs)


def test_patches_have_to_cut_the_past() -> None:
    with pytest.raises(UserError, match=r"does not cut a past of 24 steps.*these do: 1, 2, 3, 4, 6, 8, 12"):
        config_for(ModelSettings.model_validate(MODEL | {"patch": 5}), FACTS, 4)
    with pytest.raises(UserError, match="needs a patch of 4 steps"):
        config_for(ModelSettings.model_validate(MODEL | {"patch": 3, "prefix": "frequency"}), FACTS, 4)
    with pytest.raises(UserError, match="horizon of 2 steps or more"):
        config_for(ModelSettings.model_validate(MODEL | {"head": "normal"}), Windows(24, 1), 4)


@pytest.mark.parametrize("distance", ["l1", "l2", "huber"])
def test_the_loss_is_the_distance_of_forecast_from_true_values(distance: str) -> None:
    objective = make(Objective, {"forecast": {"distance": distance}})
    model = fresh(config_for(ModelSettings.model_validate(MODEL), FACTS, 4), 0).eval()
    random = np.random.default_rng(0)
    rows = {"past": random.normal(5, 2, (2, 3, 24)), "future": random.normal(5, 2, (2, 3, 12)), "frequency": np.zeros((2, 3), np.int64)}
    batch = {key: torch.from_numpy(one) for key, one in objective.prepare(rows | {"documents": np.zeros((2, 3))}, FACTS, random).items()}
    loss = objective.loss(model, batch)
    apart = (loss.outputs.logits - batch["future"]).abs()
    expected = {"l1": apart, "l2": apart**2, "huber": torch.where(apart < 1, apart**2 / 2, apart - 0.5)}[distance]
    assert torch.allclose(loss.values, expected, atol=1e-5) and loss.counts.all()


def test_quantiles_are_those_of_the_distribution() -> None:
    said = torch.distributions.Normal(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert quantiles(said, (0.1, 0.5))[:, 0, 0] == pytest.approx([1 - 2 * 1.2816, 1], abs=1e-3)
    heavy = torch.distributions.StudentT(torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert quantiles(heavy, (0.9,))[0, 0, 0] == pytest.approx(1 + 2 * 1.6377, abs=1e-3)


def test_a_gap_ends_a_line_of_a_plot() -> None:
    drawn = base64.b64decode(plot([("red", 0, np.array([1, 2, np.nan, np.nan, 3, 4.0]))], None, 6).partition(",")[2]).decode()
    assert drawn.count("<polyline") == 2 and "nan" not in drawn and drawn.startswith("<svg")
    assert "nan" not in base64.b64decode(plot([("red", 0, np.array([5.0, 5.0]))], None, 2).partition(",")[2]).decode()


# A study ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("series")
    recipe = recipe_from(RECIPE | {"model": MODEL | {"head": "student-t", "prefix": "frequency"}})
    record = fly(recipe, 0, prepare(recipe, folder / "cache"), folder / "run")
    assert record["status"] == "finished", record["traceback"]
    return folder / "run", record


def test_a_run_of_series_is_judged_by_its_ratio_to_seasonal_naive(flown: tuple[Path, dict[str, Any]]) -> None:
    _, record = flown
    assert (record["primary"], record["unit"]) == ("relative", "times the error of seasonal naive")
    test = record["test"]
    assert {"mase", "relative_later", "coverage_80", "relative_quantile", "exact", "relative/drawn"} <= set(test)
    assert test["relative"] == test["relative_new"] and 0.1 < test["relative"] < 3 and 0 <= test["coverage_80"] <= 1
    assert record["totals"]["tokens"] == 6 * 4 * 4 * 7, "steps, sequences, windows of a sequence, patches of a window and a prefix"


def test_an_exported_model_reads_series_as_they_are(flown: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from transformers import AutoModel, PatchTSTForPrediction

    export_run(flown[0], tmp_path / "model", "float32")
    assert AutoModel.from_pretrained(tmp_path / "model", local_files_only=True).config.context_length == 28
    model = PatchTSTForPrediction.from_pretrained(tmp_path / "model", local_files_only=True)
    assert [one.shape for one in model(past_values=torch.randn(1, 28, 1)).prediction_outputs] == [(1, 12, 1)] * 3


def test_held_out_windows_are_shown_as_plots(tmp_path_factory: pytest.TempPathFactory) -> None:
    recipe = recipe_from(RECIPE)
    stream = prepare(recipe, tmp_path_factory.getbasetemp() / "plots")
    model = fresh(config_for(recipe.phases[0].model, stream.facts, 4), 0).eval()
    settings: dict[str, Any] = {"context": 4, "sequences": 4, "limit_tokens": 64, "device": "cpu", "precision": contextlib.nullcontext()}
    held = held_out(stream, "test", objective=recipe.phases[0].objective, **settings)
    found = stream.encoding.samples(model, held, 3)
    assert {one["truth"] for one in found} == {"new series", "later time of a series that was trained on"} and len(found) == 3
    page = report_samples.of_arms(Reading(example() | {"samples": {"baseline": found, "wsd": found}}))
    assert page.count('<img class="plot" src="data:image/svg+xml;base64,') == 3 * (1 + 2), "each window, and what two arms forecast of it"
    recipe = recipe_from(RECIPE | {"encoding": {"series": {"past": 24, "horizon": 12, "later": 0}}})
    stream = prepare(recipe, tmp_path_factory.getbasetemp() / "plots")
    held = held_out(stream, "test", objective=recipe.phases[0].objective, **settings)
    with pytest.raises(PartError, match="on: later, and the test split holds no such series"):
        make(Evaluation, {"relative-error": {"on": "later"}}).evaluate(model, held)


def test_the_series_of_the_package_are_read() -> None:
    pytest.importorskip("statsmodels")
    tally = Tally("real")
    found = list(make(Source, {"builtin": {"text": "series"}}).documents(tally))
    assert len(found) > 200 and {one["frequency"] for one in found} == {"weekly", "monthly", "quarterly", "yearly"}
    assert not [row for row in tally.rows() if "several" in row["what"]]
