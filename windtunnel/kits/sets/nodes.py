"""Rows of a stream of graphs as networks read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

GIVEN = ("nodes", "edges", "there")


def arrays_of(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``nodes`` float32 [B, T, nodes, features], ``edges`` int64 [B, T, edges, 2] and ``there`` bool [B, T, nodes]."""
    import numpy as np

    return {"nodes": rows["nodes"].astype(np.float32), "edges": rows["edges"].astype(np.int64), "there": rows["there"] > 0}
