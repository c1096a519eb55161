"""DrawnScenes are what they say: masks lie where paint does, in different quarters, and boxes hold them."""

from __future__ import annotations

import numpy as np

from windtunnel.kits.image.scenes import CELLS, COLOURS, insides, lone_shapes, overlap, scenes


def test_masks_lie_where_the_paint_is():
    random = np.random.default_rng(0)
    shapes, colours = random.integers(0, 5, (40, 3)), random.integers(0, 6, (40, 3))
    made = scenes(random, shapes, colours, 24, noise=0.0)
    paint = np.array(list(COLOURS.values())) / 127.5 - 1
    for scene in range(40):
        for one in range(3):
            mask = made.masks[scene, one]
            assert mask.any() and np.allclose(made.images[scene][:, mask].T, paint[colours[scene, one]], atol=1e-6)
    assert made.masks.sum(axis=1).max() == 1, "objects lie in different quarters and do not cover each other"
    assert all(len(set(row)) == 3 for row in made.cells.tolist())
    assert np.abs(made.middles - CELLS[made.cells]).max() <= 0.05


def test_shapes_have_their_areas():
    side = (np.indices((200, 200)) + 0.5) / 100 - 1
    share = {name: found.mean() for name, found in insides(1.2 * side[0], 1.2 * side[1]).items()}
    assert abs(share["circle"] - np.pi / 1.2**2 / 4) < 0.01 and abs(share["square"] - 1.8**2 / 2.4**2) < 0.01
    assert abs(share["cross"] - (2 * 2 * 0.6 - 0.6**2) / 2.4**2) < 0.01 and abs(share["triangle"] - 1.8**2 / 1.8 / 2.4**2) < 0.01


def test_a_lone_shape_is_one_and_overlaps_with_itself():
    made = lone_shapes(np.random.default_rng(1), 30, 24)
    assert made.masks.shape[1] == 1 and len(set(made.cells[:, 0].tolist())) == 4
    mask = made.masks[0, 0]
    assert overlap(mask, mask) == 1 and overlap(mask, ~mask) == 0 and overlap(mask & False, mask & False) == 1
