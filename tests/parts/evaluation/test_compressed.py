"""A model made smaller in several ways: what is measured is what each way leaves, and the model comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny_models import LENGTH, VOCABULARY, build, random_tokens

from windtunnel.core.registry import make
from windtunnel.kits.weights.smaller import way_of
from windtunnel.models.anatomy import linears
from windtunnel.slots import Evaluation, HeldOut, Objective


def view(split: str) -> Any:
    tokens = random_tokens(2, LENGTH)
    batch = {"tokens": tokens, "documents": torch.zeros_like(tokens), "labels": tokens.clone(), "bytes": torch.ones_like(tokens)}
    about = {"device": torch.device("cpu"), "precision": torch.autocast("cpu", enabled=False), "split": split, "context": LENGTH}
    return HeldOut(("notes",), lambda source, objective: iter([batch]), None, VOCABULARY, make(Objective, "next-token"), **about)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_way_is_measured_and_the_model_comes_back(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from windtunnel.parts.evaluation import compressed

    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(self: Any, model: Any, held_out: Any) -> dict[str, float]:
        out = model(random_tokens(1, 8)).logits
        seen.append({"logits": out.detach()})
        return {"bits_per_byte": float(out.abs().mean())}

    monkeypatch.setattr(compressed.BitsPerByte, "evaluate", evaluate)
    model = build(family).eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    modules = dict(linears(model))
    ways = ("8bit-16", "2:4", "svd-50%")
    with torch.no_grad():
        found = make(Evaluation, {"compressed": {"ways": ways}}).evaluate(model, view("test"))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items()) and dict(linears(model)) == modules
    for place, way in enumerate(ways):
        changed = build(family).eval()
        way_of(way).apply(changed)
        with torch.no_grad():
            wanted = changed(random_tokens(1, 8)).logits
        assert torch.allclose(seen[2 * place + 2]["logits"], wanted, atol=1e-5), "factors are executed, and say the same as their product"
    size = {way: found[f"compressed_megabytes/{way}"] for way in ("none", *ways)}
    assert size["none"] == pytest.approx(2 * sum(weight.numel() for weight in model.parameters()) / 1e6)
    assert size["svd-50%"] < size["2:4"] < size["none"] and all(found[f"compressed_tokens_per_second/{way}"] > 0 for way in size)
    assert next(iter(found)) == "compressed/none"
    with torch.no_grad():
        assert list(make(Evaluation, {"compressed": {"ways": ways}}).evaluate(model, view("validation"))) == ["compressed/none"]


def test_what_is_no_way_is_told() -> None:
    with pytest.raises(ValidationError, match="write 4bit"):
        make(Evaluation, {"compressed": {"ways": ["half"]}})
    with pytest.raises(ValidationError, match="twice"):
        make(Evaluation, {"compressed": {"ways": ["4bit", "4bit"]}})
