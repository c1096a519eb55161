"""The soup: its arithmetic, what it refuses, and that three recipes are flown once and charged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from windtunnel.core.errors import PartError
from windtunnel.parts.start.soup import Soup, average
from windtunnel.slots import StartContext
from windtunnel.train.run import fly


def soup(**knobs: Any) -> dict[str, Any]:
    ingredients = [{"recipe": {"budget": {"steps": 2}, "optimizer": {"adamw": {"learning_rate": rate}}}} for rate in (1e-3, 3e-3, 1e-2)]
    return {"soup": {"ingredients": ingredients} | knobs}


def test_the_average_is_that_of_torch():
    torch.manual_seed(0)
    states = [{"a": torch.randn(5, 4), "b": torch.randn(3).bfloat16(), "count": torch.tensor(n)} for n in range(3)]
    found = average(states, (1.0, 1.0, 1.0))
    assert torch.equal(found["a"], torch.stack([state["a"].double() for state in states]).mean(dim=0).float())
    assert found["b"].dtype == torch.bfloat16 and found["count"] == 0
    weighted = average(states, (2.0, 0.0, 6.0))
    assert torch.allclose(weighted["a"], 0.25 * states[0]["a"] + 0.75 * states[2]["a"], atol=1e-7)
    assert all(torch.equal(average([states[0]] * 3, (1.0, 1.0, 1.0))[name], states[0][name]) for name in states[0])


def test_three_recipes_are_flown_averaged_and_charged(tiny, stream, tmp_path):
    recipe = tiny(budget={"steps": 8}, start=soup(weights=[1, 1, 2]))
    record = fly(recipe, 0, stream, tmp_path / "run")
    assert record["status"] == "finished", record["failure"]
    assert record["charged"]["steps"] == 6 and record["totals"]["steps"] == 2 and len(record["needed"]) == 3
    kept = [load_file(f"{one['folder']}/model/model.safetensors") for one in record["needed"].values()]
    assert not torch.equal(kept[0]["model.norm.weight"], kept[1]["model.norm.weight"])
    # An interrupted one goes on with what is there.
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "needed").symlink_to(tmp_path / "run" / "needed")
    calls: list[int] = []
    again = fly(recipe, 0, stream, tmp_path / "again", report=lambda progress: calls.append(progress["step"]))
    assert again["test"] == record["test"] and max(calls) <= 2, "an ingredient was trained again"


def test_the_greedy_soup_keeps_what_helps(monkeypatch):
    """Worth of sets of ingredients as in a table: the best alone, then the next that lowers it, never one that does not."""
    from windtunnel.parts.evaluation.bits_per_byte import BitsPerByte

    def ingredient(value: float) -> Any:
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(model.weight, value)
        return model

    monkeypatch.setattr(BitsPerByte, "evaluate", lambda self, model, held_out: {"bits_per_byte": abs(float(model.weight.item()) - 2)})
    held_out = SimpleNamespace(sources=(), device=torch.device("cpu"))
    stream = SimpleNamespace(encoding=SimpleNamespace(evaluation="bits-per-byte"))
    context = StartContext({}, stream, judge=lambda units: held_out)
    part = Soup.model_validate({"ingredients": [{"folder": name} for name in "abcd"], "choose": "greedy"})
    with pytest.warns(UserWarning, match="averaged, best first: 2, 1"):
        assert part._chosen([ingredient(value) for value in (9.0, 0.5, 3.0, 9.5)], context) == [2, 1]


@pytest.mark.parametrize(
    ("other", "says"),
    [({"model": {"layers": 1}}, "layers is 1 there"), ({"model": {"family": "gpt2"}}, "family is gpt2 there")],
)
def test_models_of_other_shapes_are_refused(tiny, stream, tmp_path, other, says):
    knobs = soup()
    knobs["soup"]["ingredients"][1]["recipe"] |= other
    record = fly(tiny(budget={"steps": 8}, start=knobs), 0, stream, tmp_path)
    assert record["status"] == "failed" and says in record["failure"].message and "ingredient 1" in record["failure"].message


def test_models_of_other_tokens_are_refused(tiny, stream, tmp_path):
    knobs = soup()
    knobs["soup"]["ingredients"][2]["recipe"] |= {"tokenizer": {"vocabulary": 600}}
    record = fly(tiny(budget={"steps": 8}, start=knobs), 0, stream, tmp_path)
    assert record["status"] == "failed" and "let them agree" in record["failure"].message


def test_weights_and_ingredients_belong_together():
    folders = [{"folder": "a"}, {"folder": "b"}]
    for knobs in ({"weights": [1.0]}, {"weights": [0.0, 0.0]}, {"weights": [-1.0, 2.0]}):
        with pytest.raises(ValueError, match="weights"):
            Soup.model_validate({"ingredients": folders, **knobs})
    with pytest.raises(ValueError, match="at least 2"):
        Soup.model_validate({"ingredients": folders[:1]})


def test_weights_that_differ_in_shape_are_refused(tiny, stream, tmp_path):
    from windtunnel.models.load import load

    fly(tiny(budget={"steps": 1}), 0, stream, tmp_path / "run")
    one, other = (load(tmp_path / "run" / "model") for _ in range(2))
    other.lm_head.weight = torch.nn.Parameter(torch.zeros(7, 3))
    held = {"ingredients": [{"folder": str(tmp_path / "run" / "model")}] * 2}
    with pytest.raises(PartError, match="ingredient 1 has other weights"):
        Soup.model_validate(held).build(None, one.config, 0, StartContext({"ingredients.0": one, "ingredients.1": other}, stream))
