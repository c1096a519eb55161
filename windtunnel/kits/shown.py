"""Which held-out units a report shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from windtunnel.slots import HeldOut


def first_rows(held_out: HeldOut, source: str, count: int) -> dict[str, np.ndarray]:
    """The first ``count`` held-out units of ``source``, such as rows: every field of the stream and ``documents`` [1, units, ...]."""
    from windtunnel.data.loader import Loader

    found: dict[str, list[np.ndarray]] = {}
    for rows in Loader(held_out.stream, split=held_out.split, context=held_out.context, sequences=1).fixed(source):
        for name in (*held_out.stream.fields, "documents"):
            found.setdefault(name, []).append(rows[name][rows["documents"] >= 0])
        if sum(map(len, found["documents"])) >= count:
            break
    return {name: np.concatenate(parts)[None, :count] for name, parts in found.items()}
