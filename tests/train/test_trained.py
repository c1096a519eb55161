"""Recipes that parts hold: how they are written, flown once and charged; and the loop's ways of choosing sequences and shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.core.part import Trained
from windtunnel.recipe import Recipe, load_recipe, needed, times
from windtunnel.slots import LossTerm, Selection, Structure
from windtunnel.study.check import check_study
from windtunnel.study.file import load_study
from windtunnel.study.plan import needed_by, plan, what_cannot_fly
from windtunnel.train import phase
from windtunnel.train.estimate import estimate
from windtunnel.train.record import read_record
from windtunnel.train.run import fly

RECIPE = """\
corpus: {code: here}
budget: {flops: 1e12}
model: {family: llama, depth: 4}
batch: 8
recipes:
  small: {model: {layers: 2}, share: 0.2}
  further: {share: 0.1, start: {trained: {model: {recipe: base}}}}
  base: {share: 0.3}
"""
START = "start: {trained: {model: {recipe: small}}}\n"
STUDY = """\
corpus: {code: here}
budget: {flops: 1e12}
seeds: 2
recipes:
  base: {share: 0.2}
baseline: {model: {depth: 2}}
arms:
  one: {start: {trained: {model: {recipe: base}}}}
  two: {start: {trained: {model: {recipe: base}}}, schedule: wsd}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def held(recipe: Recipe) -> Recipe:
    (found,) = needed(recipe).values()
    return found


def test_a_named_recipe_inherits_what_it_does_not_set(tmp_path):
    recipe = load_recipe(write(tmp_path, RECIPE + START))
    small = held(recipe)
    assert (small.phases[0].model.layers, small.phases[0].model.depth, small.phases[0].batch) == (2, 4, 8)
    assert small.budget.flops == 2e11 and small.phases[0].start is None and small.corpus == recipe.corpus
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe
    inline = load_recipe(write(tmp_path, RECIPE + START.replace("recipe: small", "recipe: {model: {layers: 2}, budget: {flops: 2.0e11}}")))
    assert held(inline).identity() == small.identity()


def test_recipes_nest_and_the_innermost_comes_first(tmp_path):
    recipe = load_recipe(write(tmp_path, RECIPE + START.replace("small", "further")))
    assert [one.budget.flops for one in needed(recipe).values()] == [3e11, 1e11]
    assert [one.budget.flops for one in needed(times(recipe, 2.0)).values()] == [6e11, 2e11]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("recipe: small", "recipe: smal", "did you mean 'small'"),
        ("share: 0.2", "batch: 4", "recipe.yaml:6: recipes.small: recipe small needs a budget, or a share"),
        ("layers: 2", "layer: 2", "recipe.yaml:6: recipes.small: recipe small: phases.0.model: unknown key 'layer'"),
        ("{share: 0.3}", "{share: 0.3, start: {trained: {model: {recipe: further}}}}", "needs itself, by way of further, base"),
        ("{recipe: small}", "{recipe: small, folder: x}", "exactly one of: recipe, folder"),
        ("{recipe: small}", "{}", "exactly one of: recipe, folder"),
    ],
)
def test_mistakes_in_held_recipes_are_told_with_their_place(tmp_path, old, new, says):
    start = START if "further" not in new else START.replace("small", "further")
    text = (RECIPE + start).replace(old, new)
    with pytest.raises(UserError) as caught:
        load_recipe(write(tmp_path, text))
    assert says in str(caught.value) and "recipe.yaml:" in str(caught.value)


def test_a_budget_that_the_needed_models_use_up_is_refused_before_anything_flies(tmp_path):
    """The steps of the small model are not the recipe's own."""
    assert what_cannot_fly(load_recipe(write(tmp_path, RECIPE + START))) is None
    problem = what_cannot_fly(load_recipe(write(tmp_path, RECIPE.replace("share: 0.2", "share: 0.9999") + START)))
    assert problem is not None and "of one step" in problem


def test_arms_share_what_they_need(tmp_path):
    study = load_study(write(tmp_path, STUDY))
    data = dict.fromkeys(study.resolved, "f" * 8)
    (stage,) = needed_by(plan(study, study.resolved, data, Variant()), data, Variant())
    assert len(stage) == 2 and {run.seed for run in stage} == {0, 1}
    found = check_study(study, timed=False)
    assert found["runs"] == 2 * 3 + 2 * 2 + 2
    assert found["flops"] == pytest.approx(2 * (3.5 + 2 * 0.8 + 0.2) * 1e12, rel=0.1)
    assert found["arms"]["one"]["flops"] == pytest.approx(1e12, rel=0.1)


# Flown ---------------------------------------------------------------------------------------------------------------------------


def begun(share: float | None = None, **budget: float) -> dict[str, Any]:
    return {"trained": {"model": {"recipe": {"share": share} if share else {"budget": budget}}}}


def test_the_whole_cost_is_charged_once_and_out_of_the_budget(tiny, stream, tmp_path):
    """further needs base, and the recipe needs both: base is paid once."""
    plain = fly(tiny(budget={"steps": 12}), 0, stream, tmp_path / "plain")
    each = plain["totals"]["flops"] / 12
    inner = {"recipe": {"budget": {"steps": 3}}}
    outer = {"recipe": {"budget": {"steps": 5}, "start": {"trained": {"model": inner}}}}
    term = {"test-nothing": {"teacher": inner}}

    class Nothing(LossTerm, name="test-nothing"):
        teacher: Trained

        def term(self, model, batch, loss, state, given):
            assert not given.models["teacher"].training
            return loss.values.new_zeros(())

    try:
        recipe = tiny(budget={"steps": 12}, start={"trained": {"model": outer}}, losses=[term])
        record = fly(recipe, 0, stream, tmp_path / "whole")
    finally:
        registry._parts[LossTerm].pop("test-nothing")
    assert record["status"] == "finished", record["traceback"]
    assert record["totals"]["steps"] == 7 and record["charged"]["steps"] == 5
    assert record["totals"]["flops"] == pytest.approx(12 * each)
    assert sum(phase["flops"] for phase in record["phases"]) == pytest.approx(7 * each)
    assert record["totals"]["tokens"] == plain["totals"]["tokens"]
    assert record["validation"][0]["flops"] == pytest.approx(5 * each)  # before the first step: what the weights cost
    assert estimate(recipe)["steps"] == 12 and estimate(recipe)["own_steps"] == 7
    folders = {Path(one["folder"]).name for one in record["needed"].values()}
    assert {path.name for path in (tmp_path / "whole" / "needed").iterdir()} == folders and len(folders) == 2


def test_a_needed_model_is_trained_with_as_little_memory_as_what_needs_it(tiny, stream, tmp_path, monkeypatch):
    recomputed = []
    monkeypatch.setattr(phase, "recompute", recomputed.append)
    recipe = tiny(budget={"steps": 4}, start=begun(steps=2))
    record = fly(recipe, 0, stream, tmp_path / "whole", recompute=True)
    assert record["status"] == "finished", record["traceback"]
    assert len(recomputed) == 2


def same_weights(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_needed_model_that_was_deleted_is_trained_again_where_its_weights_are_asked_for(tiny, stream, tmp_path):
    """further needs base: to go on with further, the record of base is enough."""
    further = {"budget": {"steps": 5}, "start": begun(steps=2)}
    recipe = tiny(budget={"steps": 9}, start={"trained": {"model": {"recipe": further}}})
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole["status"] == "finished", whole["traceback"]
    calls = iter([False] * 5)
    cut = tmp_path / "cut"
    assert fly(recipe, 0, stream, cut, stop=lambda: next(calls, True))["status"] == "interrupted"
    runs = {read_record(path)["totals"]["steps"]: path for path in (cut / "needed").iterdir()}
    assert sorted(runs) == [2, 3]

    def flown() -> dict[int, int]:
        return {steps: (path / "record.json").stat().st_mtime_ns for steps, path in runs.items()}

    first = flown()
    for path in runs.values():
        shutil.rmtree(path / "model")
    record = fly(recipe, 0, stream, tmp_path / "lost", needed_in=cut / "needed")
    assert record["status"] == "failed" and "has lost its weights" in record["error"] and flown() == first
    assert fly(recipe, 0, stream, cut)["status"] == "finished" and same_weights(cut, tmp_path / "whole")
    again = flown()
    assert again[3] != first[3] and again[2] != first[2], "base was needed to train further again"
    shutil.rmtree(runs[2] / "model")
    assert fly(recipe, 0, stream, tmp_path / "other", needed_in=cut / "needed")["status"] == "finished"
    assert flown() == again and not (runs[2] / "model").exists()


def test_training_on_from_a_trained_model_is_training_its_weights(tiny, stream, tmp_path):
    fly(tiny(budget={"steps": 4}), 0, stream, tmp_path / "first")
    fly(tiny(budget={"steps": 4}, start={"checkpoint": str(tmp_path / "first")}), 0, stream, tmp_path / "folder")
    fly(tiny(budget={"steps": 8}, start=begun(share=0.5)), 0, stream, tmp_path / "recipe")
    fly(tiny(budget={"steps": 8}, phases=[{"share": 0.5}, {"share": 0.5}]), 0, stream, tmp_path / "phases")
    folder, recipe, phases = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("folder", "recipe", "phases"))
    assert all(torch.equal(recipe[key], phases[key]) for key in phases), "it does not go on with the documents that come next"
    assert not all(torch.equal(recipe[key], folder[key]) for key in folder), "the run from a folder reads from the beginning"


def test_interrupted_anywhere_equals_undisturbed(tiny, stream, tmp_path):
    recipe = tiny(budget={"steps": 6}, start=begun(steps=3))
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    for _ in range(12):
        calls = iter([False, True])
        cut = fly(recipe, 0, stream, tmp_path / "cut", stop=lambda calls=calls: next(calls, True))
        if cut["status"] != "interrupted":
            break
    assert cut["status"] == "finished" and cut["test"] == whole["test"] and cut["charged"]["flops"] == whole["charged"]["flops"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"start": begun(steps=6)}, "nothing is left"),
        ({"start": {"trained": {"model": {"recipe": {"budget": {"steps": 2}, "tokenizer": {"vocabulary": 600}}}}}}, "let them agree"),
        ({"start": {"trained": {"model": {"recipe": {"budget": {"steps": 2}, "model": {"layers": 1}}}}}}, "layers is 1 there"),
        ({"start": {"trained": {"model": {"recipe": {"budget": {"flops": 1.0}}}}}}, "has failed"),
    ],
)
def test_what_cannot_be_flown_says_why(tiny, stream, tmp_path, fields, says):
    record = fly(tiny(budget={"steps": 6}, **fields), 0, stream, tmp_path)
    assert record["status"] == "failed" and says in record["traceback"]


def recipe_inner(record: dict[str, Any]) -> int:
    return Recipe.model_validate(record["recipe"]).phases[0].model.sizes().intermediate or 0


def test_an_effective_budget_buys_the_steps_that_sparsity_saves(tiny, stream, tmp_path):
    plain = fly(tiny(budget={"steps": 4}), 0, stream, tmp_path / "plain")
    amount = plain["totals"]["flops"] * 3
    record = fly(tiny(budget={"effective_flops": amount}, structure={"fixed-mask": {"sparsity": 0.75}}), 0, stream, tmp_path / "sparse")
    assert record["totals"]["steps"] > 12 and record["totals"]["flops"] > 1.02 * amount
    phase = record["phases"][0]
    assert plain["phases"][0]["active_parameters"] == phase["parameters"]
    sparse = phase["parameters"] - phase["active_parameters"]
    assert sparse == pytest.approx(0.75 * 2 * (4 * 32 * 32 + 3 * 32 * recipe_inner(record)), rel=1e-3)
    step = record["totals"]["effective_flops"] / record["totals"]["steps"]
    assert amount - step < record["totals"]["effective_flops"] <= amount


def test_a_selection_trains_on_the_sequences_it_scores_highest(tiny, stream, tmp_path, spare_part, monkeypatch):
    seen: list[torch.Tensor] = []

    @spare_part
    class Smallest(Selection, name="test-smallest"):
        def score(self, model, batch, given):
            with torch.no_grad():
                given.objective.loss(model, batch)
            return -batch["tokens"].float().mean(dim=1)

    from windtunnel.train import step

    real = step.gradients

    def watched(phase_run, batch, progress):
        seen.append(torch.as_tensor(batch["tokens"]).float().mean(dim=1))
        return real(phase_run, batch, progress)

    monkeypatch.setattr("windtunnel.train.loop.gradients", watched)
    plain = fly(tiny(), 0, stream, tmp_path / "plain")
    everything = torch.cat(seen[:4])
    seen.clear()
    record = fly(tiny(selection={"test-smallest": {"candidates": 4}}), 0, stream, tmp_path / "chosen")
    assert record["status"] == "finished", record["traceback"]
    assert torch.equal(seen[0].sort().values, everything.sort().values[:4])
    assert record["totals"]["tokens"] == plain["totals"]["tokens"]
    assert record["totals"]["epochs"]["code"] > 3 * plain["totals"]["epochs"]["code"]
    assert 2 < record["totals"]["flops"] / plain["totals"]["flops"] < 2.5  # 4 forwards more, of 3 each


def test_variants_are_drawn_counted_apart_and_the_last_is_evaluated(tiny, stream, tmp_path, spare_part):
    @spare_part
    class Shallow(Structure, name="test-shallow"):
        """Skips the second layer in variant 0."""

        def apply(self, model):
            self.take(model, 1)

        def variants(self, model):
            return 2

        def take(self, model, variant):
            model.config.num_hidden_layers = variant + 1  # llama's forward goes through as many of its layers

        def remove(self, model):
            assert model.config.num_hidden_layers == 2, "not the whole model"

    plain = fly(tiny(budget={"steps": 40}), 0, stream, tmp_path / "plain")
    recipe = tiny(budget={"steps": 40}, structure="test-shallow")
    record = fly(recipe, 0, stream, tmp_path / "shallow")
    assert record["status"] == "finished", record["traceback"]
    whole = plain["totals"]["flops"] / 40
    assert 0.5 * whole < record["phases"][0]["flops_per_step"] < 0.95 * whole
    short = 2 * record["phases"][0]["flops_per_step"] - whole
    deep = (record["totals"]["flops"] - 40 * short) / (whole - short)
    assert deep == pytest.approx(round(deep)) and 8 < deep < 32
    assert record["validation"][-1]["numbers"]["bits_per_byte"] > 0
