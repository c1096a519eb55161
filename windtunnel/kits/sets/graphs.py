"""Graphs: what is known of them, how they are mended and drawn at random, and how a page shows them."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 96  # of a drawing, in pixels
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")


class Graphs(NamedTuple):
    """What is known of the graphs of a stream.

    ``nodes`` and ``edges`` are the most that one has, ``features`` numbers of a node; ``types`` says that features are one of so many
    kinds (0: they are numbers). ``classes`` is how many labels there are, 0 for none. ``isolated`` counts nodes without an edge, and
    ``nowhere`` edges that led to no node of their graph, which were left out.
    """

    nodes: int
    edges: int
    features: int
    types: int
    classes: int
    isolated: int
    nowhere: int


def mended(edges: Sequence[Sequence[int]], nodes: int) -> tuple[list[tuple[int, int]], int]:
    """Every edge once, in one direction and not from a node to itself, and how many led to no node from 0 to ``nodes``."""
    found, nowhere = dict[tuple[int, int], None](), 0
    for one, other in edges:
        if not (0 <= one < nodes and 0 <= other < nodes):
            nowhere += 1
        elif one != other:
            found[min(one, other), max(one, other)] = None
    return list(found), nowhere


def isolated(edges: Sequence[tuple[int, int]], nodes: int) -> int:
    """How many of ``nodes`` have no edge."""
    return nodes - len({node for edge in edges for node in edge})


# Drawn at random ------------------------------------------------------------------------------------------------------------------


def random_graph(kind: str, nodes: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """The edges of a graph of one of :data:`KINDS`, all of about as many edges, so that counting them tells little."""
    seed = int(random.integers(1 << 31))
    import networkx

    if kind == "random":
        made = networkx.gnm_random_graph(nodes, 2 * nodes - 4, seed=seed)
    elif kind == "preferential":
        made = networkx.barabasi_albert_graph(nodes, 2, seed=seed)
    elif kind == "small-world":
        made = networkx.watts_strogatz_graph(nodes, 4, 0.15, seed=seed)
    else:
        sizes = [nodes // 3, nodes // 3, nodes - 2 * (nodes // 3)]
        inside = min(0.95, 1.6 * nodes / sum(size * (size - 1) / 2 for size in sizes))
        across = 0.4 * nodes / (sizes[0] * sizes[1] + sizes[1] * sizes[2] + sizes[0] * sizes[2])
        made = networkx.random_partition_graph(sizes, inside, across, seed=seed)
    order = random.permutation(nodes)  # or the number of a node would tell when it came
    return [(int(order[one]), int(order[other])) for one, other in made.edges()]


KINDS = ("random", "preferential", "small-world", "communities")


# Drawings -------------------------------------------------------------------------------------------------------------------------


def laid_out(edges: Sequence[tuple[int, int]], nodes: int) -> NDArray[np.float64]:
    """Places of nodes from 0 to 1, float64 [nodes, 2]: neighbours near each other (Fruchterman and Reingold 1991), the same each time."""
    import numpy as np

    angles = np.arange(nodes) * 2 * math.pi / max(nodes, 1)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    usual = 1.2 / math.sqrt(max(nodes, 1))
    for heat in np.linspace(0.2, 0.0, 60, endpoint=False):
        away = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-3)
        pushed = (away / distance**2 * usual**2).sum(axis=1)
        along = places[ends[:, 0]] - places[ends[:, 1]]
        pulled = along * np.linalg.norm(along, axis=1, keepdims=True) / usual
        np.add.at(pushed, ends[:, 0], -pulled)
        np.add.at(pushed, ends[:, 1], pulled)
        pushed -= 0.3 * usual * places  # or what is not connected would drift away
        size = np.maximum(np.linalg.norm(pushed, axis=1, keepdims=True), 1e-9)
        places = places + pushed / size * np.minimum(size, heat)
    low, high = places.min(axis=0, initial=0.0), places.max(axis=0, initial=0.0)
    found: NDArray[np.float64] = (places - low) / np.maximum((high - low).max(), 1e-9)
    return found


def drawing(edges: Sequence[tuple[int, int]], kinds: Sequence[int]) -> str:
    """A node-link drawing, nodes coloured by their kind, as the address of a picture that a page can hold."""
    places = 8 + (SIDE - 16) * laid_out(edges, len(kinds))
    lines = "".join(
        f'<line x1="{places[one, 0]:.1f}" y1="{places[one, 1]:.1f}" x2="{places[other, 0]:.1f}" y2="{places[other, 1]:.1f}"/>'
        for one, other in edges
    )
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[kind % len(COLOURS)]}"/>'
        for (x, y), kind in zip(places.tolist(), kinds, strict=True)
    )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE}" stroke="#888">{lines}<g stroke="none">{dots}</g></svg>'
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
