"""One contract for every registered part: a new part is in this table by existing.

It trains; interrupted and resumed equals undisturbed, bitwise; its model survives export and loading with equal logits; at its
identity setting it equals plain training; and the table itself fails when a part is registered that it does not know how to fly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from windtunnel.core import registry
from windtunnel.slots import Progress
from windtunnel.train.run import fly, prepare

LOOP_SLOTS = (
    "Mixture",
    "Packing",
    "Objective",
    "LossTerm",
    "Weighting",
    "Selection",
    "Start",
    "Structure",
    "Optimizer",
    "Schedule",
    "AfterStep",
    "Evaluation",
)
FIELD = {
    "Mixture": "mixture",
    "Packing": "packing",
    "Objective": "objective",
    "LossTerm": "losses",
    "Weighting": "weighting",
    "Selection": "selection",
    "Start": "start",
    "Structure": "structure",
    "Optimizer": "optimizer",
    "Schedule": "schedule",
    "AfterStep": "after_step",
    "Evaluation": "evaluations",
}

# Knobs a part cannot do without, and what must be true around it. Everything else flies at its defaults. "@model" is the folder of a
# small model that has been trained before, "@other" of one with another tokenizer.
KNOBS: dict[str, dict[str, Any]] = {
    "fixed": {"shares": {"code": 0.5, "prose": 0.5}},
    "checkpoint": {"model": "@model"},
    "trained": {"model": {"folder": "@model"}},
    "transplant": {"source": {"folder": "@other"}},
    "distillation": {"teacher": {"folder": "@model"}},
    "hidden-distillation": {"teacher": {"folder": "@model"}},
    "learnable": {"scorer": {"folder": "@model"}, "candidates": 2, "top": 500},
    "sub-depths": {"layers": 1},
    "shared-stages": {"stages": 1},
    "expand-stages": {"stages": 1},
    "low-rank": {"rank": 4},
    "sparse-low-rank": {"rank": 4},
    "galore": {"rank": 4, "every": 2},
    "refactorise": {"every": 2, "recovery": 1},
    "reptile": {"every": 2},
    "elastic-weights": {"sources": ["code"], "sequences": 2},
    "cloze": {"given": 12, "continuation": 4},
}
FAMILY = {"masked-token": "bert", "span-corruption": "t5"}
# A start that changes the model of the phase before: its sizes, and what that phase sets.
AFTER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "stack": ({"layers": 8}, {}),
    "deepen": ({"layers": 5}, {}),
    "widen": ({"width": 64, "heads": 4}, {}),
    "select-layers": ({"layers": 1}, {}),
    "expand-line": ({"layers": 4}, {"structure": "linear-layers"}),
    "expand-stages": ({"layers": 4}, {"structure": {"shared-stages": {"stages": 1}}}),
}
# What must stand beside a part.
BESIDE: dict[str, dict[str, Any]] = {"refactorise": {"structure": {"low-rank": {"rank": 4}}}}

# Knobs at which a part must change nothing against a recipe without it; every structure, loss term, weighting and after-step has one.
IDENTITY: dict[str, dict[str, Any]] = {
    "fixed-mask": {"sparsity": 0.0},
    "distillation": {"teacher": {"folder": "@model"}, "weight": 0.0},
    "hidden-distillation": {"teacher": {"folder": "@model"}, "weight": 0.0},
    "learnable": {"scorer": {"folder": "@model"}, "candidates": 1, "top": 500},
    "pull-to-start": {"strength": 0.0},
    "reptile": {"every": 2, "kept": 1.0},
    "interpolate": {"share": 1.0},
    "elastic-weights": {"sources": ["code"], "strength": 0.0},
    "sub-depths": {"layers": 2},
    "shared-stages": {"stages": 2},
    "pruning-ramp": {"sparsity": 0.0},
    "refactorise": {"every": 1000},
}
# Parts that train something else than plain training at every setting, and why.
NO_IDENTITY = {
    "low-rank": "a product of factors moves differently from its matrix, whatever the rank",
    "sparse-low-rank": "as low-rank",
    "linear-layers": "blocks on a line share their weights; with one block only its slope has nothing to do",
}


def parts(*slots: str) -> list[tuple[str, str]]:
    return [(slot, name) for slot in slots for name in sorted(registry.names(registry.slots()[slot]))]


def recipe_for(slot: str, name: str, tiny: Any, stream: Any, folder: Path, **fields: Any) -> Any:
    written = {name: with_model(KNOBS.get(name, {}), tiny, stream, folder)}
    setting: Any = [written] if slot in ("LossTerm", "AfterStep", "Evaluation") else written
    if slot == "Evaluation":
        setting = ["bits-per-byte", written] if name != "bits-per-byte" else [written]
    model = {"family": FAMILY.get(name, "llama"), "depth": 2, "layers": 2, "width": 32, "heads": 2}
    if name in AFTER:
        sizes, before = AFTER[name]
        return tiny(phases=[{"share": 0.5, **before}, {"share": 0.5, "model": model | sizes, FIELD[slot]: setting}], **fields)
    return tiny(model=model, **{FIELD[slot]: setting}, **BESIDE.get(name, {}), **fields)


def with_model(knobs: Any, tiny: Any, stream: Any, folder: Path) -> Any:
    if knobs == "@model":
        fly(tiny(), 3, stream, folder / "before")
        return str(folder / "before" / "model")
    if knobs == "@other":
        other = tiny(tokenizer={"vocabulary": 480})
        fly(other, 3, prepare(other, folder / "cache"), folder / "other")
        return str(folder / "other" / "model")
    return {key: with_model(value, tiny, stream, folder) for key, value in knobs.items()} if isinstance(knobs, dict) else knobs


@pytest.mark.parametrize(("slot", "name"), parts(*LOOP_SLOTS))
def test_trains_resumes_bitwise_and_exports(slot, name, tiny, stream, tmp_path):
    recipe = recipe_for(slot, name, tiny, stream, tmp_path)
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole["status"] == "finished", whole["traceback"]
    assert whole["totals"]["steps"] == 6 and whole["totals"]["targets"] > 0
    for _ in range(12):
        calls = iter([False, True])
        cut = fly(recipe, 0, stream, tmp_path / "cut", stop=lambda calls=calls: next(calls, True))
        if cut["status"] != "interrupted":
            break
    assert cut["status"] == "finished", cut["traceback"]
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert whole["test"] == cut["test"]

    from transformers import AutoConfig, AutoTokenizer

    from windtunnel.models.checkpoint import load

    folder = tmp_path / "whole" / "model"
    model = load(folder)
    again = {key: value for key, value in model.state_dict().items() if key in one}
    assert again and all(torch.equal(again[key], one[key]) for key in again)
    assert AutoConfig.from_pretrained(folder).vocab_size == stream.facts.size
    assert AutoTokenizer.from_pretrained(folder)("def f(x):\n    return x")["input_ids"]


@pytest.mark.parametrize(("slot", "name"), parts("Structure", "LossTerm", "Weighting", "Selection", "AfterStep"))
def test_identity_setting_equals_plain_training(slot, name, tiny, stream, tmp_path):
    if name in NO_IDENTITY:
        assert name not in IDENTITY
        return
    assert name in IDENTITY, f"{name} needs an entry in IDENTITY: the knobs at which it changes nothing"
    written = {name: with_model(IDENTITY[name], tiny, stream, tmp_path)}
    setting = [written] if slot in ("LossTerm", "AfterStep") else written
    fly(tiny(**BESIDE.get(name, {})), 0, stream, tmp_path / "plain")
    record = fly(tiny(**{FIELD[slot]: setting}, **BESIDE.get(name, {})), 0, stream, tmp_path / "with")
    assert record["status"] == "finished", record["traceback"]
    plain, other = (load_file(tmp_path / folder / "model" / "model.safetensors") for folder in ("plain", "with"))
    assert all(torch.equal(plain[key], other[key]) for key in plain)


@pytest.mark.parametrize(("slot", "name"), parts(*registry.slots()))
def test_every_part_says_what_it_is(slot, name):
    found = registry.describe(registry.names(registry.slots()[slot])[name])
    assert len(found["documentation"]) > 20
    assert all(knob["description"] for knob in found["knobs"].values()), found["knobs"]
    json.dumps(found)


def test_the_six_steps_of_arms_see_the_same_documents(tiny, stream, tmp_path):
    """Arms with another model or schedule draw the same sequences as the baseline."""
    from windtunnel.data.loader import Loader

    rows = []
    for batch in (4, 2):
        recipe = tiny(batch=batch)
        phase = recipe.phases[0]
        loader = Loader(
            stream,
            split="train",
            sources=stream.sources,
            context=32,
            sequences=batch,
            mixture=phase.mixture,
            packing=phase.packing,
            seed=5,
        )
        progress = Progress(0, 1, 0, 1, batch, 0.0, 0.0, 0)
        drawn = [loader.rows(progress, {})["tokens"] for _ in range(8 // batch)]
        rows.append(torch.cat([torch.as_tensor(entry) for entry in drawn]))
    assert torch.equal(rows[0], rows[1])
