"""The papers, studies and pages that come with Windtunnel: where they lie, and lists made from names of folders and files alone."""

from __future__ import annotations

from pathlib import Path

from windtunnel.core.errors import UserError, nearest

# The areas that papers are sorted into: the folders of papers/.
AREAS = (
    "objectives",
    "data",
    "weights",
    "continual",
    "adapt",
    "laws",
    "evaluation",
    "context",
    "vision",
    "image-text",
    "series",
    "tables",
    "graphs",
    "trajectories",
)
PAPER = "paper.yaml"
KNOWN = "known.yaml"  # papers that somebody may build
SURVEYS = "surveys.yaml"  # which techniques surveys describe
_PACKAGE = Path(__file__).resolve().parents[1]
# Pages of parts and papers, built by `make docs`; a wheel holds them.
PAGES = _PACKAGE / "library" / "pages"


def checkout() -> Path | None:
    """The checkout that this package runs from; None where it is installed."""
    return _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None


def library(kind: str) -> Path:
    """The folder of the ``papers`` or ``studies`` that come with Windtunnel: in a checkout at its top, else inside the package.

    Raises:
        UserError: when it is not there.
    """
    folder = (checkout() or _PACKAGE / "library") / kind
    if not folder.is_dir():
        raise UserError(f"no {kind} are installed: {folder} is missing; install windtunnel again, or use a checkout")
    return folder


def paper_files(folder: Path | None = None) -> dict[str, Path]:
    """The file of every paper by name, from ``AREA/NAME/paper.yaml`` below ``folder`` (default: those that come with Windtunnel)."""
    found = (folder or library("papers")).glob(f"*/*/{PAPER}")
    return {path.parent.name: path for path in sorted(found, key=lambda path: path.parent.name)}


def study_files(folder: Path | None = None) -> dict[str, Path]:
    """The file of every study by name, from ``NAME.yaml`` in ``folder`` (default: those that come with Windtunnel)."""
    return {path.stem: path for path in sorted((folder or library("studies")).glob("*.yaml"))}


def shipped(name: Path, *, papers: bool = False) -> Path:
    """``name`` where that is a file; else the study of that name that comes with Windtunnel, or with ``papers`` the paper.

    Raises:
        UserError: naming the nearest, where ``name`` looks like no file and is none of these.
    """
    if name.exists() or name.suffix or len(name.parts) > 1:
        return name
    known = study_files() | (paper_files() if papers else {})
    if name.name not in known:
        raise UserError(f"{name}: no such file, and no {'study or paper' if papers else 'study'} is called so; {nearest(name.name, known)}")
    return known[name.name]


def page(kind: str, name: str) -> Path | None:
    """The built page of a slot (``parts``) or a paper (``papers``); None where pages were not built."""
    path = PAGES / kind / f"{name}.md"
    return path if path.is_file() else None
