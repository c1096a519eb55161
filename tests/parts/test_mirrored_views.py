"""A generator of bodies tuned on a few views."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.parts.experiment.mirrored_views import SIDE, MirroredViews, bodies, drawn


def test_views_from_both_sides_mirror_each_other():
    random = np.random.default_rng(0)
    shapes, angles = bodies(random, 5), random.uniform(-1.2, 1.2, 5)
    left, right = (drawn(shapes, sign * angles).reshape(-1, SIDE, SIDE) for sign in (1, -1))
    assert np.allclose(left, right[:, :, ::-1]) and not np.allclose(left, right)
    shapes[:, 0, 0] += 0.5
    assert not np.allclose(drawn(shapes, angles).reshape(-1, SIDE, SIDE), drawn(shapes, -angles).reshape(-1, SIDE, SIDE)[:, :, ::-1])


def test_changes_of_low_rank_are_few_numbers_and_begin_at_nothing():
    tiny = dict(bodies=6, training=3, steps=1, rates=(1e-9,))
    code, low, full = (MirroredViews(tune=tune, **tiny).measure(80) for tune in ("code", "low-rank", "full"))
    assert code["trained"] == 8 and low["trained"] < full["trained"] / 8
    assert abs(code["profile"] - low["profile"]) < 1e-4 and abs(code["profile"] - full["profile"]) < 1e-4


def test_the_term_makes_the_other_side_alike():
    tiny = dict(bodies=100, training=200, steps=80, rates=(1e-2,))
    plain, mirrored = (MirroredViews(tune="full", mirror=mirror, **tiny).measure(80) for mirror in (0.0, 1.0))
    assert mirrored["profile"] < plain["profile"]
    assert torch.isfinite(torch.tensor(list(mirrored.values()))).all()
