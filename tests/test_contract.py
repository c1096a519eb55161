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

from windtunnel import part
from windtunnel.train.run import fly

LOOP_SLOTS = (
    "Mixture",
    "Packing",
    "Objective",
    "LossTerm",
    "Weighting",
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
    "Start": "start",
    "Structure": "structure",
    "Optimizer": "optimizer",
    "Schedule": "schedule",
    "AfterStep": "after_step",
    "Evaluation": "evaluations",
}

# Knobs a part cannot do without, and what must be true around it. Everything else flies at its defaults.
KNOBS: dict[str, dict[str, Any]] = {"fixed": {"shares": {"code": 0.5, "prose": 0.5}}}
FAMILY = {"masked-token": "bert", "span-corruption": "t5"}
AFTER_PLAIN_PHASE = {"stack": {"layers": 8}}  # a start that grows the model of the phase before: the sizes it grows to
FROM_FOLDER = {"checkpoint"}  # a start that reads a model from disk

# Knobs at which a part must change nothing against a recipe without it; every structure, loss term, weighting and after-step has one.
IDENTITY: dict[str, dict[str, Any]] = {"fixed-mask": {"sparsity": 0.0}}


def parts(*slots: str) -> list[tuple[str, str]]:
    return [(slot, name) for slot in slots for name in sorted(part.names(part.slots()[slot]))]


def recipe_for(slot: str, name: str, tiny: Any, stream: Any, folder: Path, **fields: Any) -> Any:
    written = {name: KNOBS.get(name, {})}
    setting: Any = [written] if slot in ("LossTerm", "AfterStep", "Evaluation") else written
    if slot == "Evaluation":
        setting = ["bits-per-byte", written] if name != "bits-per-byte" else [written]
    model = {"family": FAMILY.get(name, "llama"), "depth": 2, "layers": 2, "width": 32, "heads": 2}
    if name in FROM_FOLDER:
        fly(tiny(), 3, stream, folder / "before")
        setting = {name: {"folder": str(folder / "before" / "model")}}
    if name in AFTER_PLAIN_PHASE:
        second = {"share": 0.5, "model": model | AFTER_PLAIN_PHASE[name], FIELD[slot]: setting}
        return tiny(phases=[{"share": 0.5}, second], **fields)
    return tiny(model=model, **{FIELD[slot]: setting}, **fields)


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
    assert AutoConfig.from_pretrained(folder).vocab_size == stream.vocabulary.size
    assert AutoTokenizer.from_pretrained(folder)("def f(x):\n    return x")["input_ids"]


@pytest.mark.parametrize(("slot", "name"), parts("Structure", "LossTerm", "Weighting", "AfterStep"))
def test_identity_setting_equals_plain_training(slot, name, tiny, stream, tmp_path):
    assert name in IDENTITY, f"{name} needs an entry in IDENTITY: the knobs at which it changes nothing"
    written = {name: IDENTITY[name]}
    setting = [written] if slot in ("LossTerm", "AfterStep") else written
    fly(tiny(), 0, stream, tmp_path / "plain")
    record = fly(tiny(**{FIELD[slot]: setting}), 0, stream, tmp_path / "with")
    assert record["status"] == "finished", record["traceback"]
    plain, other = (load_file(tmp_path / folder / "model" / "model.safetensors") for folder in ("plain", "with"))
    assert all(torch.equal(plain[key], other[key]) for key in plain)


@pytest.mark.parametrize(("slot", "name"), parts(*part.slots()))
def test_every_part_says_what_it_is(slot, name):
    found = part.describe(part.names(part.slots()[slot])[name])
    assert len(found["documentation"]) > 20
    assert all(knob["description"] for knob in found["knobs"].values()), found["knobs"]
    json.dumps(found)


def test_the_six_steps_of_arms_see_the_same_documents(tiny, stream, tmp_path):
    """Arms with another model or schedule draw the same sequences as the baseline."""
    from windtunnel.stream.loader import Loader

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
        progress = part.Progress(0, 1, 0, 1, batch, 0.0, 0.0, 0)
        drawn = [loader.rows(progress, {})["tokens"] for _ in range(8 // batch)]
        rows.append(torch.cat([torch.as_tensor(entry) for entry in drawn]))
    assert torch.equal(rows[0], rows[1])
