"""Images that have classes: folders of files, the objective that names a class, and a study of both."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.digest import sizes, value_bytes
from windtunnel.data.corpus.fields import from_rows
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.image.patches import to_images
from windtunnel.kits.image.pixels import Images, pixels_of, plain_file, read_image
from windtunnel.models.init import config_for, family_of, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import recipe_from
from windtunnel.slots import Objective, Source
from windtunnel.study.file import study_from
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

Image = pytest.importorskip("PIL.Image")
FACTS = Images(8, 1, np.array([0.5], np.float32), np.array([0.25], np.float32), 10)
MODEL = {"family": "vit", "head": "classify", "layers": 1, "width": 16, "heads": 2, "patch": 2}


def stripes(across: bool, shift: int, size: int = 12) -> np.ndarray:
    rows = np.indices((size, size))[int(across)]
    return (((rows + shift) // 2 % 2) * 200 + 20).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, across in (("down", False), ("across", True)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(40):
            noise = np.random.default_rng(number).integers(0, 30, (12, 12)).astype(np.uint8)
            Image.fromarray(stripes(across, number % 4) + noise).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def read(path: Path, **knobs: Any) -> tuple[list[dict[str, Any]], Tally]:
    tally = Tally("mine")
    return list(make(Source, {"image-folder": {"path": str(path), "size": 8, "channels": 1, **knobs}}).documents(tally)), tally


def seen(document: dict[str, Any], size: int = 8, channels: int = 1) -> np.ndarray:
    """The pixels of a document as the encoding reads them."""
    pixels = pixels_of(pyarrow.array([document["image"]]), "mine", size, channels)[0]
    return pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)


def test_classes_are_folders_and_every_image_comes_to_one_size(folder: Path) -> None:
    Image.new("RGB", (40, 9), (255, 0, 0)).save(folder / "down" / "wide.jpg")
    documents, tally = read(folder)
    assert len(documents) == 81 and {(one["class"], one["label"]) for one in documents} == {("across", 0), ("down", 1)}
    assert {seen(one).shape for one in documents} == {(8, 8)} and not tally.rows()
    assert documents[0]["origin"] == "across/0.png"
    assert seen(read(folder, channels=3)[0][-1], channels=3).shape == (8, 8, 3)


def test_pixels_that_are_kept_as_a_file_come_back_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for image in (random.integers(0, 256, (5, 5), np.uint8), random.integers(0, 256, (5, 5, 3), np.uint8)):
        data = plain_file(image)
        assert np.array_equal(read_image(data), image), "Pillow reads it too"
        smaller = pixels_of(pyarrow.array([data]), "x", 3, 1)[0]
        assert smaller.shape == (1, 3, 3)
        with monkeypatch.context() as patch:
            patch.setattr(Image, "open", None)
            kept = pixels_of(pyarrow.array([data]), "x", 5, 1 if image.ndim == 2 else 3)[0]
        assert np.array_equal(kept, image[None] if image.ndim == 2 else image.transpose(2, 0, 1))
        with pytest.raises(UserError, match="x: not an image that can be read whole"):
            pixels_of(pyarrow.array([data[:-9]]), "x", 5)


def test_arrays_become_the_lists_that_they_stand_for() -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (4, 6, 3), np.uint8) for _ in range(3)]
    whole, listed = (from_rows([{"image": image, "origin": "x"} for image in each]) for each in (images, [one.tolist() for one in images]))
    assert whole.equals(listed)
    assert from_rows([{"image": images[0]}, {"image": None}]).column(0).to_pylist() == [images[0].tolist(), None]
    column = whole.column(0)
    kept = pixels_of(column.slice(1), "x")
    assert all(np.array_equal(one, image.transpose(2, 0, 1)) for one, image in zip(kept, images[1:], strict=True))
    uneven = from_rows([{"image": image} for image in (images[0], images[1][:2], images[2][:, :2])]).column(0)
    assert [one.shape for one in pixels_of(uneven, "x")] == [(3, 4, 6), (3, 2, 6), (3, 4, 2)]
    alone = [value_bytes(uneven.slice(place, 1))[0] for place in range(3)]
    assert value_bytes(uneven) == alone, "what stands for a value does not depend on those beside it"
    assert sizes(whole).tolist() == [len(one or b"") for one in value_bytes(column)]


def test_every_mode_of_pixels_comes_out_as_it_looks(tmp_path: Path) -> None:
    deep = np.full((8, 8), 40000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "printed.jpg")
    Image.new("P", (8, 8), 0).save(tmp_path / "palette.gif")
    Image.new("1", (8, 8), 1).save(tmp_path / "bits.png")
    turned = Image.fromarray(np.repeat([[0], [0], [0], [0], [255], [255], [255], [255]], 8, 1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    found = {one["origin"]: seen(one) for one in read(tmp_path)[0]}
    assert found["deep.png"].mean() == pytest.approx(40000 / 65535 * 255, abs=1)
    assert found["clear.png"].min() == 255 and found["printed.jpg"].min() > 250 and found["bits.png"].min() == 255
    assert found["palette.gif"].max() == 0 and found["turned.png"][0].mean() == 255 and found["turned.png"][-1].mean() == 0


def test_what_cannot_be_read_is_skipped_counted_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (folder / "down" / "0.png").read_bytes()
    (folder / "down" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "down" / "text.png").write_text("no image")
    (folder / "down" / "notes.txt").write_text("about")
    (folder / "loose.png").write_bytes(whole)
    documents, tally = read(folder)
    assert len(documents) == 81 and [one["label"] for one in documents if one["origin"] == "loose.png"] == [-1]
    counted = {row["what"]: row["documents"] for row in tally.rows()}
    assert counted == {"skipped: no image by its name": 1, "skipped: not an image that can be read whole": 2, "without a class": 1}
    assert "down/cut.png" in tally.summary("skipped: not")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="none of its 83 images can be read"):
        read(folder)


def test_a_table_gives_classes_and_groups(folder: Path) -> None:
    lines = ["file,class,patient", *(f"down/{number}.png,{'odd' if number % 2 else 'even'},p{number // 4}" for number in range(40))]
    (folder / "labels.csv").write_text("\n".join(lines))
    documents, tally = read(folder, labels="labels.csv", group="patient")
    known = [one for one in documents if one["class"]]
    assert len(known) == 40 and {one["label"] for one in known} == {0, 1} and known[0]["group"] == "p0"
    assert {row["what"]: row["documents"] for row in tally.rows()} == {"without a class": 40}
    with pytest.raises(UserError, match=r"labels\.csv: has no column 'person'; did you mean|has no column 'person'"):
        read(folder, labels="labels.csv", group="person")
    (folder / "labels.csv").write_text("file,class\ndown/900.png,odd\n")
    assert make(Source, {"image-folder": {"path": str(folder), "labels": "lables.csv"}}).signature(), "told on reading"
    with pytest.raises(UserError, match=r"lables\.csv: no such file; did you mean 'labels\.csv'"):
        read(folder, labels="lables.csv")
    with pytest.raises(UserError, match=r"names 'down/900.png', which the folder does not hold"):
        read(folder, labels="labels.csv")
    (folder / "labels.csv").write_text("file,class\n./down/1.png,odd\ndown/1.png,odd\n")
    assert [one["class"] for one in read(folder, labels="labels.csv")[0] if one["class"]] == ["odd"]
    (folder / "labels.csv").write_text("file,class\ndown/1.png,odd\ndown/1.png,even\n")
    with pytest.raises(UserError, match=r"labels\.csv: has two rows of 'down/1.png' that differ"):
        read(folder, labels="labels.csv")


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no image"):
        read(tmp_path)


def rows(count: int = 3) -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (2, count, 1, 8, 8)).astype(np.uint8)
    documents = np.tile(np.arange(count), (2, 1))
    documents[1, -1] = -1
    return {"pixels": pixels, "label": np.array([[0, 9, -1], [4, 4, 4]]), "documents": documents}


def test_the_loss_is_the_cross_entropy_of_the_labels_that_there_are() -> None:
    objective = make(Objective, {"classify": {"patch": 2}})
    batch = {key: torch.from_numpy(value) for key, value in objective.prepare(rows(), FACTS, np.random.default_rng(0)).items()}
    assert batch["labels"].tolist() == [[0, 9, -100], [4, 4, -100]]
    model = fresh(config_for(ModelSettings.model_validate(MODEL), FACTS, 8), 0).eval()
    loss = objective.loss(model, batch)
    logits = model(pixel_values=to_images(batch["pixels"].flatten(0, 1), 2, 8, 8)).logits.detach()
    assert logits.shape == (6, 10)
    assert (
        float(loss.values[0, 1].detach()) == pytest.approx(float(-torch.log_softmax(logits[1], 0)[9]), rel=1e-5) and loss.counts.sum() == 4
    )
    assert family_of(model.config).auto_class == "AutoModelForImageClassification"
    with pytest.raises(PartError, match="label 9, and training images have 0 to 3 alone"):
        objective.prepare(rows(), FACTS._replace(classes=4), np.random.default_rng(0))


def test_training_images_move_and_held_out_ones_do_not() -> None:
    objective = make(Objective, {"classify": {"patch": 2, "shift": 2, "mirror": True}})
    still = objective.measured_by().prepare(rows(), FACTS, np.random.default_rng(1))["pixels"]
    assert np.array_equal(still, make(Objective, "classify").prepare(rows(), FACTS, np.random.default_rng(2))["pixels"])
    moved = to_images(objective.prepare(rows(), FACTS, np.random.default_rng(1))["pixels"], 2, 8, 8).reshape(-1, 8, 8)
    whole = to_images(still, 2, 8, 8).reshape(-1, 8, 8)
    assert not np.array_equal(moved, whole)
    for after, before in zip(moved, whole, strict=True):
        wide = np.pad(before, 2)
        every = [wide[top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
        assert any(np.array_equal(after, one) or np.array_equal(after, one[:, ::-1]) for one in every)


def test_a_folder_of_images_is_learned(folder: Path, tmp_path: Path) -> None:
    raw = {
        "corpus": {"stripes": {"image-folder": {"path": str(folder), "size": 8, "channels": 1}}},
        "budget": {"steps": 30},
        "split": {"validation": 0.2, "test": 0.3},
        "encoding": {"pixels": {"size": 8, "channels": 1}},
        "model": MODEL,
        "objective": {"classify": {"shift": 1}},
        "evaluations": "labels",
        "optimizer": {"adamw": {"learning_rate": 0.01}},
        "context": 4,
        "batch": 4,
        "evaluate_every": 1,
        "precision": "float32",
        "compile": "no",
    }
    recipe = recipe_from(raw)
    record = fly(recipe, 0, prepare(recipe, tmp_path / "cache"), tmp_path / "run")
    assert record["status"] == "finished", record["traceback"]
    assert record["primary"] == "bits_per_label" and record["unit"] == "bits per label"
    assert record["test"]["bits_per_label"] < 0.5 and record["test"]["accuracy"] > 0.8, "guessing one of two costs one bit"
    assert record["test"]["accuracy/stripes"] == record["test"]["accuracy"]
    with pytest.raises(ValueError, match="classify needs a model of kind image-classifier"):
        recipe_from({**raw, "model": {**MODEL, "head": "draw"}})


@pytest.mark.parametrize(
    ("size", "says"), [(16, "brought to 16 pixels on a side by image-folder and then enlarged to 32"), (32, ""), (64, "")]
)
def test_images_that_a_source_makes_smaller_than_they_are_read_are_told(size: int, says: str) -> None:
    raw = {
        "corpus": {"photos": {"image-folder": {"path": "photos", "size": size}}, "drawn": "drawn-shapes"},
        "baseline": {"encoding": {"pixels": {"size": 32, "channels": 3}}, "model": MODEL, "objective": "classify", "evaluations": "labels"},
        "arms": {"wsd": {"schedule": "wsd"}},
    }
    notes = [note for note in study_from(raw, name="s").notes if "enlarged" in note]
    assert len(notes) == bool(says) and says in "".join(notes)
    pairs = {"encoding": {"image-text": {"size": 32, "channels": 3}}, "model": {"family": "clip"}, "objective": "contrastive-pairs"}
    recipe = recipe_from(
        {
            "corpus": {"photos": {"image-captions": {"path": "photos", "captions": "said.csv", "size": size}}},
            **pairs,
            "evaluations": "match",
        }
    )
    assert len(recipe.encoding.notes(recipe.sources)) == bool(says)


def test_idx_files_are_read_whole_or_refused(tmp_path: Path) -> None:
    pixels, labels = np.random.default_rng(0).integers(0, 256, (5, 3, 4)).astype(np.uint8), np.arange(5, dtype=np.uint8)
    images, named = tmp_path / "images.gz", tmp_path / "labels"
    images.write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + np.array(pixels.shape, ">i4").tobytes() + pixels.tobytes()))
    named.write_bytes(bytes((0, 0, 8, 1)) + np.array([5], ">i4").tobytes() + labels.tobytes())
    source = make(Source, {"idx": {"images": str(images), "labels": str(named)}})
    (table,) = source.documents(Tally("mine"))
    assert (np.array(table.column("image").to_pylist()) == pixels).all() and table.column("label").to_pylist() == [0, 1, 2, 3, 4]
    whole = named.read_bytes()
    for content, says in (
        (whole[:-1], "damaged: it says that it holds 5 numbers"),
        (b"\0\0\x09\1" + whole[4:], "not an idx file of bytes"),
    ):
        named.write_bytes(content)
        with pytest.raises(UserError, match=says):
            list(source.documents(Tally("mine")))
    images.write_bytes(images.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"images\.gz: damaged"):
        list(source.documents(Tally("mine")))
