"""Sections: tuned standard settings of small models, so that a study need not begin with a search for a strong baseline.

``section: S`` in a recipe stands for the settings in ``windtunnel/sections/S.yaml``. Whatever the recipe sets itself goes before them.
They are known by their sizes (S, M, L), and each says how it was tuned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "sections"
ORDER = ("S", "M", "L")  # from the smallest to the largest
KEY = "section"


def section(name: str) -> dict[str, Any]:
    """The settings of the section ``name``, as a recipe writes them.

    Raises:
        KeyError: where no section is called so.
    """
    if name not in ORDER:
        raise KeyError(name)
    settings: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return settings
