"""Pre-training with one head, then fine-tuning with another: what is carried over, what begins new, and a run of both phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.image.pixels import Images
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import recipe_from
from windtunnel.slots import Start, StartContext
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

SIZES = {"family": "vit", "layers": 1, "width": 16, "heads": 2, "patch": 2}
TWO_PHASES: dict[str, Any] = {
    "corpus": {"digits": "builtin:digits"},
    "budget": {"steps": 4},
    "split": {"validation": 0.05, "test": 0.05},
    "encoding": {"pixels": {"size": 8, "channels": 1}},
    "evaluations": "labels",
    "context": 4,
    "batch": 4,
    "evaluate_every": 0.5,
    "evaluation_tokens": 32,
    "precision": "float32",
    "compile": "no",
    "phases": [
        {"share": 0.5, "model": SIZES, "objective": "masked-patches"},
        {"share": 0.5, "model": {**SIZES, "head": "classify"}, "objective": "classify", "start": "new-head"},
    ],
}


def config(head: str, size: int = 8, classes: int = 10, **sizes: Any) -> Any:
    facts = Images(size, 1, np.zeros(1, np.float32), np.ones(1, np.float32), classes)
    return config_for(ModelSettings.model_validate(SIZES | {"head": head} | sizes), facts, 4)


def test_the_encoder_carries_over_and_the_head_begins_new() -> None:
    old = fresh(config("draw"), 3)
    with pytest.warns(UserWarning, match=r"begins new: classifier\.bias, classifier\.weight; left behind: .*embeddings\.mask_token"):
        new = make(Start, "new-head").build(old, config("classify"), 5)
    encoder = {name: value for name, value in new.state_dict().items() if name.startswith("vit.")}
    assert encoder and all(torch.equal(value, old.state_dict()[name]) for name, value in encoder.items())
    assert torch.equal(new.classifier.weight, fresh(config("classify"), 5).classifier.weight), "as from scratch with the seed"
    assert type(new).__name__ == "ViTForImageClassification" and new.config.num_labels == 10
    with pytest.warns(UserWarning, match=r"left behind: classifier\.bias, classifier\.weight$"):
        other = make(Start, "new-head").build(new, config("classify", classes=3), 5)
    assert other.classifier.weight.shape == (3, 16), "other classes are another head too"


def test_a_head_that_would_fit_is_drawn_anew_where_it_is_named() -> None:
    old = fresh(config("classify"), 0)
    with pytest.warns(UserWarning, match=r"begins new: classifier\.bias, classifier\.weight; left behind"):
        new = make(Start, {"new-head": {"anew": ["classifier"]}}).build(old, config("classify"), 5)
    assert not torch.equal(new.classifier.weight, old.classifier.weight)
    assert torch.equal(new.vit.layernorm.weight, old.vit.layernorm.weight)
    with pytest.raises(PartError, match="no weight's name begins with nothing"):
        make(Start, {"new-head": {"anew": ["classifier", "nothing"]}}).build(old, config("classify"), 5)


def test_what_does_not_fit_is_said() -> None:
    old = fresh(config("draw"), 0)
    for asked, says in (
        (config("classify", width=32), "width is 16 there and 32 here.*the encoder has to be the same"),
        (config("classify", size=16), r"embeddings\.position_embeddings has the shape .*images of one size"),
        (config("draw"), "no head begins new; name its weights in `anew`, or leave `start` out"),
    ):
        with pytest.raises(PartError, match=says):
            make(Start, "new-head").build(old, asked, 0)
    with pytest.raises(PartError, match="no phase before this one"):
        make(Start, "new-head").build(None, config("classify"), 0)


def test_models_without_a_table_of_units_are_gone_on_with() -> None:
    old = fresh(config("classify"), 0)
    context = StartContext(models={"model": old}, stream=None)
    assert make(Start, {"trained": {"model": {"folder": "elsewhere"}}}).build(None, config("classify"), 1, context) is old


def test_a_model_tells_patches_that_change_places_apart() -> None:
    """Its positions are drawn, not zero: from zero tables every hidden patch would be drawn alike."""
    model = fresh(config("draw"), 0).eval()
    pixels = torch.randn((1, 16, 4), generator=torch.Generator().manual_seed(0))
    masked = torch.zeros((1, 16), dtype=torch.bool)
    masked[:, [2, 9]] = True
    order = torch.arange(16)
    order[[0, 1, 4]] = torch.tensor([1, 4, 0])  # of those that are seen
    with torch.no_grad():
        seen, shuffled = (forward(model, pixels=array, masked=masked).logits for array in (pixels, pixels[:, order]))
    assert not torch.allclose(seen[:, 2], seen[:, 9], atol=1e-6), "two hidden patches differ by their places alone"
    assert not torch.allclose(seen[:, 2], shuffled[:, 2], atol=1e-6)


def test_masked_patches_then_classes_are_one_recipe(tmp_path: Path) -> None:
    recipe = recipe_from(TWO_PHASES)
    record = fly(recipe, 0, prepare(recipe, tmp_path / "cache"), tmp_path / "run", warn=lambda message: None)
    assert record["status"] == "finished", record["traceback"]
    assert [bool(entry.numbers) for entry in record.validation] == [False, True], "labels cannot judge a model that draws"
    assert record["primary"] == "bits_per_label" and [phase["steps"] for phase in record["phases"]] == [2, 2]
    assert any("new-head: begins new: classifier.bias" in message for message in record.warnings)


def test_an_evaluation_that_cannot_judge_the_finished_model_is_refused() -> None:
    alone = {key: value for key, value in TWO_PHASES.items() if key != "phases"} | {"model": SIZES, "objective": "masked-patches"}
    with pytest.raises(ValueError, match="labels cannot judge a model that is trained with masked-patches"):
        recipe_from(alone)
