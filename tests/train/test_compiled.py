"""Compiled code serves the models that follow, and what a process was killed over on disk does not stand in the way of the next one."""

from __future__ import annotations

import os
import sysconfig
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from windtunnel.core.keys import Variant
from windtunnel.study.launch import worker
from windtunnel.train import compiled, phase, run, spend
from windtunnel.train.compiled import AT_REST, compile_model, forget_unfinished, set_compiled


class Doubling(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(width))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return 2 * given * self.weight


def test_models_of_the_same_shapes_share_what_was_compiled(monkeypatch):
    """Torch writes no code here: its part is not what is tried."""
    monkeypatch.setattr(Doubling, "compile", lambda self, **how: torch.nn.Module.compile(self, backend="eager", **how))
    monkeypatch.setattr(compiled, "KEPT", 12)
    torch._dynamo.reset()
    counters.clear()

    def graphs(*widths: int) -> int:
        for width in widths:
            model = Doubling(width)
            compile_model(model)
            assert torch.equal(model(torch.ones(width)), 2 * model.weight)
            worker._tidy(compiled=True)
        return counters["stats"]["unique_graphs"]

    assert graphs(3, 3, 3) == 1
    assert graphs(*range(4, 15), 3, 14) == 12, "more than the eight that torch keeps of one function"
    assert graphs(15) == 0, "the thirteenth: all are forgotten"
    assert graphs(3) == 1


def test_compiling_is_no_part_of_the_time_of_the_run_that_does_it(tiny, stream, tmp_path, monkeypatch):
    """The first run of a worker compiles for all that follow; and the step in which it does leaves no trace."""
    now = [0.0]

    def compiled_model(model: torch.nn.Module) -> None:
        def first(*arguments, **options):
            now[0] += 1000.0
            set_compiled(model, model._call_impl)
            return model(*arguments, **options)

        set_compiled(model, first)

    monkeypatch.setattr(spend, "_clocks", lambda: (now[0], now[0]))
    monkeypatch.setattr(phase, "compile_model", compiled_model)
    monkeypatch.setattr(run, "refuse_unable", lambda *_: None)
    recipe = tiny(model={"family": "gpt2", "dropout": 0.3}, budget={"steps": 3})
    kinds = {
        compiles: run.fly(recipe, 0, stream, tmp_path / str(compiles), variant=Variant(compiled=compiles)) for compiles in (True, False)
    }
    assert now == [1000.0] and kinds[True]["totals"]["seconds"] == 0.0, kinds[True]["traceback"]
    one, two = (load_file(tmp_path / str(compiles) / "model" / "model.safetensors") for compiles in (True, False))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_a_killed_compiler_left_is_deleted_and_the_rest_stays(tmp_path):
    library = next(Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so")).read_bytes()
    (tmp_path / "ab").mkdir()
    long_ago = time.time() - 2 * AT_REST
    files = {
        "ab/whole.so": library,
        "ab/kernel.cpp": b"",
        "ab/empty.main.so": b"",
        "ab/half.so": library[: len(library) // 2],
        "ab/last.o": library[:-1],
        "ab/header.o": library[:40],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / "ab" / "being-written.so").write_bytes(b"")
    forget_unfinished(tmp_path)
    left = {file.name for file in tmp_path.rglob("*.*")}
    assert left == {"whole.so", "kernel.cpp", "being-written.so"}
