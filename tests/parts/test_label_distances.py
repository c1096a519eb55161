"""Labels with distances: the label of least expected squared distance is told, also one that was never seen."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.registry import make
from windtunnel.parts.experiment.label_distances import nearest, tree_distances
from windtunnel.slots import Experiment


def measured(**knobs: object) -> dict[str, float]:
    return make(Experiment, {"label-distances": {"depth": 3, "observed": 6, "rows": 15, **knobs}}).measure(3)


def test_distances_of_a_tree_are_edges():
    apart = tree_distances(2)
    assert apart.shape == (7, 7) and (apart == apart.T).all() and (apart.diagonal() == 0).all()
    assert apart[0].tolist() == [0, 1, 1, 2, 2, 2, 2] and apart[3].tolist() == [2, 1, 3, 0, 2, 4, 4]


def test_the_label_of_least_expected_squared_distance_is_told():
    apart = tree_distances(2)
    halves = np.array([[0.5, 0.5, 0.0], [0.98, 0.01, 0.01], [0.25, 0.25, 0.5]])
    observed = apart[[3, 4, 5]]
    assert nearest(halves, observed).tolist()[:2] == [1, 3], "between two sisters stands their mother"
    by_hand = [sum(p * observed[row, label] ** 2 for row, p in enumerate(halves[2])) for label in range(7)]
    assert nearest(halves, observed)[2] == int(np.argmin(by_hand))


def test_unseen_labels_are_told_by_right_distances_alone():
    likeliest, frechet, shuffled = measured(), measured(tells="frechet"), measured(tells="frechet", distances="shuffled")
    assert likeliest["right/unseen"] == 0 < frechet["right/unseen"] and frechet["distance"] < 0.7 * likeliest["distance"]
    assert shuffled["distance"] > 1.5 * likeliest["distance"] and measured() == likeliest
    with pytest.raises(ValueError, match="has 8 leaves, fewer than 9"):
        measured(observed=9)
    numbers = measured(data="diabetes"), measured(data="diabetes", tells="frechet")
    assert set(numbers[0]) == {"distance", "right"} and numbers[1]["distance"] < numbers[0]["distance"]
