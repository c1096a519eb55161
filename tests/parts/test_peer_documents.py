"""What is removed stands in another document, what is asked stands in one, and controls take it away."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.peer_documents import (
    MASKED_ATTRIBUTE,
    MASKED_VALUE,
    NOTHING,
    PeerDocuments,
    asked,
    clusters,
    pretext,
    read,
    without,
)


def test_documents_of_a_cluster_agree_and_two_share_a_fact():
    for cluster in clusters(80, np.random.default_rng(250)):
        flat = cluster.reshape(-1, 2).tolist()
        told = dict(flat)
        assert all(told[attribute] == value for attribute, value in flat) and len(told) < 9
        assert all(len(set(document[:, 0])) == 3 for document in cluster)
        assert set(cluster[0, :, 0]) & set(cluster[1, :, 0])


@pytest.mark.parametrize("taught", ["questions", "sentences", "alone", "single"])
def test_what_is_removed_is_told_by_another_document(taught):
    random = np.random.default_rng(251)
    documents = clusters(60, random)
    rows, whole = pretext(taught, documents, random), read(documents)
    for row in range(60):
        gap = int(np.flatnonzero(rows.value[row] == MASKED_VALUE)[0])
        place = 0 if taught in ("questions", "alone") else gap
        assert np.flatnonzero(rows.values[row] != NOTHING).tolist() == [place] and rows.attribute[row, gap] == MASKED_ATTRIBUTE
        assert rows.values[row, place] == whole.value[row, gap] and rows.attributes[row, place] == whole.attribute[row, gap]
        elsewhere = [int(one) for one in np.flatnonzero(rows.attribute[row, 1:] == whole.attribute[row, gap]) + 1]
        assert bool(elsewhere) == (taught in ("questions", "sentences"))
        assert all(
            rows.value[row, one] == whole.value[row, gap] and rows.document[row, one] != rows.document[row, gap] for one in elsewhere
        )
        assert (rows.attribute[row, 0] == whole.attribute[row, gap]) == (taught in ("questions", "alone"))


def test_three_sentences_lose_half_in_spans():
    random = np.random.default_rng(252)
    documents = clusters(60, random)
    rows, whole = pretext("spans", documents, random), read(documents)
    told = (rows.attributes != NOTHING) | (rows.values != NOTHING)
    assert (told.sum(axis=1) == 3).all() and not ((rows.attributes != NOTHING) & (rows.values != NOTHING)).any()
    assert ((rows.attribute == MASKED_ATTRIBUTE) == (rows.attributes != NOTHING)).all()
    assert (np.where(rows.attributes != NOTHING, rows.attributes, rows.attribute) == whole.attribute).all()
    assert (np.where(rows.values != NOTHING, rows.values, rows.value) == whole.value).all()


def test_without_its_documents_a_question_has_no_answer():
    random = np.random.default_rng(253)
    rows = asked(clusters(60, random), random.integers(0, 9, 60))
    telling = rows.attribute[:, 1:] == rows.attribute[:, :1]
    assert telling.any(axis=1).all() and (rows.value[:, 1:][telling] == np.broadcast_to(rows.values[:, :1], telling.shape)[telling]).all()
    left = without(rows)
    assert not (left.attribute[:, 1:] == left.attribute[:, :1]).any() and (left.attribute[:, 0] == rows.attribute[:, 0]).all()
    assert (left.sign[:, 1:] == 0).any()


def test_training_answers():
    found = PeerDocuments(taught="questions", steps=3, tuned=6, tuning=3).measure(254)
    assert 0 <= found["peerless"] <= 0.4 and 0 <= found["answered"] <= 0.6
