"""The loop, the budget and checkpoints: what silently goes wrong in training code."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from windtunnel.part import UserError
from windtunnel.train import checkpoint
from windtunnel.train.run import estimate, fly


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
    assert record == json.loads((tmp_path / "record.json").read_text())
    assert fly(tiny(budget={"steps": 40}, optimizer={"adamw": {"learning_rate": 0.01}}), 0, stream, tmp_path) == record


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


def test_same_seed_same_weights_other_seed_other_weights(tiny, stream, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fly(tiny(), seed, stream, tmp_path / name)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_counting_a_step_leaves_no_trace(tiny, stream, tmp_path, monkeypatch):
    """The counted step is undone: without counting, training gives the same weights."""
    from windtunnel.train import loop

    fly(tiny(), 0, stream, tmp_path / "counted")

    def uncounted(recipe, phase, index, seed, stream, loader, model, optimizer, states, moments, around):
        return optimizer, {"flops": 1.0, "effective_flops": 1.0, "parameters": 1}

    monkeypatch.setattr(loop, "measure_step", uncounted)
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
    from windtunnel.stream.stream import Stream

    torch.set_num_threads(1)
    fly(recipe, 0, Stream.open(stream_folder), folder, checkpoint_seconds=0.0)


def test_killed_at_twenty_random_instants_equals_undisturbed(tiny, stream, tmp_path):
    recipe = tiny(budget={"steps": 60}, phases=[{"share": 0.4}, {"share": 0.6, "model": {"layers": 4}, "start": {"stack": {"factor": 2}}}])
    fly(recipe, 0, stream, tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["windtunnel.train.loop", "windtunnel.models.checkpoint", "windtunnel.evaluate.samples"])
    randomness, kills = random.Random(0), 0
    deadline = time.monotonic() + 240
    while not (tmp_path / "killed" / "record.json").exists():
        assert time.monotonic() < deadline
        process = context.Process(target=_fly_for_killing, args=(recipe, stream.folder, tmp_path / "killed"))
        process.start()
        if kills < 20:
            process.join(randomness.uniform(0.8, 2.5))
        else:
            process.join()
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
    assert kills >= 5, f"only {kills} kills landed while the run was alive"
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_a_flipped_byte_in_a_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    checkpoint.save(tmp_path, "step-1", {"value": torch.ones(3)})
    path = checkpoint.save(tmp_path, "step-2", {"value": torch.full((3,), 2.0)})
    damaged = bytearray((path / "state.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (path / "state.pt").write_bytes(bytes(damaged))
    said: list[str] = []
    state = checkpoint.newest(tmp_path, said.append)
    assert torch.equal(state["value"], torch.ones(3))
    assert len(said) == 1 and "step-2" in said[0] and "damaged" in said[0]


def test_only_whole_checkpoints_count_and_old_ones_go(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path, f"step-{step}", {"step": step})
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
    checkpoint.save(tmp_path, "step-1", {"value": torch.ones(3)})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"step-2.*No space left"):
        checkpoint.save(tmp_path, "step-2", {"value": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_numbers_reach_tensorboard(tiny, stream, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = fly(tiny(), 0, stream, tmp_path, loggers=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    last = events.Scalars("validation/bits_per_byte")[-1].value
    assert last == pytest.approx(record["validation"][-1]["numbers"]["bits_per_byte"], rel=1e-5)


def test_an_unknown_logger_is_named_with_the_nearest(tiny, stream, tmp_path):
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        fly(tiny(), 0, stream, tmp_path, loggers=["tensorbord"])
