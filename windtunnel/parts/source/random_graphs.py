"""Graphs of known kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally


class RandomGraphs(StreamedSource, name="random-graphs"):
    """Graphs of four kinds with about as many edges each: random, preferential attachment, small worlds and communities.

    The label is the kind. A node is of one of ``types`` types, which neighbours share more often than chance would have it: with the
    chance ``alike`` a node takes the type of a neighbour. The same knobs always draw the same graphs.

    The kinds are those of Erdos and Renyi 1959, Barabasi and Albert 1999, Watts and Strogatz 1998, and of Holland et al. 1983.
    """

    count: int = Field(1000, ge=1, description="how many graphs")
    nodes: int = Field(20, ge=9, description="most nodes of a graph; the fewest are two thirds of them")
    types: int = Field(4, ge=1, description="types of nodes")
    alike: float = Field(0.6, ge=0, le=1, description="chance with which a node takes the type of one of its neighbours")
    seed: int = Field(0, ge=0, description="another seed draws others")

    def content_fields(self) -> tuple[str, ...]:
        """Nodes and edges."""
        return ("nodes", "edges")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The graphs, one after the other."""
        import numpy as np

        from windtunnel.kits.sets.graphs import KINDS, random_graph

        random = np.random.default_rng(self.seed)
        for number in range(self.count):
            kind = KINDS[int(random.integers(len(KINDS)))]
            nodes = int(random.integers(-(-2 * self.nodes // 3), self.nodes + 1))
            edges = random_graph(kind, nodes, random)
            near: list[list[int]] = [[] for _ in range(nodes)]
            for one, other in edges:
                near[one].append(other)
                near[other].append(one)
            types = random.integers(0, self.types, nodes)
            for node in random.permutation(nodes):
                if near[node] and random.random() < self.alike:
                    types[node] = types[random.choice(near[node])]
            yield {
                "nodes": types.tolist(),
                "edges": [list(edge) for edge in edges],
                "label": KINDS.index(kind),
                "kind": kind,
                "origin": f"graph {number}",
            }

    def signature(self) -> str:
        """The knobs."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)
