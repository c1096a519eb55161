"""Mechanisms that a user would put together: they run, resume and export as one, or are refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from windtunnel.train.run import fly

SMALL = {"recipe": {"budget": {"steps": 2}}}
SHALLOW = {"recipe": {"budget": {"steps": 2}, "model": {"layers": 1}}}
NARROW = {"recipe": {"budget": {"steps": 2}, "model": {"width": 16, "heads": 1}}}
RUN: dict[str, dict[str, Any]] = {
    "stack and pruning ramp": {
        "start": {"stack": {"factor": 2, "source": SHALLOW}},
        "structure": {"pruning-ramp": {"events": 2}},
    },
    "widen and early distillation": {
        "phases": [
            {"share": 0.5, "start": {"widen": {"method": "advanced", "source": NARROW}}, "losses": {"distillation": {"teacher": NARROW}}},
            {"share": 0.5, "moments": "kept"},
        ]
    },
    "widen and sub-depths": {"start": {"widen": {"source": NARROW}}, "structure": {"sub-depths": {"layers": 1}}},
    "sparse low rank after growth": {
        "start": {"stack": {"factor": 2, "source": SHALLOW}},
        "structure": {"sparse-low-rank": {"rank": 4, "begin": "factorise"}},
    },
    "low rank, refactorised": {"structure": {"low-rank": {"rank": 4}}, "after_step": {"refactorise": {"every": 3, "recovery": 2}}},
    "low rank, then pruned": {
        "phases": [{"share": 0.5, "structure": {"low-rank": {"rank": 4}}}, {"share": 0.5, "structure": {"pruning-ramp": {"events": 2}}}]
    },
    "galore under a mask": {"optimizer": {"galore": {"rank": 4, "every": 2}}, "structure": {"fixed-mask": {"sparsity": 0.5}}},
    "muon on a pruning ramp": {"optimizer": "muon", "structure": {"pruning-ramp": {"events": 2}}},
    "a line learned from a teacher": {"structure": "linear-layers", "losses": {"distillation": {"teacher": SMALL, "weight": 1.0}}},
    "chosen by a teacher and distilled": {
        "selection": {"learnable": {"scorer": SMALL, "candidates": 2, "top": 500}},
        "losses": [{"distillation": {"teacher": SMALL}}, {"hidden-distillation": {"teacher": SMALL, "pool": "mean"}}],
    },
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "refactorise without factors": ({"after_step": {"refactorise": {"every": 3, "recovery": 2}}}, "low-rank"),
    "galore on factors": ({"optimizer": {"galore": {"rank": 4}}, "structure": {"low-rank": {"rank": 4}}}, "galore"),
}


@pytest.mark.parametrize("name", RUN)
def test_together_they_train_resume_and_export(name, tiny, stream, tmp_path):
    recipe = tiny(budget={"steps": 10}, **RUN[name])
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole["status"] == "finished", whole["traceback"]
    for _ in range(20):
        calls = iter([False, False, True])
        cut = fly(recipe, 0, stream, tmp_path / "cut", stop=lambda calls=calls: next(calls, True))
        if cut["status"] != "interrupted":
            break
    assert cut["status"] == "finished", cut["traceback"]
    one, other = (load_file(tmp_path / place / "model" / "model.safetensors") for place in ("whole", "cut"))
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_together_is_refused_with_the_reason(name, tiny, stream, tmp_path):
    fields, says = REFUSED[name]
    try:
        record = fly(tiny(**fields), 0, stream, tmp_path)
    except ValidationError as error:
        assert says in str(error)
        return
    assert record["status"] == "failed" and says in record["traceback"] and "Traceback" not in record["traceback"]
