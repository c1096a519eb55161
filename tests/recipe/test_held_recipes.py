"""Models that parts hold, wherever in their fields they stand: found, flown, charged; and recipes read without opening one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.part import Trained, with_trained
from windtunnel.recipe import Recipe, each_recipe, load_recipe, needed, times
from windtunnel.slots import Curator, Evaluation, LossTerm, Mixture, Source
from windtunnel.study.file import load_study


def recipe_of(steps: int, **fields: Any) -> dict[str, Any]:
    return {"recipe": {"budget": {"steps": steps}, **fields}}


def test_models_are_found_in_tuples_and_mappings(tiny, spare_part):
    @spare_part
    class Several(LossTerm, name="test-several"):
        one: Trained
        ingredients: tuple[Trained, ...]
        experts: dict[str, Trained]
        pairs: dict[str, tuple[Trained, ...]] = {}

        def term(self, *given):
            raise AssertionError

    knobs = {"one": recipe_of(1), "ingredients": [recipe_of(2), recipe_of(3)], "experts": {"code": recipe_of(2), "prose": {"folder": "x"}}}
    part = Several.model_validate({**tiny_held(tiny, knobs), "pairs": {"a": [{"folder": "y"}]}})
    assert list(part.trained()) == ["one", "ingredients.0", "ingredients.1", "experts.code", "experts.prose", "pairs.a.0"]
    found = with_trained(part, lambda one: one.model_copy(update={"fingerprint": "f"}) if one.folder else one)
    assert found.experts["prose"].fingerprint == found.pairs["a"][0].fingerprint == "f" and found.ingredients is part.ingredients
    assert with_trained(part, lambda one: one) is part


def tiny_held(tiny: Any, knobs: dict[str, Any]) -> dict[str, Any]:
    """``knobs`` with whole recipes where they say what differs."""

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        return {key: tiny(**entry) if key == "recipe" else whole(entry) for key, entry in value.items()}

    return whole(knobs)


def test_what_parts_of_every_slot_hold_is_needed_once(tiny, spare_part):
    @spare_part
    class Held(LossTerm, name="test-held"):
        ingredients: tuple[Trained, ...]

        def term(self, *given):
            raise AssertionError

    @spare_part
    class Judge(Evaluation, name="test-judge"):
        other: Trained

        def evaluate(self, *given):
            raise AssertionError

    @spare_part
    class Sieve(Curator, name="test-sieve"):
        scorer: Trained

        def curate(self, *given):
            raise AssertionError

    @spare_part
    class Proxy(Mixture, name="test-proxy"):
        reference: Trained

        def weights(self, sizes, progress, feedback):
            return dict.fromkeys(sizes, 1.0)

    recipe = tiny(
        losses=[{"test-held": {"ingredients": [recipe_of(2), recipe_of(3), recipe_of(2)]}}],
        evaluations=["bits-per-byte", {"test-judge": {"other": recipe_of(4)}}],
        curators=[{"test-sieve": {"scorer": recipe_of(5)}}],
        mixture={"test-proxy": {"reference": recipe_of(1)}},
    )
    by_steps = {int(one.budget.amount): one for one in needed(recipe).values()}
    term = recipe.phases[0].losses[0]
    assert isinstance(term, Held)
    assert all(isinstance(one, Recipe) for one in by_steps.values())
    assert term.ingredients[0].recipe == term.ingredients[2].recipe
    # What holds a recipe is not inherited by it: a curator's is flown without curators, an evaluation's without evaluations ...
    assert [len(one.curators) for one in (recipe, term.ingredients[0].recipe, recipe.curators[0].trained()["scorer"].recipe)] == [1, 1, 0]
    assert len(recipe.evaluations[1].trained()["other"].recipe.evaluations) == 1
    assert recipe.phases[0].mixture.trained()["reference"].recipe.phases[0].mixture.name == "proportional"
    # ... and what needs a corpus with curators needs their models too.
    assert len({one.identity() for one in needed(recipe).values()}) == len(needed(recipe))
    alone = needed(recipe, curators=False)
    assert set(alone) < set(needed(recipe)) and recipe.curators[0].trained()["scorer"].recipe.identity() not in alone
    # Plain data is the same recipe, and a budget is multiplied in all but what makes the corpus.
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe
    double = times(recipe, 2.0)
    assert double.phases[0].losses[0].trained()["ingredients.1"].recipe.budget.steps == 6
    assert double.curators == recipe.curators
    assert double.phases[0].losses[0].trained()["ingredients.1"].recipe.curators == recipe.curators
    seen: list[Recipe] = []
    each_recipe(recipe, lambda one: seen.append(one) or one)
    assert {one.identity() for one in seen} == {*needed(recipe), recipe.identity()}


@pytest.mark.parametrize("model", [recipe_of(2), {"folder": "somewhere"}])
def test_a_source_that_holds_a_model_is_refused(tiny, spare_part, model):
    """It would be neither trained nor charged."""

    @spare_part
    class Generated(Source, name="test-generated"):
        writer: Trained

        def read(self, *given):
            raise AssertionError

    held = tiny_held(tiny, {"writer": model})
    with pytest.raises(ValueError, match="source 'made': test-generated holds a model"):
        tiny(corpus={"code": "builtin:stdlib", "made": {"test-generated": held}})


def test_a_name_or_a_difference_outside_a_file_is_refused_in_words(tiny):
    with pytest.raises(ValueError, match="understood in a file"):
        Trained.model_validate({"recipe": "small"})
    held = tiny()
    assert Trained(recipe=held).recipe is held


def test_a_recipe_that_nothing_names_is_read_all_the_same(tmp_path):
    written = {"corpus": {"code": "builtin:stdlib"}, "budget": {"steps": 4}}
    spare = {"share": 0.5, "objektive": "next-token"}
    for said, recipes in (
        (r"tried\.yaml:1: recipes\.spare: recipe spare: unknown key 'objektive'; did you mean 'objective'", {"spare": spare}),
        ("recipe spare needs a budget, or a share of", {"spare": {"model": {"depth": 2}}}),
        ("recipe spare: share: expected a number above 0, such as 0.2 of the budget of the file, not 'half'", {"spare": {"share": "half"}}),
        ("recipe spare: phases.0.batch: expected", {"used": {"share": 0.5}, "spare": {"share": 0.5, "batch": 0}}),
    ):
        teacher = {"losses": {"distillation": {"teacher": {"recipe": "used"}}}} if "used" in recipes else {"batch": 8}
        raw = {**written, "recipes": recipes}
        (tmp_path / "tried.yaml").write_text(json.dumps({**raw, "arms": {"taught": teacher}}))
        with pytest.raises(UserError, match=said):
            load_study(tmp_path / "tried.yaml")
        with pytest.raises(UserError, match=said.replace("tried", "recipe")):
            (tmp_path / "recipe.yaml").write_text(json.dumps({**raw, **teacher}))
            load_recipe(tmp_path / "recipe.yaml")
