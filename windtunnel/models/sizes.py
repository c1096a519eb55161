"""The sizes of a transformers configuration, as a recipe writes them."""

from __future__ import annotations

from typing import Any

from windtunnel.models.init import family_of


def sizes_of(config: Any) -> dict[str, Any]:
    """The family, its own fields and the sizes of a transformers configuration, as a recipe writes them."""
    family = family_of(config)
    found = {"family": family.name, **family.written(config)}
    if found.get("key_value_heads") is None:
        found["key_value_heads"] = found["heads"]
    return found


def head_size_of(config: Any) -> int:
    """Numbers in one head: what the configuration says, else the width over the heads."""
    family = family_of(config)
    said = next((size for name in family.names.get("head_size", ()) if (size := getattr(config, name, None))), None)
    if said is None:
        sizes = family.written(config)
        said = sizes["width"] // sizes["heads"]
    return int(said)


def rows_of(config: Any) -> int | None:
    """Rows of the table of a configuration's units; None where it has no such table."""
    found: int | None = getattr(config, family_of(config).names.get("rows", ("",))[0], None)
    return found
