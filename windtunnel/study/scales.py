"""The scales of a paper: the first is written whole, a further one as what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.recipe import merge
from windtunnel.recipe.section import KEY as SECTION


def overridden(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A study's fields with those of ``over``: baseline, arms and named recipes merge as a recipe does, the rest is replaced whole.

    An arm or a named recipe that is null in ``over`` is left out.

    A baseline that names a section takes nothing over: a section is settings that were tuned together.
    """
    merged = {**base, **over}
    if "baseline" in base and SECTION not in over.get("baseline", {SECTION: None}):
        merged["baseline"] = merge(base["baseline"], over["baseline"])
    for key in ("arms", "recipes"):
        if key in base and key in over:
            changed = {name: None if fields is None else merge(base[key].get(name) or {}, fields) for name, fields in over[key].items()}
            merged[key] = {name: fields for name, fields in ({**base[key], **changed}).items() if fields is not None}
    return merged
