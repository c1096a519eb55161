"""Texts that show skills: each asked for is there, prompts are in order, and the check is right."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.skill_sets import ASKED, LENGTH, LETTERS, SKILLS, SkillSets, holds, prompt, shown, skills


def test_texts_hold_all_skills_that_were_asked_for():
    random = np.random.default_rng(166)
    pairs = skills(random)
    assert len(np.unique(pairs[:, 0])) == SKILLS
    for k in range(1, ASKED + 1):
        asked = random.permutation(SKILLS)[:k]
        row = shown(asked, pairs, random)
        assert len(row) == ASKED + LENGTH and all(holds(row[ASKED:], pairs[skill]) for skill in asked)
        assert row[:ASKED].tolist() == prompt(asked).tolist() == [0] * (ASKED - k) + sorted((1 + LETTERS + asked).tolist())


def test_a_pair_counts_side_by_side_and_in_its_order_alone():
    text = np.array([1, 2, 3, 2, 1])
    assert holds(text, np.array([3, 2])) and holds(text, np.array([2, 1]))
    assert not holds(text, np.array([1, 3])) and not holds(text, np.array([3, 1]))


def test_what_is_measured_are_shares():
    found = SkillSets(steps=4, judged=10).measure(167)
    assert set(found) == {"four", "five", "each", "two", "rare"} and all(0 <= value <= 1 for value in found.values())
    with pytest.raises(PartError, match="k_min 4 exceeds k_max 3"):
        SkillSets(k_min=4).measure(0)
