"""Pools for learning without labels: what is in them, and styles that are as said."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.image.contrastive import features
from windtunnel.parts.experiment.nested_pools import NestedPools, labelled, styled, textures


def test_the_target_style_is_mirrored_at_low_contrast_on_its_ground():
    random = np.random.default_rng(144)
    digits, ground = random.random((3, 64)), random.random(64)
    found = styled(digits, "target", ground, random).reshape(3, 8, 8)
    assert found[1, 2, 5] == pytest.approx(0.4 * digits[1].reshape(8, 8)[2, 2] + 0.6 * ground.reshape(8, 8)[2, 5])
    other = styled(digits, "any", ground, random)
    assert other.shape == (3, 64) and other.min() >= 0 and other.max() <= 1


@pytest.mark.parametrize(("pool", "size"), [("narrow", 40), ("diverse", 40), ("added", 160), ("field", 40), ("generic", 40)])
def test_pools_have_their_sizes(pool, size):
    random = np.random.default_rng(145)
    digits, ground = random.random((60, 64)), textures(1, random)[0]
    images = NestedPools(pool=pool, images=40)._pool(digits, ground, np.random.default_rng(146))
    assert images.shape == (size, 64)
    narrow = NestedPools(pool="narrow", images=40)._pool(digits, ground, np.random.default_rng(146))
    if pool in ("diverse", "added"):
        assert ((images[:20] == narrow[:20]).all() and not (images[20:40] == narrow[20:40]).all()) or pool == "added"


def test_labels_teach_an_encoder():
    random = np.random.default_rng(147)
    names, images = np.repeat([0, 1], 40), random.random((80, 8, 8)) / 1.4
    images[:40, :, :4] += 0.3  # brighter on the left, or on the right
    images[40:, :, 4:] += 0.3
    found = {}
    for steps in (0, 40):
        ways = features(labelled(images.reshape(80, 64), names, 3, random, steps), images.reshape(80, 64))
        within = np.sqrt((ways[:40].var(axis=0) + ways[40:].var(axis=0)).sum())
        found[steps] = float(np.linalg.norm(ways[:40].mean(axis=0) - ways[40:].mean(axis=0)) / within)
    assert found[40] > 1.3 * found[0]
    assert NestedPools(pool="none", labels=20).measure(148)["accuracy"] > 0.3
