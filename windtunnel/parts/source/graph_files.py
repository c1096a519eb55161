"""Graphs from the user's tables of nodes, edges and labels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tables import rows_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.sets.columns import in_order
from windtunnel.kits.sets.columns import number as value_of


class GraphFiles(StreamedSource, name="graph-files"):
    """Graphs from CSV tables in a folder, a graph a document.

    ``edges`` has the columns ``graph``, ``from`` and ``to``; ``nodes`` has ``graph``, ``node`` and the columns of features: one of words
    (a type) or any number of numbers; ``labels``, if it is given, ``graph`` and ``label``. Nodes and graphs go by any names. Nodes without
    an edge are kept and counted; an edge to a node that its graph does not have is left out and counted with an example; so are edges and
    labels of graphs without nodes. Types and labels are numbered in the order of the alphabet, labels that are numbers by size.
    """

    path: str = Field(min_length=1, description="the folder; ~ is the home folder")
    nodes: str = Field("nodes.csv", description="the table of nodes")
    edges: str = Field("edges.csv", description="the table of edges")
    labels: str | None = Field(None, description="the table of labels", examples=["labels.csv"])

    def content_fields(self) -> tuple[str, ...]:
        """Nodes, edges and the graph's name: two molecules of one form are two, but never split."""
        return ("nodes", "edges", "graph")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The graphs in the order in which their first nodes stand.

        Raises:
            UserError: for a table that is missing, lacks a column, holds no node, or speaks of other graphs or nodes alone.
        """
        places, features = self._nodes()
        edges: dict[str, list[list[int]]] = {graph: [] for graph in places}
        rows = self._table(self.edges, ("graph", "from", "to"))
        for number, row in enumerate(rows, start=2):
            mine = places.get(row["graph"])
            one, other = (mine.get(row[end]) if mine is not None else None for end in ("from", "to"))
            if one is None or other is None:
                tally.count("left out: edge to a node that is not there", where=f"{self.edges}:{number}")
                continue
            edges[row["graph"]].append([one, other])
        if rows and not any(edges.values()):
            first, graph = rows[0], next(iter(places))
            raise UserError(
                f"{self._file(self.edges)}: no edge joins two nodes of a graph in {self.nodes}: the first goes from {first['from']!r} to "
                f"{first['to']!r} in graph {first['graph']!r}, and the first node there is {next(iter(places[graph]))!r} in graph {graph!r}"
            )
        labels = self._labels(places, tally)
        for graph, mine in places.items():
            alone = len(mine) - len({node for edge in edges[graph] for node in edge})
            if alone:
                tally.count("kept: nodes without an edge", alone, where=graph)
            found = {"nodes": features[graph], "edges": edges[graph]}
            group = hashlib.blake2b(json.dumps(found).encode(), digest_size=16).hexdigest()  # two of one form fall into one split
            yield {**found, "graph": graph, "label": labels.get(graph, -1), "origin": graph, "group": group}

    def signature(self) -> str:
        """A hash of the names, sizes and modification times of the tables."""
        digest = hashlib.blake2b(digest_size=16)
        for name in filter(None, (self.nodes, self.edges, self.labels)):
            file = self._file(name)
            status = file.stat()
            digest.update(json.dumps([str(file.absolute()), status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()

    def _nodes(self) -> tuple[dict[str, dict[str, int]], dict[str, list[Any]]]:
        """By graph the place of each node by its name, and the features of nodes in their order."""
        rows = self._table(self.nodes, ("graph", "node"))
        if not rows:
            raise UserError(f"{self._file(self.nodes)}: holds no node")
        columns = [name for name in rows[0] if name not in ("graph", "node")]
        values = [[_number(row[name]) for name in columns] for row in rows]
        typed = len(columns) == 1 and any(None in row for row in values)
        if not columns or (not typed and any(None in row for row in values)):
            raise UserError(f"{self._file(self.nodes)}: beside graph and node it needs a column of words, or columns of numbers alone")
        types = {name: place for place, name in enumerate(sorted({row[columns[0]] for row in rows}))}
        places: dict[str, dict[str, int]] = {}
        features: dict[str, list[Any]] = {}
        for row, numbers in zip(rows, values, strict=True):
            mine = places.setdefault(row["graph"], {})
            if row["node"] in mine:
                raise UserError(f"{self._file(self.nodes)}: graph {row['graph']!r} has node {row['node']!r} twice")
            mine[row["node"]] = len(mine)
            features.setdefault(row["graph"], []).append(types[row[columns[0]]] if typed else numbers)
        return places, features

    def _labels(self, places: dict[str, dict[str, int]], tally: Tally) -> dict[str, int]:
        if self.labels is None:
            return {}
        rows = self._table(self.labels, ("graph", "label"))
        numbers = {name: place for place, name in enumerate(sorted({row["label"] for row in rows} - {""}, key=in_order))}
        if rows and not any(row["graph"] in places for row in rows):
            raise UserError(
                f"{self._file(self.labels)}: names no graph of {self.nodes}: the first here is {rows[0]['graph']!r}, "
                f"and there {next(iter(places))!r}"
            )
        for row in rows:
            if row["graph"] not in places:
                tally.count("left out: label of a graph without nodes", where=row["graph"])
        found: dict[str, int] = {}
        for row in rows:
            if row["label"] and found.setdefault(row["graph"], numbers[row["label"]]) != numbers[row["label"]]:
                raise UserError(f"{self._file(self.labels)}: graph {row['graph']!r} has two labels; give it one")
        if without := [graph for graph in places if graph not in found]:
            tally.count("kept: graph without a label", len(without), where=without[0])
        return found

    def _file(self, name: str) -> Path:
        file = Path(self.path).expanduser() / name
        if not file.is_file():
            raise UserError(f"{file}: no such file; graph-files reads tables of nodes and of edges")
        return file

    def _table(self, name: str, needed: tuple[str, ...]) -> list[dict[str, str]]:
        file = self._file(name)
        known, rows = rows_of(file, needed)
        for column in needed:
            if column not in known:
                cure = "; one large graph has to be cut into neighbourhoods first, a graph each" if column == "graph" else ""
                raise UserError(f"{file}: has no column {column!r}; {nearest(column, known)}{cure}")
        for number, row in enumerate(rows, start=2):
            if None in row.values() or None in row:
                raise UserError(f"{file}:{number}: has {'more' if None in row else 'fewer'} cells than the table has columns")
        return rows


def _number(cell: str) -> float | None:
    value = value_of(cell)
    return None if math.isnan(value) else value
