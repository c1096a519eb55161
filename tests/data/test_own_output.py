"""What Windtunnel writes into a folder of text is no text: the corpus stays what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from windtunnel.commands.write import refuse_within
from windtunnel.core.errors import UserError
from windtunnel.core.files import OURS, claim
from windtunnel.data.corpus.listing import listed
from windtunnel.recipe import recipe_from
from windtunnel.study import fly as flying
from windtunnel.study.curate import curate
from windtunnel.study.file import study_from
from windtunnel.train import prepare as preparing


def test_folders_that_windtunnel_writes_are_passed_over_unless_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    claim(tmp_path / "notes" / "windtunnel-out")
    (tmp_path / "notes" / "windtunnel-out" / "report.md").write_text("b")
    files, passed = listed(tmp_path, "**/*")
    assert [file.name for file in files] == ["a.md"]
    assert passed == [("folder that Windtunnel writes", Path("notes/windtunnel-out"))]
    named = listed(tmp_path, "notes/windtunnel-out/*.md")[0] + listed(tmp_path / "notes" / "windtunnel-out", "**/*.md")[0]
    assert [file.name for file in named] == ["report.md", "report.md"]


def test_a_study_and_what_it_prepares_mark_their_folders_before_text_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def reached(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr(flying, "locked", reached)
    text = {"corpus": {"mine": str(tmp_path)}, "budget": {"steps": 1}}
    study = study_from({**text, "baseline": {"model": {"depth": 2}}, "arms": {"a": {"schedule": "linear"}}}, name="x")
    with pytest.raises(Reached):
        flying.fly_study(study, tmp_path / "o")
    monkeypatch.setattr("windtunnel.data.corpus.prepare.prepare_corpus", reached)
    with pytest.raises(Reached):
        preparing.prepare(recipe_from({**text, "model": {"depth": 2}}), tmp_path / "c")
    assert (tmp_path / "o" / OURS).exists() and (tmp_path / "c" / OURS).exists()


def test_curating_into_the_folder_of_its_text_is_refused_and_beneath_it_changes_nothing(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"{number} is a text of its own.\n")
    recipe = recipe_from({"corpus": {"mine": str(tmp_path)}, "curators": ["exact-duplicates"], "budget": {"steps": 1}})
    with pytest.raises(UserError, match="is the folder of source 'mine'"):
        curate(recipe, tmp_path)
    first = curate(recipe, tmp_path / "out")
    assert curate(recipe, tmp_path / "out") == first and (tmp_path / "out" / OURS).exists()


def test_a_study_is_not_written_into_the_text_that_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    with pytest.raises(UserError, match=r"--to \.\./study\.yaml"):
        refuse_within(Path("study.yaml"), {"notes": "."})
    refuse_within(Path("../study.yaml"), {"notes": "."})
