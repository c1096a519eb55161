"""Pairs of images and captions: sources, the encoding, CLIP against transformers, one and two ranks, galleries, filters."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.image.pairs import Pairs, Processor
from windtunnel.kits.image.patches import to_images
from windtunnel.kits.image.pixels import Images
from windtunnel.kits.text.network import TokenFacts
from windtunnel.models.anatomy import anatomy, linears
from windtunnel.models.init import config_for, family_of, fresh
from windtunnel.models.load import load
from windtunnel.models.settings import ModelSettings
from windtunnel.models.sizes import sizes_of
from windtunnel.parts.evaluation.match import _bits, _ranks
from windtunnel.recipe import recipe_from
from windtunnel.slots import CuratorContext, Objective, Source, Start
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

IMAGES = Images(8, 3, np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32), 5)
FACTS: Any = Pairs(IMAGES, TokenFacts(50, document=0, pad=1), 6)  # type: ignore[arg-type]
MODEL = {"family": "clip", "layers": 1, "width": 16, "heads": 2, "patch": 4}
RAW: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-shapes": {"count": 240, "size": 8}}},
    "budget": {"steps": 4},
    "split": {"validation": 0.2, "test": 0.2, "near_duplicates": 1.0},
    "encoding": {"image-text": {"size": 8, "vocabulary": 400, "length": 12}},
    "model": MODEL,
    "objective": "contrastive-pairs",
    "evaluations": {"match": {"gallery": 16}},
    "context": 4,
    "batch": 4,
    "evaluate_every": 1,
    "precision": "float32",
    "compile": "no",
}


def towers(seed: int = 0) -> Any:
    return fresh(config_for(ModelSettings.model_validate(MODEL), FACTS, 4), seed).eval()


def pair_rows() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    caption = np.stack([FACTS.caption(random.integers(3, 50, 1 + place % 7)) for place in range(8)])
    caption[5] = caption[2]  # said twice
    documents = np.tile([0, 1], (4, 1))
    documents[3, 1] = -1
    pixels = random.integers(0, 256, (4, 2, 3, 8, 8)).astype(np.uint8)
    return {"pixels": pixels, "caption": caption.reshape(4, 2, 6), "documents": documents}


def pair_batch(**knobs: Any) -> dict[str, torch.Tensor]:
    batch = make(Objective, {"contrastive-pairs": knobs}).prepare(pair_rows(), FACTS, np.random.default_rng(1))
    return {key: torch.from_numpy(value) for key, value in batch.items()}


def test_the_loss_is_that_of_transformers() -> None:
    model, batch = towers(), {key: value[:3] for key, value in pair_batch().items()}
    loss = make(Objective, "contrastive-pairs").loss(model, batch)
    images = to_images(batch["pixels"].flatten(0, 1), 4, 8, 8)
    theirs = model(input_ids=batch["captions"].flatten(0, 1), pixel_values=images, return_loss=True)
    assert float(loss.values.mean().detach()) == pytest.approx(float(theirs.loss.detach()), rel=1e-5)
    assert float(model.logit_scale.detach()) == pytest.approx(math.log(1 / 0.07), abs=1e-3), "set, not drawn and not left as it was"
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_a_caption_is_read_off_its_end_and_what_follows_is_not_read() -> None:
    model, batch = towers(), pair_batch()
    captions = batch["captions"].flatten(0, 1)
    family = family_of(model.config)
    assert model.config.text_config.eos_token_id == 0 and (captions == 0).sum(dim=1).tolist() == [1] * 8
    changed, other = captions.clone(), captions.clone()
    changed[0, 3:] = 40  # behind the end, where padding was
    other[0, 0] = 41
    from windtunnel.models.forward import forward

    with torch.no_grad():
        one, two, three = (forward(model, captions=each).text_embeds for each in (captions, changed, other))
    assert torch.allclose(one[0], two[0], atol=1e-6) and not torch.allclose(one[0], three[0], atol=1e-6)
    with pytest.raises(UserError, match="captions that end with token 2"):
        family.config(ModelSettings.model_validate(MODEL).sizes(), FACTS._replace(text=TokenFacts(50, document=2)), 4)


def test_padding_and_pairs_of_one_caption_are_no_strangers() -> None:
    model, batch = towers(), pair_batch()
    loss = make(Objective, "contrastive-pairs").loss(model, batch)
    kept = {key: value.flatten(0, 1)[:7][:, None] for key, value in batch.items()}
    alone = make(Objective, "contrastive-pairs").loss(model, kept)
    assert loss.counts.sum() == 14 and torch.allclose(loss.values.flatten(0, 1)[:7], alone.values[:, 0], atol=1e-5)
    mild = make(Objective, {"contrastive-pairs": {"alike": True}}).loss(model, batch)
    less = (mild.values < loss.values - 1e-6).flatten(0, 1).any(dim=1)
    assert less.nonzero().flatten().tolist() == [2, 5], "the two with one caption, each without the other"


def half_of_pairs(own: slice) -> list[torch.Tensor]:
    model, batch = towers(), pair_batch(alike=True)
    loss = make(Objective, {"contrastive-pairs": {"alike": True}}).loss(model, {key: value[own] for key, value in batch.items()})
    value = (loss.values * loss.counts).sum() / (batch["labels"] != -100).sum()
    value.backward()
    return [value.detach(), *(weight.grad for weight in model.parameters())]


def test_two_ranks_train_clip_as_one_does(tmp_path: Path) -> None:
    children = []
    for rank in range(2):
        child = os.fork()
        if not child:
            try:
                torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
                found = half_of_pairs(slice(2 * rank, 2 * rank + 2))
                for value in found:
                    torch.distributed.all_reduce(value)
                if not rank:
                    torch.save(found, tmp_path / "sum.pt")
                torch.distributed.destroy_process_group()
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    for one, two in zip(half_of_pairs(slice(0, 4)), torch.load(tmp_path / "sum.pt"), strict=True):
        assert torch.allclose(one, two, atol=1e-6 * max(1.0, float(one.abs().max())))  # sums of float32 in another order


def test_a_step_compares_all_its_pairs_whatever_the_micro_batch() -> None:
    recipe_from(RAW | {"micro_batch": 4})
    with pytest.raises(ValueError, match="compares the sequences of a step with each other, so 2 at a time is another loss"):
        recipe_from(RAW | {"micro_batch": 2})


def test_both_towers_are_seen_grown_and_read_back() -> None:
    model = towers()
    view = anatomy(model)
    assert list(view.stacks) == ["vision_model.encoder.layers", "text_model.encoder.layers"] and len(linears(model)) == 12
    assert sizes_of(model.config) == ModelSettings.model_validate(MODEL).shape()
    deep = config_for(ModelSettings.model_validate(MODEL | {"layers": 2}), FACTS, 4)
    grown = make(Start, {"stack": {"factor": 2}}).build(model, deep, 0)
    assert len(anatomy(grown).blocks) == 4 and grown.config.text_config.num_hidden_layers == 2


def test_galleries_are_scored_in_both_directions() -> None:
    cosines = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.8], [0.0, 0.1, 0.4]])
    found = _bits(cosines, 10.0)
    forth, back = (-np.log2(np.exp(10 * each.diagonal()) / np.exp(10 * each).sum(axis=1)) for each in (cosines, cosines.T))
    assert np.allclose(found, (forth + back) / 2)
    assert _ranks(cosines).tolist() == [0, 1, 0, 0, 0, 1]
    assert np.allclose(_bits(np.zeros((8, 8)), 5.0), 3)


def test_drawings_have_true_captions_unless_they_are_swapped() -> None:
    drawn = list(make(Source, {"drawn-shapes": {"count": 60, "size": 8, "swapped": 0.5}}).documents(Tally("drawn")))
    plain = list(make(Source, {"drawn-shapes": {"count": 60, "size": 8}}).documents(Tally("drawn")))
    assert all(one["true"] for one in plain) and 25 <= sum(not one["true"] for one in drawn) <= 30
    assert [one["image"] for one in drawn] == [one["image"] for one in plain]
    assert all((one["text"] == other["text"]) == one["true"] for one, other in zip(drawn, plain, strict=True))


def test_shapes_are_drawn_darker_and_flatter() -> None:
    above, dark, flat = (
        [np.array(one["image"], int) for one in make(Source, {"drawn-shapes": {"count": 40, "size": 16, **knobs}}).documents(Tally("x"))]
        for knobs in ({}, {"light": 0.5}, {"tilt": 60})
    )
    assert all(abs(one.mean() * 0.5 - other.mean()) < 8 for one, other in zip(above, dark, strict=True))

    def inked(images: list[np.ndarray]) -> float:
        return float(np.mean([(image.min(axis=-1) < 190).sum() for image in images]))

    assert 0.4 < inked(flat) / inked(above) < 0.6  # half as high, as wide
    assert make(Source, "drawn-shapes").signature() != make(Source, {"drawn-shapes": {"tilt": 60}}).signature()


def test_captions_of_a_folder_and_what_is_wrong_with_some(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for number in range(4):
        image.new("RGB", (12, 9), (number * 60, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    rows = [("0.png", "black"), ("1.png", "dark"), ("1.png", "brown"), ("2.png", " "), ("cut.png", "cut"), ("9.png", "nine"), ("", "lost")]
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])
    source = make(Source, {"image-captions": {"path": str(tmp_path), "captions": "captions.csv", "size": 8}})
    tally = Tally("mine")
    found = list(source.documents(tally))
    assert [(one["text"], one["group"], np.asarray(one["image"]).shape) for one in found] == [
        ("black", "0.png", (8, 8, 3)),
        ("dark", "1.png", (8, 8, 3)),
        ("brown", "1.png", (8, 8, 3)),
    ]
    counted = {row["what"]: row["documents"] for row in tally.rows()}
    assert counted == {
        "skipped: no caption": 1,
        "skipped: not an image that can be read whole": 1,
        "skipped: caption without an image": 3,
        "skipped: image without a caption": 2,
    }
    before = source.signature()
    (tmp_path / "captions.json").write_text(json.dumps([{"image": "3.png", "name": "red", "kind": "warm"}]))
    other = {"path": str(tmp_path), "captions": "captions.json", "file": "image", "caption": "name", "label": "kind", "size": 8}
    (one,) = make(Source, {"image-captions": other}).documents(Tally("mine"))
    assert (one["text"], one["label"]) == ("red", 0) and source.signature() == before
    lines = [{"image": f"{n}.png", "name": f"one\u2028{n}", "kind": n, "scene": 0} for n in range(2)]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    numbered = {**other, "captions": "captions.jsonl", "group": "scene"}
    found = list(make(Source, {"image-captions": numbered}).documents(Tally("mine")))
    assert [(one["text"], one["label"], one["group"]) for one in found] == [("one 0", 0, "0"), ("one 1", 1, "0")], "0 is one"
    (tmp_path / "more.csv").write_text('file,caption\n1.png,"a red\ncat"\n2.png,a small, red cat\n')
    with pytest.raises(UserError, match="row 2 has more fields than the heading"):
        list(make(Source, {"image-captions": {"path": str(tmp_path), "captions": "more.csv", "size": 8}}).documents(Tally("mine")))
    with pytest.raises(UserError, match=r"captions\.csv: has no column 'caption_en'; did you mean 'caption'"):
        list(make(Source, {"image-captions": {**source.model_dump()["image-captions"], "caption": "caption_en"}}).documents(Tally("mine")))


def test_a_filter_trained_on_true_pairs_keeps_true_ones(tmp_path: Path) -> None:
    """Flown end to end: the filter's own corpus, its training, what stays of a pool with planted swaps, and a model of that."""
    pool = {"drawn": {"drawn-shapes": {"count": 120, "size": 8, "swapped": 0.5, "seed": 1}}}
    trusted = {"corpus": {"trusted": RAW["corpus"]["drawn"]}, "optimizer": {"adamw": {"learning_rate": 0.01}}, "budget": {"steps": 60}}
    recipe = recipe_from(
        RAW | {"budget": {"steps": 64}, "corpus": pool, "curators": {"alignment": {"keep": 0.5, "scorer": {"recipe": trusted}}}}
    )
    stream = prepare(recipe, tmp_path / "cache")
    table = {row["what"]: row["documents"] for row in stream.table}
    assert table["train"] == pytest.approx(36, abs=10), table
    record = fly(recipe, 0, stream, tmp_path / "run")
    assert record["status"] == "finished", record["traceback"]
    assert record["primary"] == "match" and record["test"]["match_zero"] == 4 and record["charged"]["flops"] > 0
    (scorer,) = (tmp_path / "cache" / "runs").glob("*/model")
    context = CuratorContext(Tally("drawn"), {"scorer": load(scorer).eval()}, {"scorer": Processor.load(scorer)})
    drawn = list(make(Source, pool["drawn"]).documents(Tally("drawn")))
    (filtering,) = recipe.curators
    cosines = np.array(filtering._cosines([one["image"] for one in drawn], [one["text"] for one in drawn], context))  # type: ignore[attr-defined]
    true = np.array([one["true"] for one in drawn])
    assert cosines[true].mean() > cosines[~true].mean() + 0.05
    model = load(tmp_path / "run" / "model")
    processor = Processor.load(tmp_path / "run" / "model")
    assert processor.facts.length == 12 and processor.captions(["a red ring"])[0].tolist().count(0) == 1
    from transformers import AutoModel

    again = AutoModel.from_pretrained(tmp_path / "run" / "model", local_files_only=True)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(PartError, match="needs pairs of images and captions"):
        make(Objective, "contrastive-pairs").prepare(pair_rows(), IMAGES, np.random.default_rng(0))


def test_captions_are_exchanged_within_the_training_documents(tmp_path: Path) -> None:
    drawn = {"drawn": {"drawn-shapes": {"count": 60, "size": 8}}}
    streams = [
        prepare(recipe_from(RAW | {"corpus": drawn} | curated), tmp_path)
        for curated in ({}, {"curators": {"swap-captions": {"share": 0.5, "seed": 2}}})
    ]
    held = {
        split: [[one.read(split, "drawn", n, field="caption").tolist() for n in range(len(one.lengths(split, "drawn")))] for one in streams]
        for split in ("train", "validation", "test")
    }
    plain, swapped = held["train"]
    moved = sum(one != other for one, other in zip(plain, swapped, strict=True))
    assert 0.3 * len(plain) < moved <= 0.5 * len(plain) + 1 and sorted(plain) == sorted(swapped)
    assert all(held[split][0] == held[split][1] for split in ("validation", "test"))
    assert [row["documents"] for row in streams[1].table if "caption of another" in row["what"]], streams[1].table
