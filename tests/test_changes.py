"""Files that describe changes, and the changelog that they become."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT


def joiner() -> Any:
    spec = importlib.util.spec_from_file_location("join", ROOT / "changes" / "join.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


join = joiner()


@pytest.mark.parametrize("file", sorted((ROOT / "changes").glob("*.md")), ids=lambda file: file.stem)
def test_every_change_is_written_as_it_should_be(file: Path) -> None:
    assert join.lines_of(file)


@pytest.mark.parametrize("line", ["new: A thing.", "A thing.", "added: No full stop", "added:", ""])
def test_what_is_written_otherwise_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "one.md").write_text(f"added: A thing.\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"one\.md:2: "):
        join.collected(tmp_path)


def test_changes_are_joined_under_their_headings(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("fixed: A crash.\nwrong-numbers: Losses of b were too low.\n", encoding="utf-8")
    (tmp_path / "a.md").write_text("added: a new part.\n", encoding="utf-8")
    before = (
        "# Changelog\n\n## Unreleased\n\nYoung.\n\n### Added\n\n- An old part.\n\n### Wrong numbers\n\nBoth early.\n\n- One.\n\n"
        "## 0.1 (2026-01-01)\n\n### Fixed\n\n- It.\n"
    )
    text = join.released(before, join.collected(tmp_path), "0.2", "2026-12-01")
    assert text == (
        "# Changelog\n\n## Unreleased\n\n## 0.2 (2026-12-01)\n\nYoung.\n\n### Added\n\n- An old part.\n- A new part.\n\n"
        "### Fixed\n\n- A crash.\n\n### Wrong numbers\n\nBoth early.\n\n- One.\n- Losses of b were too low.\n\n"
        "## 0.1 (2026-01-01)\n\n### Fixed\n\n- It.\n"
    )
    (tmp_path / "a.md").unlink()
    (tmp_path / "b.md").write_text("added: More.\n", encoding="utf-8")
    again = join.released(text, join.collected(tmp_path), "0.3", "2026-12-02")
    assert again.startswith("# Changelog\n\n## Unreleased\n\n## 0.3 (2026-12-02)\n\n### Added\n\n- More.\n\n## 0.2 (2026-12-01)\n")


def test_the_changelog_can_be_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for heading in join.HEADINGS.values():
        assert join.released(text, join.collected(ROOT / "changes"), "9.9", "2030-01-01").count(f"\n### {heading}\n") >= 1
