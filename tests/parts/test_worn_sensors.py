"""States told from channels of a wearable."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.parts.experiment.worn_sensors import PIECE, WornSensors, changed, recordings, trees


def test_changes_are_what_their_names_say():
    segments = torch.randn(5, 4, 32, generator=torch.Generator().manual_seed(0))
    found = changed(segments, torch.arange(5), torch.Generator().manual_seed(1))
    assert torch.equal(found[0], segments[0]) and torch.equal(found[2], segments[2].flip(1)) and torch.equal(found[3], -segments[3])
    assert 0.5 < (found[1] - segments[1]).std() < 0.7
    pieces = [sorted(map(tuple, each.view(4, -1, PIECE)[0].tolist())) for each in (found[4], segments[4])]
    assert pieces[0] == pieces[1]


def test_segments_have_one_deviation_and_people_differ():
    segments, states = recordings(np.random.default_rng(0), 30, 20)
    assert np.allclose(segments.std(axis=2), 1, atol=1e-3) and states.mean() == 0.5
    means = segments.mean(axis=(1, 2)).reshape(30, 20)
    assert means.mean(axis=1).std() > 0.5 * means.std(axis=1).mean(), "an offset belongs to a person"


def test_trees_tell_the_state_of_people_that_they_know():
    random = np.random.default_rng(0)
    segments, states = recordings(random, 3, 160)
    half = np.arange(480) % 4 < 2
    assert trees((segments[half], states[half]), (segments[~half], states[~half])) > 0.6


def test_people_without_labels_change_nothing_for_others():
    few, more = (WornSensors(people=people, steps=1, tuning=1, rates=(1e-3,), labelled=2).measure(80) for people in (1, 9))
    assert few == more
