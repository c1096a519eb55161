"""Sections: settings that a recipe builds upon."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from windtunnel.recipe import recipe_from, section
from windtunnel.study.file import study_from

CORPUS = {"code": "builtin:stdlib"}
BLOCKS = {"S": 0.2e6, "M": 0.8e6, "L": 2.7e6}


@pytest.mark.parametrize("name", section.ORDER)
def test_a_section_is_what_its_file_says_and_its_key_that_of_its_settings_written_out(name):
    recipe = recipe_from({"section": name, "corpus": CORPUS})
    assert recipe.identity() == recipe_from({**section.section(name), "corpus": CORPUS}).identity()
    model = recipe.phases[0].model
    assert model.family.blocks(model.sizes()) == pytest.approx(BLOCKS[name], rel=0.1)
    assert recipe.budget.tokens_per_parameter == 20


def test_what_the_recipe_sets_goes_before_its_section():
    plain, other = (
        recipe_from({"section": "S", "corpus": CORPUS, **more})
        for more in ({}, {"model": {"layers": 2}, "tokenizer": {"vocabulary": 600}, "optimizer": "adamw", "batch": 3})
    )
    sizes, phase = other.phases[0].model.sizes(), other.phases[0]
    assert (sizes.layers, sizes.width, phase.optimizer.name, phase.batch) == (2, plain.phases[0].model.sizes().width, "adamw", 3)
    assert other.encoding.vocabulary == 600 and phase.schedule == plain.phases[0].schedule


def test_another_encoding_takes_the_place_of_the_sections_tokenizer():
    images = {"model": {"family": "vit", "patch": 2}, "objective": "masked-patches"}
    recipe = recipe_from({"section": "S", "corpus": {"digits": "builtin:digits"}, "encoding": "pixels", **images})
    assert recipe.encoding.name == "pixels"


def test_an_arm_may_fly_in_another_section():
    raw = {"corpus": CORPUS, "baseline": {"section": "S", "batch": 4}, "arms": {"wider": {"section": "M"}, "wsd": {"clip": None}}}
    found = study_from(raw, name="sizes").written
    assert [found[arm].phases[0].model.sizes().width for arm in ("baseline", "wider", "wsd")] == [
        section.section(name)["model"]["width"] for name in ("S", "M", "S")
    ]
    assert {recipe.phases[0].batch for recipe in found.values()} == {4}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"section": "XL"}, "no section is called 'XL'; did you mean 'L'"),
        ({"secton": "S"}, "unknown key 'secton'; did you mean 'section'"),
        ({"phases": [{"section": "S"}]}, "unknown key 'section'"),
    ],
)
def test_an_unknown_section_is_refused(raw, message):
    with pytest.raises(ValidationError, match=message):
        recipe_from({"corpus": CORPUS, **raw})


def test_a_study_flies_its_baseline_alone_where_it_says_so():
    study = study_from({"corpus": CORPUS, "baseline": {"section": "S"}, "arms": {}}, name="alone")
    assert list(study.resolved) == ["baseline"]
