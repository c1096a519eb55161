"""One image for many captions."""

from __future__ import annotations

import torch

from windtunnel.parts.experiment.fooling_image import FoolingImage


def test_a_mined_image_fools_more_than_one_at_random():
    tiny = dict(training=250, steps=100, captions=8)
    mined, random = (FoolingImage(image=image, **tiny).measure(80) for image in ("mined", "random"))
    assert mined["fooled"] > random["fooled"] + 0.15 and mined["retrieval"] == random["retrieval"] > 0.1


def test_a_whole_shift_closes_the_gap():
    tiny = dict(training=20, steps=2, captions=4)
    plain, closed = (FoolingImage(**tiny, **more).measure(80) for more in ({}, {"defence": "shift", "share": 0.5}))
    assert closed["gap"] < 0.3 * plain["gap"]


def test_a_sink_has_a_word_of_its_own():
    import numpy as np

    from windtunnel.parts.experiment.fooling_image import fit, made

    torch.manual_seed(0)
    towers, random = made(4, 3), np.random.default_rng(0)
    images, words = torch.randn(40, 4), torch.cat([torch.eye(2).repeat(20, 1), torch.zeros(40, 1)], dim=1)
    sink = torch.full((1, 4), 3.0)
    fit(towers, images, words, 40, random, 20.0, sink=sink)
    said = towers[1](torch.eye(3)) @ towers[0](sink)[0]
    assert int(said.argmax()) == 2
