"""Retrievers that are taught by answers: the likelihood is the marginal one, only what was found is moved, and each stage helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from windtunnel.core.registry import make
from windtunnel.parts.experiment.taught_by_answers import ANSWERS, FACETS, MEANINGS, AnswerDocuments, encoded, marginal
from windtunnel.slots import Experiment


def test_the_likelihood_of_an_answer_is_the_sum_over_documents():
    scores, holds = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[True, False, False]])
    chance = np.exp([1, 0, 2]) / np.exp([1, 0, 2]).sum()
    likely = chance[0] * 0.9 + (chance[1] + chance[2]) * 0.1 / (ANSWERS - 1)
    assert np.isclose(float(marginal(scores, holds)[0]), np.log(likely))


def test_only_documents_that_were_found_are_moved():
    part = make(Experiment, {"taught-by-answers": {"documents": 60, "found": 2}})
    random = np.random.default_rng(0)
    library = AnswerDocuments.drawn(60, random)
    vectors = torch.nn.Parameter(torch.from_numpy(random.standard_normal((2 * MEANINGS, 8)).astype(np.float32)))
    asked = encoded(vectors.detach(), library.said(np.array([3]), random, asked=True))
    part._of_answers(vectors, asked, library, library.answer[[3]]).backward()
    near = (asked @ encoded(vectors.detach(), library.words).T).topk(2).indices[0].numpy()
    assert vectors.grad is not None
    moved = set(np.flatnonzero(vectors.grad.abs().sum(dim=1).numpy()))
    assert moved and moved <= set(np.flatnonzero(library.words[near].sum(axis=0)))


def test_sentences_are_of_their_document():
    random = np.random.default_rng(1)
    library = AnswerDocuments.drawn(50, random)
    meant = library.words[:, :MEANINGS] + library.words[:, MEANINGS:]
    assert (np.sort(library.meanings, axis=1) == np.stack([np.flatnonzero(row) for row in meant])).all()
    question = library.said(np.arange(50), random, asked=True)
    assert (question.sum(axis=1) == FACETS).all() and question[:, MEANINGS:].mean() > 5 * question[:, :MEANINGS].mean()
    sentence, rest = library.taken(np.arange(50), random)
    kept = (rest == library.words).all(axis=1)
    assert (rest[~kept] + sentence[~kept] == library.words[~kept]).all() and 0 < kept.sum() < 20


def test_answers_teach_what_sentences_did_not():
    def found(*stages: str) -> float:
        knobs = {"stages": stages, "documents": 400, "steps": 60, "asked": 200, "unpaired": 500}
        return make(Experiment, {"taught-by-answers": knobs}).measure(0)["first"]

    none, sentences, whole = found(), found("sentences"), found("sentences", "answers")
    assert none + 0.1 < sentences < whole - 0.05


def test_no_more_is_found_than_there_is():
    with pytest.raises(ValidationError, match="cannot be given 40 of 30"):
        make(Experiment, {"taught-by-answers": {"documents": 30, "found": 40}})
