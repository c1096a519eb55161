"""What models of graphs, rows and tables tell of held-out ones, for a reader to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from windtunnel.kits.sets.columns import MISSING, UNKNOWN
from windtunnel.kits.sets.graphs import drawing
from windtunnel.kits.sets.nodes import arrays_of
from windtunnel.kits.sets.told import tables_of, told
from windtunnel.kits.shown import first_rows
from windtunnel.models.forward import forward

if TYPE_CHECKING:
    from windtunnel.slots import HeldOut

HALF = 6  # rows of a table that are written with the labels that are shown, and as many of those that are told


def drawn_graphs(model: Any, held_out: HeldOut, count: int) -> list[dict[str, Any]]:
    """For ``count`` held-out graphs of each source: a node-link drawing, and the label that ``model`` names where it has learnt labels."""
    names, found = held_out.objective.supervised, []
    for source in held_out.sources:
        rows = first_rows(held_out, source, count)
        arrays = arrays_of(rows)
        shares = _shares(model, held_out, {name: array[0] for name, array in arrays.items()}) if names else None
        for place in range(len(rows["label"][0])):
            there = arrays["there"][0, place]
            kinds = arrays["nodes"][0, place][there].argmax(axis=-1) if held_out.facts.types else np.zeros(int(there.sum()), int)
            edges = [(one, other) for one, other in arrays["edges"][0, place].tolist() if one >= 0]
            told_label = _named(shares[place], [str(label) for label in range(held_out.facts.classes)]) if shares is not None else {}
            picture: dict[str, Any] = {"pictures": {"graph": drawing(edges, kinds.tolist())}}
            found.append(
                {"source": source, "prompt": f"graph {place + 1}", **picture, **_truth(int(rows["label"][0, place]), None), **told_label}
            )
    return found


def written_rows(model: Any, held_out: HeldOut, count: int) -> list[dict[str, Any]]:
    """For ``count`` held-out rows of each source: their cells by column, their label, and the one that ``model`` names."""
    facts, found = held_out.facts, []
    for source in held_out.sources:
        rows = first_rows(held_out, source, count)
        given = facts.given({name: rows[name][0] for name in ("numbers", "categories")})
        numbers, codes = given["numbers"], given["categories"]
        shares = _shares(model, held_out, given)
        for place in range(len(numbers)):
            values = numbers[place] * facts.deviation + facts.mean
            cells = {name: "–" if np.isnan(value) else f"{value:.4g}" for name, value in zip(facts.numbers, values, strict=True)}
            for (name, known), code in zip(facts.categories.items(), codes[place].tolist(), strict=True):
                cells[name] = {UNKNOWN: "another", MISSING: "–"}.get(code) or known[code - 2]
            named = _named(shares[place], facts.labels)
            found.append(
                {
                    "source": source,
                    "prompt": f"row {place + 1}",
                    "cells": cells,
                    **_truth(int(rows["label"][0, place]), facts.labels),
                    **named,
                }
            )
    return found


def written_tables(model: Any, held_out: HeldOut) -> list[dict[str, Any]]:
    """Rows of the first held-out table: some with labels that are shown, and others with those that ``model`` tells."""
    cells, labels = (array[:1] for array in tables_of(held_out, held_out.sources[:1]))
    shown = min(HALF, labels.shape[1] // 2)
    known = np.where(np.arange(labels.shape[1]) < shown, labels, -1)
    shares, found = told(model, cells, known, held_out)[0], []
    for place in np.flatnonzero(labels[0] >= 0)[: 2 * shown].tolist():
        row = {f"x{number + 1}": f"{value:.2f}" for number, value in enumerate(cells[0, place].tolist())}
        row["shown"] = f"label {labels[0, place]}" if place < shown else "?"
        named = _named(shares[place], [str(label) for label in range(held_out.facts.classes)]) if place >= shown else {}
        found.append(
            {"source": held_out.sources[0], "prompt": f"row {place + 1}", "cells": row, **_truth(int(labels[0, place]), None), **named}
        )
    return found


def _shares(model: Any, held_out: HeldOut, arrays: dict[str, np.ndarray]) -> np.ndarray:
    given: dict[str, Any] = {name: torch.from_numpy(array).to(held_out.device) for name, array in arrays.items()}
    with torch.no_grad():
        outputs = forward(model, **given)
    shares: np.ndarray = outputs.logits.float().softmax(-1).cpu().numpy()
    return shares


def _named(shares: np.ndarray, labels: Any) -> dict[str, str]:
    return {"continuation": f"label {labels[int(shares.argmax())]} ({float(shares.max()):.0%})"} if len(labels) else {}


def _truth(label: int, labels: Any) -> dict[str, str]:
    return {} if label < 0 else {"truth": f"label {label if labels is None else labels[label]}"}
