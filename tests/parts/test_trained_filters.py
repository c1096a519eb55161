"""What weights of small convolutional networks say of their training."""

from __future__ import annotations

from windtunnel.parts.experiment.trained_filters import TrainedFilters


def test_what_was_never_trained_is_told_from_what_was():
    never, trained = (TrainedFilters(steps=steps, width=8, rate=0.01).measure(40) for steps in (0, 70))
    assert never["untrained"] == never["faulty"] == 1.0 and abs(never["entropy"] - 1) < 0.1
    assert trained["untrained"] < 1 and trained["entropy"] < never["entropy"] and trained["accuracy"] > 0.5 > never["accuracy"]
