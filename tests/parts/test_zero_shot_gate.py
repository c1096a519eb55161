"""Two experts and a gate."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.zero_shot_gate import ZeroShotGate


def test_what_smoothing_can_change_between_the_sides_is_tiny():
    random = np.random.default_rng(0)
    seen, zero, gate = random.dirichlet(np.ones(6), 5), random.dirichlet(np.ones(9), 5), random.standard_normal(5)
    soft, smoothed = (ZeroShotGate(way=way).combined(seen, zero, gate, 0.2, 6) for way in ("soft", "smoothed"))
    odds = 1 / (1 + np.exp(-(gate - 0.2)))[:, None]
    assert soft.sum(axis=1) == pytest.approx(np.ones(5)), "a law over all classes"
    assert smoothed - soft == pytest.approx(
        np.concatenate([(1 - odds) * odds / 6 * np.ones(6), odds * (1 - odds) / 3 * np.ones(3)], axis=1)
    )
    hard = ZeroShotGate(way="hard").combined(seen, zero, gate, 0.2, 6)
    assert ((hard[:, :6].sum(axis=1) > 0) == (gate < 0.2)).all()


def test_without_a_gate_unseen_classes_are_hardly_ever_said():
    knobs = {"seen": 40, "unseen": 12, "images": 12}
    alone, soft = (ZeroShotGate(way=way, **knobs).measure(80) for way in ("largest", "soft"))
    assert soft["harmonic"] > alone["harmonic"]
    assert alone["harmonic"] == pytest.approx(2 * alone["seen"] * alone["unseen"] / (alone["seen"] + alone["unseen"]))
