"""Releases that are made up with known changes, and the rules that look at them."""

from __future__ import annotations

import pytest

from windtunnel.parts.experiment.release_histories import ReleaseHistories


@pytest.mark.parametrize(
    ("rule", "silent", "defects", "missed", "alarms"),
    [
        ("names", 1.0, 0.0, 1.0, 0.0),  # what neither version nor card shows
        ("content", 1.0, 0.0, 0.0, 0.0),
        ("content", 0.0, 0.0, 0.0, 0.0),  # nothing to mend, and nothing is said of the same weights in other files
        ("content", 0.0, 1.0, 0.0, 0.0),
    ],
)
def test_rules_miss_what_they_cannot_see(rule, silent, defects, missed, alarms):
    found = ReleaseHistories(rule=rule, silent=silent, defects=defects, releases=16).measure(3)
    assert found == {"missed": missed, "false_alarms": alarms}


def test_bytes_of_files_are_no_content():
    """Files that are split or written anew look changed, and what a card lacks does not."""
    assert ReleaseHistories(rule="files", silent=0.0, defects=0.0, releases=24).measure(0)["false_alarms"] > 0.1
    assert ReleaseHistories(rule="files", silent=0.0, defects=1.0, releases=24).measure(0)["missed"] > 0.2
