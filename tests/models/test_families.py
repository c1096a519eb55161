"""A family is one file: how it is written, what reading it loads, and that nothing else names one."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import KINDS
from pydantic import ValidationError

import windtunnel
from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.kits.text.network import TokenFacts
from windtunnel.models.anatomy import anatomy, linears
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, family_of, fresh
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.models.sizes import sizes_of
from windtunnel.recipe import Phase, load_recipe, merge, recipe_from
from windtunnel.slots import Family

PACKAGE = Path(windtunnel.__file__).parent
PAGE = PACKAGE.parent / "docs" / "adding-a-part.md"
RECIPE = "corpus: {code: builtin:stdlib}\nbudget: {flops: 1e12}\nmodel: {%s}\n"


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The family that the documentation shows, as another package would bring it: one class, and nothing else changes."""
    (block,) = re.findall(r"^```python\n(\"\"\"Mistral.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    file = tmp_path_factory.mktemp("elsewhere") / "mistral_family.py"
    file.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mistral_family", file)
    assert spec is not None and spec.loader is not None
    sys.modules["mistral_family"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.Mistral
    del registry._parts[Family]["mistral"], sys.modules["mistral_family"]


def refused(folder: Path, model: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE % model, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    return str(caught.value)


# How it is written ----------------------------------------------------------------------------------------------------------------


def test_its_own_fields_stand_beside_the_sizes(mistral: Any) -> None:
    read = ModelSettings.model_validate({"family": "mistral", "depth": 4, "window": 5})
    assert read.family == mistral(window=5) and read.kind == "decoder" and read.depth == 4
    written = read.model_dump(mode="json")
    assert written["family"] == "mistral" and written["window"] == 5 and next(iter(written)) == "family"
    assert ModelSettings.model_validate(json.loads(json.dumps(written))) == read
    assert read.model_copy() == read and read.shape()["window"] == 5 and "dropout" not in read.shape()
    assert "window" not in ModelSettings(family="llama").model_dump(mode="json")
    assert ModelSettings(family=mistral(window=7), depth=4).family.window == 7
    assert ModelSettings.model_validate({"family": {"mistral": {"window": 5}}, "depth": 4}) == read, "as any part may be written"


def test_a_mistake_in_a_family_points_to_its_line(tmp_path: Path, mistral: Any) -> None:
    assert refused(tmp_path, "family: gpt3") == (
        f"{tmp_path}/recipe.yaml:3: model.family: no Family is called 'gpt3'; did you mean 'gpt2'? known: "
        + ", ".join(sorted(registry.known(Family)))
    )
    for written, says in {
        "family: mistral, windw: 5": "model.windw: unknown key 'windw'; did you mean 'window'? known: depth, dropout, family",
        "family: mistral, widht: 64": "model.widht: unknown key 'widht'; did you mean 'width'? known: depth, dropout, family",
        "window: 5": "model.window: unknown key 'window'; ",
        "family: mistral, window: 0": "model.window: expected a number of at least 1, not 0",
        "family: {mistral: 5}": "model.family: a family is written as its name, its own settings beside the sizes, not as {'mistral': 5}",
        "family: [mistral]": "model.family: a family is written as its name, its own settings beside the sizes, not as ['mistral']",
        "family: {mistral: {windw: 5}}": "model.windw: unknown key 'windw'; did you mean 'window'? known: depth, dropout, family",
        "family: gpt2, heads: 2, key_value_heads: 1": "model.key_value_heads: gpt2 has as many heads of keys and values as heads (2)",
        "family: t5, tied: false": "model.tied: transformers ties the embeddings of every t5",
        "width: 36, heads: 4": "model.heads: llama rotates pairs of dimensions, so a head needs an even size; width 36 / 4 heads = 9",
    }.items():
        message = refused(tmp_path, written)
        assert "recipe.yaml:3: " + says in message and "\n" not in message, message


def test_an_arm_of_another_family_keeps_the_sizes_alone(mistral: Any) -> None:
    base = {"model": {"family": "mistral", "depth": 4, "window": 5}}
    assert merge(base, {"model": {"family": "gpt2"}}) == {"model": {"family": "gpt2", "depth": 4}}
    assert merge(base, {"model": {"depth": 2}}) == {"model": {"family": "mistral", "depth": 2, "window": 5}}
    assert merge({"model": {"depth": 2}}, base) == base


def test_an_objective_says_which_kind_it_needs() -> None:
    with pytest.raises(ValidationError, match="objective next-token needs a model of kind decoder; bert is of kind encoder"):
        recipe_from({"corpus": {"a": "builtin:stdlib"}, "budget": {"flops": 1e9}, "model": {"family": "bert"}})


# What it loads, and who names it --------------------------------------------------------------------------------------------------


def test_kinds_and_sizes_are_known_without_torch() -> None:
    code = """
import sys
from windtunnel.core import registry
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import Family
one = ModelSettings(family="gpt2", depth=4)
print(one.kind, one.sizes().width, one.family.parameters(one.sizes(), type("Facts", (), {"size": 100})))
assert "windtunnel.parts.family.gpt2" in sys.modules and "windtunnel.parts.family.t5" not in sys.modules
assert len(registry.names(Family)) >= 8
assert not {"torch", "transformers", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["decoder", "64", str(4 * (4 * 64 * 64 + 2 * 64 * 256) + 100 * 64.0)]


def test_nothing_but_a_family_names_a_family() -> None:
    """So that one more is one file more. Docstrings may tell, the settings know the default, and a trial names the model it needs."""
    known = set(registry.known(Family)) - set(Phase.model_fields) - {"cells"}  # a phase has something called clip, a notebook has cells
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).parts
        if place[0] == "kits" or place[:2] == ("parts", "family"):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        trials = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Trial"]
        spared = {id(inner) for trial in trials for inner in ast.walk(trial)}
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared]
        found = {text for text in texts if text in known | {name.replace("-", "_") for name in known}}
        assert found == ({"llama"} if place == ("models", "settings.py") else set()), path


# What it answers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(KINDS))
def test_sizes_alone_tell_how_large_the_matrices_are(family: str) -> None:
    settings = ModelSettings(family=family, layers=3, width=48, heads=4, intermediate=80)
    model = fresh(config_for(settings, TokenFacts(100), 16), 0)
    real = sum(module.weight.numel() for module in linears(model).values())  # type: ignore[union-attr, operator, misc]
    assert settings.family.parameters(settings.sizes(), TokenFacts(100)) == real + 100 * 48
    assert settings.family.flops(settings.sizes(), TokenFacts(100), 16, 16 if KINDS[family] == "encoder-decoder" else 0) > 6 * 16 * real / 2


@pytest.mark.parametrize("family", sorted(KINDS))
def test_a_configuration_tells_what_a_recipe_wrote(family: str) -> None:
    settings = ModelSettings(family=family, layers=3, width=48, heads=4, intermediate=80)
    config = config_for(settings, TokenFacts(100), 16)
    assert sizes_of(config) == settings.shape()
    assert settings.family.written(config.to_dict()) == settings.family.written(config), "as its file tells it"
    assert family_of(config) == settings.family
    assert len(registry.find(Family, family).names["layers"]) == len(anatomy(fresh(config, 0)).stacks)  # type: ignore[union-attr]


def test_a_family_from_elsewhere_is_a_family_like_any_other(mistral: Any, tmp_path: Path) -> None:
    settings = ModelSettings.model_validate({"family": "mistral", "layers": 2, "width": 32, "heads": 4, "key_value_heads": 2, "window": 5})
    config = config_for(settings, TokenFacts(100), 24)
    model = fresh(config, 0)
    assert family_of(config) == mistral(window=5) and sizes_of(config) == settings.shape()
    tokens = torch.randint(100, (2, 24), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 8] = (tokens[:, 8] + 1) % 100
    moved = (forward(model.eval(), tokens).logits - forward(model, changed).logits).abs().amax((0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == list(range(8, 17)), "two layers with a window of 5 reach 8 positions on"
    view = anatomy(model)
    assert view.family == "mistral" and view.blocks[1].attention.k.shape == (16, 32) and len(linears(model)) == 14
    export(model, tmp_path)
    assert "AutoModelForCausalLM" in (tmp_path / "README.md").read_text(encoding="utf-8")
    again = load(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    documents = torch.tensor([[0] * 9 + [1] * 15, [0] * 20 + [-1] * 4])
    apart = forward(model, tokens, documents).logits
    torch.testing.assert_close(apart[0, 9:], forward(model, tokens[:1, 9:]).logits[0], atol=2e-6, rtol=1e-5)
    rich = forward(model, tokens, documents, needs=frozenset({"attentions"}))
    torch.testing.assert_close(rich.logits[documents >= 0], apart[documents >= 0], atol=5e-6, rtol=1e-4)
    with pytest.raises(UserError, match="mistral does not read pixels"):
        forward(model, tokens, pixels=tokens)
