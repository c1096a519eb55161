"""What is seen and done in held-out episodes, and what models would do, for a reader to see."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from windtunnel.kits.shown import first_rows
from windtunnel.kits.trajectory.babyai import SIDE, is_view
from windtunnel.kits.trajectory.steps import Steps

if TYPE_CHECKING:
    from windtunnel.slots import HeldOut

CELL, GAP = 7, 6  # of a drawing, in pixels
PLACES = 24  # of an observation that is no view of a grid world, of which so many are drawn
SHADES = ("#e5e7eb", "#64748b", "#f59e0b", "#0ea5e9", "#22c55e", "#ef4444", "#a855f7", "#facc15")  # of codes, round and round
# What minigrid calls its things and colours, by number, as they are drawn: a thing of no colour of its own in one shade.
PLAIN = {0: "#475569", 1: "#f1f5f9", 2: "#94a3b8", 3: "#f1f5f9"}  # not seen, empty, wall, floor
COLOURED = ("#ef4444", "#22c55e", "#3b82f6", "#a855f7", "#facc15", "#9ca3af")
MOVES = ("left", "right", "forward", "pick up", "drop", "toggle", "done")


def film(observation: np.ndarray, view: bool) -> str:
    """What is seen step by step, as the address of a picture that a page can hold.

    Args:
        observation: codes [steps, places] of the steps that are there.
        view: whether they are views of a grid world, which are drawn as such with the agent at the bottom; else a step is a column.
    """
    high = SIDE if view else min(PLACES, observation.shape[1])
    wide = (SIDE if view else 1) * CELL + GAP
    squares = []
    for step, codes in enumerate(observation.tolist()):
        for place in range(SIDE * SIDE if view else high):
            x, y = (place // SIDE, place % SIDE) if view else (0, place)
            kind, colour = codes[3 * place : 3 * place + 2] if view else (codes[place], 0)
            shade = SHADES[kind % len(SHADES)] if not view else PLAIN.get(kind) or COLOURED[colour % len(COLOURED)]
            squares.append(f'<rect x="{step * wide + x * CELL}" y="{y * CELL}" width="{CELL}" height="{CELL}" fill="{shade}"/>')
        if view:  # the agent stands in the middle of the lowest row and looks up
            x, y = step * wide + SIDE // 2 * CELL, (SIDE - 1) * CELL
            squares.append(f'<path d="M{x} {y + CELL}h{CELL}l{-CELL / 2} {-CELL}z" fill="#111827"/>')
    size = f'width="{len(observation) * wide}" height="{high * CELL}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(squares)}</svg>'
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def samples(model: Any, held_out: HeldOut, count: int) -> list[dict[str, Any]]:
    """For ``count`` held-out windows of each source: what is seen as a row of pictures, what is done, and the likeliest of ``model``.

    Empty for an objective that asks for no actions.
    """
    facts, found = held_out.facts, []
    if held_out.objective.name != "action" or not isinstance(facts, Steps):
        return []
    view = is_view(facts.codes)
    for source in held_out.sources:
        rows = first_rows(held_out, source, count)
        batch = held_out.objective.prepare(rows, facts, np.random.default_rng(0))
        arrays = {name: torch.from_numpy(np.ascontiguousarray(one)).to(held_out.device) for name, one in batch.items()}
        with torch.no_grad():
            said = held_out.objective.loss(model, arrays).outputs.logits.argmax(dim=-1).cpu().numpy()
        for place in range(len(said)):
            asked = batch["labels"][0, place] >= 0
            found.append(
                {
                    "source": source,
                    "prompt": f"window {place + 1}",
                    "pictures": {"what is seen, step by step": film(rows["observation"][0, place][rows["there"][0, place] > 0], view)},
                    "truth": _named(batch["labels"][0, place][asked], view),
                    "continuation": _named(said[place][asked], view),
                }
            )
    return found


def _named(actions: np.ndarray, view: bool) -> str:
    return ", ".join(MOVES[one] if view and one < len(MOVES) else str(one) for one in actions.tolist())
