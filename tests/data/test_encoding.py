"""Encodings that are no text: named arrays through the stream, the loader and the step, and what objectives may read of them."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.encode import prepare_stream
from windtunnel.data.held_out import held_out
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream
from windtunnel.recipe import recipe_from
from windtunnel.slots import Documents, Encoding, Evaluation, Loss, Objective, Packing, Progress
from windtunnel.slots.encoding import Fitted, Kind, Piece
from windtunnel.train import phase as phase_room
from windtunnel.train.phase import refuse_stream

PROGRESS = Progress.first(4)


class Squares(Encoding, name="test-squares"):
    """Images of two by two, each with its label."""

    unit: ClassVar[str] = "image"

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        return {}

    def fit(self, corpus: Any, folder: Any, before: Any = None, tell: Any = print) -> Fitted:
        mean = np.mean([image for images in corpus.splits["train"].values() for image, _ in images], axis=(0, 2, 3))

        def encode(split: str, source: str) -> Any:
            for image, label in corpus.splits[split].get(source, []):
                yield Piece({"image": image[None], "label": np.array([label])}, image.nbytes, True)

        fields = {"image": Kind("|u1", (3, 2, 2)), "label": Kind("<i2", fill=-100, along="document")}
        return Fitted(fields, {"channels": 3, "mean": mean}, encode)

    @classmethod
    def positions(cls, facts: Any, context: int) -> int:
        return 4 * context


class Pairs(Objective, name="test-pairs"):
    """Tell every image of a batch from the others."""

    fields: ClassVar[tuple[str, ...]] = ("image",)
    together: ClassVar[bool] = True

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        assert set(rows) == {"image", "documents", "positions", "sources"}, "it sees what it declares"
        image = (rows["image"][:, 0] - facts["mean"][:, None, None]).astype(np.float32)
        return {"image": image, "labels": np.zeros(len(image), np.int64)}

    def loss(self, model: Any, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        seen = torch.nn.functional.normalize(model(batch["image"].flatten(1)), dim=1)
        values = torch.nn.functional.cross_entropy(seen @ seen.T, torch.arange(len(seen)), reduction="none")
        return Loss(values, batch["labels"] != -100, None)


class Labels(Pairs, name="test-labels"):
    """Reads what it would be judged by."""

    fields: ClassVar[tuple[str, ...]] = ("image", "label")
    together: ClassVar[bool] = False


def images(count: int, seed: int) -> list[tuple[np.ndarray, int]]:
    random = np.random.default_rng(seed)
    return [(random.integers(0, 256, (3, 2, 2)).astype(np.uint8), number % 5) for number in range(count)]


SPLITS = {split: {"a": images(11, 1 + n), "b": images(6, 10 + n)} for n, split in enumerate(("train", "validation", "test"))}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    corpus = SimpleNamespace(splits=SPLITS, fingerprint="squares", sources=("a", "b"), table=[])
    return prepare_stream(corpus, make(Encoding, "test-squares"), cache=tmp_path_factory.mktemp("streams"))


def test_the_arrays_of_every_document_come_back(squares: Stream) -> None:
    assert list(squares.fields) == ["image", "label"] and squares.sizes("train") == {"a": 11, "b": 6}
    assert squares.bytes("train")["a"] == 11 * 12 and squares.encoding is Squares
    for number, (image, label) in enumerate(SPLITS["train"]["a"]):
        assert (squares.read("train", "a", number) == image[None]).all() and squares.read("train", "a", number).dtype == np.uint8
        assert squares.read("train", "a", number, field="label").tolist() == [label]
    train = np.array([image for source in SPLITS["train"].values() for image, _ in source])
    assert np.allclose(squares.facts["mean"], train.mean(axis=(0, 2, 3))), "facts are of training documents alone"
    with pytest.raises(UserError, match=r"no field 'lable'.*'label'"):
        squares.read("train", "a", 0, field="lable")
    squares.verify()


def test_a_flipped_byte_of_any_field_is_found(squares: Stream, tmp_path: Any) -> None:
    corpus = SimpleNamespace(splits=SPLITS, fingerprint="squares", sources=("a", "b"), table=[])
    folder = prepare_stream(corpus, make(Encoding, "test-squares"), cache=tmp_path).folder
    for field in squares.fields:
        (path,) = (folder / "train").glob(f"000-a.{field}")
        content = bytearray(path.read_bytes())
        path.write_bytes(bytes([content[0] ^ 1, *content[1:]]))
        with pytest.raises(UserError, match=f"{path.name}: damaged"):
            Stream.open(folder).read("train", "a", 0, field=field)
        path.write_bytes(content)


def test_each_document_is_a_sequence_and_an_epoch_holds_every_one_once(squares: Stream) -> None:
    loader = Loader(squares, context=1, sequences=17, packing=make(Packing, "each"))
    rows = loader.rows(PROGRESS)
    assert rows["image"].shape == (17, 1, 3, 2, 2) and rows["image"].dtype == np.uint8 and rows["label"].shape == (17, 1)
    expected = sorted((image.tobytes(), label) for source in SPLITS["train"].values() for image, label in source)
    assert sorted((image.tobytes(), int(label)) for image, label in zip(rows["image"], rows["label"][:, 0], strict=True)) == expected
    wide = Loader(squares, context=3, sequences=4, packing=make(Packing, "each")).rows(PROGRESS)
    assert (wide["documents"][:, 1:] == -1).all() and (wide["label"][:, 1:] == -100).all() and (wide["label"][:, 0] >= 0).all()
    with pytest.raises(PartError, match="a document has 5 units and a sequence holds 4; raise context by 1"):
        make(Packing, "each").pack(Documents(np.array([2, 5])), 4, np.random.default_rng(0))
    cut = make(Packing, {"each": {"longer": "cut"}}).pack(Documents(np.array([2, 5, 0])), 4, np.random.default_rng(0))
    assert sorted(zip(cut.document.tolist(), cut.stop.tolist(), strict=True)) == [(0, 2), (1, 4)]


def test_a_packing_may_look_at_what_is_in_the_documents(squares: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    each, seen = make(Packing, "each"), []
    real = type(each).pack

    def pack(self: Any, documents: Documents, length: int, random: Any) -> Any:
        seen.extend(int(label[0]) for label in documents.fields("label"))
        return real(self, documents, length, random)

    monkeypatch.setattr(type(each), "pack", pack)
    Loader(squares, sources=["a"], context=1, sequences=2, packing=each).rows(PROGRESS)
    assert seen == [label for _, label in SPLITS["train"]["a"]]


def test_held_out_documents_are_read_once_each(squares: Stream) -> None:
    view = held_out(
        squares, "test", objective=Pairs(), context=1, sequences=4, limit_tokens=100, device="cpu", precision=contextlib.nullcontext
    )
    batches = list(view.batches("a", Pairs()))
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 4] and sum(int((b["labels"] != -100).sum()) for b in batches) == 11
    for evaluation in ("bits-per-byte", "cloze", "denoising"):
        with pytest.raises(PartError, match=f"{evaluation}: needs documents of text"):
            make(Evaluation, evaluation).evaluate(SimpleNamespace(config=None), view)


def test_an_objective_is_refused_where_a_field_is_lacking(squares: Stream) -> None:
    with pytest.raises(PartError, match=r"next-token reads the field 'tokens', .* test-squares \(they have image, label\)"):
        refuse_stream(make(Objective, "next-token"), squares)
    refuse_stream(Pairs(), squares)


def test_a_loss_over_the_whole_batch_is_not_cut_or_chosen_from(squares: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"corpus": {"a": "x"}, "budget": {"steps": 2}, "batch": 8, "objective": "test-pairs"}
    assert recipe_from({**base, "micro_batch": 8}).micro_batch == 8
    with pytest.raises(ValueError, match="so 4 at a time is another loss; leave micro_batch out"):
        recipe_from({**base, "micro_batch": 4})
    scorer = {"recipe": {"objective": "next-token", "budget": {"steps": 1}}}
    with pytest.raises(ValueError, match="so none can be chosen by itself"):
        recipe_from({**base, "selection": {"learnable": {"scorer": scorer}}})
    monkeypatch.setattr(phase_room.ranks, "count", lambda: 2)
    with pytest.raises(PartError, match="does not gather those of other ranks; use --ranks 1"):
        refuse_stream(Pairs(), squares)


def test_a_label_is_read_only_by_an_objective_that_says_so() -> None:
    with pytest.raises(ValueError, match="test-labels reads the field 'label' and is not declared supervised"):
        recipe_from({"corpus": {"a": "x"}, "budget": {"steps": 2}, "objective": "test-labels"})
