"""The papers and studies that come with Windtunnel: where they lie, and a list of them made from names of folders and files alone."""

from __future__ import annotations

from pathlib import Path

from windtunnel.core.errors import UserError

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
_PACKAGE = Path(__file__).resolve().parents[1]


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
