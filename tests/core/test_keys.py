"""A run's key says what determines it and nothing else: what has its default leaves no trace, in whatever depth it stands."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, create_model

from windtunnel.core import keys
from windtunnel.core.keys import Variant, differing
from windtunnel.core.part import Part
from windtunnel.core.settings import Settings
from windtunnel.recipe import Phase, Recipe, recipe_from

RECIPE = {
    "corpus": {"a": "builtin:stdlib"},
    "budget": {"steps": 5},
    "model": {"depth": 2},
    "losses": {"distillation": {"teacher": {"recipe": {"model": {"depth": 1}, "budget": {"steps": 2}}}}},
    "schedule": {"wsd": {"decay": 0.3}},
}


class Wing(Part):
    """A slot that only this test has."""


class Inner(Settings):
    """Settings within a part."""

    length: int = 3
    names: tuple[str, ...] = ("a",)


class Flat(Wing, name="test-flat"):
    """A part as it is now, before it has another knob."""

    span: float = 1.0
    inner: Inner = Inner()
    more: dict[str, Inner] = Field({})


VALUES = st.builds(
    Flat,
    span=st.sampled_from([1.0, 2.0]),
    inner=st.builds(Inner, length=st.integers(1, 4), names=st.sampled_from([("a",), ("b", "a")])),
    more=st.dictionaries(st.sampled_from("xy"), st.builds(Inner, length=st.integers(1, 4))),
)


def later(cls: Any, **fields: Any) -> Any:
    """``cls`` as a later version has it, with ``fields`` (type, default) besides."""
    made = create_model(cls.__name__, __base__=cls, **fields)
    if issubclass(made, Part):
        made.name = cls.name
    return made


NewInner = later(Inner, slope=(float, 0.5), again=(Inner, Inner()))
NewFlat = later(Flat, sweep=(int | None, None), inner=(NewInner, NewInner()), more=(dict[str, NewInner], {}))


@pytest.fixture(autouse=True, scope="module")
def of_a_package():
    """The parts of this file as those of a package: the source of others is part of their key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "digest_of", lambda part: None)
        yield


@settings(suppress_health_check=[HealthCheck.too_slow])  # other work on the machine
@given(VALUES)
def test_a_new_setting_changes_no_key(value):
    grown = NewFlat.model_validate(value.model_dump(mode="json")["test-flat"])
    assert differing(grown) == differing(value)


@given(VALUES, VALUES)
def test_two_values_have_one_key_exactly_if_they_are_equal(one, other):
    assert (keys.hashed(differing(one)) == keys.hashed(differing(other))) is (one == other)


def test_a_new_setting_that_is_set_changes_the_key():
    for changed in (NewFlat(sweep=1), NewFlat(inner=NewInner(slope=0.1)), NewFlat(inner=NewInner(again=Inner(length=1)))):
        assert differing(changed) != differing(Flat())


def test_a_recipe_keeps_its_key_when_recipes_and_phases_get_settings():
    recipe = recipe_from(RECIPE)
    new_phase = later(Phase, twist=(float, 0.0))
    new_recipe = later(Recipe, wind=(str, "calm"), phases=(tuple[new_phase, ...], Field()))
    grown = new_recipe.model_validate(recipe.model_dump(mode="json"))
    assert grown.wind == "calm" and grown.phases[0].twist == 0.0
    assert grown.key(0, Variant()) == recipe.key(0, Variant())
    assert new_recipe.model_validate(recipe.model_dump(mode="json") | {"wind": "north"}).key(0, Variant()) != recipe.key(0, Variant())


def test_a_key_holds_every_setting_of_recipes_within_parts():
    def with_teacher(**changes):
        raw = {**RECIPE["losses"]["distillation"]["teacher"]["recipe"], **changes}
        return recipe_from({**RECIPE, "losses": {"distillation": {"teacher": {"recipe": raw}}}}).key(0, Variant())

    assert with_teacher() == recipe_from(RECIPE).key(0, Variant()) == with_teacher(clip=1.0)
    assert len({with_teacher(), with_teacher(clip=2.0), with_teacher(schedule={"wsd": {"decay": 0.4}})}) == 3


def test_no_two_variants_share_a_key():
    recipe = recipe_from(RECIPE)
    variants = [
        Variant(precision=precision, attention=attention, compiled=compiled)
        for precision in ("float32", "bfloat16")
        for attention in ("sdpa", "products")
        for compiled in (False, True)
    ]
    assert len({recipe.key(seed, variant) for variant in variants for seed in (0, 1)}) == 2 * len(variants)
