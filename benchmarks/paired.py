"""What the benchmarks in pairs share: the ratios of alternating pairs, their median, and an interval of it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any


def median_interval(values: list[float]) -> tuple[float, float]:
    """The narrowest interval between two values in order that holds the true median with a chance of at least 95 %, if there is one.

    Of n draws the k-th smallest lies below the median unless fewer than k do: a sign test, which takes no more than independence. Fewer
    than six values have no such interval, and all of their range is given.
    """
    from math import comb

    ordered, n = sorted(values), len(values)
    below = [sum(comb(n, i) for i in range(k)) / 2**n for k in range(n // 2 + 1)]  # the chance that fewer than k lie below the median
    left_out = max((k for k, chance in enumerate(below) if 2 * chance <= 0.05), default=1)
    return ordered[max(left_out, 1) - 1], ordered[n - max(left_out, 1)]


def alternating(
    ways: dict[str, Callable[[int], Any]],
    pairs: int,
    seen: Callable[[str, int, Any], None] | None = None,
    spent: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """CPU and wall seconds of each of two ``ways``, called by turns with the number of the pair, and the ratios of the first to the second.

    ``seen`` is handed the name, the pair and what the call gave. ``spent`` tells the CPU seconds so far: those of this process, or of
    others too.
    """
    names = list(ways)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for pair in range(pairs):
        for name in names if pair % 2 else names[::-1]:
            began, clock = spent(), time.perf_counter()
            found = ways[name](pair)
            cpu[name].append(spent() - began)
            wall[name].append(time.perf_counter() - clock)
            if seen is not None:
                seen(name, pair, found)
    return {"pairs": pairs, "cpu_seconds": cpu, "wall_seconds": wall, **told(cpu[names[0]], cpu[names[1]])}


def told(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """The median of the ratios of pairs, its interval, and the load of the machine."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {"ratio": statistics.median(ratios), "interval": list(median_interval(ratios)), "load": os.getloadavg()[0]}
