"""Metadata before the text: it stands where it should, is never predicted, and the targets stay those of next tokens."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from tiny_models import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.held_out import held_out
from windtunnel.data.loader import Loader
from windtunnel.kits.text.encoded import text_of
from windtunnel.parts.objective.conditioned import Conditioned, _rotated
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, Progress
from windtunnel.train.prepare import prepare

SEPARATOR, PAD = VOCABULARY.document, VOCABULARY.pad


def rows_of(tags: dict[int, list[int]]) -> dict[str, np.ndarray]:
    """A row: a document of three tokens, the middle of another of three, padding. ``tags`` are those of each piece."""
    documents = np.array([[0, 0, 0, 0, 1, 1, 1, -1, -1, -1, -1, -1]])
    metadata = np.full((1, 12, 3), PAD, np.uint16)
    for piece, tag in tags.items():
        metadata[documents == piece, : len(tag)] = tag
    return {
        "tokens": np.array([[SEPARATOR, 10, 11, 12, 20, 21, 22, PAD, PAD, PAD, PAD, PAD]]),
        "documents": documents,
        "positions": np.array([[0, 1, 2, 3, 0, 1, 2, 0, 0, 0, 0, 0]]),
        "sources": np.array([0]),
        "metadata": metadata,
    }


def prepared(own: dict[int, list[int]], tags: str = "real", seed: int = 0) -> dict[str, np.ndarray]:
    return Conditioned(tags=tags).batch(rows_of(own), VOCABULARY, np.random.default_rng(seed))


def test_metadata_stands_behind_the_separator_and_is_not_predicted() -> None:
    found = prepared({0: [50, 51], 1: [60]})
    assert found["tokens"].tolist() == [[SEPARATOR, 50, 51, 10, 11, 12, 60, 20, 21, 22, PAD]]
    assert found["documents"].tolist() == [[0] * 6 + [1] * 4 + [-1]]
    assert found["positions"].tolist() == [[*range(6), *range(4), 0]]
    # The token after the metadata follows from it; the first one of a piece from the middle of a document is no one's continuation.
    assert found["labels"].tolist() == [[-100, -100, 10, 11, 12, -100, -100, 21, 22, -100, -100]]


def test_without_metadata_it_is_next_token_prediction_and_what_does_not_fit_is_cut() -> None:
    found, rows = prepared({}), rows_of({})
    plain = NextToken().prepare(rows, VOCABULARY, np.random.default_rng(0))
    assert found.keys() == plain.keys() and all((found[name] == plain[name]).all() for name in plain)
    rows = {name: array[:, :7] for name, array in rows_of({0: [50, 51, 52], 1: [60, 61]}).items() if name != "sources"}
    cut = Conditioned().prepare(rows, VOCABULARY, np.random.default_rng(0))
    assert cut["tokens"].tolist() == [[SEPARATOR, 50, 51, 52, 10, 11]] and cut["labels"].tolist() == [[-100, -100, -100, 10, 11, 12]]


def test_controls_show_a_code_for_the_same_metadata_or_that_of_another_document() -> None:
    tags = {0: [50, 51], 1: [60]}
    shuffled = {tuple(prepared(tags, "shuffled", seed)["tokens"][0]) for seed in range(9)}
    assert shuffled == {(SEPARATOR, 60, 10, 11, 12, 50, 51, 20, 21, 22, PAD)}  # never its own
    assert prepared({0: [50], 1: [50]}, "shuffled")["tokens"].tolist() == prepared({})["tokens"].tolist()  # one document in two pieces
    one, two, other = (prepared({0: tag}, "hashed")["tokens"][0, 1:3].tolist() for tag in ([50, 51], [50, 51], [51, 50]))
    assert one == two != other and one != [50, 51]


def test_shuffled_tags_are_those_of_another_document_in_all_of_its_pieces() -> None:
    tags = [np.array([tag]) for tag in (50, 60, 50, 70, 60, 50)]
    heads = [True, True, False, False, False, True]  # 50 in two pieces, 60 in two, 70, and another document whose tag is 50
    seen = set()
    for seed in range(20):
        one, two, one_again, three, two_again, four = (int(tag[0]) for tag in _rotated(tags, heads, np.random.default_rng(seed)))
        assert one == one_again and two == two_again and two != 60 and three != 70
        assert sorted([one, two, three, four]) == [50, 50, 60, 70]
        seen.add((one, two, three, four))
    assert len(seen) > 1


def test_each_document_has_the_metadata_of_its_own(tiny, stream, tmp_path) -> None:
    recipe = tiny(tokenizer={"vocabulary": 512, "sentinels": 16, "metadata": "{source}: {origin}\n", "metadata_tokens": 60})
    told = prepare(recipe, tmp_path)
    tokenizer, size = text_of(told, "test").tokenizer, told.lengths("test", "code")
    written = [tokenizer.decode(told.read("test", "code", place, 0, 1, "metadata")[0]) for place in range(len(size))]
    written = [text.split("<|pad|>")[0] for text in written]
    assert all(text.startswith("code: ") for text in written) and len(set(written)) == len(written)
    rows = Loader(told, split="test", context=16, sequences=4).rows(Progress.first(4))
    assert rows["metadata"].shape == (4, 17, 60)
    # A document is read as in a stream without metadata.
    assert stream.fingerprint != told.fingerprint and "metadata" not in stream.fields
    assert (stream.read("test", "code", 0) == told.read("test", "code", 0)).all()


def test_what_has_no_metadata_is_refused(stream) -> None:
    how = {"sequences": 4, "context": 16, "limit_tokens": 64, "device": "cpu", "precision": contextlib.nullcontext}
    view = held_out(stream, "test", objective=NextToken(), **how)
    with pytest.raises(PartError, match="documents have no metadata"):
        make(Evaluation, "conditioned-bits").evaluate(None, view)
