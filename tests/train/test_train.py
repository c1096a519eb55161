"""The loop, the budget and checkpoints: what silently goes wrong in training code."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import random
import signal
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import warm
from pydantic import Field
from safetensors.torch import load_file

from windtunnel.core.errors import UserError
from windtunnel.kits.text.network import TokenFacts
from windtunnel.models.anatomy import linears
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.parts.objective.prefix_lm import PrefixLM
from windtunnel.slots import AfterStep, Evaluation, LossTerm, Structure, Weighting
from windtunnel.train import checkpoint, documents
from windtunnel.train.count import count_step
from windtunnel.train.estimate import estimate
from windtunnel.train.log import RunContext, RunLog
from windtunnel.train.record import RunRecord
from windtunnel.train.run import fly


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_learns_and_leaves_a_whole_record(tiny, stream, tmp_path):
    record = fly(tiny(budget={"steps": 40}, optimizer={"adamw": {"learning_rate": 0.01}}), 0, stream, tmp_path)
    assert record["status"] == "finished", record["traceback"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 40 and lines[-1]["loss"] < lines[0]["loss"] - 0.5
    assert record["primary"] == "bits_per_byte" and 0 < record["test"]["bits_per_byte"] < 12
    assert {"bits_per_byte/code", "bits_per_byte/prose"} <= set(record["test"])
    assert record["totals"]["tokens"] == 40 * 4 * 32
    assert [entry["step"] for entry in record["validation"]] == [20, 40]
    assert record == RunRecord.model_validate(json.loads((tmp_path / "record.json").read_text()))
    assert fly(tiny(budget={"steps": 40}, optimizer={"adamw": {"learning_rate": 0.01}}), 0, stream, tmp_path) == record


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_precision_trains_and_repeats_bitwise(precision, tiny, stream, tmp_path):
    """A processor without instructions for bfloat16 computes it too, more slowly."""
    one, other = (fly(tiny(precision=precision), 0, stream, tmp_path / name) for name in ("one", "other"))
    assert (one["status"], one["precision"]) == ("finished", precision), one["traceback"]
    assert one["test"] == other["test"]
    found = documents.read(tmp_path / "one")
    assert found.above.sum() / found.below.sum() == pytest.approx(one["test"]["bits_per_byte"], rel=1e-6)
    assert (tmp_path / "one" / documents.FILE).stat().st_size < 4096 + 24 * len(found.unit)
    exact = fly(tiny(precision="float32"), 0, stream, tmp_path / "exact")
    assert one["test"]["bits_per_byte"] == pytest.approx(exact["test"]["bits_per_byte"], rel=1e-2)
    assert (one["test"] == exact["test"]) == (precision == "float32")


def test_flops_of_a_step_are_those_of_its_matrices(tiny, stream, tmp_path):
    record = fly(tiny(budget={"steps": 1}), 0, stream, tmp_path)
    tokens, width, layers, vocabulary, inner = 4 * 32, 32, 2, 512, 96
    matrices = layers * (4 * width * width + 3 * width * inner) + vocabulary * width
    attention = layers * 4 * 32 * width * 3.5 * tokens  # forward twice QK and AV; backward is counted as 2.5 times as much
    counted = record["phases"][0]["flops_per_step"]
    assert 6 * matrices * tokens <= counted <= 6 * matrices * tokens + attention * 1.01
    assert estimate(tiny(budget={"steps": 1}))["flops"] == pytest.approx(counted, rel=0.1)


def test_a_budget_in_flops_is_never_exceeded_and_nearly_used(tiny, stream, tmp_path):
    record = fly(tiny(budget={"flops": 3e8}), 0, stream, tmp_path)
    per_step = record["phases"][0]["flops_per_step"]
    assert 3e8 - per_step < record["totals"]["flops"] <= 3e8


def test_a_budget_below_one_step_is_refused_in_words(tiny, stream, tmp_path):
    record = fly(tiny(budget={"flops": 10.0}), 0, stream, tmp_path)
    assert record["status"] == "failed" and "too small" in record["traceback"] and "one step costs" in record["traceback"]


def test_a_budget_in_seconds_ends(tiny, stream, tmp_path):
    record = fly(tiny(budget={"seconds": 0.5}), 0, stream, tmp_path)
    assert record["status"] == "finished" and record["totals"]["steps"] > 1


def test_loss_does_not_depend_on_how_the_batch_is_cut(tiny, stream, tmp_path):
    """Token-exact: one batch of four, or four micro-batches of one, make the same update up to rounding."""
    plain = {"optimizer": {"adamw": {"eps": 1e-4}}, "budget": {"steps": 3}}
    fly(tiny(**plain), 0, stream, tmp_path / "whole")
    fly(tiny(**plain, micro_batch=1), 0, stream, tmp_path / "cut")
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-5, rtol=1e-3)


def test_the_logits_are_gone_when_the_gradient_is_computed(tiny, stream, tmp_path, monkeypatch):
    """They are the largest tensors of a step, and nothing needs them any more."""
    compute, alive = NextToken.loss, []

    def watched(self: NextToken, model: Any, batch: Any, needs: Any = frozenset()) -> Any:
        loss = compute(self, model, batch, needs)
        if loss.values.requires_grad:
            logits = weakref.ref(loss.outputs.logits)
            loss.values.register_hook(lambda _: alive.append(logits() is not None))
        return loss

    monkeypatch.setattr(NextToken, "loss", watched)
    fly(tiny(budget={"steps": 2}), 0, stream, tmp_path / "run")
    assert alive and not any(alive)


def test_same_seed_same_weights_other_seed_other_weights(tiny, stream, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fly(tiny(), seed, stream, tmp_path / name)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("in_memory", [1 << 28, 0])
def test_counting_a_step_leaves_no_trace(tiny, stream, tmp_path, monkeypatch, in_memory):
    """The counted step is undone, from memory or from a file: without counting, training gives the same weights."""
    from windtunnel.train import count, phase

    monkeypatch.setattr(count, "IN_MEMORY", in_memory)
    fly(tiny(), 0, stream, tmp_path / "counted")

    one = {"flops": 1.0, "matrices": 0.0}
    cost = {"variants": [one], "flops": 1.0, "effective_flops": 1.0, "parameters": 1, "active_parameters": 1, "seconds": 1.0}
    monkeypatch.setattr(phase, "measure", lambda phase_run: dict(cost))
    fly(tiny(), 0, stream, tmp_path / "plain")
    assert same(tmp_path / "counted", tmp_path / "plain")


def test_divergence_is_a_failed_run_with_a_reason(tiny, stream, tmp_path):
    record = fly(tiny(optimizer={"adamw": {"learning_rate": 1e30}}, clip=None, budget={"steps": 30}), 0, stream, tmp_path)
    assert record["status"] == "failed" and "finite" in record["traceback"]


def test_a_folder_of_another_run_is_refused(tiny, stream, tmp_path):
    fly(tiny(), 0, stream, tmp_path)
    with pytest.raises(UserError, match="another recipe, seed or text"):
        fly(tiny(), 1, stream, tmp_path)


def test_phases_of_other_sizes_need_a_start(tiny, stream, tmp_path):
    phases = [{"share": 0.5}, {"share": 0.5, "model": {"layers": 4}}]
    record = fly(tiny(phases=phases), 0, stream, tmp_path)
    assert record["status"] == "failed" and "start" in record["traceback"]


@pytest.mark.parametrize("moments", ["fresh", "kept"])
def test_interrupted_across_phases_equals_undisturbed(tiny, stream, tmp_path, moments):
    recipe = tiny(phases=[{"share": 0.5}, {"share": 0.5, "moments": moments, "schedule": "linear"}], budget={"steps": 8})
    fly(recipe, 0, stream, tmp_path / "whole")
    for _ in range(20):
        calls = iter([False, True])
        record = fly(recipe, 0, stream, tmp_path / "cut", stop=lambda calls=calls: next(calls, True))
        if record["status"] == "finished":
            break
        assert record["status"] == "interrupted", record["traceback"]
    assert record["status"] == "finished"
    assert same(tmp_path / "whole", tmp_path / "cut")
    a, b = (json.loads((tmp_path / name / "record.json").read_text()) for name in ("whole", "cut"))
    assert a["test"] == b["test"] and a["totals"]["tokens"] == b["totals"]["tokens"]
    assert (tmp_path / "whole" / "log.jsonl").read_text().count("\n") == (tmp_path / "cut" / "log.jsonl").read_text().count("\n")


def _fly_for_killing(recipe, stream_folder, folder):
    from windtunnel.data.stream import Stream

    torch.set_num_threads(1)
    fly(recipe, 0, Stream.open(stream_folder), folder, checkpoint_seconds=0.0)


def test_killed_at_twenty_random_instants_equals_undisturbed(tiny, stream, tmp_path):
    recipe = tiny(budget={"steps": 60}, phases=[{"share": 0.4}, {"share": 0.6, "model": {"layers": 4}, "start": {"stack": {"factor": 2}}}])
    fly(recipe, 0, stream, tmp_path / "whole")
    checkpoints = tmp_path / "killed" / "checkpoints"
    randomness, kills = random.Random(0), 0
    deadline = time.monotonic() + 600
    while not (tmp_path / "killed" / "record.json").exists():
        assert time.monotonic() < deadline
        process = warm.CONTEXT.Process(target=_fly_for_killing, args=(recipe, stream.folder, tmp_path / "killed"))
        before = sorted(checkpoints.glob("step-*"))[-1:]
        process.start()
        # Instants are counted from a step that was made, not from the start, so that a fast machine is killed as often as a slow one;
        # but for every fourth, which falls anywhere in the start.
        wait = kills % 4 != 3
        while wait and process.is_alive() and sorted(checkpoints.glob("step-*"))[-1:] == before:
            time.sleep(0.002)
        process.join(randomness.uniform(0, 0.05 if wait else 1.0) if kills < 20 else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
    assert kills >= 10, f"only {kills} kills landed while the run was alive"
    assert same(tmp_path / "whole", tmp_path / "killed")


def save(folder, name, state):
    writer = checkpoint.Writer(folder)
    writer.begin(name, state)
    writer.wait()
    return folder / name


def test_a_flipped_byte_in_a_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    save(tmp_path, "step-1", {"value": torch.ones(3)})
    path = save(tmp_path, "step-2", {"value": torch.full((3,), 2.0)})
    damaged = bytearray((path / "state.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (path / "state.pt").write_bytes(bytes(damaged))
    said: list[str] = []
    state = checkpoint.newest(tmp_path, said.append)
    assert torch.equal(state["value"], torch.ones(3))
    assert len(said) == 1 and "step-2" in said[0] and "damaged" in said[0]


def test_only_whole_checkpoints_count_and_old_ones_go(tmp_path):
    for step in range(5):
        save(tmp_path, f"step-{step}", {"step": step})
    (tmp_path / ".writing-left").mkdir()
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["step-3", "step-4"]
    assert checkpoint.newest(tmp_path, print) == {"step": 4}
    assert checkpoint.newest(tmp_path / "nowhere", print) is None


def test_an_unwritable_folder_is_one_clear_message(tiny, stream, tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(UserError, match="file"):
        fly(tiny(), 0, stream, file / "run")


def test_a_full_disk_is_one_clear_message_and_earlier_checkpoints_stay(tmp_path, monkeypatch):
    save(tmp_path, "step-1", {"value": torch.ones(3)})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"step-2.*No space left"):
        save(tmp_path, "step-2", {"value": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_numbers_reach_tensorboard(tiny, stream, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = fly(tiny(), 0, stream, tmp_path, loggers=["tensorboard"], name="wsd, seed 0")
    events = EventAccumulator(str(tmp_path / "tensorboard" / "wsd, seed 0"))
    events.Reload()
    assert [point.step for point in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    last = events.Scalars("validation/bits_per_byte")[-1].value
    assert last == pytest.approx(record["validation"][-1]["numbers"]["bits_per_byte"], rel=1e-5)


@pytest.mark.parametrize("kind", ["wandb", "trackio", "mlflow"])
def test_every_tracker_is_begun_fed_and_ended(kind, tiny, stream, tmp_path, monkeypatch):
    """By the calls that the real libraries understand; wandb, trackio and mlflow themselves are not installed with the tests."""
    told: list[tuple[str, dict[str, float], int]] = []
    ended: list[str] = []
    module = SimpleNamespace(
        init=lambda project, name, **_: told.append(("init", {}, 0)),
        log=lambda numbers, step: told.append(("log", numbers, step)),
        finish=lambda: ended.append("finish"),
        set_experiment=lambda name: None,
        start_run=lambda run_name: told.append(("init", {}, 0)),
        log_metrics=lambda numbers, step: told.append(("log", numbers, step)),
        end_run=lambda: ended.append("end_run"),
    )
    monkeypatch.setitem(sys.modules, kind, module)
    record = fly(tiny(), 0, stream, tmp_path, loggers=[kind])
    assert record["status"] == "finished", record["traceback"]
    assert told[0][0] == "init" and ended == ["end_run" if kind == "mlflow" else "finish"]
    assert [step for _, numbers, step in told if "loss" in numbers] == [1, 2, 3, 4, 5, 6]
    seen = [numbers["validation/bits_per_byte"] for _, numbers, _ in told if "validation/bits_per_byte" in numbers]
    assert seen == [point["numbers"]["bits_per_byte"] for point in record["validation"]]


def test_an_unknown_logger_is_named_with_the_nearest(tiny, stream, tmp_path):
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        fly(tiny(), 0, stream, tmp_path, loggers=["tensorbord"])


# Exact resume, where it is easily lost --------------------------------------------------------------------------------------------


def cut_into_pieces(recipe, stream, folder, **options):
    """Fly ``recipe`` one step at a time, each in a new flight; returns the finished record."""
    for _ in range(40):
        calls = iter([False, True])
        record = fly(recipe, 0, stream, folder, stop=lambda calls=calls: next(calls, True), **options)
        if record["status"] != "interrupted":
            break
    assert record["status"] == "finished", record["traceback"]
    return record


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_resuming_keeps_what_only_the_starting_checkpoint_knew(tiny, stream, tmp_path, family):
    """What a recipe does not say (the base of the rotation, more learned positions) comes from the folder; a resumed run has no folder."""
    model = {"family": family, "depth": 2, "layers": 2, "width": 32, "heads": 2}
    fly(tiny(budget={"steps": 1}, context=64, model=model), 1, stream, tmp_path / "before")
    config = tmp_path / "before" / "model" / "config.json"
    data = json.loads(config.read_text())
    if family == "llama":
        data["rope_parameters"] = {"rope_type": "default", "rope_theta": 50.0}
    config.write_text(json.dumps(data))
    recipe = tiny(model=model, start={"checkpoint": str(tmp_path / "before" / "model")}, budget={"steps": 3})
    fly(recipe, 0, stream, tmp_path / "whole")
    cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    read = [json.loads((tmp_path / name / "model" / "config.json").read_text()) for name in ("whole", "cut")]
    assert read[0] == read[1]


def test_a_later_phase_may_change_dropout_and_context_and_resumes_exactly(tiny, stream, tmp_path):
    phases = [{"share": 0.5}, {"share": 0.5, "model": {"dropout": 0.5}, "context": 64}]
    fly(tiny(phases=phases), 0, stream, tmp_path / "whole")
    cut_into_pieces(tiny(phases=phases), stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    config = json.loads((tmp_path / "whole" / "model" / "config.json").read_text())
    assert config["attention_dropout"] == 0.5 and config["max_position_embeddings"] >= 64
    fly(tiny(phases=[{"share": 0.5}, {"share": 0.5, "context": 64}]), 0, stream, tmp_path / "without")
    assert not same(tmp_path / "whole", tmp_path / "without")


def test_a_later_phase_with_other_heads_is_refused_though_all_shapes_agree(tiny, stream, tmp_path):
    record = fly(tiny(phases=[{"share": 0.5}, {"share": 0.5, "model": {"heads": 4}}]), 0, stream, tmp_path)
    assert record["status"] == "failed" and "heads" in record["traceback"] and "start" in record["traceback"]


def test_state_of_every_kind_of_part_survives_a_resume(tiny, stream, tmp_path, spare_part):
    @spare_part
    class Remembers(LossTerm, name="test-remembers"):
        def state(self, model):
            return {"nested": {"seen": [torch.zeros(2), 0]}}

        def term(self, model, batch, loss, state, given):
            seen = state["nested"]["seen"]
            seen[0] += 0.1
            seen[1] += 1
            return 1e-2 * seen[0].sum() * seen[1] * sum(p.square().sum() for p in model.parameters())

    @spare_part
    class Drifts(Weighting, name="test-drifts"):
        def state(self, model):
            return {"scale": torch.ones(())}

        def weigh(self, loss, batch, state, given):
            state["scale"] = state["scale"] * 0.9
            return state["scale"].expand_as(loss.values)

    @spare_part
    class Pulls(AfterStep, name="test-pulls"):
        def state(self, model):
            return {"slow": [p.detach().clone() for p in model.parameters()], "steps": 0}

        def after_step(self, model, optimizer, progress, state):
            state["steps"] += 1
            for slow, weight in zip(state["slow"], model.parameters(), strict=True):
                slow.lerp_(weight.detach(), 0.1)
                if state["steps"] % 2 == 0:
                    weight.data.copy_(slow)

    fields = {"losses": "test-remembers", "weighting": "test-drifts", "after_step": "test-pulls", "optimizer": "muon"}
    recipe = tiny(**fields, phases=[{"share": 0.5}, {"share": 0.5, "moments": "kept"}])
    fly(recipe, 0, stream, tmp_path / "whole")
    cut_into_pieces(recipe, stream, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    fly(tiny(optimizer="muon"), 0, stream, tmp_path / "plain")
    assert not same(tmp_path / "whole", tmp_path / "plain")


def test_state_that_a_checkpoint_cannot_hold_is_refused_at_the_start(tiny, stream, tmp_path, spare_part):
    @spare_part
    class Odd(AfterStep, name="test-odd"):
        def state(self, model):
            return {"counts": {"each": np.float32(1)}}

        def after_step(self, model, optimizer, progress, state):
            pass

    record = fly(tiny(after_step="test-odd"), 0, stream, tmp_path)
    assert record["status"] == "failed" and "test-odd" in record["traceback"] and "counts.each" in record["traceback"]
    assert "numpy.float32" in record["traceback"]


def test_a_part_that_draws_at_random_depends_on_the_seed_alone(tiny, stream, tmp_path, spare_part):
    @spare_part
    class Noise(Structure, name="test-noise"):
        def apply(self, model):
            for weight in model.parameters():
                weight.data += 0.1 * torch.randn_like(weight)

        def remove(self, model):
            pass

    for name in ("a", "b"):
        torch.manual_seed(hash(name) % 1000)  # what an earlier run in a warm worker left
        fly(tiny(structure="test-noise", budget={"steps": 2}), 0, stream, tmp_path / name)
    assert same(tmp_path / "a", tmp_path / "b")


def test_numbers_of_an_evaluation_are_plain_and_finite(tiny, stream, tmp_path, spare_part):
    @spare_part
    class Numpy(Evaluation, name="test-numpy"):
        value: float = Field(1.0)

        def evaluate(self, model, held_out):
            return {"number": np.float32(self.value)} if self.value >= 0 else self.value

    recipe = tiny(evaluations=["bits-per-byte", "test-numpy"], evaluate_every=0.2)
    cut_into_pieces(recipe, stream, tmp_path / "cut")
    record = fly(tiny(evaluations=["bits-per-byte", {"test-numpy": {"value": float("inf")}}]), 0, stream, tmp_path / "infinite")
    assert record["status"] == "failed" and "number of evaluation 'test-numpy' is inf, not a finite number" in record["traceback"]
    record = fly(tiny(evaluations=["bits-per-byte", {"test-numpy": {"value": -1.0}}]), 0, stream, tmp_path / "bare")
    assert record.failure.message == "evaluation 'test-numpy' returned -1.0; it has to return numbers by name, such as {'right': 0.5}"


def test_divergence_in_the_last_step_is_noticed(tiny, stream, tmp_path):
    """The loss of the last step is that of the weights before it."""
    for clip in (None, 1.0):
        recipe = tiny(optimizer={"adamw": {"learning_rate": 1e39}}, clip=clip, budget={"steps": 1})
        record = fly(recipe, 0, stream, tmp_path / str(clip))
        assert record["status"] == "failed" and "finite" in record["traceback"]


def test_the_log_drops_what_comes_after_the_checkpoint_and_the_line_cut_off(tmp_path):
    run_context = RunContext(folder=tmp_path, device=torch.device("cpu"), precision=contextlib.nullcontext)
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (1, 2, 3, 4)]
    path.write_text("\n".join(lines) + '\n{"step": 5, "lo\xff', encoding="latin-1")
    before = path.stat().st_ino
    RunLog(run_context, 3).close()
    assert path.read_text().splitlines() == lines[:3]
    assert path.stat().st_ino == before
    RunLog(run_context, 2).close()
    assert path.read_text().splitlines() == lines[:2]
    path.write_text(lines[0])  # cut off exactly before the end of the line
    RunLog(run_context, 1).close()
    assert path.read_text() in ("", lines[0] + "\n")


def test_a_kill_while_the_log_is_cut_back_loses_no_line(tmp_path, monkeypatch):
    run_context = RunContext(folder=tmp_path, device=torch.device("cpu"), precision=contextlib.nullcontext)
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 9}\n')
    found, real = [], builtins.open

    def watched(file, *arguments, **keywords):
        handle = real(file, *arguments, **keywords)
        if str(file) == str(path):
            found.append(path.read_bytes())
        return handle

    monkeypatch.setattr(builtins, "open", watched)
    RunLog(run_context, 2).close()
    assert found and all(b'{"step": 1}\n{"step": 2}\n' in seen for seen in found)


def test_a_warm_up_by_the_clock_begins_low(tiny, stream, tmp_path):
    record = fly(tiny(budget={"seconds": 2.0}, schedule={"cosine": {"warmup": 0.5}}), 0, stream, tmp_path)
    assert record["status"] == "finished", record["traceback"]
    rates = [json.loads(line)["learning_rate"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rates[0] < 0.5 * max(rates)


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 9])
def test_terms_and_weights_do_not_depend_on_how_the_batch_is_cut(tiny, stream, tmp_path, spare_part, micro_batch):
    """Also when the last slice is smaller than the others: a term that is a mean over targets counts each target alike."""

    @spare_part
    class Confidence(LossTerm, name="test-confidence"):
        def term(self, model, batch, loss, state, given):
            known = batch["labels"] != -100
            return 0.1 * loss.outputs.logits.float().logsumexp(-1)[known].square().mean()

    @spare_part
    class ByPosition(Weighting, name="test-by-position"):
        def weigh(self, loss, batch, state, given):
            return torch.linspace(0.5, 1.5, loss.values.shape[1]).expand_as(loss.values)

    fields = {"losses": "test-confidence", "weighting": "test-by-position", "optimizer": {"adamw": {"eps": 1e-4}}, "budget": {"steps": 3}}
    fly(tiny(**fields), 0, stream, tmp_path / "whole")
    fly(tiny(**fields, micro_batch=micro_batch), 0, stream, tmp_path / "cut")
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-5, rtol=1e-3)


# What a step costs ----------------------------------------------------------------------------------------------------------------

OBJECTIVES = {"bert": "masked-token", "modernbert": "masked-token", "t5": "span-corruption"}


@pytest.mark.parametrize(
    ("family", "grouped"),
    [(family, False) for family in ("llama", "qwen3", "gpt2", "gpt-neox", "bert", "modernbert", "t5")] + [("llama", True), ("qwen3", True)],
)
def test_flops_agree_with_the_formula_for_every_family(tiny, stream, tmp_path, family, grouped):
    heads = {"heads": 4, "key_value_heads": 2} if grouped else {"heads": 2}
    model = {"family": family, "depth": 2, "layers": 2, "width": 64, **heads}
    structure = {"structure": {"fixed-mask": {"sparsity": 0.75}}}
    recipe = tiny(budget={"steps": 1}, model=model, context=64, objective=OBJECTIVES.get(family, "next-token"), **structure)
    record = fly(recipe, 0, stream, tmp_path)
    assert record["status"] == "finished", record["traceback"]
    counted, effective = record["totals"]["flops"], record["totals"]["effective_flops"]
    assert estimate(recipe)["flops"] == pytest.approx(counted, rel=0.15)
    assert estimate(recipe)["parameters"] == pytest.approx(record["phases"][0]["parameters"], rel=0.15)
    if family == "t5":
        assert 0.75 * counted / 2 < counted - effective < 0.75 * counted
        continuing = recipe.model_copy(update={"phases": (recipe.phases[0].model_copy(update={"objective": PrefixLM()}),)})
        record = fly(continuing, 0, stream, tmp_path / "continuing")
        assert estimate(continuing)["flops"] == pytest.approx(record["totals"]["flops"], rel=0.15)
        return
    tokens, layers, width = 4 * 64, 2, 64
    narrow = width // 2 if grouped else width
    inner = (3 if family in ("llama", "qwen3", "modernbert") else 2) * (256 if family in ("gpt2", "gpt-neox", "bert") else 160)
    blocks = layers * (2 * width * width + 2 * width * narrow + inner * width)
    head = 512 * width + (width * width if family in ("bert", "modernbert") else 0)
    attention = layers * 4 * 64 * width * 3.5 * tokens  # scores and values forward; the fused backward makes five products for these two
    assert counted == 6 * (blocks + head) * tokens + attention
    assert counted - effective == pytest.approx(0.75 * 6 * blocks * tokens, rel=1e-3)


def test_effective_flops_leave_another_model_of_the_same_class_alone():
    """A teacher, or the second of two products with one input, is not taken for the sparse layers of the trained model."""
    settings = ModelSettings(depth=1, layers=1, width=64, heads=2)
    vocabulary = TokenFacts(64, document=1)
    model, teacher = fresh(config_for(settings, vocabulary, 16), 0), fresh(config_for(settings, vocabulary, 16), 1)
    tokens = torch.zeros(2, 16, dtype=torch.long)

    def step():
        with torch.no_grad():
            teacher(tokens)
        model(tokens).logits.sum().backward()

    _, matrices, *_ = count_step(model, step, matrices=True)
    blocks = sum(module.weight.numel() for module in linears(model).values())
    assert matrices == 6 * blocks * 32


def test_memory_is_what_the_tensors_of_a_step_hold_whatever_the_process_did_before(tiny, stream, tmp_path):
    """The same of every run of a recipe, near what is foretold without running, and less where an optimizer keeps less."""
    from windtunnel.train.traced import traced

    peaks = [fly(tiny(), seed, stream, tmp_path / f"{seed}")["totals"]["peak_memory_bytes"] for seed in (0, 1)]
    muon = fly(tiny(optimizer="muon"), 0, stream, tmp_path / "muon")["totals"]["peak_memory_bytes"]
    foretold = traced(tiny(), bfloat16=False)
    assert peaks == pytest.approx(2 * [foretold.bytes(tiny().phases[0].batch, 1)], rel=0.05)
    matrices = sum(value.nbytes for name, value in weights(tmp_path / "muon").items() if ".layers." in name and value.ndim == 2)
    assert peaks[0] - muon == pytest.approx(matrices, rel=0.2)
    pulled = fly(tiny(after_step={"pull-to-start": {"strength": 0.01}}), 0, stream, tmp_path / "pulled")["totals"]["peak_memory_bytes"]
    copy = sum(value.nbytes for value in weights(tmp_path / "pulled").values())
    assert pulled - peaks[0] == pytest.approx(copy, rel=0.2), "a copy of the weights that is kept lies beside the gradient too"


# One machine, many processes ----------------------------------------------------------------------------------------------------


def test_going_on_with_other_threads_is_said(tiny, stream, tmp_path):
    calls, said = iter([False, True]), []
    fly(tiny(), 0, stream, tmp_path, threads=1, stop=lambda: next(calls, True))
    try:
        record = fly(tiny(), 0, stream, tmp_path, threads=2, warn=said.append)
        assert record["status"] == "finished"
        assert record["warnings"] == said
    finally:
        torch.set_num_threads(1)
    assert len(said) == 1 and "1 thread" in said[0]


def test_tensors_of_a_checkpoint_go_back_to_where_they_were(tmp_path):
    """On an accelerator the states of parts are on the device or, as counts and generators may be, on the processor."""
    storage = SimpleNamespace(nbytes=lambda: 8, to=lambda device: f"moved to {device}")
    place = checkpoint.back_to(torch.device("cuda:1"))
    assert place(storage, "cpu") is storage
    assert place(storage, "cuda:0") == "moved to cuda:1"


def test_a_compiled_run_of_two_threads_resumes_exports_plain_names_and_measures_uncompiled(tiny, stream, tmp_path, monkeypatch):
    """Threads must not decide in which order the gradient of an embedding is added up: many tokens of few kinds would show it."""
    from windtunnel.kits.text import samples as module

    def plain(model, held_out, real=module.samples, **how):
        assert model._compiled_call_impl is None
        return real(model, held_out, **how)

    monkeypatch.setattr(module, "samples", plain)
    halves = [{"share": 0.5}, {"share": 0.5}]
    fields = {"budget": {"steps": 16}, "batch": 32, "phases": halves, "optimizer": {"adamw": {"learning_rate": 0.01}}}
    fields |= {"model": {"layers": 1}}
    recipe = tiny(compile="yes", **fields)
    try:
        whole = fly(recipe, 0, stream, tmp_path / "whole", threads=2)
        assert whole["status"] == "finished", whole["traceback"]
        for steps in (3, 8):
            stops = [False] * steps + [True]
            assert fly(recipe, 0, stream, tmp_path / "cut", threads=2, stop=lambda stops=stops: stops.pop(0))["status"] == "interrupted"
        cut = fly(recipe, 0, stream, tmp_path / "cut", threads=2)
    finally:
        torch.set_num_threads(1)
    assert whole["phases"][0]["flops_per_step"] == whole["phases"][1]["flops_per_step"]
    assert same(tmp_path / "whole", tmp_path / "cut") and whole["test"] == cut["test"]
    assert not torch.are_deterministic_algorithms_enabled() and torch.utils.deterministic.fill_uninitialized_memory
    assert not [name for name in weights(tmp_path / "whole") if "_orig_mod" in name]
    plainly = fly(tiny(compile="no", **fields), 0, stream, tmp_path / "plain")
    assert whole["test"]["bits_per_byte"] == pytest.approx(plainly["test"]["bits_per_byte"], rel=1e-3)


def test_kept_moments_are_those_the_phase_before_ended_with(tiny, stream, tmp_path, monkeypatch):
    """Counting a step on kept moments must not move them: two phases that differ in nothing are one phase."""
    fields = {"schedule": "constant", "budget": {"steps": 8}, "sources": ["code"]}
    fly(tiny(**fields), 0, stream, tmp_path / "one")
    from windtunnel.train import loop

    drawn = loop.draw

    def as_one_phase(phase_run, progress):
        # In the second phase the batches and dropout of steps 4 and on of one phase, but the loader of this one.
        place = replace(progress, step=progress.step + 4 * phase_run.index)
        known = {key: getattr(phase_run, key) for key in ("seed", "loader", "phase", "stream", "feedback", "by_source")}
        return drawn(SimpleNamespace(index=0, **known), place)

    monkeypatch.setattr(loop, "draw", as_one_phase)
    fly(tiny(phases=[{"share": 0.5}, {"share": 0.5, "moments": "kept"}], **fields), 0, stream, tmp_path / "two")
    assert same(tmp_path / "one", tmp_path / "two")


def test_a_run_above_a_limit_ends_its_phase_also_where_it_is_interrupted_there(tiny, stream, tmp_path, spare_part):
    """The parts are told the end of a phase that a limit has cut off, and no phase follows it."""

    @spare_part
    class Ends(AfterStep, name="test-ends"):
        def after_step(self, model, optimizer, progress, state):
            pass

        def end(self, model, state):
            ends.append(1)

    fly(tiny(budget={"steps": 2}), 0, stream, tmp_path / "first")
    recipe = tiny(
        budget={"steps": 12},
        phases=[{"share": 0.5, "start": {"checkpoint": str(tmp_path / "first")}}, {"share": 0.5}],
        optimizer={"adamw": {"learning_rate": 1.0}},
        schedule="constant",
        limits={"code": 0.0},
        evaluate_every=0.25,
        after_step="test-ends",
    )
    ends: list[int] = []
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole["status"] == "finished", whole["traceback"]
    assert "its limit is 0.00%" in whole["stopped"] and whole["stopped"] in whole["warnings"]
    assert (whole["totals"]["steps"], len(whole["phases"]), len(ends)) == (3, 1, 1)
    calls = iter([False, False, True])
    assert fly(recipe, 0, stream, tmp_path / "cut", stop=lambda: next(calls))["status"] == "interrupted"
    cut = fly(recipe, 0, stream, tmp_path / "cut")
    assert cut["status"] == "finished" and cut["stopped"] == whole["stopped"] and len(ends) == 2
    assert cut["test"] == whole["test"] and same(tmp_path / "whole", tmp_path / "cut")
