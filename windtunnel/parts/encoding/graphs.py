"""Graphs as nodes and edges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import GRAPHS
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.sets.graphs import Graphs


class GraphsEncoding(Encoding, name="graphs"):
    """Graphs, a graph a unit: the features of nodes, edges without direction, and the graph's label where it has one.

    The ``nodes`` of a document are whole numbers, each the type of a node, or lists of numbers, equally many each. Its ``edges`` are pairs
    of places of nodes. Nodes without an edge stay, and are counted; edges that lead to no node are left out, counted, and told with an
    example. An edge that is there twice, or in both directions, is one; one from a node to itself is none, as every node sees itself.
    Graphs are filled up to the largest one, whose size every split has a say in. A type that no training graph has is read as unknown.
    Held-out graphs whose label no training graph has cannot be told and do not count, which is said.
    """

    trial = Trial(model={"family": "graph-attention"}, beside=without(GRAPHS, "encoding"))

    unit: ClassVar[str] = "graph"
    evaluation: ClassVar[str] = "labels"

    nodes: str = Field("nodes", description="the field of a document that holds its nodes")
    edges: str = Field("edges", description="the field that holds its edges")
    label: str = Field("label", description="the field that holds its label, a whole number from 0; graphs without one have no label")

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        return {key: getattr(self, key) for key in type(self).model_fields}

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """As for every encoding.

        Raises:
            UserError: for a source without graphs, nodes of several kinds, and labels that are no whole numbers from 0.
        """
        from windtunnel.kits.sets.graphs import Graphs, isolated

        tell("measuring the graphs")
        nodes = edges = features = types = alone = nowhere = 0
        seen, known, forms, example = set[int](), set[int](), set[bool](), ""
        for split in ("train", "validation", "test"):
            count = strange = 0
            for source in corpus.sources:
                for kinds, ends, lost, label, origin in self._read(corpus, split, source):
                    nodes, edges = max(nodes, len(kinds)), max(edges, len(ends))
                    typed = bool(kinds) and not isinstance(kinds[0], list)
                    if typed and split == "train":
                        types = max(types, max(kinds) + 1)
                        seen.update(kinds)
                    forms |= {typed} if kinds else set()
                    width = 0 if typed or not kinds else len(kinds[0])
                    if features and width and features != width:
                        raise UserError(f"encoding.graphs: {source}, {origin}: a node has {width} numbers and those before {features}")
                    features = width or features
                    known |= {label} if split == "train" and label >= 0 else set()
                    count, strange = count + 1, strange + _new(label, known)
                    alone, nowhere = alone + isolated(ends, len(kinds)), nowhere + lost
                    example = example or (f"{source}, {origin}" if lost else "")
            if strange:
                tell(
                    f"{strange:,} of {count:,} {split} graphs have a label that no training graph has; they cannot be told and do not count"
                )
        if len(forms) > 1:
            raise UserError("encoding.graphs: some nodes are types and others lists of numbers; give all of them one form")
        if alone:
            tell(f"{alone:,} nodes have no edge; they see themselves alone")
        if nowhere:
            tell(f"{nowhere:,} edges lead to no node of their graph and were left out, first in {example}")
        width, classes = features or types + 1, max(known, default=-1) + 1  # one type more: unknown
        found = Graphs(max(nodes, 1), max(edges, 1), width, types, classes, alone, nowhere)
        return Fitted(
            fields={
                "nodes": Kind("<f4", (found.nodes, found.features)),
                "edges": Kind("<i4", (found.edges, 2), fill=-1),
                "there": Kind("|u1", (found.nodes,)),
                "label": Kind("<i8", fill=-1, along="document"),
            },
            facts=found._asdict(),
            encode=lambda split, source: self._encode(corpus, split, source, found, seen, known),
        )

    def _read(self, corpus: Any, split: str, source: str) -> Iterator[tuple[list[Any], list[tuple[int, int]], int, int, str]]:
        """Nodes, edges, how many of these led nowhere, label (-1: none) and origin of every graph."""
        from windtunnel.kits.sets.graphs import mended

        known = corpus.schema(source).names
        columns = [self.nodes, self.edges, "origin", *([self.label] if self.label in known else [])]
        for batch in corpus.rows(split, source, columns):
            for kinds, ends, origin, *label in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                where, named = f"encoding.graphs: {source}, {origin}", (label[0] if label and label[0] is not None else -1)
                if not _are_nodes(kinds):
                    raise UserError(
                        f"{where}: nodes are whole numbers from 0, or lists of equally many numbers that are finite; "
                        "types that are words are read by the source graph-files"
                    )
                if any(edge is None or len(edge) != 2 or not all(isinstance(end, int) for end in edge) for edge in ends or ()):
                    raise UserError(f"{where}: an edge is a pair of places of nodes")
                if not isinstance(named, int) or named < -1:
                    raise UserError(f"{where}: a label is a whole number from 0")
                yield kinds, *mended(ends or (), len(kinds)), named, origin

    def _encode(self, corpus: Any, split: str, source: str, facts: Graphs, seen: set[int], known: set[int]) -> Iterator[Piece]:
        import numpy as np

        for kinds, ends, _, label, _ in self._read(corpus, split, source):
            nodes, edges = np.zeros((facts.nodes, facts.features), "<f4"), np.full((facts.edges, 2), -1, "<i4")
            if facts.types:
                nodes[np.arange(len(kinds)), [kind if kind in seen else facts.types for kind in kinds]] = 1
            elif kinds:
                nodes[: len(kinds)] = kinds
            if ends:
                edges[: len(ends)] = ends
            there = (np.arange(facts.nodes) < len(kinds)).astype("|u1")
            told = np.array([-1 if _new(label, known) else label], "<i8")
            arrays = {"nodes": nodes[None], "edges": edges[None], "there": there[None], "label": told}
            yield Piece(arrays, nodes.nbytes, True)

    def reckoned(self) -> Graphs:
        """As for every encoding; before graphs are read a small one stands for any."""
        from windtunnel.kits.sets.graphs import Graphs

        return Graphs(8, 8, 1, 0, 2, 0, 0)

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row, facts = np.zeros((1, context), np.int64), self.reckoned()
        return {
            "nodes": np.zeros((1, context, facts.nodes, facts.features), np.float32),
            "edges": np.zeros((1, context, facts.edges, 2), np.int32),
            "there": np.ones((1, context, facts.nodes), np.uint8),
            "label": row,
            "documents": np.arange(context)[None],
            "positions": row,
            "sources": row[0, :1],
        }

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Graphs:
        """How large graphs are, what nodes are, and what was counted."""
        from windtunnel.kits.sets.graphs import Graphs

        return Graphs(*(int(stored[key]) for key in Graphs._fields))

    @classmethod
    def about(cls, facts: Graphs) -> dict[str, int]:
        """Most nodes and edges, features, classes, nodes without an edge, and edges that led to no node."""
        return {
            "nodes of the largest graph": facts.nodes,
            "most edges of a graph": facts.edges,
            "types of a node" if facts.types else "numbers of a node": facts.types or facts.features,
            "classes": facts.classes,
            "nodes without an edge": facts.isolated,
            "edges to nowhere": facts.nowhere,
        }

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 4) -> list[dict[str, Any]]:
        """Held-out graphs as node-link drawings, with the label that the model names."""
        from windtunnel.kits.sets.samples import drawn_graphs

        return drawn_graphs(model, held_out, count)


def _new(label: int, known: set[int]) -> bool:
    """Whether training graphs have labels, and not this one."""
    return label >= 0 and bool(known) and label not in known


def _are_nodes(given: Any) -> bool:
    """Whether ``given`` are whole numbers from 0, or lists of equally many finite numbers."""
    if given is None or not all(isinstance(node, list) for node in given):
        return given is not None and all(isinstance(node, int) and node >= 0 for node in given)
    numbers = [number for node in given for number in node]
    return len({len(node) for node in given}) < 2 and all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)
