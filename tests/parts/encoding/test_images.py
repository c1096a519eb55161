"""Images through the trainer that text goes through: a study of digits end to end, and what each part promises."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow
import pytest
import torch
from example_result import example
from pydantic import ValidationError

import windtunnel as wt
from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.held_out import held_out
from windtunnel.kits.image.patches import to_images, to_patches
from windtunnel.kits.image.pixels import Images, pixels_of
from windtunnel.kits.image.samples import png, restored
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.evaluation.probe import naive_bayes, neighbours
from windtunnel.recipe import recipe_from
from windtunnel.report import samples, thumbnails
from windtunnel.report.reading import Reading
from windtunnel.slots import Encoding, Objective
from windtunnel.train.estimate import estimate
from windtunnel.train.prepare import prepare

FACTS = Images(8, 1, np.array([0.5], np.float32), np.array([0.25], np.float32), 10)
MODEL = {"family": "vit", "layers": 1, "width": 16, "heads": 2, "patch": 2}
STUDY: dict[str, Any] = {
    "name": "digits",
    "corpus": {"digits": "builtin:digits"},
    "budget": {"steps": 12},
    "seeds": 2,
    "curve": [1],
    "baseline": {
        "split": {"validation": 0.15, "test": 0.25},
        "encoding": {"pixels": {"size": 8, "channels": 1}},
        "model": MODEL,
        "objective": {"masked-patches": {"patch": 2}},
        "context": 8,
        "batch": 8,
        "evaluate_every": 1,
        "evaluations": {"probe": {"shots": 5, "draws": 1, "also": [2]}},
        "precision": "float32",
        "compile": "no",
    },
    "arms": {"hide-80": {"objective": {"masked-patches": {"patch": 2, "ratio": 0.8}}}},
}


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, wt.Result]:
    out = tmp_path_factory.mktemp("digits")
    return out, wt.read(STUDY).fly(out=out, workers=1, quiet=True)


def test_a_study_of_images_flies_end_to_end(flown: tuple[Path, wt.Result]) -> None:
    out, result = flown
    assert result.metric == "probe" and result.data["study"]["unit"] == "bits per label"
    table = result.table()
    assert (table["probe"] > 0).all() and result.runs()["probe_zero"].between(3.2, math.log2(10)).all()
    assert (result.runs()["probe_accuracy"] > 0.15).all(), "guessing one of ten digits gives 0.1"
    assert {"probe", "probe_accuracy", "naive_bayes_accuracy", "naive_bayes_accuracy/2", "probe_zero"} <= set(result.runs().columns)
    page = (out / "studies" / "digits" / "report.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 4 * (2 + 2), "image, what was seen of it, and what each of two arms drew"
    assert "bits per label" in page and "bits per byte" not in page and "vocabulary" not in page.lower()


def test_a_run_of_images_is_exported_without_a_tokenizer(flown: tuple[Path, wt.Result], tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedImageModeling

    from windtunnel.train.export import export_run

    out, result = flown
    run = out / result.data["runs"][0]["folder"]
    found = export_run(run, tmp_path / "model", "float32")
    assert found["beside"] == [] and not list((tmp_path / "model").glob("token*"))
    model = AutoModelForMaskedImageModeling.from_pretrained(tmp_path / "model", local_files_only=True)
    assert model.config.patch_size == 2 and "AutoTokenizer" not in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_an_evaluation_of_text_refuses_images_by_name(tmp_path: Path) -> None:
    said = json.loads(json.dumps(STUDY))
    said["baseline"]["evaluations"] = "bits-per-byte"
    with pytest.raises(UserError, match=r"bits-per-byte.*(text|encoding)"):
        result = wt.read(said | {"seeds": 1}).fly(out=tmp_path, quiet=True)
        raise UserError(result.data["error"])


def test_what_a_model_reads_of_images_are_their_patches(flown: tuple[Path, wt.Result]) -> None:
    """Budgets count them as tokens; epochs count images."""
    _, result = flown
    run = result.data["runs"][0]["totals"]
    assert run["tokens"] == 12 * 8 * 8 * 16, "steps, sequences, images of a sequence, patches of an image"
    images = result.data["stream"]["sizes"]["train"]["digits"]
    assert 0.8 * 12 * 8 * 8 / images < run["epochs"]["digits"] <= 12 * 8 * 8 / images
    cost = estimate(wt.read(STUDY).recipes["baseline"])
    assert (cost["steps"], cost["tokens"]) == (12, run["tokens"])
    assert cost["flops"] == pytest.approx(run["flops"], rel=0.35), "the step itself is counted, this is reckoned"


def test_a_sequence_of_images_may_be_short() -> None:
    said = json.loads(json.dumps(STUDY))
    said["baseline"] |= {"context": 1}
    assert wt.read(said).recipes["baseline"].phases[0].context == 1


def test_patches_hide_what_the_ratio_says_and_show_the_rest() -> None:
    objective = make(Objective, {"masked-patches": {"patch": 2, "ratio": 0.75}})
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 1, 8, 8)).astype(np.uint8)
    rows = {"pixels": pixels, "documents": np.array([[0, 1], [0, 1], [0, -1]])}
    batch = objective.prepare(rows, FACTS, np.random.default_rng(1))
    assert batch["masked"].sum(axis=2).tolist() == [[12, 12]] * 3, "of 16 patches"
    assert (batch["labels"][2, 1] == -100).all() and (
        (batch["labels"] == 0) == (batch["masked"] & (rows["documents"] >= 0)[..., None])
    ).all()
    again = to_images(batch["pixels"], 2, 8, 8)
    assert np.allclose(again * 0.25 + 0.5, pixels / 255, atol=1e-6)
    assert not (batch["masked"] == objective.prepare(rows, FACTS, np.random.default_rng(2))["masked"]).all()


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_loss_is_the_distance_of_drawn_from_true_pixels(distance: str) -> None:
    objective = make(Objective, {"masked-patches": {"patch": 2, "distance": distance}})
    model = fresh(config_for(ModelSettings.model_validate(MODEL), FACTS, 8), 0).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 1, 8, 8)).astype(np.uint8)
    rows = {"pixels": pixels, "documents": np.tile(np.arange(3), (2, 1))}
    batch = {key: torch.from_numpy(value) for key, value in objective.prepare(rows, FACTS, np.random.default_rng(1)).items()}
    loss = objective.loss(model, batch)
    drawn = loss.outputs.logits.detach().view(2, 3, 16, 4)
    apart = drawn - batch["pixels"]
    expected = (apart.abs() if distance == "l1" else apart**2).mean(dim=-1)
    assert torch.allclose(loss.values, expected) and loss.counts.sum() == batch["masked"].sum()
    hidden = batch | {"pixels": torch.where(batch["masked"][..., None], 9.0, batch["pixels"])}
    assert torch.allclose(objective.loss(model, hidden).outputs.logits, loss.outputs.logits, atol=1e-6), "hidden pixels are not read"
    with pytest.raises(PartError, match="patch is 4 and that of the model 2"):
        make(Objective, {"masked-patches": {"patch": 4}}).loss(model, batch)


def test_images_are_rows_of_numbers_or_files() -> None:
    from PIL import Image

    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(file, format="png")
    rows, files = pixels_of(pyarrow.array([grey.tolist()]), "x"), pixels_of(pyarrow.array([{"bytes": file.getvalue()}]), "x")
    assert (rows[0] == grey).all() and rows[0].shape == (1, 8, 8)
    assert files[0].shape == (3, 8, 8) and (files[0] == grey).all()
    for wrong in ([[0.5, 1.0]], [[300, 1]], b"no image"):
        with pytest.raises(UserError, match=r"^x: "):
            pixels_of(pyarrow.array([wrong]), "x")
    assert (to_images(to_patches(files[0][None], 4), 4, 8, 8)[0] == files[0]).all()


def test_images_of_another_size_and_models_of_other_patches_are_refused(tmp_path: Path) -> None:
    said = json.loads(json.dumps(STUDY))
    said["baseline"]["encoding"] = {"pixels": {"size": 9}}
    said["baseline"]["model"] = MODEL | {"patch": 3}
    said["baseline"]["objective"] = {"masked-patches": {"patch": 3}}
    with pytest.raises(UserError, match=r"8 x 8 pixels and 1 channels.*size: 9"):
        wt.read(said | {"arms": {"l2": {"objective": {"masked-patches": {"patch": 3, "distance": "l2"}}}}}).fly(out=tmp_path, quiet=True)
    with pytest.raises(ValidationError, match="did you mean 'channels'"):
        make(Encoding, {"pixels": {"chanels": 3}})


def test_neighbours_vote_by_how_near_they_are() -> None:
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 2.0], [-1.0, 0.0]])
    labels = np.array([3, 3, 1, 1, 0])
    others = np.array([[5.0, 0.1], [0.0, 0.2], [-3.0, 0.1]])
    assert neighbours(features, labels, others, 2).tolist() == [3, 1, 0], "lengths of features do not matter, nearer ones count more"
    assert neighbours(features, labels, others, 99).tolist() == [3, 1, 0], "never more neighbours than there are"


def test_thumbnails_are_the_pixels() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    for some in (pixels, pixels[:1]):
        kind, _, data = png(some).partition(",")
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            again = np.asarray(opened)
        assert kind == "data:image/png;base64" and (again.reshape(5, 7, -1).transpose(2, 0, 1) == some).all()
    assert (restored(FACTS.scaled(pixels[:1]), FACTS) == pixels[:1]).all()


def test_files_in_a_table_come_to_one_size_and_what_is_no_image_is_named() -> None:
    from PIL import Image

    files = []
    for mode, size, colour in (("L", (9, 20), 128), ("RGB", (30, 12), (128, 128, 128)), ("CMYK", (8, 8), (0, 0, 0, 127)), ("P", (8, 8), 0)):
        file = io.BytesIO()
        Image.new(mode, size, colour).save(file, format="gif" if mode == "P" else "tiff")
        files.append(file.getvalue())
    found = pixels_of(pyarrow.array(files), "x", 8, 1)
    assert [one.shape for one in found] == [(1, 8, 8)] * 4 and [round(float(one.mean()), -1) for one in found] == [130, 130, 130, 0]
    with pytest.raises(UserError, match=r"^x: not an image that can be read whole: .*truncated"):
        pixels_of(pyarrow.array([files[1][:-200]]), "x", 8, 1)


def test_held_out_images_of_a_label_that_training_lacks_are_told_and_do_not_count(tmp_path: Path) -> None:
    class Corpus:
        sources = ("mine",)
        labels: ClassVar[dict[str, list[int | None]]] = {"train": [0, 2, None], "validation": [1, 2], "test": [5, 0]}

        def schema(self, source: str) -> Any:
            return pyarrow.schema([(name, pyarrow.null()) for name in ("image", "label")])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            image = np.full((8, 8), 7).tolist()
            yield pyarrow.RecordBatch.from_pylist([{"image": image, "label": label} for label in self.labels[split]]).select(columns)

    told: list[str] = []
    fitted = make(Encoding, "pixels").fit(Corpus(), tmp_path, tell=told.append)
    labels = {split: [int(one.arrays["label"][0]) for one in fitted.encode(split, "mine")] for split in ("train", "validation", "test")}
    assert labels == {"train": [0, 2, -1], "validation": [-1, 2], "test": [-1, 0]} and fitted.facts["classes"] == 3
    assert told[-1] == "1 of 2 test images of mine have a label that no training image has; they cannot be told and do not count"
    Corpus.labels = {"train": [None], "test": [5, 0]}
    bare = make(Encoding, "pixels").fit(Corpus(), tmp_path, tell=told.append)
    assert [int(one.arrays["label"][0]) for one in bare.encode("test", "mine")] == [5, 0], "without labels in training nothing is told"


def test_images_of_one_class_are_refused() -> None:
    with pytest.raises(UserError, match="classify needs images of two classes or more; these all have one"):
        config_for(ModelSettings.model_validate(MODEL | {"head": "classify"}), FACTS._replace(classes=1), 8)


@pytest.mark.parametrize("head", ["draw", "classify", "embed"])
def test_what_models_make_of_held_out_images_is_shown(head: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    objective = {"draw": "masked-patches", "classify": "classify", "embed": "two-view"}[head]
    recipe = recipe_from({**STUDY["baseline"], "corpus": STUDY["corpus"], "model": MODEL | {"head": head}, "objective": objective})
    stream = prepare(recipe, tmp_path_factory.getbasetemp() / "shown")
    model = fresh(config_for(recipe.phases[0].model, stream.facts, 8), 0).eval()
    settings: dict[str, Any] = {"context": 8, "sequences": 4, "limit_tokens": 64, "device": "cpu", "precision": contextlib.nullcontext()}
    found = stream.encoding.samples(model, held_out(stream, "test", objective=recipe.phases[0].objective, **settings), 3)
    assert len(found) == 3 and all(
        one["truth"].startswith("class ") and one["pictures"]["image"].startswith("data:image/png") for one in found
    )
    assert ["drawn" in one for one in found] == [head == "draw"] * 3 == ["seen" in one["pictures"] for one in found]
    assert all("continuation" in one for one in found) == (head == "classify")
    result = example() | {"samples": {"baseline": found, "wsd": found}}
    page = samples.of_arms(Reading(result))
    assert page.count("<img ") == 3 * {"draw": 4, "classify": 1, "embed": 1}[head] and "Continuations" not in page
    assert thumbnails.picture("https://elsewhere/image.png", "x") == ""


def test_naive_bayes_weighs_features_by_one_variance_of_all_classes_and_classes_by_their_share():
    random = np.random.default_rng(0)
    labels = np.repeat([3, 8], [30, 10])
    features = random.standard_normal((40, 2)) * [1.0, 100.0] + np.where(labels == 3, 0.0, 4.0)[:, None] * [1.0, 0.0]
    others = np.array([[0.0, 300.0], [4.0, -300.0]])
    assert naive_bayes(features, labels, others).tolist() == [3, 8], "the nearest mean by plain distance is decided by the second feature"
    alike = np.array([[0.0], [2.0], [0.0], [2.0], [0.0], [2.0]])
    assert naive_bayes(alike, np.array([0, 0, 1, 1, 1, 1]), np.array([[1.0]])).tolist() == [1], "the more frequent of two alike"
