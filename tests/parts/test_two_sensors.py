"""Places seen by two sensors."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.two_sensors import BANDS, THINGS, TwoSensors, clustered, pooled


def test_features_are_what_both_sensors_share():
    random = np.random.default_rng(0)
    shared = random.standard_normal((50, 36, 3))
    part = TwoSensors(levels=("points",), width=3)

    class Pair:
        seen = np.stack([shared @ random.standard_normal((3, BANDS)) + 0.3 * random.standard_normal((50, 36, BANDS)) for _ in range(2)])

    found = (Pair.seen[0] @ part._aligned(Pair)).reshape(-1, 3)
    wanted = shared.reshape(-1, 3)
    left = wanted - found @ np.linalg.lstsq(found, wanted, rcond=None)[0]
    assert left.var() < 0.1 * wanted.var()


def test_things_are_clusters_of_the_points_of_a_scene():
    random = np.random.default_rng(0)
    centres = 20 * random.standard_normal((5, THINGS, BANDS))
    points = np.repeat(centres, 9, axis=1) + random.standard_normal((5, 36, BANDS))
    found = pooled(points, points, "things")
    assert found.shape == (5 * THINGS, BANDS)
    assert np.allclose(found.reshape(5, THINGS, BANDS), points.reshape(5, THINGS, 9, BANDS).mean(axis=2))


def test_clusters_are_the_nearest_centres():
    rows = np.concatenate([np.full((20, 2), 5.0), np.full((20, 2), -5.0)]) + np.random.default_rng(0).standard_normal((40, 2))
    centres, nearest = clustered(rows, 2, np.random.default_rng(1))
    assert sorted(centres[:, 0].round(-1).tolist()) == [-0.0, 0.0] or abs(centres[0] - centres[1]).min() > 8
    assert len(set(nearest[:20])) == len(set(nearest[20:])) == 1


def test_prototypes_tell_where_regions_count_and_only_of_the_right_region():
    tiny = dict(scenes=200, labels=200, prototypes=8)
    found, lost = (TwoSensors(lost=lost, **tiny).measure(80)["points"] for lost in (False, True))
    assert found > lost + 0.05


def test_unknown_levels_are_refused():
    with pytest.raises(PartError, match="points, things, scenes"):
        TwoSensors(levels=("pixels",)).measure(0)
