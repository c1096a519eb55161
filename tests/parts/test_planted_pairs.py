"""Planted pairs, two linear towers, and the experiments on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.image.planted import (
    STARTS,
    PairTowers,
    PairWorld,
    contrastive,
    drawn_attributes,
    few_label_accuracy,
    names,
    shuffled,
    told,
)
from windtunnel.parts.experiment.concept_counts import ConceptCounts, line
from windtunnel.parts.experiment.mixed_pair_sources import MixedPairSources, logit, share_named
from windtunnel.parts.experiment.told_captions import ToldCaptions


def test_captions_tell_what_they_are_asked_to():
    attributes = np.array([[1, 2, 0, 4], [5, 0, 2, 1]])
    found = told(attributes, np.array([[True, False, True, False], [False, False, False, True]]))
    assert np.nonzero(found[0])[0].tolist() == [1, 12] and np.nonzero(found[1])[0].tolist() == [STARTS[3] + 1]
    assert names(3).argmax(axis=1).tolist() == list(range(STARTS[3], STARTS[4]))


def test_the_contrastive_loss_is_that_of_both_directions():
    logits = torch.tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    rows = np.log(1 + np.exp([-2.0, -2.0])).mean()
    columns = np.log(1 + np.exp([-1.0, -3.0])).mean()
    assert float(contrastive(logits)) == pytest.approx((rows + columns) / 2)


def test_towers_learn_names_they_were_told():
    random = np.random.default_rng(0)
    world, attributes = PairWorld.drawn(random), drawn_attributes(random, 800)
    images = world.seen(attributes, random, 0.3)
    words = told(attributes, np.ones((800, 4), bool), random)
    towers = PairTowers.begun(random).fit(images, words, shuffled(random, 800, 64), 120)
    assert (towers.named(images, 1) == attributes[:, 1]).mean() > 0.9
    untrained = PairTowers.begun(random)
    assert (untrained.named(images, 1) == attributes[:, 1]).mean() < 0.5


def test_a_line_and_a_regression_are_those_of_the_textbook():
    inputs = np.array([0.0, 1.0, 2.0, 3.0])
    slope, fit = line(inputs, np.array([1.0, 3.0, 5.0, 7.5]))
    assert slope == pytest.approx(2.15) and fit == pytest.approx(0.9959, abs=1e-3)
    assert line(inputs, np.ones(4)) == (0.0, 0.0)
    features = np.array([[0.0, 1], [0, 2], [5, 1], [5, 2], [5, 3], [0, 3]])
    labels = np.array([0, 0, 1, 1, 1, 0])
    assert few_label_accuracy(features, labels, np.arange(4), np.array([4, 5])) == 1


def test_captions_and_sources_act():
    found = {captions: ToldCaptions(captions=captions, steps=100, pairs=600).measure(80) for captions in ("true", "class")}
    assert found["true"]["place"] > found["class"]["place"] + 0.1
    near = {sources: MixedPairSources(sources=sources, steps=80).measure(80)["near_second"] for sources in ("first", "second")}
    assert near["second"] > near["first"]
    assert ConceptCounts(steps=100, pairs=2000, noise=0.8).measure(80)["slope"] > 15


def test_a_step_takes_one_source_where_captions_and_labels_are_told_apart():
    origin, random = np.arange(40) % 2, np.random.default_rng(1)
    for sources in ("labels", "prefix", "prefix-label"):
        rows = MixedPairSources(sources=sources)._rows(origin, random)
        assert set(origin[rows(0)]) == {0} and set(origin[rows(1)]) == {1}
    assert set(origin[MixedPairSources(sources="mixed-steps")._rows(origin, random)(0)]) == {0, 1}


def test_a_name_begins_with_the_word_of_the_source_it_is_asked_with():
    attributes = np.array([[2, 0, 0, 0]])
    text = torch.zeros(names(0).shape[1] + 2, 2)
    text[-2, 0], text[-1, 1] = 5.0, 5.0
    text[0, 0], text[2, 1] = 1.0, 1.0  # shape 0 lies on the first axis, shape 2 on the second
    towers = PairTowers(torch.eye(48)[:, :2], text)
    seen = np.eye(48)[1][None] * 2 + np.eye(48)[0][None] * 0.1
    assert share_named(towers, seen, attributes, 0, np.array([0.0, 0.0])) == 1
    assert share_named(towers, seen, attributes, 0, np.array([1.0, 0.0])) == 1
    assert share_named(towers, seen, attributes, 0, np.array([0.0, -2.0])) == 0


def test_shares_of_all_and_none_have_a_logit():
    assert logit(0.5, 10) == 0 and logit(1.0, 10) == pytest.approx(np.log(19)) == -logit(0.0, 10)
    assert np.isfinite(MixedPairSources(pairs=60, steps=4, noise=0, style=0).measure(80)["robust"])


def test_more_labelled_pairs_than_pairs_are_refused():
    with pytest.raises(ValidationError, match="labelled: 200 true pairs are more than the 100 pairs"):
        ToldCaptions(pairs=100, labelled=200)
