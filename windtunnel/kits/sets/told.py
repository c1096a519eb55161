"""What a network tells of the rows of tables, in bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from windtunnel.data.held_out import entered
from windtunnel.data.loader import Loader
from windtunnel.models.forward import forward
from windtunnel.slots import HeldOut


def tables_of(held_out: HeldOut, sources: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cells float32 [tables, rows, features] and labels int64 [tables, rows] of ``sources``, held out, in stored order."""
    cells, labels = [], []
    for source in sources:
        for rows in Loader(held_out.stream, split=held_out.split, context=held_out.context, sequences=16).fixed(source):
            real = rows["documents"] >= 0
            cells.append(rows["cells"][real])
            labels.append(rows["label"][real])
    return np.concatenate(cells), np.concatenate(labels)


def told(model: Any, cells: np.ndarray, known: np.ndarray, held_out: HeldOut) -> np.ndarray:
    """The probability of each class for every row, float64 [tables, rows, classes], with the labels ``known`` (-1: not) shown."""
    found = []
    for begin in range(0, len(cells), 64):
        arrays = {"cells": cells[begin : begin + 64].astype(np.float32), "known": known[begin : begin + 64].astype(np.int64)}
        given: dict[str, Any] = {name: torch.from_numpy(array).to(held_out.device) for name, array in arrays.items()}
        with torch.no_grad(), entered(held_out.precision):
            outputs = forward(model, **given)
        found.append(outputs.logits.double().softmax(dim=-1).cpu().numpy())
    return np.concatenate(found)


def bits(odds: np.ndarray, labels: np.ndarray) -> float:
    """The mean over rows of the bits that ``labels`` [rows] cost by the probabilities ``odds`` [rows, classes]."""
    return float(-np.log(np.maximum(odds[np.arange(len(labels)), labels], 1e-12)).mean() / math.log(2))
