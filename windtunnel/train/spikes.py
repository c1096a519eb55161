"""How often the training loss jumped, read from the log of a run when it is over."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BEFORE = 16  # lines of the log that say what is usual
DEVIATIONS = 8.0  # of a jump, in median absolute deviations scaled as a standard deviation
LEAST = 0.1  # of a jump, as a share of what is usual: batches that hardly differ make no spike of a trifle


def spikes(highest: Sequence[float]) -> int:
    """How often ``highest``, the highest losses between lines of a log, jump above the 16 before; lines in a row count once.

    What is usual is the median of these. A loss that falls stands below it, so that only a true rise counts.
    """
    losses = np.asarray(highest, dtype=float)
    if len(losses) <= BEFORE:
        return 0
    before = np.lib.stride_tricks.sliding_window_view(losses[:-1], BEFORE)
    usual = np.median(before, axis=1)
    spread = 1.4826 * np.median(np.abs(before - usual[:, None]), axis=1)
    above = losses[BEFORE:] - usual > np.maximum(DEVIATIONS * spread, LEAST * usual)
    return int(np.count_nonzero(above & ~np.concatenate([[False], above[:-1]])))


def spikes_in(log: Path) -> int | None:
    """The spikes of all phases in the log of a run; None where it does not say."""
    phases: dict[int, list[float]] = {}
    with contextlib.suppress(OSError):
        for text in log.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                line = json.loads(text)
                phases.setdefault(line["phase"], []).append(float(line["highest"]))
    return sum(map(spikes, phases.values())) if phases else None
