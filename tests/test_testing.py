"""The contract itself: it finds what does not keep it, and says what to write."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import Field

from windtunnel.core import registry
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.frame import StreamedSource
from windtunnel.slots import AfterStep, Schedule, Weighting
from windtunnel.testing import (
    changes_nothing_at_its_identity,
    gives_the_same_documents_again,
    parts_in,
    promises,
    refuses,
    says_what_it_is,
    trains_and_resumes,
)


def test_a_part_that_needs_a_trial_is_told_to_have_one(workshop, tmp_path, spare_part):
    @spare_part
    class Needy(Schedule, name="test-needy"):
        """A schedule that cannot be made at its defaults."""

        height: float = Field(description="no default")

        def factor(self, *given):
            raise AssertionError

    with pytest.raises(AssertionError, match=r"test-needy: the recipe of its trial is refused. It has no trial: write `trial = Trial\("):
        trains_and_resumes(Needy, workshop, tmp_path)


def test_a_part_whose_trial_breaks_is_told_to_mend_it(workshop, tmp_path, spare_part):
    @spare_part
    class Broken(Schedule, name="test-broken"):
        """A schedule that breaks."""

        trial = Trial(beside={"batch": 2})

        def factor(self, progress, peak):
            raise RuntimeError("torn")

    with pytest.raises(AssertionError, match=r"(?s)test-broken: its trial does not fly. Mend its trial: Trial\(.*torn"):
        trains_and_resumes(Broken, workshop, tmp_path)


def test_what_a_checkpoint_does_not_hold_is_found(workshop, tmp_path, spare_part):
    @spare_part
    class Clock(Schedule, name="test-clock"):
        """A schedule that depends on the time of day."""

        def factor(self, progress, peak):
            return 0.5 + time.monotonic() % 0.5

    with pytest.raises(AssertionError, match="resumed, these weights differ"):
        trains_and_resumes(Clock, workshop, tmp_path)


def test_an_identity_is_asked_for_and_tried(workshop, tmp_path, spare_part):
    @spare_part
    class Shrinks(AfterStep, name="test-shrinks"):
        """Shrink every weight."""

        share: float = Field(0.9, description="what is left of every weight")

        def after_step(self, model: Any, optimizer: Any, progress: Any, state: Any) -> None:
            for weight in model.parameters():
                weight.data.mul_(self.share)

    assert changes_nothing_at_its_identity in promises(Shrinks)
    with pytest.raises(AssertionError, match=r"test-shrinks: write `identity = \{...\}` in its class"):
        changes_nothing_at_its_identity(Shrinks, workshop, tmp_path)
    Shrinks.identity = {"share": 0.99}
    with pytest.raises(AssertionError, match=r"test-shrinks changes these weights at \{'share': 0.99\}"):
        changes_nothing_at_its_identity(Shrinks, workshop, tmp_path / "wrong")
    Shrinks.identity = {"share": 1.0}
    changes_nothing_at_its_identity(Shrinks, workshop, tmp_path / "right")
    Shrinks.identity = "no"
    with pytest.raises(AssertionError, match="identity says why"):
        changes_nothing_at_its_identity(Shrinks, workshop, tmp_path)


def test_a_knob_without_a_word_and_a_conflict_with_nobody_are_found(workshop, tmp_path, spare_part):
    @spare_part
    class Silent(Weighting, name="test-silent"):
        """A weighting whose knob says nothing."""

        conflicts = {"no-such-part": "because"}
        power: float = 1.0

        def weigh(self, *given):
            raise AssertionError

    with pytest.raises(AssertionError, match=r"need a description: \['power'\]"):
        says_what_it_is(Silent, workshop, tmp_path)
    with pytest.raises(AssertionError, match="cannot be combined with no-such-part, which is no part"):
        refuses(Silent, workshop, tmp_path)


def test_a_module_without_parts_is_no_contract():
    with pytest.raises(ValueError, match="json defines no part"):
        parts_in("json")
    assert {part.name for part in parts_in("windtunnel.parts.schedule")} > {"cosine", "wsd"}
    assert {part.name for part in parts_in("windtunnel.parts.schedule.wsd")} == {"wsd"}


def test_parts_are_found_by_the_name_of_an_entry_point_and_in_a_file(monkeypatch, tmp_path):
    entry = SimpleNamespace(name="offered", module="windtunnel.parts.schedule.wsd")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry])
    assert [part.name for part in parts_in("offered")] == ["wsd"]
    file = tmp_path / "mine.py"
    text = "from windtunnel.slots import Schedule\nclass Mine(Schedule, name='test-mine'):\n 'Mine.'\n def factor(self, *_): ...\n"
    file.write_text(text, encoding="utf-8")
    try:
        assert [part.name for part in parts_in(str(file))] == ["test-mine"]
    finally:
        registry._parts[Schedule].pop("test-mine", None)


def test_a_source_gives_the_same_documents_again(workshop, tmp_path, spare_part):
    @spare_part
    class Moody(StreamedSource, name="test-moody"):
        """A source that gives what it likes."""

        trial = Trial({"words": "a"})
        words: str = Field(description="what it says")

        def documents(self, tally):
            yield (self.words if self.words != "time" else str(time.monotonic())), "here"

        def signature(self):
            return self.words

    assert gives_the_same_documents_again in promises(Moody)
    gives_the_same_documents_again(Moody, workshop, tmp_path)
    Moody.trial = Trial({"words": "time"})
    with pytest.raises(AssertionError, match="read again, it gives other documents"):
        gives_the_same_documents_again(Moody, workshop, tmp_path)
