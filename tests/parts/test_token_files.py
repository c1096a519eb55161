"""Text out of files of token ids, and data sets by their name on the hub."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.tokenizer import train
from windtunnel.parts.source.hub import Hub
from windtunnel.parts.source.tokens import Tokens
from windtunnel.recipe import shorthand

NOTES = ["the river runs", "stones under the bridge", "Été ☃"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]], int]:
    """A folder, the ids of the notes, and the id that ends them."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = train(NOTES * 5, vocabulary=300, sentinels=2)
    made.save_pretrained(folder)
    return folder, [made.backend_tokenizer.encode(note, add_special_tokens=False).ids for note in NOTES], made.eos_token_id


def texts(source: Any) -> list[str]:
    return [row["text"] for batch in batches(source.documents(Tally("notes"))) for row in batch.to_pylist()]


@pytest.mark.parametrize("form", ["nanogpt", "uint32", "llmc", "llmc32"])
def test_ids_one_after_the_other(form: str, tokenizer: Any, tmp_path: Path) -> None:
    folder, notes, end = tokenizer
    width = "<u4" if "32" in form else "<u2"
    ids = np.concatenate([[end, *note] for note in notes]).astype(width)  # llm.c puts the token before a document, nanoGPT after it
    head = np.zeros(256, "<i4")
    head[:3] = (20240801, 7, len(ids)) if form == "llmc32" else (20240520, 1, len(ids))
    path = tmp_path / "train.bin"
    path.write_bytes((head.tobytes() if form.startswith("llmc") else b"") + ids.tobytes())
    assert texts(Tokens(path=str(path), tokenizer=str(folder), ids="uint32" if form == "uint32" else "uint16")) == NOTES


def test_megatron(tokenizer: Any, tmp_path: Path) -> None:
    """A document is the sequences that the index counts to it; their order in the file is another matter."""
    folder, notes, end = tokenizer
    sequences = [notes[2], notes[0], [*notes[1][:3]], [*notes[1][3:], end]]
    order = [1, 2, 3, 0]
    begins = np.cumsum([0] + [2 * len(one) for one in sequences])[:-1]
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, 4, 4)
    index += np.array([len(sequences[one]) for one in order], "<i4").tobytes() + begins[order].astype("<i8").tobytes()
    index += np.array([0, 1, 3, 4], "<i8").tobytes()
    (tmp_path / "notes.bin").write_bytes(np.concatenate(sequences).astype("<u2").tobytes())
    (tmp_path / "notes.idx").write_bytes(index)
    source = Tokens(path=str(tmp_path / "notes.bin"), tokenizer=str(folder))
    assert texts(source) == NOTES
    before = source.signature()
    (tmp_path / "notes.idx").write_bytes(index + b"\0")
    assert source.signature() != before
    (tmp_path / "notes.bin").write_bytes(b"\0" * 10)
    with pytest.raises(UserError, match="shorter than its index"):
        texts(Tokens(path=str(tmp_path / "notes.bin"), tokenizer=str(folder)))


def test_ids_that_the_tokenizer_does_not_have_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    folder, _, _ = tokenizer
    (tmp_path / "train.bin").write_bytes(np.array([5, 60000], "<u2").tobytes())
    with pytest.raises(UserError, match="holds token 60000"):
        texts(Tokens(path=str(tmp_path / "train.bin"), tokenizer=str(folder)))


def test_a_data_set_of_the_hub_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    from datasets.arrow_writer import ArrowWriter

    cached = tmp_path / "owner___notes" / "default" / "0.0.0" / "0123456789abcdef"
    cached.mkdir(parents=True)
    features = datasets.Features({"text": datasets.Value("string"), "id": datasets.Value("int64")})
    with ArrowWriter(features=features, path=str(cached / "notes-train.arrow")) as writer:
        for number, note in enumerate(NOTES):
            writer.write({"text": note, "id": number})
        writer.finalize()
    info = datasets.DatasetInfo(features=features, builder_name="parquet", dataset_name="notes", config_name="default", version="0.0.0")
    info.splits = datasets.SplitDict({"train": datasets.SplitInfo("train", num_examples=3, dataset_name="notes")})
    info.write_to_directory(str(cached))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert shorthand("hf:owner/notes") == {"hub": {"data_set": "owner/notes"}}
    source = Hub(data_set="owner/notes")
    assert texts(source) == NOTES and source.signature() == Hub(data_set="owner/notes").signature()
    assert texts(Hub(data_set="owner/notes", template="{id}: {text}"))[1] == "1: " + NOTES[1]
    with pytest.raises(UserError, match="did you mean 'text'"):
        texts(Hub(data_set="owner/notes", field="txt"))
    with pytest.raises(UserError, match="hf:owner/other: cannot be loaded"):
        texts(Hub(data_set="owner/other"))
    assert json.dumps(source.model_dump(mode="json"))
