"""The contract that every part keeps, offered to the tests of other packages too::

    from windtunnel.testing import contract

    test_contract = contract("my_parts")

Every part that the module ``my_parts`` (or a module below it) defines then trains; killed and resumed it equals an undisturbed run,
bitwise; its model survives saving and loading; at its ``identity`` it changes nothing; and it refuses what it cannot stand beside. It
says with ``trial`` in what tiny setting it acts, see :class:`windtunnel.core.trial.Trial`. ``windtunnel parts --test`` asks for the same
without pytest.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import math
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from windtunnel.core import outside, registry
from windtunnel.core.errors import UserError
from windtunnel.core.part import Part
from windtunnel.core.schema import describe
from windtunnel.core.settings import Settings
from windtunnel.core.trial import Trial
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import Phase, Recipe
from windtunnel.recipe.phase import slot_fields
from windtunnel.slots import Curator, Encoding, Evaluation, Experiment, Family, Source
from windtunnel.testing.shop import MODEL, Workshop, workshop

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream
    from windtunnel.train.record import RunRecord

Promise = Callable[[type[Part], Workshop, Path], None]  # raises AssertionError where the part does not keep it

STEPS = 4  # of a trial: two for each of two phases
PIECES = (1, 2)  # steps until a run is cut, and cut again: in the middle of the first phase and of the second
BETWEEN = (Curator, Encoding, Evaluation, Family, Source)  # do nothing within a step: to be cut once says all
ADDED = ("LossTerm", "Weighting", "Selection", "Structure", "AfterStep")  # to plain training, so they have something to be equal to


def contract(module: str) -> Callable[..., None]:
    """A test function over what every part promises that ``module``, or a module below it, defines. Needs pytest.

    ``module`` may also be a Python file, or the name of an entry point of the group ``windtunnel.parts``.
    """
    import pytest

    cases = [
        pytest.param(part, promise, id=f"{registry.folder_of(part.slot.__name__)}-{part.name}-{promise.__name__}")
        for part in parts_in(module)
        for promise in promises(part)
    ]

    @pytest.mark.parametrize(("part", "promise"), cases)
    def test_part(part: type[Part], promise: Promise, tmp_path: Path, tmp_path_factory: Any) -> None:
        promise(part, workshop(tmp_path_factory), tmp_path)

    return test_part  # type: ignore[no-any-return]


def promises(part: type[Part]) -> list[Promise]:
    """What ``part`` is asked for."""
    found: list[Promise] = [says_what_it_is, refuses]
    if part.trial.untried:
        return found
    if part.slot is Experiment:
        found.append(measures_the_same_again)
    elif part.slot is not Source:
        found.append(trains_and_resumes)
    elif part.trial != Trial():  # else what it reads is not known
        found.append(gives_the_same_documents_again)
    if part.slot.__name__ in ADDED or part.identity is not None:
        found.append(changes_nothing_at_its_identity)
    return found


def parts_in(module: str) -> list[type[Part]]:
    """The parts that ``module``, or a module below it, defines, slot by slot. Raises ValueError where there is none."""
    if module.endswith(".py"):
        return outside.load_file(Path(module))
    offered = {entry.name: entry.module for entry in importlib.metadata.entry_points(group=registry.ENTRY_POINTS)}
    module = offered.get(module, module)
    found = importlib.import_module(module)
    for below in pkgutil.walk_packages(getattr(found, "__path__", ()), f"{module}."):
        importlib.import_module(below.name)
    parts = [
        part
        for slot in registry.slots().values()
        for _, part in sorted(registry.names(slot).items())
        if f"{part.__module__}.".startswith(f"{module}.")
    ]
    if not parts:
        raise ValueError(f"{module} defines no part: a subclass of a slot with name=, see docs/adding-a-part.md")
    return parts


# Recipes with and without a part ------------------------------------------------------------------------------------------------


def trial_recipe(part: type[Part], shop: Workshop, knobs: Mapping[str, Any] | None = None, also: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of the trial of ``part``, at ``knobs`` besides those of its trial, with ``also`` in the phase of the part.

    Raises:
        AssertionError: saying what to write, where no such recipe can be made.
    """
    written = {part.name: shop.filled({**part.trial.knobs, **(knobs or {})})}
    try:
        return shop.recipe(budget={"steps": STEPS}, **_fields(part, shop, written, also or {}))
    except (UserError, ValueError) as error:
        raise AssertionError(f"{part.name}: the recipe of its trial is refused. {_advice(part)}\n{error}") from error


def recipe_without(part: type[Part], shop: Workshop) -> Recipe:
    """The recipe of the trial of ``part`` without it: the field that holds it is at its default."""
    return shop.recipe(budget={"steps": STEPS}, **_fields(part, shop, None, {}))


def _fields(part: type[Part], shop: Workshop, written: Any, also: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the trial's recipe, with ``written`` (None: nothing) where a part of this slot stands."""
    trial, model = part.trial, {**MODEL, **part.trial.model}
    beside = {**shop.filled(trial.beside), **also}
    owner, key = place_of(part)
    holder = {} if written is None else {key: _setting(owner, key, written, beside)}
    if owner is ModelSettings and written is not None:  # its own settings stand beside the sizes
        ((name, knobs),) = written.items()
        model |= {key: name, **knobs}
    elif owner is Phase:
        beside |= holder
    whole = {name: beside.pop(name) for name in tuple(beside) if name not in Phase.model_fields}
    if owner is Recipe:
        whole |= holder
    if trial.before is None:
        return {"model": model, **beside, **whole}
    before = {"model": MODEL, **shop.filled(trial.before)}
    return {"phases": [{"share": 0.5, **before}, {"share": 0.5, "model": model, **beside}], **whole}


def place_of(part: type[Part]) -> tuple[type[Settings], str]:
    """The settings that hold parts of the slot of ``part`` and the field there. Raises AssertionError where none do."""
    for owner in (Phase, Recipe, ModelSettings):
        for key, slot in slot_fields(owner).items():
            if slot is part.slot:
                return owner, key
    raise AssertionError(f"no field of a recipe holds a {part.slot.__name__}")


def _setting(owner: type[Settings], key: str, written: Any, beside: Mapping[str, Any]) -> Any:
    """``written`` as the field ``key`` takes it: by itself, or behind what the list or the mapping holds already."""
    info = owner.model_fields[key]
    kind = get_origin(info.annotation)
    if kind is dict:
        return {"trial": written}
    if kind is not tuple:
        return written
    (name,) = written
    present = beside.get(key, info.get_default() or ())
    return [*(entry for entry in present if entry != name), written]


def _advice(part: type[Part]) -> str:
    if part.trial == Trial():
        return (
            "It has no trial: write `trial = Trial(knobs, model=..., beside=..., before=...)` in its class, the setting in which it acts; "
            "see windtunnel.core.trial.Trial"
        )
    return f"Mend its trial: {part.trial}"


# What a part promises -----------------------------------------------------------------------------------------------------------


def trains_and_resumes(part: type[Part], shop: Workshop, folder: Path) -> None:
    """It trains; interrupted and resumed it equals an undisturbed run, bitwise; its model survives saving and loading."""
    recipe = trial_recipe(part, shop)
    stream = shop.prepared(recipe)
    whole = flown(part, recipe, stream, folder / "whole")
    assert whole["totals"]["steps"] == STEPS and whole["totals"]["targets"] > 0, (
        f"it was to make {STEPS} steps with targets: {whole['totals']}"
    )
    for evaluation in recipe.evaluations:
        number = evaluation.first(recipe.phases[-1].objective)
        assert not number or number in whole["test"], f"{evaluation.name} is to give the number {number!r}; it gives {[*whole['test']]}"
    for steps in PIECES[:1] if issubclass(part, BETWEEN) else PIECES:
        stops = [False] * (steps - 1) + [True]
        record = flown(part, recipe, stream, folder / "cut", stop=functools.partial(stops.pop, 0))
        assert record["status"] == "interrupted", f"a run that was told to stop came out {record['status']}"
    resumed = flown(part, recipe, stream, folder / "cut")
    one, other = weights(folder / "whole"), weights(folder / "cut")
    assert one.keys() == other.keys(), "resumed, the model has other weights than an undisturbed run"
    assert differing(one, other) == [], "resumed, these weights differ from those of an undisturbed run"
    first, second = (_untimed(record["test"]) for record in (whole, resumed))
    assert first == second, f"resumed, test says {second} and not {first}"
    survives_saving_and_loading(folder / "whole" / "model", one, stream)


def _untimed(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those of ``numbers`` that are no measured speed."""
    timed = tuple(name for part in registry.names(Evaluation).values() for name in getattr(part, "timed", ()))
    return {name: number for name, number in numbers.items() if not name.startswith(timed)}


def survives_saving_and_loading(folder: Path, written: Mapping[str, Any], stream: Stream) -> None:
    """A folder of a finished run is a model that loads, with the weights that were ``written``, and the tokenizer of a model of text."""
    from transformers import AutoConfig, AutoTokenizer

    from windtunnel.models.load import load

    again = {key: value for key, value in load(folder).state_dict().items() if key in written}
    assert again, "no weight of the model is found again in the folder that was written"
    assert differing(again, written) == [], "loaded again, these weights are other ones"
    if (folder / "tokenizer_config.json").exists():  # it reads text
        known = {"trust_remote_code": True}  # a family may bring code of its own, which has just been written
        config = AutoConfig.from_pretrained(folder, **known)
        assert getattr(config, "text_config", config).vocab_size == stream.encoding.about(stream.facts)["vocabulary"]
        assert AutoTokenizer.from_pretrained(folder, **known)("def f(x):\n    return x")["input_ids"]


def changes_nothing_at_its_identity(part: type[Part], shop: Workshop, folder: Path) -> None:
    """At the setting ``identity`` it equals training without it, bitwise; or it says why there is no such setting."""
    if isinstance(part.identity, str):
        assert len(part.identity) > 10, f"{part.name}: identity says why no setting changes nothing"
        return
    assert part.identity is not None, (
        f"{part.name}: write `identity = {{...}}` in its class, the knobs at which it changes nothing, besides those of its trial; or, as "
        "a string, why there are none"
    )
    plain = shop.plain(recipe_without(part, shop))
    recipe = trial_recipe(part, shop, part.identity)
    flown(part, recipe, shop.prepared(recipe), folder)
    assert differing(weights(plain), weights(folder)) == [], f"{part.name} changes these weights at {part.identity}"


def says_what_it_is(part: type[Part], shop: Workshop, folder: Path) -> None:
    """Its documentation and that of every knob are there, and can be written as JSON."""
    found = describe(part)
    assert len(found["documentation"]) > 20, f"{part.name}: its class needs a docstring"
    lacking = [key for key, knob in found["knobs"].items() if not knob["description"]]
    assert not lacking, f"{part.name}: these knobs need a description: {lacking}"
    json.dumps(found)


def refuses(part: type[Part], shop: Workshop, folder: Path) -> None:
    """A knob that it does not have is refused, and so is each part that it says it cannot be combined with, with the reason."""
    knobs = shop.filled(part.trial.knobs)
    said = refusal(lambda: part.model_validate({**knobs, "no_such_knob": 1}))
    assert "unknown key 'no_such_knob'" in said, f"{part.name}: it takes a knob that it does not have; leave its model_config alone"
    for name, reason in part.conflicts.items():
        others = [other for slot in registry.slots().values() if (other := registry.find(slot, name)) is not None]
        assert others, f"{part.name}: it cannot be combined with {name}, which is no part"
        for other in others:
            owner, key = place_of(other)
            written = _setting(owner, key, {name: shop.filled(other.trial.knobs)}, {})
            said = refusal(lambda also={key: written}: trial_recipe(part, shop, also=also))  # type: ignore[misc]
            assert reason in said, f"{part.name}: beside {name} it is not refused with the reason of its conflicts; {said or 'it is taken'}"


def refusal(act: Callable[[], Any]) -> str:
    """How ``act`` refuses; empty where it does not."""
    try:
        act()
    except (ValueError, AssertionError) as error:
        return str(error)
    return ""


def gives_the_same_documents_again(part: type[Part], shop: Workshop, folder: Path) -> None:
    """A source gives documents, each with its origin, and the same ones when it is read again: a run's key rests on that."""
    from windtunnel.data.corpus.frame import batches, documents_of
    from windtunnel.data.corpus.tally import Tally

    source: Any = part.model_validate(shop.filled(part.trial.knobs))
    first, again = ([batch.to_pylist() for batch in batches(documents_of(source, Tally("trial")))] for _ in range(2))
    assert first and first[0], f"{part.name}: it gives no document in its trial. {_advice(part)}"
    assert first == again, f"{part.name}: read again, it gives other documents"


def measures_the_same_again(part: type[Part], shop: Workshop, folder: Path) -> None:
    """An experiment measures finite numbers, the same ones with the same seed: arms are paired by it."""
    experiment: Any = part.model_validate(shop.filled(part.trial.knobs))
    first, again = experiment.measure(1), experiment.measure(1)
    assert first and all(math.isfinite(value) for value in first.values()), f"{part.name}: in its trial it measures {first}"
    assert first == again, f"{part.name}: with the same seed it measures {first} and then {again}"


def flown(part: type[Part], recipe: Recipe, stream: Stream, folder: Path, stop: Callable[[], bool] | None = None) -> RunRecord:
    """The record of ``recipe`` flown in ``folder``. Raises AssertionError, saying what to write, where it fails."""
    from windtunnel.train.run import fly

    record = fly(recipe, 0, stream, folder, stop=stop, warn=lambda message: None)
    assert record["status"] != "failed", f"{part.name}: its trial does not fly. {_advice(part)}\n{record['traceback']}"
    return record


def weights(folder: Path) -> dict[str, Any]:
    """The weights that the run in ``folder`` ended with, by their names."""
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of the weights that are not the same to the last bit."""
    import torch

    return [key for key in one if not torch.equal(one[key], other[key])]
