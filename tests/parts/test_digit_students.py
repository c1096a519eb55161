"""Students of a teacher of digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from windtunnel.kits.image.students import Student, attended, centres, jensen_shannon
from windtunnel.parts.experiment.digit_students import DigitStudents


def test_the_divergence_is_that_of_scipy_and_bounded():
    first, second = torch.tensor([[0.7, 0.2, 0.1], [1.0, 0, 0]]), torch.tensor([[0.1, 0.6, 0.3], [0.0, 1, 0]])
    found = jensen_shannon(first, second)
    assert float(found[0]) == pytest.approx(jensenshannon(first[0], second[0]) ** 2, rel=1e-4)
    assert float(found[1]) == pytest.approx(np.log(2), rel=1e-4)


def test_centres_are_means_and_attention_finds_the_near_one():
    rows = torch.cat([torch.randn(50, 2) * 0.1 + torch.tensor([5.0, 0]), torch.randn(50, 2) * 0.1 - torch.tensor([5.0, 0])])
    found = centres(rows, 2, np.random.default_rng(1))
    assert sorted(found[:, 0].round().tolist()) in ([-5, 5], [-5, -5], [5, 5])
    points = torch.tensor([[9.0, 0], [0, 9]])
    assert attended(torch.tensor([[3.0, 0]]), points)[0].tolist() == pytest.approx([9, 0], abs=0.01)


def test_a_student_keeps_what_it_uses():
    assert Student(8, 10, 128, None).kept() == 64 * 8 + 8 + 8 * 10 + 10
    assert Student(8, 2, 128, torch.zeros(16, 128)).kept() > 16 * 128


def test_a_teacher_makes_up_for_labels():
    found = {gives: DigitStudents(gives=gives, pool=True, steps=100, teacher_steps=150).measure(80) for gives in ("labels", "js")}
    assert found["js"]["accuracy"] > found["labels"]["accuracy"] + 0.03
