"""Patterns of sparsity as they are written. Read with the recipe, so nothing heavy is imported."""

from __future__ import annotations

import re


def group_of(pattern: str) -> tuple[int, int] | None:
    """``"2:4"`` as (2, 4): at most 2 of every 4 weights are kept; ``"unstructured"`` as None. Raises ValueError for anything else."""
    if pattern == "unstructured":
        return None
    found = re.fullmatch(r"(\d+):(\d+)", pattern)
    if not found or not 0 < int(found[1]) < int(found[2]):
        raise ValueError(f"{pattern!r} is no pattern: unstructured, or KEPT:GROUP with 0 < KEPT < GROUP, as 2:4 (two of four are kept)")
    return int(found[1]), int(found[2])
