"""Reading a file opens no checkpoint and asks no network; whoever flies, estimates or names runs has it resolved, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkpoints import with_tokenizer, written

import windtunnel as wt
from windtunnel.commands import main as cli
from windtunnel.commands.options import changed
from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.core.part import Trained
from windtunnel.models.settings import ModelSettings, PartialModel
from windtunnel.recipe import Document, NestedError, Recipe, load_recipe, recipe_from
from windtunnel.recipe.resolve import Facts, facts, resolve
from windtunnel.slots import Evaluation
from windtunnel.study.file import load_study
from windtunnel.study.papers import load_paper
from windtunnel.train.prepare import prepare

BASE = {"corpus": {"a": "x"}, "budget": {"steps": 2}}
RECIPE = """corpus: {notes: notes}
budget: {steps: 4}
model: {heads: 3}
objective: span-corruption
tokenizer: {extend: 40}
recipes:
  small: {share: 0.1, start: {checkpoint: owner/small}}
start: {checkpoint: owner/model}
losses:
  distillation:
    teacher: {folder: nowhere/teacher}
phases:
  - {share: 0.5}
  - {share: 0.5, start: {soup: {ingredients: [{recipe: small}, {folder: package:no/such}]}}}
"""
FLAT = """corpus: {notes: notes}
budget: {steps: 4}
model: {heads: 3}
objective: span-corruption
start: {checkpoint: owner/model}
phases: [{share: 0.5}, {share: 0.5, schedule: constant}]
"""
STUDY = """corpus: {notes: notes}
budget: {steps: 4}
seeds: 2
baseline:
  model: {depth: 2}
arms:
  known:
    start: {checkpoint: owner/model}
  taught:
    losses: {distillation: {teacher: {folder: nowhere}}}
"""


class OpenedError(BaseException):
    """Not an Exception, so that nothing takes it for a model that is missing."""


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a checkpoint, hashing one or asking the network is an error."""

    def opened(*given: Any, **named: Any) -> Any:
        raise OpenedError(given)

    for name in ("windtunnel.recipe.resolve.locate", "windtunnel.recipe.resolve.fingerprint", "windtunnel.models.locate.digest_of"):
        monkeypatch.setattr(name, opened)
    monkeypatch.setattr("windtunnel.models.content.digest_of", opened)
    monkeypatch.setattr("huggingface_hub.snapshot_download", opened)
    monkeypatch.setattr("socket.socket.connect", opened)


def file(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


# Reading ------------------------------------------------------------------------------------------------------------------------


def test_reading_a_recipe_opens_nothing(closed: None, tmp_path: Path) -> None:
    recipe = load_recipe(file(tmp_path, RECIPE))
    assert not recipe.is_resolved() and all(isinstance(phase.model, PartialModel) for phase in recipe.phases)
    assert dict(recipe.checkpoints()) == dict.fromkeys(("owner/model", "owner/small", "nowhere/teacher", "package:no/such"))
    assert recipe.phases[0].model.written() == {"heads": 3}
    with pytest.raises(OpenedError):
        resolve(recipe)


def test_reading_a_study_or_a_paper_opens_nothing(closed: None, tmp_path: Path) -> None:
    study = load_study(file(tmp_path, STUDY))
    assert list(study.written) == ["baseline", "known", "taught"] and study.written["baseline"].is_resolved()
    door = wt.read(tmp_path / "recipe.yaml")
    assert repr(door) == "<study recipe: baseline, known, taught>"
    text = "papers: [some]\ntitle: T\nyear: 2024\nclaim: c\nexpect: {arm: known}\nscales:\n  cpu:\n" + "".join(
        f"    {line}\n" for line in STUDY.splitlines()
    )
    paper = load_paper(file(tmp_path, text, "some.yaml"))
    assert list(paper.study("cpu").written) == ["baseline", "known", "taught"]
    for opens in (lambda: study.resolved, lambda: study.notes, lambda: door.recipes, lambda: paper.study("cpu").resolved, door.check):
        with pytest.raises(OpenedError):
            opens()


def test_what_is_wrong_with_a_file_is_told_before_anything_is_opened(closed: None, tmp_path: Path) -> None:
    for old, new, says in (
        ("{heads: 3}", "{heds: 3}", "recipe.yaml:3: model.heds: unknown key 'heds'; did you mean 'heads'"),
        ("{heads: 3}", "{family: lama}", "recipe.yaml:3: model.family: no Family is called 'lama'; did you mean 'llama'"),
        (
            "{heads: 3}",
            "{family: bert}",
            "objective span-corruption needs a model of kind encoder-decoder, decoder; bert is of kind encoder",
        ),
        ("{heads: 3}", "{depth: 0}", "recipe.yaml:3: model.depth: expected a number of at least 1, not 0"),
        ("{checkpoint: owner/model}", "{checkpont: owner/model}", "recipe.yaml:5: start: no Start is called 'checkpont'; did you mean"),
    ):
        with pytest.raises(UserError) as error:
            load_recipe(file(tmp_path, FLAT.replace(old, new)))
        assert says in str(error.value)
    with pytest.raises(UserError, match="no recipe is called 'smal' under recipes; did you mean 'small'"):
        load_recipe(file(tmp_path, RECIPE.replace("{recipe: small}", "{recipe: smal}")))
    with pytest.raises(UserError, match=r"recipe.yaml:8: arms.known.strt: unknown key 'strt'; did you mean 'start'"):
        load_study(file(tmp_path, STUDY.replace("    start:", "    strt:")))


def test_where_no_checkpoint_is_everything_is_told_at_once(closed: None, tmp_path: Path) -> None:
    text = STUDY.replace("start: {checkpoint: owner/model}", "clip: 2.0")
    text = text.replace("losses: {distillation: {teacher: {folder: nowhere}}}", "clip: 2.0")
    with pytest.raises(UserError, match=r"recipe.yaml:9: arms.taught: this arm is the same recipe as arm known"):
        load_study(file(tmp_path, text))
    with pytest.raises(UserError, match=r"recipe.yaml:3: model: 7 heads do not divide width 32"):
        load_recipe(file(tmp_path, "corpus: {a: x}\nbudget: {steps: 1}\nmodel: {width: 32, heads: 7}\n"))


# Resolving ----------------------------------------------------------------------------------------------------------------------


def test_what_the_checkpoint_says_is_held_against_what_is_written(tmp_path: Path) -> None:
    there = written(tmp_path / "there", "t5")
    text = f"corpus: {{a: x}}\nbudget: {{steps: 1}}\nobjective: OBJECTIVE\nstart: {{checkpoint: {there}}}\nmodel: {{MODEL}}\n"
    for objective, model, says in (
        ("next-token", "dropout: 0.1", "objective next-token needs a model of kind decoder; t5 is of kind encoder-decoder"),
        ("span-corruption", "heads: 3", "recipe.yaml:5: model: 3 heads do not divide width 32"),
        ("span-corruption", "tied: false", "recipe.yaml:5: model.tied: transformers ties the embeddings of every t5"),
    ):
        document = Document(file(tmp_path, text.replace("OBJECTIVE", objective).replace("MODEL", model)))
        with pytest.raises(UserError) as error:
            resolve(load_recipe(document), document)
        assert says in str(error.value)
    document = Document(file(tmp_path, text.replace("OBJECTIVE", "span-corruption").replace("MODEL", "dropout: 0.1")))
    recipe = resolve(load_recipe(document), document)
    model = recipe.phases[0].model
    assert type(model) is ModelSettings and (model.family.name, model.dropout, model.sizes().width) == ("t5", 0.1, 32)
    assert recipe.is_resolved() and resolve(recipe) == recipe


def test_recipes_within_recipes_are_resolved(tmp_path: Path) -> None:
    one, other = with_tokenizer(tmp_path / "one"), written(tmp_path / "other")
    begun = {"budget": {"steps": 1}, "start": {"checkpoint": str(one)}}
    deep = {**begun, "losses": {"distillation": {"teacher": {"folder": str(other)}}}}
    recipe = recipe_from({**BASE, "start": {"soup": {"ingredients": [{"recipe": begun}, {"recipe": deep}]}}})
    assert not recipe.is_resolved() and type(recipe.phases[0].model) is ModelSettings, "what a recipe trains is no checkpoint"
    found = resolve(recipe)
    assert found.is_resolved()
    for ingredient in found.phases[0].start.ingredients:  # type: ignore[union-attr]
        inner = ingredient.recipe
        assert inner.phases[0].model.sizes().layers == 2 and inner.phases[0].start.fingerprint and inner.encoding.folder == str(one)
    assert inner.phases[0].losses[0].teacher.fingerprint
    assert Recipe.model_validate(json.loads(found.model_dump_json())) == found


def test_models_that_curators_and_evaluations_hold_are_known_by_their_content(tmp_path: Path, spare_part: Any) -> None:
    @spare_part
    class Judge(Evaluation, name="test-held-judge"):
        other: Trained

        def evaluate(self, *given: Any) -> Any:
            raise AssertionError

    one, other = written(tmp_path / "one"), written(tmp_path / "other")
    curator = {"perplexity": {"model": {"folder": str(one)}, "keep": 0.5}}
    recipe = recipe_from(
        {**BASE, "curators": curator, "evaluations": ["bits-per-byte", {"test-held-judge": {"other": {"folder": str(other)}}}]}
    )
    assert dict(recipe.checkpoints()) == {str(one): None, str(other): None} and not recipe.is_resolved()
    found = resolve(recipe)
    assert found.is_resolved() and all(content for _, content in found.checkpoints())
    assert Recipe.model_validate(json.loads(found.model_dump_json())) == found


def test_a_missing_model_is_told_where_it_is_named(tmp_path: Path) -> None:
    known = with_tokenizer(tmp_path / "known")
    even = RECIPE.replace("heads: 3", "heads: 4")
    for text, says in (
        (even, r"recipe.yaml:7: recipes.small.start: checkpoint: owner/small: no such folder or file"),
        (even.replace("owner/small", str(known)), r"recipe.yaml:8: start: checkpoint: owner/model: no such folder or file"),
    ):
        document = Document(file(tmp_path, text))
        with pytest.raises(UserError, match=says):
            resolve(load_recipe(document), document)
    study = load_study(file(tmp_path, STUDY.replace("owner/model", str(known))))
    with pytest.raises(UserError, match=r"recipe.yaml:10: arms.taught.losses.distillation.teacher.folder: nowhere: no such folder"):
        _ = study.resolved
    with pytest.raises(NestedError, match="checkpoint: nowhere: no such folder"):
        resolve(recipe_from({**BASE, "start": {"checkpoint": "nowhere"}}))


def test_a_study_opens_its_checkpoints_once_and_tells_then_what_could_not_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = with_tokenizer(tmp_path / "there")
    calls: list[str] = []

    def counted(name: str) -> Facts:
        calls.append(name)
        return facts(name)

    monkeypatch.setattr("windtunnel.recipe.resolve.facts", counted)
    text = STUDY.replace("owner/model", str(there)).replace("{folder: nowhere}", f"{{folder: {there}}}")
    study = load_study(file(tmp_path, text))
    assert calls == []
    first = study.resolved
    assert all(recipe.is_resolved() for recipe in first.values()) and len(calls) == 2
    assert study.resolved == first and len(calls) == 2
    assert first["known"].phases[0].model.sizes().width == 32 and any("another tokenizer" in note for note in study.notes)
    taught = f"losses: {{distillation: {{teacher: {{folder: {there}}}}}}}"
    twins = text.replace(taught, f"start: {{checkpoint: {there}}}\n    model: {{layers: 2}}")
    late = load_study(file(tmp_path, twins.replace("model: {depth: 2}", "clip: 1.0")))
    with pytest.raises(UserError, match=r"recipe.yaml:9: arms.taught: this arm is the same recipe as arm known"):
        _ = late.resolved
    knobs = load_study(file(tmp_path, text + "tune:\n  model.dropuot: [0.0, 0.1]\n"))
    with pytest.raises(UserError, match=r"the recipe has no knob model.dropuot; did you mean 'model.dropout'"):
        _ = knobs.resolved


def test_no_run_is_named_or_prepared_before_its_checkpoint_was_opened(tmp_path: Path) -> None:
    recipe = recipe_from({**BASE, "start": {"checkpoint": "owner/model"}})
    with pytest.raises(ValueError, match="leaves sizes or contents to a checkpoint"):
        recipe.key(0, Variant())
    with pytest.raises(ValueError, match="leaves sizes or contents to a checkpoint"):
        prepare(recipe, tmp_path)
    with pytest.raises(ValueError, match="has not been opened"):
        recipe.phases[0].model.sizes()


def test_training_and_checking_open_the_checkpoint(workshop: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(workshop.model, tmp_path / "there")
    raw = {**workshop.recipe().model_dump(mode="json"), "start": {"checkpoint": str(tmp_path / "there")}, "budget": {"steps": 1}}
    phase = {key: value for key, value in raw.pop("phases")[0].items() if key not in ("model", "start", "share")}
    raw = {**phase, **raw, "evaluations": ["bits-per-byte"], "start": raw["start"]}
    del raw["encoding"]
    record = wt.train(raw, tmp_path / "run", cache=workshop.folder / "cache")
    stored = Recipe.model_validate(record["recipe"])
    assert stored.is_resolved() and stored.encoding.folder == str(tmp_path / "there")  # type: ignore[attr-defined]
    path = file(tmp_path, yaml.safe_dump(raw))
    with pytest.raises(SystemExit) as end:
        cli.main(["check", str(path)])
    said = capsys.readouterr().out
    assert not end.value.code and said.startswith(f"recipe {path}\n") and "of one core; steps were timed now" in said


CHANGED = """
baseline: {batch: 4, optimizer: adamw, model: &model {depth: 2}}
arms:
  deep: {model: *model, phases: [{share: 0.5}, {share: 0.5}]}
"""


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("baseline.batch=8", ("baseline", "batch"), 8),
        ("budget={flops: 1e9}", ("budget",), {"flops": 1e9}),
        ("baseline.optimizer.adamw.betas=[0.9, 0.99]", ("baseline", "optimizer"), {"adamw": {"betas": [0.9, 0.99]}}),
        ("baseline.split.test=0.1", ("baseline", "split"), {"test": 0.1}),
        ("arms.deep.phases.1.share=0.25", ("arms", "deep", "phases"), [{"share": 0.5}, {"share": 0.25}]),
        ("arms.deep.model.depth=3", ("arms", "deep", "model"), {"depth": 3}),
        ("arms.more={clip: 1}", ("arms", "more"), {"clip": 1}),
        ("arms.deep.model.depth=3", ("baseline", "model"), {"depth": 2}),  # the anchor stands for another copy
    ],
)
def test_a_change_takes_the_place_of_what_the_file_says(tmp_path, change, path, value):
    found = Document(file(tmp_path, CHANGED), [change]).data
    for key in path:
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("baseline.batch={a", "not a value in YAML"),
        ("baseline.batch.x=3", "has 4 where 'x' is looked for"),
        ("baseline.optimizer.muon.momentum=0.9", "has 'adamw' where 'muon' is looked for"),
        ("arms.deep.phases.7.share=1", "where 7 is looked for"),
        ("arms.depe.clip=0.5", "has nothing called 'depe' under arms; did you mean 'deep'"),
    ],
)
def test_a_change_that_finds_no_place_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        Document(file(tmp_path, CHANGED), [change])


def test_a_mistake_in_a_change_is_told_of_the_change_and_not_of_a_line(tmp_path):
    document = Document(file(tmp_path, CHANGED), ["baseline.batchh=3", "arms.deep.clip=x", "basline.batch=8"])
    assert str(document.error(("basline",), "unknown")) == "--set basline.batch=8: basline: unknown"
    assert str(document.error(("baseline", "batchh"), "unknown")) == "--set baseline.batchh=3: baseline.batchh: unknown"
    assert str(document.error(("arms", "deep", "clip"), "wrong")).startswith("--set arms.deep.clip=x: ")
    assert "recipe.yaml:" in str(document.error(("baseline", "batch"), "wrong"))


def test_the_command_line_changes_budget_and_seeds():
    assert changed(["baseline.batch=2"], "flops=1e9", "5") == ["baseline.batch=2", "budget={flops: 1e9}", "seeds=5"]
    assert changed(None, None, "3,4") == ["seeds=[3,4]"]
    with pytest.raises(UserError, match="expected UNIT=AMOUNT"):
        changed(None, "1e9")
