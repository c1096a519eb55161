"""Several ranks train what one rank trains, stop and go on together, and refuse what they cannot share."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
import warm
import yaml
from ranks_worker import work
from safetensors.torch import load_file

from windtunnel.core.errors import UserError
from windtunnel.recipe import merge, recipe_from
from windtunnel.train import checkpoint, ranks
from windtunnel.train.parallel import stored
from windtunnel.train.parallel.local import refuse_unfit
from windtunnel.train.parallel.mesh import Mesh
from windtunnel.train.parallel.same import refuse_different
from windtunnel.train.run import fly

HALVES = {"micro_batch": 2}  # of batches of 4: one rank adds up the gradients that two ranks add up
STACKED = {"phases": [{"share": 0.5, "model": {"layers": 1}}, {"share": 0.5, "start": {"stack": {"factor": 2}}}]}
SAME = {
    "plain": HALVES,
    "muon": HALVES | {"optimizer": "muon"},
    "stacked": HALVES | STACKED,
    "penalised": HALVES
    | {"phases": [{"share": 0.5}, {"share": 0.5, "losses": {"elastic-weights": {"sources": ["code"], "sequences": 4}}}]},
    "sparse": HALVES | {"structure": {"fixed-mask": {"sparsity": 0.5}}},
}
ALIKE = {  # what draws numbers, which differ from those of one rank
    "dropout": {"model": {"family": "gpt2", "dropout": 0.3}},
    "noise": {"after_step": "test-noise-of-ranks", "model": {"family": "gpt2", "dropout": 0.3}},
    "chosen": {"selection": {"test-smallest": {"candidates": 3}}},
    "clock": {"budget": {"seconds": 0.3}},
}
PARTS = {"mesh": [1, 2]}  # two ranks hold a model between them
CUT = {"mesh": [1, 1, 2]}  # they compute each layer between them
T5 = {"model": {"family": "t5"}, "objective": "span-corruption"}
EXACT = {"micro_batch": 1, "start": "test-doubled", "evaluate_every": 1.0}  # float64; two micro-batches a rank
REFUSED = {
    "uneven": ({"batch": 3}, "use --ranks 1 or 3"),
    "counting": ({"weighting": "test-counting"}, "test-counting: it keeps count"),
    "diverged": ({"optimizer": {"adamw": {"learning_rate": 1e30}}, "clip": None, "budget": {"steps": 30}}, "not finite"),
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def flown(tiny: Any, stream: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything flown on two ranks, in one go: starting them takes longer than the runs."""
    folder = tmp_path_factory.mktemp("ranks")
    raw = tiny().model_dump(mode="json")
    plain = {key: raw[key] for key in ("corpus", "budget", "encoding", "split", "precision", "evaluate_every", "evaluation_tokens")}
    plain |= {"test_tokens": 512, "context": 32, "batch": 4, "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2}}
    jobs = [
        {"recipe": merge(plain, fields), "folder": str(folder / name), "stop": 0}
        for name, fields in {**SAME, **ALIKE, **{name: fields for name, (fields, _) in REFUSED.items()}}.items()
    ]
    jobs += [{"recipe": merge(plain, SAME["stacked"]), "folder": str(folder / "cut"), "stop": stop} for stop in (1, 4, 0)]
    exact = merge(plain, EXACT)
    kinds = {"exact-whole": {}, "exact-parts": PARTS}
    jobs += [{"recipe": exact, "folder": str(folder / name), "stop": 0} | mesh for name, mesh in kinds.items()]
    jobs += [{"recipe": merge(exact, T5), "folder": str(folder / f"t5-{name}"), "stop": 0} | mesh for name, mesh in kinds.items()]
    lean = {"how": {"recompute": True, "offload": True}}
    seeing = merge(plain, {"evaluations": ["bits-per-byte", "test-rows-seen"]})
    jobs += [{"recipe": seeing, "folder": str(folder / "parts-lean"), "stop": 0} | PARTS | lean]
    jobs += [{"recipe": exact, "folder": str(folder / "exact-cut"), "stop": 0} | CUT]
    layers = (("layers", 0), ("layers-cut", 2), ("layers-cut", 0))
    jobs += [{"recipe": plain, "folder": str(folder / name), "stop": stop} | CUT for name, stop in layers]
    jobs += [{"recipe": plain, "folder": str(folder / "parts-cut"), "stop": 2} | PARTS | {"kept": str(folder / "parts-torn")}]
    full = {"limit": 20_000, "every": 0.0, "record": "parts-full"}
    jobs += [{"recipe": plain, "folder": str(folder / "parts-cut"), "stop": 0} | PARTS | disk for disk in (full, {})]
    jobs += [{"recipe": plain, "folder": str(folder / name), "stop": stop} | PARTS for name, stop in {"parts": 0, "parts-left": 2}.items()]
    killed = {"recipe": plain, "folder": str(folder / "killed"), "stop": 0, "every": 0.0} | PARTS
    for rank, where in ((1, "step"), (0, "checkpoint")):  # the other ends by itself, sooner or later
        codes = together([*jobs, killed | {"kill": [rank, where]}], stream)
        assert codes[rank] == -signal.SIGKILL and codes[1 - rank] in (0, 1), codes
        jobs = []
    assert together([killed], stream) == [0, 0]
    return folder


def together(jobs: list[dict[str, Any]], stream: Any) -> list[int | None]:
    """Do ``jobs`` on two ranks; returns how each ended."""
    port, processes = free_port(), []
    for rank in range(2):
        processes.append(warm.CONTEXT.Process(target=work, args=(rank, 2, port, jobs, str(stream.folder))))
        processes[-1].start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def record(flown: Path, name: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((flown / f"{name}-{rank}.json").read_text())
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", SAME)
def test_two_ranks_train_what_one_rank_trains_to_the_last_bit(name, flown, tiny, stream, tmp_path):
    told = record(flown, name)
    assert told["status"] == "finished", told["traceback"]
    alone = fly(tiny(**SAME[name]), 0, stream, tmp_path / "alone", threads=1)
    assert same(flown / name, tmp_path / "alone")
    assert (told["ranks"], alone["ranks"]) == (2, 1)
    assert told["test"] == alone["test"]
    for count in ("steps", "tokens", "targets", "flops", "effective_flops"):
        assert told["totals"][count] == alone["totals"][count]


@pytest.mark.parametrize("name", [*SAME, *ALIKE])
def test_every_rank_holds_the_same_weights_and_the_same_record(name, flown):
    first, second = (record(flown, name, rank) for rank in (0, 1))
    assert first["status"] == "finished", first["traceback"]
    assert first["agree"] == second["agree"] == [True]
    assert second["totals"] == first["totals"]


def test_what_is_drawn_differs_by_rank(flown, tiny, stream, tmp_path):
    fly(tiny(**ALIKE["dropout"], **HALVES), 0, stream, tmp_path / "alone", threads=1)
    assert not same(flown / "dropout", tmp_path / "alone")  # the second half of a batch would have got the first half's dropout


def test_ranks_that_are_stopped_go_on_together(flown):
    last = record(flown, "cut")
    assert last["status"] == "finished", last["traceback"]
    assert same(flown / "cut", flown / "stacked")


@pytest.mark.parametrize(
    ("name", "other", "close"),
    [
        ("parts", "plain", 1e-6),
        ("exact-parts", "exact-whole", 1e-10),
        ("t5-exact-parts", "t5-exact-whole", 1e-10),
        ("exact-cut", "exact-whole", 1e-10),
    ],
)
def test_a_model_in_shards_trains_like_a_whole_one(name, other, close, flown):
    """The whole one is that of two ranks, which is that of one to the last bit."""
    parts, whole = record(flown, name), record(flown, other)
    assert parts["status"] == whole["status"] == "finished", parts["traceback"]
    assert (parts["mesh"], whole["mesh"]) == ("data=1,shard=1,tensor=2" if "cut" in name else "data=1,shard=2", "data=2,shard=1")
    for key, share in {"loss": close, "gradient_norm": 10 * close}.items():
        mine, theirs = ([line[key] for line in lines(flown / folder)] for folder in (name, other))
        assert len(mine) == parts["totals"]["steps"]
        assert mine == pytest.approx(theirs, rel=share, abs=0)
    assert parts["totals"]["flops"] == whole["totals"]["flops"]
    assert parts["test"] == pytest.approx(whole["test"], rel=1e-5)
    assert parts["held"][0] <= (0.8 if "cut" in name else 0.55) * whole["held"][0]  # tables and head are not cut


def test_a_model_in_shards_goes_on_on_one_rank_with_the_same_documents(flown, tiny, stream):
    assert record(flown, "parts-left")["status"] == "interrupted"
    assert record(flown, "parts")["status"] == "finished"
    left, undisturbed = json.loads((flown / "parts-left" / "record.json").read_text()), record(flown, "parts")
    alone = fly(recipe_from(left["recipe"]), 0, stream, flown / "parts-left", threads=1)
    assert any("began with 2 rank(s) and goes on with 1" in said for said in alone["warnings"])
    assert alone["cursors"] == undisturbed["cursors"]
    one, other = ([line["loss"] for line in lines(flown / name)] for name in ("parts-left", "parts"))
    assert one == pytest.approx(other, rel=1e-5)


def test_what_needs_whole_weights_is_refused(tiny, monkeypatch):
    with pytest.raises(UserError, match="takes 2 ranks, and 1 train here"):
        refuse_unfit(tiny(), Mesh(shard=2))
    monkeypatch.setattr(ranks, "count", lambda: 2)
    for name in ("stacked", "penalised", "sparse", "muon"):
        with pytest.raises(UserError, match=r"cannot be trained on the mesh data=1,shard=2: .*; use data=2, which shards nothing"):
            refuse_unfit(tiny(**SAME[name]), Mesh(shard=2))
        refuse_unfit(tiny(**SAME[name]), Mesh(data=2))
    refuse_unfit(tiny(), Mesh(shard=2))
    with pytest.raises(UserError, match=r"batch: 3 sequences cannot be shared out evenly to the 2 ranks of data=1,shard=2; take 1 or 3"):
        refuse_unfit(tiny(batch=3), Mesh(shard=2))


def test_a_mesh_is_read_and_what_is_none_is_refused():
    assert [Mesh.read(text) for text in ("data=2,shard=4", "shard=3", "data=2")] == [(2, 4, 1), (1, 3, 1), (2, 1, 1)]
    for text in ("shards=2", "shard=0", "shard=two", "shard=2,shard=2", ""):
        with pytest.raises(UserError, match="--mesh"):
            Mesh.read(text)


def test_a_model_in_shards_goes_on_to_the_last_bit(flown):
    assert record(flown, "parts-cut")["status"] == "finished", record(flown, "parts-cut")["traceback"]
    assert same(flown / "parts-cut", flown / "parts")
    assert record(flown, "layers-cut")["status"] == "finished", record(flown, "layers-cut")["traceback"]
    assert same(flown / "layers-cut", flown / "layers")


def test_what_is_computed_again_or_waits_in_memory_is_the_same_to_the_last_bit(flown):
    lean, parts = record(flown, "parts-lean"), record(flown, "parts")
    assert lean["status"] == "finished", lean["traceback"]
    assert same(flown / "parts-lean", flown / "parts") and lean["totals"]["flops"] == parts["totals"]["flops"]


def test_a_loss_that_compares_sequences_is_measured_on_those_of_one_rank(flown):
    assert record(flown, "parts-lean")["test"]["rows"] == 1


def test_a_run_in_shards_whose_ranks_are_killed_goes_on_to_the_last_bit(flown):
    """One in the middle of a step, the other when its part of a checkpoint is written and the checkpoint is not whole."""
    assert record(flown, "killed")["status"] == "finished", record(flown, "killed")["traceback"]
    assert same(flown / "killed", flown / "parts")


def test_ranks_with_other_code_or_documents_are_refused_before_anything_is_trained(tiny, stream, monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 2)
    for what in ("code of Windtunnel", "documents"):
        monkeypatch.setattr(ranks, "of_every", lambda mine, what=what: [mine, mine | {what: "another"}])
        with pytest.raises(UserError, match=f"rank 1 has another {what} than rank 0"):
            refuse_different(tiny(), stream)
    monkeypatch.setattr(ranks, "of_every", lambda mine: [mine, dict(mine)])
    refuse_different(tiny(), stream)


def test_a_port_in_use_is_told(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        for key, value in (place | {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}).items():
            monkeypatch.setenv(key, value)
        with pytest.raises(UserError, match=r"the ranks cannot meet at 127\.0\.0\.1:\d+: the port is in use"), ranks.joined("cpu"):
            pass


def test_a_disk_that_is_full_on_one_rank_is_told_by_all_and_nothing_is_lost(flown):
    for rank in (0, 1):
        told = record(flown, "parts-full", rank)
        assert told["status"] == "failed"
        assert "rank 1: File too large" in told["error"] and "parts-cut/checkpoints/step-" in told["error"]


def test_a_checkpoint_cut_off_in_one_shard_is_named_on_another_mesh(flown):
    (folder,) = (flown / "parts-torn" / "checkpoints").iterdir()
    heard: list[str] = []
    found = checkpoint.newest(folder.parent, heard.append)
    assert found is not None and not heard
    assert all(value.shape for value in found["model"].values()) and found["optimizer"]["state"][0]["exp_avg"].any()
    with pytest.raises(pickle.UnpicklingError, match=r"does not hold os\.|does not hold posix\."):
        stored.LayoutUnpickler(io.BytesIO(pickle.dumps(os.system))).load()  # it is data, from which nothing runs
    shard = next(folder.glob("__1_*"))
    os.truncate(shard, shard.stat().st_size - 1)
    assert checkpoint.newest(folder.parent, heard.append) is None
    assert heard == [f"checkpoint {folder} is damaged and skipped: {shard} does not match its checksum"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_ranks_cannot_share_is_refused_by_every_rank(name, flown):
    for rank in (0, 1):
        found = record(flown, name, rank)
        assert found["status"] == "failed"
        assert REFUSED[name][1] in found["error"]


def test_rows_are_shared_out_in_order(monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    assert ranks.share({"labels": [1, 2, 3, 4], "tokens": "abcd"}) == {"labels": [3, 4], "tokens": "cd"}
    with pytest.raises(UserError, match="--ranks 1 or 3"):
        ranks.share({"labels": [1, 2, 3]})


def test_gradients_travel_in_groups_of_one_kind(monkeypatch):
    monkeypatch.setattr(ranks, "BUCKET", 40)
    tensors = [torch.zeros(5), torch.zeros(5), torch.zeros(1), torch.zeros(30), torch.zeros(2, dtype=torch.bfloat16)]
    groups = list(ranks.buckets(tensors))
    assert [len(group) for group in groups] == [2, 1, 1, 1]
    assert [tensor for group in groups for tensor in group] == tensors


def test_the_command_line_starts_ranks_and_stops_them(tiny, tmp_path, corpus, warm_ranks):
    recipe = {"corpus": corpus, "budget": {"steps": 3000}, "split": {"validation": 0.1, "test": 0.1}, "tokenizer": {"vocabulary": 512}}
    recipe |= {"model": {"depth": 2, "layers": 2, "width": 32, "heads": 2}, "context": 32, "batch": 4, "precision": "float32"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"compile": "no", "evaluation_tokens": 256, "test_tokens": 512}))
    command = ("train", "recipe.yaml", "--out", "run", "--cache", "cache")
    flying = warm.Command([*command, "--ranks", "2"], tmp_path)
    log, end = tmp_path / "run" / "log.jsonl", time.monotonic() + 300
    while time.monotonic() < end and flying.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.2)
    flying.send_signal(signal.SIGTERM)
    _, said = flying.communicate(timeout=120)
    assert flying.returncode == 130, said
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "interrupted"
    (tmp_path / "uneven.yaml").write_text((tmp_path / "recipe.yaml").read_text().replace("batch: 4", "batch: 3"))
    refused = warm.run("train", "uneven.yaml", "--out", "uneven", "--cache", "cache", "--ranks", "2", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("use --ranks 1 or 3") == 1
    refused = warm.run("train", "uneven.yaml", "--out", "uneven", "--cache", "cache", "--mesh", "shard=2", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("3 sequences cannot be shared out evenly to the 2 ranks of data=1,shard=2; take 1 or 3") == 1
