"""Images that move away, and examples of them."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.shifted_examples import ShiftedExamples


def test_changes_begin_at_nothing_and_end_far_away():
    images, random = np.random.default_rng(0).random((3, 64)), np.random.default_rng(1)
    for change in ("noise", "turn", "fade", "invert"):
        part = ShiftedExamples(change=change)
        assert part._changed(images, 0, random) == pytest.approx(images, abs=1e-6)
        assert np.abs(part._changed(images, 5, random) - images).mean() > 0.1
    quarter = ShiftedExamples(change="turn")._changed(images, 5, random).reshape(-1, 8, 8)
    assert quarter == pytest.approx(np.rot90(images.reshape(-1, 8, 8), 1, axes=(1, 2)), abs=1e-5) or quarter == pytest.approx(
        np.rot90(images.reshape(-1, 8, 8), -1, axes=(1, 2)), abs=1e-5
    )


def test_examples_of_the_new_kind_help_where_images_are_turned():
    new, old, names = (
        ShiftedExamples(change="turn", **more).measure(80)["accuracy"]
        for more in ({"answer": "examples"}, {"answer": "examples", "of": "unchanged"}, {})
    )
    assert new > old + 0.3 and new > names + 0.3


def test_more_examples_than_a_class_has_are_refused():
    with pytest.raises(PartError, match="fewer than 50 images to show"):
        ShiftedExamples(shots=50).measure(0)
