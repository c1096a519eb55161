"""Every slot may have a state, look at data before the first step, observe what is measured, and hold other models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from windtunnel.core import registry
from windtunnel.core.part import Trained
from windtunnel.parts.mixture.online import Online, exploration
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.parts.optimizer.adamw import AdamW
from windtunnel.parts.packing.concatenate import Concatenate
from windtunnel.slots import Evaluation, Mixture, Progress, Schedule, Structure
from windtunnel.train import phase
from windtunnel.train.prepare import prepare_needed
from windtunnel.train.run import fly


@pytest.fixture
def spare_part():
    made: list = []
    yield lambda cls: made.append(cls) or cls
    for cls in made:
        registry._parts[cls.slot].pop(cls.name)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What checkpoints hold of states, at the end of every phase that is flown."""
    seen: list[dict[str, Any]] = []
    real = phase.PhaseRun.close

    def close(phase_run: phase.PhaseRun, log: Any) -> None:
        seen.append(phase_run.state()["states"])
        real(phase_run, log)

    monkeypatch.setattr(phase.PhaseRun, "close", close)
    return seen


def same(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def cut_into_pieces(recipe: Any, stream: Any, folder: Path) -> Any:
    """Fly ``recipe`` one step at a time, each in a new flight."""
    for _ in range(60):
        calls = iter([False, True])
        record = fly(recipe, 0, stream, folder, stop=lambda calls=calls: next(calls, True))
        if record.status != "interrupted":
            break
    assert record.status == "finished", record.traceback
    return record


@pytest.mark.parametrize("form", ["exponential", "linear"])
def test_an_online_mixture_resumes_bitwise_and_learns(form, tiny, stream, tmp_path, watched):
    recipe = tiny(mixture={"online": {"form": form, "warmup": 0.0}}, budget={"steps": 12}, batch=8)
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole.status == "finished", whole.traceback
    cut = cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut") and whole.cursors == cut.cursors
    first, last = watched[0]["mixture"], watched[-1]["mixture"]
    assert first == last and first["updates"] == 12 and sum(first["shares"].values()) == pytest.approx(1)
    fly(tiny(budget={"steps": 12}, batch=8), 0, stream, tmp_path / "plain")
    assert not same(tmp_path / "whole", tmp_path / "plain")


def test_an_online_mixture_follows_the_formula():
    part, state = Online(), Online().state(None)
    sizes, progress = {"a": 100, "b": 300}, Progress(0, 10, 0, 64, 8, 0.5, 0.5, 0)
    assert part.weights(sizes, progress, {}, state) == part.weights(sizes, progress, {}) == {"a": 0.25, "b": 0.75}
    part.observe({"bits_per_byte": 3.0}, state)
    assert not state["updates"], "validation is no reward"
    for loss in (2.0, 4.0):
        part.observe({"loss/a": loss, "loss/b": 1.0}, state)
    assert state["rewards"] == pytest.approx({"a": 2.2, "b": 1.0})
    before, now = exploration(2, 1), exploration(2, 2)
    assert (before, now) == (0.5, pytest.approx(math.sqrt(math.log(2) / 4)))
    odds = math.exp(before * 1.2)
    assert part.weights(sizes, progress, {}, state)["a"] == pytest.approx((1 - 2 * now) * odds / (1 + odds) + now)
    state["drawn"] = {"a": 0.01, "b": 0.99}
    part.observe({"loss/a": 2.0, "loss/b": 1.0}, state)
    assert state["rewards"]["a"] == pytest.approx(0.9 * 2.2 + 0.1 * 2.0 / 0.08), "a source that is rarely in a step counts for more"


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_losses_by_source_do_not_depend_on_how_the_batch_is_cut(micro_batch, tiny, stream, tmp_path, spare_part):
    told: list[dict[str, float]] = []

    @spare_part
    class Hears(Mixture, name="test-hears"):
        by_source = True

        def weights(self, sizes, progress, feedback):
            return dict.fromkeys(sizes, 1.0)

        def observe(self, numbers, state):
            told.append(dict(numbers))

    record = fly(tiny(mixture="test-hears", micro_batch=micro_batch, budget={"steps": 2}), 0, stream, tmp_path)
    assert record.status == "finished", record.traceback
    steps = [numbers for numbers in told if "loss/code" in numbers]
    assert len(steps) == 3 and len(told) == 5, "a counted step, two steps, two validations"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    means = [sum(numbers.values()) / 2 for numbers in steps[1:]]  # four full sequences, two of each source
    assert means == pytest.approx([line["loss"] for line in lines], rel=1e-4)


def test_a_schedule_that_follows_validation_resumes_bitwise(tiny, stream, tmp_path, spare_part, watched):
    @spare_part
    class Plateau(Schedule, name="test-plateau"):
        """Halves the rate where bits per byte have not fallen by a tenth since the last evaluation."""

        def state(self, model):
            return {"best": math.inf, "factor": 1.0}

        def observe(self, numbers, state):
            if numbers["bits_per_byte"] > 0.9 * state["best"]:
                state["factor"] /= 2
            state["best"] = min(state["best"], numbers["bits_per_byte"])

        def factor(self, progress, peak, state=None):
            return state["factor"]

    recipe = tiny(schedule="test-plateau", budget={"steps": 8}, evaluate_every=0.25)
    fly(recipe, 0, stream, tmp_path / "whole")
    cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert watched[0]["schedule"] == watched[-1]["schedule"] and watched[0]["schedule"]["factor"] < 1


class Counter:
    """A state that is an object."""

    def __init__(self) -> None:
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen = saved["seen"]


def test_every_slot_keeps_a_state_that_may_be_an_object(tiny, stream, tmp_path, spare_part, watched):
    """Steps that were counted are undone, steps that were made are not, however often the run is interrupted."""

    @spare_part
    class Words(NextToken, name="test-words"):
        def state(self, model):
            return Counter()

        def prepare(self, rows, vocabulary, random, state=None):
            if state is not None:  # as it is where held-out documents are prepared
                state.seen += 1
            return super().prepare(rows, vocabulary, random)

    @spare_part
    class Adam(AdamW, name="test-adam"):
        def state(self, model):
            return Counter()

        def build(self, model, learning_rate, state=None):
            return super().build(model, learning_rate * (1 + 0 * state.seen))

    @spare_part
    class Rows(Concatenate, name="test-rows"):
        def state(self, model):
            return Counter()

        def pack(self, lengths, length, random, state=None):
            assert state.seen == 0
            return super().pack(lengths, length, random)

    @spare_part
    class Shape(Structure, name="test-shape"):
        def state(self, model):
            return Counter()

        def apply(self, model):
            pass

        def constrain(self, model, progress=None, state=None):
            state.seen += 1

        def remove(self, model, state=None):
            assert state.seen == 4

    recipe = tiny(objective="test-words", optimizer="test-adam", packing="test-rows", structure="test-shape", budget={"steps": 4})
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole.status == "finished", whole.traceback
    cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    fly(tiny(budget={"steps": 4}), 0, stream, tmp_path / "plain")
    assert same(tmp_path / "whole", tmp_path / "plain")
    assert all(watched[run][key] == {"seen": 4} for run in (0, 1) for key in ("structure", "objective"))


def test_a_mixture_may_hold_a_model_and_look_ahead_and_is_charged_for_both(tiny, stream, tmp_path, spare_part, watched):
    @spare_part
    class Asks(Mixture, name="test-asks"):
        """Shares by the loss of another model, which it looks up before the first step."""

        scorer: Trained

        def state(self, model):
            return {"losses": {}}

        def look(self, model, state, context):
            for source in ("code", "prose"):
                for batch in context.batches(source, 2, 2):
                    with torch.no_grad():
                        loss = context.objective.loss(context.models["scorer"], batch)
                    state["losses"][source] = float(loss.values[loss.counts].mean())

        def weights(self, sizes, progress, feedback, state=None, models=None):
            assert state is None or models["scorer"].training is False
            return state["losses"] if state and state["losses"] else dict.fromkeys(sizes, 1.0)

    recipe = tiny(mixture={"test-asks": {"scorer": {"recipe": {"budget": {"steps": 2}}}}}, budget={"flops": 3e8})
    record = fly(recipe, 0, stream, tmp_path / "whole")
    assert record.status == "finished", record.traceback
    assert record.charged["steps"] == 2 and record.phases[0]["ahead"]["tokens"] == 4 * 32 and record.phases[0]["ahead"]["flops"] > 0
    cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert np.isfinite(list(watched[-1]["mixture"]["losses"].values())).all()


def test_an_evaluation_may_hold_a_model_and_look_ahead_and_keeps_its_state(tiny, stream, tmp_path, spare_part, watched):
    """The recipe that it holds is flown once for all runs, and charged; measuring itself costs nothing."""

    @spare_part
    class Behind(Evaluation, name="test-behind"):
        """By how many nats a model is behind another, on the text that it is judged by and on the text that was looked at ahead."""

        other: Trained
        unit = "nats"

        def state(self, model):
            return {"ahead": 0.0, "seen": 0, "last": 0.0}

        def look(self, model, state, context):
            for batch in context.batches("code", 2, 2):
                loss = context.objective.loss(context.models["other"], batch)
                state["ahead"] = float(loss.values[loss.counts].mean())

        def observe(self, numbers, state):
            state["last"] = numbers["behind"]

        def evaluate(self, model, held_out, state=None, models=None):
            state["seen"] += 1
            batch = next(iter(held_out.batches("code", held_out.objective)))
            losses = [held_out.objective.loss(one, batch) for one in (model, models["other"])]
            behind = float(losses[0].values[losses[0].counts].mean() - losses[1].values[losses[1].counts].mean())
            return {"behind": behind, "ahead": state["ahead"], "seen": state["seen"]}

    judge = {"test-behind": {"other": {"recipe": {"budget": {"steps": 6}}}}}
    recipe = tiny(evaluations=["bits-per-byte", judge], budget={"steps": 10}, evaluate_every=0.5)
    plain = fly(tiny(budget={"steps": 4}, evaluate_every=0.5), 0, stream, tmp_path / "plain")
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole.status == "finished", whole.traceback
    assert [one.numbers["seen"] for one in whole.validation] == [1, 2] and whole.test["seen"] == 3
    assert whole.test["behind"] > 0 and whole.test["ahead"] > 0 and whole.primary == "bits_per_byte"
    assert watched[-1]["evaluations.1"]["last"] == whole.validation[-1].numbers["behind"]
    # Charged: what the other model has cost, out of the budget, and the look ahead; not what measuring has.
    (other,) = whole.needed.values()
    assert whole.charged["steps"] == 6 and whole.totals.steps == 4 and whole.charged["flops"] == other["flops"] > 0
    assert whole.totals.cpu_seconds > whole.charged["cpu_seconds"] == other["cpu_seconds"] > 0
    ahead = whole.phases[0]["ahead"]["flops"]
    assert ahead > 0 and whole.totals.flops == pytest.approx(plain.totals.flops + other["flops"] + ahead)
    cut = cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert cut.test == whole.test and same(tmp_path / "whole", tmp_path / "cut")
    # Cached: another run that needs the same model finds it.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole" / "needed").glob("*/record.json")}
    again = tiny(evaluations=["bits-per-byte", judge], budget={"steps": 8})
    assert fly(again, 0, stream, tmp_path / "again", needed_in=tmp_path / "whole" / "needed").status == "finished"
    assert len(before) == 1 and {path: path.stat().st_mtime_ns for path in before} == before


def test_an_evaluation_with_a_model_of_other_tokens_is_refused(tiny, stream, tmp_path, spare_part):
    @spare_part
    class Judge(Evaluation, name="test-judge-of-tokens"):
        other: Trained

        def evaluate(self, model, held_out, models=None):
            return {"judge": 1.0}

    other = {"recipe": {"budget": {"steps": 1}, "tokenizer": {"vocabulary": 420, "sentinels": 4}}}
    recipe = tiny(evaluations=["bits-per-byte", {"test-judge-of-tokens": {"other": other}}], budget={"steps": 2})
    streams = prepare_needed(recipe, tmp_path / "cache")
    record = fly(recipe, 0, stream, tmp_path / "run", streams=streams)
    assert record.status == "failed" and "trained with another tokenizer" in record.error
