"""Numbers and amounts as words: the one place that decides how a quantity is written. What is missing or not finite is a dash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from windtunnel.core.errors import several
from windtunnel.study.result import ComputeGain

DASH = "–"


def finite(value: Any) -> float | None:
    """``value`` as a float, or None where it is missing, not a number, or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def number(value: Any, digits: int = 3) -> str:
    """A number with ``digits`` decimals and a true minus sign; a dash where there is none."""
    known = finite(value)
    if known is None:
        infinite = isinstance(value, float) and math.isinf(value)
        return DASH if not infinite else ("∞" if value > 0 else "−∞")
    text = f"{known:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.replace("-", "")


def signed(value: Any, digits: int = 3) -> str:
    """As :func:`number`, with a plus sign where it is above zero, so that signs stand in one column."""
    text = number(value, digits)
    above = finite(value) is not None and not text.startswith("−") and any(figure in "123456789" for figure in text)
    return f"+{text}" if above else text


def percent(value: Any) -> str:
    """A share as ``+3.2%``, with its sign."""
    known = finite(value)
    return DASH if known is None else f"{signed(100 * known, 1)}%"


def times(value: Any) -> str:
    """A ratio as ``1.8``; two decimals below ten, none from a hundred on."""
    known = finite(value)
    return number(value, 2) if known is None or abs(known) < 10 else number(value, 1 if abs(known) < 100 else 0)


def scientific(value: Any) -> str:
    """A count of operations as it is written in a recipe: ``2.0e12``."""
    known = finite(value)
    if known is None or known == 0:
        return number(value, 0)
    mantissa, exponent = f"{known:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(value: Any) -> str:
    """A count with a word for thousands: ``842``, ``12.3 k``, ``1.42 M``, ``7.00 G``."""
    known = finite(value)
    if known is None:
        return DASH
    for size, word in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(known) >= size:
            known /= 1e3 if size == 1e4 else size
            return f"{number(known, max(0, 2 - max(0, math.floor(math.log10(abs(known))))))}{word}"
    return number(known, 0)


def storage(value: Any) -> str:
    """Bytes: ``512 B``, ``3.4 MiB``, ``1.2 GiB``."""
    known = finite(value)
    if known is None:
        return DASH
    for power, word in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(known) >= 1024**power:
            return f"{known / 1024**power:.1f} {word}"
    return f"{known:.0f} B"


def duration(value: Any) -> str:
    """Seconds: ``0.4 s``, ``35 s``, ``4 min 12 s``, ``2 h 05 min``."""
    known = finite(value)
    if known is None:
        return DASH
    if known < 59.5:
        return f"{known:.1f} s" if known < 9.95 else f"{known:.0f} s"
    whole = round(known)
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listing(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def plural(amount: Any, word: str) -> str:
    """``1 seed``, ``3 seeds``; a dash where the amount is unknown."""
    known = finite(amount)
    return f"{DASH} {word}s" if known is None else several(round(known), word)


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one, so that a missing entry of a result needs no case of its own."""
    return value if isinstance(value, Mapping) else {}


def mean(values: Iterable[Any]) -> float | None:
    """The mean of those values that are finite, None if there is none."""
    known = [number for number in map(finite, values) if number is not None]
    return sum(known) / len(known) if known else None


def above(gain: ComputeGain) -> bool:
    """Whether a compute gain that is a bound lies above the curve ("at least") rather than below it ("at most")."""
    return gain.bounded == "at least" if isinstance(gain.bounded, str) else (finite(gain.value) or 0.0) >= 1


def gain(stated: ComputeGain | None) -> str:
    """A compute gain, ``1.83``, with ≥ or ≤ where it is a bound; a dash where there is none."""
    if stated is None or finite(stated.value) is None:
        return DASH
    return f"{('≥ ' if above(stated) else '≤ ') if stated.bounded else ''}{times(stated.value)}"


def gain_interval(stated: ComputeGain | None) -> str:
    """The interval of a compute gain, ``1.52 to ≥ 2.00``; an end at the edge of the baseline's curve is marked as open."""
    if stated is None or finite(stated.low) is None or finite(stated.high) is None:
        return DASH
    lowest, highest = "≤ " if stated.low_open else "", "≥ " if stated.high_open else ""
    return f"{lowest}{times(stated.low)} to {highest}{times(stated.high)}"


def decimals(width: float, least: int = 2) -> int:
    """How many decimals show a quantity that is known to within ``width``: one significant figure of it, at least ``least``."""
    return min(5, max(least, -math.floor(math.log10(width))))
