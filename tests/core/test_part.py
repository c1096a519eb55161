"""Parts and recipe files: found by name, frozen, written as one key, and errors that say where and what was meant."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest
from windtunnel.core.keys import Variant
from windtunnel.core.part import Part
from windtunnel.core.registry import load_all, make, names, slots
from windtunnel.core.schema import describe
from windtunnel.core.settings import plain
from windtunnel.recipe import Budget, Document, Recipe, load_recipe, recipe_from, shorthand
from windtunnel.slots import Schedule

load_all()
EVERY_PART = [  # other tests define parts of their own
    pytest.param(found, id=f"{slot}/{name}")
    for slot, kind in slots().items()
    for name, found in names(kind).items()
    if found.__module__.startswith("windtunnel.")
]
RECIPE = """\
corpus:
  code: builtin:stdlib
budget: {flops: 1e12}
model: {family: llama, depth: 2}
objective: next-token
schedule: {cosine: {warmup: 0.05}}
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def refused(folder: Path, text: str, corpus: dict[str, str] | None = None) -> str:
    """The message with which the recipe file ``text`` is refused."""
    with pytest.raises(UserError) as caught:
        load_recipe(write(folder, text), corpus)
    return str(caught.value)


def filled(found: type[Part]) -> Part:
    """``found`` with its defaults, and with some valid value in every knob that has none."""
    values: dict[str, object] = {}
    for key, info in found.model_fields.items():
        if info.is_required():
            kind = str(info.annotation)
            values[key] = (
                {"a": 0.25, "b": 0.75} if "dict" in kind or "Mapping" in kind else ["a"] if "tuple" in kind or "list" in kind else "a"
            )
            if "int" in kind or ("float" in kind and not isinstance(values[key], dict)):
                values[key] = next((limit.le for limit in info.metadata if getattr(limit, "le", None) is not None), 2)
            if isinstance(info.annotation, type) and issubclass(info.annotation, Part):
                *_, other = registry.names(info.annotation).values()
                values[key] = filled(other)
            if "Trained" in kind:
                values[key] = [{"folder": "somewhere"}, {"folder": "elsewhere"}] if "tuple" in kind else {"folder": "somewhere"}
            if "Literal" in kind:
                values[key] = next(word.strip("'\" ]") for word in kind.split("Literal[", 1)[1].split(","))
    return found.model_validate(values)


# Every registered part ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", EVERY_PART)
def test_a_part_survives_being_written_and_read(found: type[Part]) -> None:
    original = filled(found)
    written = original.model_dump(mode="json")
    assert list(written) == [found.name]
    again = make(found.slot, written)
    assert type(again) is found
    assert again == original
    assert again.model_dump(mode="json") == written


@pytest.mark.parametrize("found", EVERY_PART)
def test_a_part_is_frozen_and_refuses_unknown_knobs(found: type[Part]) -> None:
    built = filled(found)
    for key in found.model_fields:
        with pytest.raises(ValidationError):
            setattr(built, key, getattr(built, key))
    with pytest.raises(ValidationError, match="unknown key 'no_such_knob'"):
        make(found.slot, {found.name: {**built.model_dump(mode="json")[found.name], "no_such_knob": 1}})


@pytest.mark.parametrize("found", EVERY_PART)
def test_a_part_explains_itself(found: type[Part]) -> None:
    described = describe(found)
    assert described["slot"] in slots()
    assert found.name == found.name.lower() and "_" not in found.name
    assert "__doc__" in vars(found), "a part has a docstring of its own"
    assert len(described["documentation"]) > 20
    for key, knob in described["knobs"].items():
        assert knob["description"], f"knob {key} has no description"
    assert plain(described) == described


def test_the_promised_parts_exist() -> None:
    promised = {
        "Source": {"files", "builtin"},
        "Mixture": {"proportional", "fixed"},
        "Packing": {"concatenate"},
        "Objective": {"next-token", "masked-token", "prefix-lm", "span-corruption", "ul2"},
        "Start": {"scratch", "checkpoint", "stack"},
        "Structure": {"fixed-mask"},
        "Optimizer": {"adamw", "muon"},
        "Schedule": {"cosine", "linear", "constant", "wsd", "inverse-sqrt", "infinite", "power"},
        "Evaluation": {"bits-per-byte"},
    }
    for slot, expected in promised.items():
        assert expected <= set(names(slots()[slot])), slot


# Finding a part by name ----------------------------------------------------------------------------------------------------------


def test_a_bare_name_and_one_key_mean_the_same() -> None:
    assert make(Schedule, "cosine") == make(Schedule, {"cosine": {}}) == make(Schedule, {"cosine": None})
    built = make(Schedule, {"cosine": {"warmup": 0.25}})
    assert built.name == "cosine" and built.warmup == 0.25
    assert make(Schedule, built) is built


@pytest.mark.parametrize("wrong", [{}, {"cosine": {}, "linear": {}}, 3, ["cosine"], None])
def test_what_is_not_a_part_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValidationError, match="is written as its name or as one key"):
        make(Schedule, wrong)


def test_a_misspelt_part_gets_the_nearest_name() -> None:
    with pytest.raises(ValidationError, match=r"no Schedule is called 'cosin'; did you mean 'cosine'\? known: .*wsd"):
        make(Schedule, "cosin")


def test_a_part_of_another_slot_is_not_taken() -> None:
    with pytest.raises(ValidationError, match="no Schedule is called 'adamw'"):
        make(Schedule, "adamw")


def test_two_parts_of_one_name_in_different_modules_are_refused() -> None:
    before = dict(registry._parts[Schedule])
    try:
        with pytest.raises(TypeError, match="two parts are called 'cosine'"):
            own = {"__module__": "elsewhere", "__doc__": "Another cosine.", "factor": lambda self, at: 1.0}
            type("Impostor", (Schedule,), own, name="cosine")
    finally:
        registry._parts[Schedule] = before


# Recipes -------------------------------------------------------------------------------------------------------------------------


def test_a_recipe_is_read_and_knows_its_numbers(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    assert recipe.budget.unit == "flops" and recipe.budget.amount == 1e12
    assert recipe.corpus["code"].name == "builtin"
    assert len(recipe.phases) == 1 and recipe.phases[0].model.depth == 2
    assert recipe.phases[0].schedule.name == "cosine"


@pytest.mark.parametrize("written", ["1e12", "1.0e12", "1.0e+12", "1E12", "1_000_000_000_000", "1000000000000.0"])
def test_a_large_number_is_a_number_however_people_write_it(tmp_path: Path, written: str) -> None:
    assert load_recipe(write(tmp_path, RECIPE.replace("1e12", written))).budget.amount == 1e12


@pytest.mark.parametrize("written", ["1e12x", "e12", "1.2.3", "12-3", "0x1G"])
def test_what_only_looks_like_a_number_is_not_one(tmp_path: Path, written: str) -> None:
    message = refused(tmp_path, RECIPE.replace("1e12", written))
    assert "recipe.yaml:3: budget.flops: " in message and f"expected a number, not '{written}'" in message


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("batch", True), ("clip", True), ("model.width", False), ("budget.steps", True), ("limits.code", True), ("schedule.wsd.decay", True)],
)
def test_true_is_no_number(tmp_path: Path, key: str, wrong: bool) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("corpus: {code: builtin:stdlib}\nmodel: {tied: true}\n")
    with pytest.raises(UserError, match=rf"{key.replace('wsd.', '')}: expected a (whole )?number, not {wrong}"):
        load_recipe(Document(path, [f"{key}={str(wrong).lower()}"]))


def test_a_resolved_recipe_reads_back_equal_and_keeps_its_key(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    again = Recipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.key(0, Variant()) == recipe.key(0, Variant()) != recipe.key(1, Variant())
    changed = load_recipe(write(tmp_path, RECIPE.replace("0.05", "0.06")))
    assert changed.key(0, Variant()) != recipe.key(0, Variant())


def test_a_recipe_is_frozen(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE))
    with pytest.raises(ValidationError):
        recipe.budget = Budget(steps=1)


def test_phases_inherit_what_they_do_not_set() -> None:
    recipe = recipe_from(
        {
            "corpus": {"code": "builtin:stdlib"},
            "budget": {"steps": 10},
            "model": {"depth": 4},
            "schedule": {"cosine": {"warmup": 0.2}},
            "phases": [{"share": 0.25, "model": {"layers": 2}}, {"share": 0.75, "schedule": "constant"}],
        }
    )
    first, second = recipe.phases
    assert (first.model.depth, first.model.layers, second.model.layers) == (4, 2, None)
    assert first.schedule.warmup == 0.2
    assert second.schedule.name == "constant"


def test_corpus_given_on_the_command_line_adds_and_replaces(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE), {"code": "my/code", "mail": "mail.jsonl.zst"})
    assert {name: source.name for name, source in recipe.corpus.items()} == {"code": "files", "mail": "files"}
    assert shorthand("builtin:stdlib") == {"builtin": {"text": "stdlib"}}
    assert shorthand("notes") == {"files": {"path": "notes"}}


# Errors that point -----------------------------------------------------------------------------------------------------------------


def test_unknown_key_at_the_top(tmp_path: Path) -> None:
    assert "recipe.yaml:7: contex: unknown key 'contex'; did you mean 'context'?" in refused(tmp_path, RECIPE + "contex: 64\n")


def test_a_sequence_of_text_is_not_too_short(tmp_path: Path) -> None:
    short = "context: a sequence of tokens holds 8 or more, not 4"
    assert f"recipe.yaml:7: {short}" in refused(tmp_path, RECIPE + "context: 4\n")
    phases = "phases:\n  - {share: 0.5}\n  - share: 0.5\n    context: 4\n"
    assert f"recipe.yaml:10: phases.1.{short}" in refused(tmp_path, RECIPE + phases)


def test_unknown_key_in_settings(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("depth: 2", "dept: 2"))
    assert "recipe.yaml:4: model.dept: unknown key 'dept'; did you mean 'depth'?" in message


def test_unknown_key_in_a_phase(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE + "phases:\n  - {share: 0.5}\n  - share: 0.5\n    bach: 4\n")
    assert "recipe.yaml:10: phases.1.bach: unknown key 'bach'; did you mean 'batch'?" in message


def test_unknown_knob_of_a_part(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("{cosine: {warmup: 0.05}}", "\n  cosine:\n    warmpu: 0.05"))
    assert "recipe.yaml:8: " in message
    assert "unknown key 'warmpu'; did you mean 'warmup'?" in message


def test_unknown_knob_of_a_part_in_a_phase(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE + "phases:\n  - share: 1\n    schedule:\n      wsd:\n        dekay: 0.2\n")
    assert "recipe.yaml:11: " in message and "unknown key 'dekay'; did you mean 'decay'?" in message


def test_unknown_name_of_a_part(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("next-token", "next-tokn"))
    assert "recipe.yaml:5: objective: no Objective is called 'next-tokn'; did you mean 'next-token'?" in message


def test_unknown_name_of_a_part_written_as_one_key(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("{cosine:", "{cosin:"))
    assert "recipe.yaml:6: schedule" in message and "did you mean 'cosine'?" in message


def test_unknown_source_shorthand(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("builtin:stdlib", "{builtn: {text: stdlib}}"))
    assert "recipe.yaml:2: corpus.code" in message and "did you mean 'builtin'?" in message


def test_unknown_family(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("llama", "lama"))
    assert "recipe.yaml:4: model.family: " in message and "'llama'" in message


def test_wrong_type(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("depth: 2", "depth: two"))
    assert "recipe.yaml:4: model.depth: " in message and "expected a whole number, not " in message


def test_a_mapping_where_a_number_belongs_and_the_reverse(tmp_path: Path) -> None:
    assert "recipe.yaml:3: budget: " in refused(tmp_path, RECIPE.replace("{flops: 1e12}", "1e12"))
    assert "recipe.yaml:4: model: " in refused(tmp_path, RECIPE.replace("{family: llama, depth: 2}", "7"))
    assert "recipe.yaml:4: model.depth: " in refused(tmp_path, RECIPE.replace("depth: 2", "depth: {a: 1}"))


def test_depth_zero(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("depth: 2", "depth: 0"))
    assert "recipe.yaml:4: model.depth: " in message and "at least 1" in message


@pytest.mark.parametrize("budget", ["{flops: 1e12, steps: 3}", "{}"])
def test_a_budget_has_one_unit(tmp_path: Path, budget: str) -> None:
    message = refused(tmp_path, RECIPE.replace("{flops: 1e12}", budget))
    assert (
        "recipe.yaml:3: budget: a budget has exactly one of: flops, effective_flops, tokens, tokens_per_parameter, steps, seconds"
        in message
    )


@pytest.mark.parametrize("budget", ["{flops: 0}", "{flops: -1e12}", "{steps: 0}", "{steps: 1.5}", "{flops: .nan}", "{flops: .inf}"])
def test_a_budget_is_a_positive_finite_amount(tmp_path: Path, budget: str) -> None:
    assert "recipe.yaml:3: budget." in refused(tmp_path, RECIPE.replace("{flops: 1e12}", budget))


def test_a_corpus_is_needed(tmp_path: Path) -> None:
    assert "corpus" in refused(tmp_path, "budget: {steps: 3}\n")
    assert "the corpus has no source" in refused(tmp_path, "corpus: {}\nbudget: {steps: 3}\n")


def test_shares_that_do_not_add_up(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE + "phases:\n  - {share: 0.5}\n  - {share: 0.6}\n")
    assert "the shares of the phases add up to 1.1, not to 1" in message
    assert "recipe.yaml:" in message


def test_a_phase_that_asks_for_a_source_nobody_has(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE + "sources: [kode]\n")
    assert "source 'kode', which the corpus does not have; did you mean 'code'?" in message


def test_phases_that_are_no_list(tmp_path: Path) -> None:
    assert "recipe.yaml:7: phases: expected a list of phases" in refused(tmp_path, RECIPE + "phases: {share: 1}\n")


def test_an_inherited_mistake_is_reported_once_where_it_stands(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("depth: 2", "depth: 0") + "phases:\n  - {share: 0.5}\n  - {share: 0.5}\n")
    assert message.count("\n") == 0
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}:4: model.depth: ")


def test_two_mistakes_are_both_reported(tmp_path: Path) -> None:
    message = refused(tmp_path, RECIPE.replace("depth: 2", "depth: 0").replace("next-token", "nxt-token"))
    assert ":4: model.depth" in message and ":5: objective" in message


def test_yaml_that_cannot_be_parsed(tmp_path: Path) -> None:
    assert "recipe.yaml:3: not valid YAML: " in refused(tmp_path, "corpus:\n  a: b\n budget: {steps: 1}\n")
    assert "recipe.yaml:2: not valid YAML: " in refused(tmp_path, "corpus: {a: b}\nbudget:\t{steps: 1\n")
    assert "not valid YAML" in refused(tmp_path, "corpus: [unclosed\n")


def test_a_tag_is_refused_and_nothing_is_constructed(tmp_path: Path) -> None:
    assert "recipe.yaml:1: not valid YAML: " in refused(tmp_path, "corpus: !!python/object/apply:os.getcwd []\n")


def test_a_key_written_twice(tmp_path: Path) -> None:
    assert "recipe.yaml:7: not valid YAML: key 'model' is written twice" in refused(tmp_path, RECIPE + "model: {depth: 3}\n")
    assert "recipe.yaml:4: not valid YAML: key 'depth' is written twice" in refused(
        tmp_path, RECIPE.replace("depth: 2", "depth: 2, depth: 3")
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just words\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    assert "recipe.yaml: expected a mapping" in refused(tmp_path, text)


def test_no_is_a_word_and_only_true_and_false_are_not(tmp_path: Path) -> None:
    """YAML 1.1 reads no, on, off and y as truth values: `compile: no` and a Norwegian source would silently become something else."""
    recipe = load_recipe(write(tmp_path, RECIPE.replace("code:", "no:") + "compile: no\n"))
    assert recipe.compile == "no" and list(recipe.corpus) == ["no"]
    assert load_recipe(write(tmp_path, RECIPE.replace("depth: 2", "depth: 2, tied: false"))).phases[0].model.tied is False


def test_a_key_that_is_no_word(tmp_path: Path) -> None:
    assert "recipe.yaml:7: not valid YAML: a key is a single word" in refused(tmp_path, RECIPE + "? [a, b]\n: c\n")
    assert "recipe.yaml:7: not valid YAML: a key is a single word" in refused(tmp_path, RECIPE + "{a: b}: c\n")


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    assert "recipe.yaml:7" in refused(tmp_path, RECIPE + "phases: &p [*p]\n")
    assert "recipe.yaml:4" in refused(tmp_path, RECIPE.replace("{family: llama, depth: 2}", "&m {depth: *m}"))


def test_numbers_as_names_of_sources(tmp_path: Path) -> None:
    assert list(load_recipe(write(tmp_path, RECIPE.replace("code:", "2024:"))).corpus) == ["2024"]


def test_several_documents_in_one_file(tmp_path: Path) -> None:
    assert "not valid YAML" in refused(tmp_path, "a: 1\n---\nb: 2\n")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file$"):
        load_recipe(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="is a folder, and what is read is a YAML file"):
        load_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("corpus: {naïve: x}".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml: not a UTF-8 text file"):
        load_recipe(tmp_path / "latin.yaml")
    (tmp_path / "control.yaml").write_bytes(b"corpus: \x00\x01")
    with pytest.raises(UserError, match=r"control\.yaml.*not valid YAML"):
        load_recipe(tmp_path / "control.yaml")


# Parts from another package --------------------------------------------------------------------------------------------------------


def package(folder: Path, body: str) -> dict[str, str]:
    """A tiny installed package that offers its module as ``windtunnel.parts``, and the environment that sees it."""
    (folder / "staircase_parts").mkdir()
    (folder / "staircase_parts" / "__init__.py").write_text(textwrap.dedent(body), encoding="utf-8")
    information = folder / "staircase_parts-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: staircase-parts\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[windtunnel.parts]\nstaircase = staircase_parts\n", encoding="utf-8")
    here = str(Path(registry.__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), here])}


def python(code: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, cwd=folder, capture_output=True, text=True, timeout=240
    )


def test_a_part_of_an_installed_package_is_found(tmp_path: Path) -> None:
    environment = package(
        tmp_path,
        """\
        from pydantic import Field
        from windtunnel.slots import Schedule

        class Staircase(Schedule, name="staircase"):
            '''Lower the learning rate in equal steps.'''

            stairs: int = Field(4, ge=1, description="how many steps")

            def factor(self, progress, peak):
                return 1 - int(progress.done * self.stairs) / self.stairs
        """,
    )
    write(tmp_path, RECIPE.replace("{cosine: {warmup: 0.05}}", "{staircase: {stairs: 2}}"))
    done = python(
        """\
        from windtunnel.recipe import load_recipe
        schedule = load_recipe("recipe.yaml").phases[0].schedule
        print(type(schedule).__module__, schedule.name, schedule.stairs)
        """,
        environment,
        tmp_path,
    )
    assert done.stdout.split() == ["staircase_parts", "staircase", "2"], done.stderr


def test_a_package_whose_parts_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    environment = package(tmp_path, "import a_library_that_is_not_there\n")
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel.commands.main", "parts"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2
    assert "staircase" in done.stderr and "a_library_that_is_not_there" in done.stderr
    assert "Traceback" not in done.stderr


def test_of_very_many_names_only_the_nearest_are_told():
    many = [f"name-{number}" for number in range(100)]
    assert nearest("nam-7", many) == "did you mean 'name-7'?"
    assert nearest("qq", many).endswith(" and 95 more") and nearest("qq", many[:3]) == "known: name-0, name-1, name-2"
