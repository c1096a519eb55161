"""Narrow students within a wide one: which numbers they are, how often they learn, and what all cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.image.tiny import begun
from windtunnel.parts.experiment.elastic_students import ElasticStudents, hidden, narrowed, taught, vectors


def test_a_narrow_student_is_the_first_numbers_of_the_whole_one():
    weights, inputs = begun((64, 12, 24), 0), torch.rand(3, 64)
    small = narrowed(weights, 4)
    assert torch.equal(hidden(small, inputs), hidden(weights, inputs)[:, :4])
    weights["1.weight"][:, 4:] = 0
    assert torch.allclose(vectors(narrowed(weights, 4), inputs), vectors(weights, inputs), atol=1e-6), "biases begin as 0"


def test_what_is_taught_is_cross_entropy():
    said, wanted = torch.tensor([[0.2, 0.1]]), torch.tensor([[0.25, 0.75]])
    odds = np.exp([2, 1]) / np.exp([2, 1]).sum()
    assert float(taught(said, wanted)) == pytest.approx(-0.25 * np.log(odds[0]) - 0.75 * np.log(odds[1]), rel=1e-5)


def test_narrow_widths_are_drawn_up_to_three_times_as_often():
    odds = ElasticStudents()._odds()
    assert odds[0] == pytest.approx(3 * odds[-1]) and odds.sum() == pytest.approx(1)
    assert np.ptp(ElasticStudents(train="uniform")._odds()) == 0


def test_students_apart_cost_what_an_elastic_one_does():
    found = {
        train: ElasticStudents(train=train, steps=12, labels=40, widths=(4, 16)).measure(80)
        for train in ("elastic", "apart", "plain", "none")
    }
    assert found["apart"]["cost"] == pytest.approx(found["elastic"]["cost"], rel=0.05)
    assert found["none"]["cost"] == 0 < found["plain"]["cost"] < found["elastic"]["cost"]


def test_only_elastic_students_teach_narrow_ones_by_themselves():
    images = np.random.default_rng(0).random((80, 64)).astype(np.float32)
    learned = {
        train: ElasticStudents(train=train, widths=(4, 16))._learned(images, (4, 16), 3, 1e-2, 0)
        for train in ("elastic", "plain", "no-same-view")
    }
    assert len({float(weights["0.weight"].sum()) for weights in learned.values()}) == 3
