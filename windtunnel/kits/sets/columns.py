"""Columns of the user's tables: which hold numbers and which categories, and what their values become."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import several

if TYPE_CHECKING:
    import numpy as np

NOTHING = {"", "na", "n/a", "nan", "null", "none", "?"}  # what stands in a table of text where there is no value, in small letters
UNKNOWN, MISSING = 0, 1  # the first two numbers of every column of categories
DATE = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4}")
FARTHEST = 10.0  # deviations from the mean beyond which a number is told no farther


class RowColumns(NamedTuple):
    """What is known of the columns of a stream.

    ``numbers`` are the names of those that hold numbers, with ``mean`` and ``deviation`` over training rows, float64 each. ``categories``
    are the values by column that have a number of their own, from 2: 0 is any other value and 1 none. ``labels`` are the values of the
    label in order. ``missing`` and ``unknown`` count by split the cells without a value and those with one that no number stands for.
    """

    numbers: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    categories: Mapping[str, tuple[str, ...]]
    labels: tuple[str, ...]
    missing: Mapping[str, int] = {}
    unknown: Mapping[str, int] = {}

    @property
    def classes(self) -> int:
        """How many labels there are; 0 where rows have none."""
        return len(self.labels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers that a cell of each column of categories may have."""
        return tuple(len(values) + 2 for values in self.categories.values())

    def coded(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """A row as standardised numbers float32 (NaN: none) and categories int32."""
        import numpy as np

        values = np.array([number(row.get(name)) for name in self.numbers], np.float64)
        scaled = np.clip((values - self.mean) / self.deviation, -FARTHEST, FARTHEST).astype(np.float32)
        codes = []
        for name, known in self.categories.items():
            value = category(row.get(name))
            codes.append(MISSING if value is None else known.index(value) + 2 if value in known else UNKNOWN)
        return scaled, np.array(codes, np.int32)

    def given(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a network reads of ``rows`` of the stream: ``numbers`` float32 and ``categories`` int64, [..., columns] each.

        A stream holds no field of nothing, so where there is no column of a kind it has one that is not read.
        """
        import numpy as np

        numbers, categories = rows["numbers"][..., : len(self.numbers)], rows["categories"][..., : len(self.categories)]
        return {"numbers": numbers.astype(np.float32), "categories": categories.astype(np.int64)}

    def label(self, value: Any) -> int:
        """The place of a label, -1 where there is none, or one that training rows lack."""
        written = category(value)
        return self.labels.index(written) if written in self.labels else -1


def number(value: Any) -> float:
    """A cell as a number; NaN where it is none or not finite."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def category(value: Any) -> str | None:
    """A cell as a category: text without blanks around it, whole numbers without a point; None where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    written = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    return None if written.lower() in NOTHING else written


class Learner:
    """Learns columns from rows: one is of numbers where every value that there is reads as one, unless it is said to be of categories."""

    def __init__(self, names: Sequence[str], categories: Iterable[str], label: str) -> None:
        self.names, self.said, self.label = tuple(names), set(categories), label
        self.values: dict[str, Counter[str]] = {name: Counter() for name in names}
        self.words: Counter[str] = Counter()  # values that are no numbers, by column
        self.sums = {name: (0, 0.0, 0.0) for name in names}
        self.labels: Counter[str] = Counter()
        self.rows = 0

    def see(self, row: Mapping[str, Any]) -> None:
        """A training row."""
        self.rows += 1
        for name in self.names:
            value, written = row.get(name), category(row.get(name))
            if written is None:
                continue
            as_number = math.nan if isinstance(value, bool) else number(value)
            if math.isnan(as_number):
                self.words[name] += 1
            else:
                count, mean, squares = self.sums[name]  # Welford's recurrence: large numbers that differ little stay apart
                away = as_number - mean
                mean += away / (count + 1)
                self.sums[name] = (count + 1, mean, squares + away * (as_number - mean))
            self.values[name][written] += 1
        if (label := category(row.get(self.label))) is not None:
            self.labels[label] += 1

    def learned(self, most: int, rarest: int) -> RowColumns:
        """What was learned; a column of categories keeps ``most`` values, each in at least ``rarest`` rows."""
        import numpy as np

        numeric = [name for name in self.names if not self.words[name] and name not in self.said]
        deviations = [math.sqrt(squares / max(count, 1)) for count, _, squares in (self.sums[name] for name in numeric)]
        kept = {}
        for name in self.names:
            if name not in numeric:
                frequent = sorted(self.values[name].items(), key=lambda item: (-item[1], item[0]))[:most]
                kept[name] = tuple(sorted(value for value, count in frequent if count >= rarest))
        return RowColumns(
            tuple(numeric),
            np.array([self.sums[name][1] for name in numeric], np.float64),
            np.array([deviation or 1.0 for deviation in deviations], np.float64),
            kept,
            tuple(sorted(self.labels, key=in_order)),
        )

    def advice(self, known: RowColumns) -> Iterator[str]:
        """A sentence for each column that tells a model little as it is written, by what was ``known`` of training rows."""
        for name in self.names:
            values, total = self.values[name], self.values[name].total()
            if len(values) == 1 and total == self.rows:
                yield f"column {name!r} has one value in all training rows, so it tells nothing"
            elif name in known.categories and 2 * sum(values[value] for value in known.categories[name]) < total:
                dates = sum(DATE.match(value) is not None for value in values) > len(values) / 2
                cure = (
                    "write dates as numbers, such as days since the first" if dates else "leave it out with `columns`, or write fewer kinds"
                )
                told = f"{several(len(values), 'value')} in {several(total, 'training row')}"
                yield f"column {name!r} has {told}, most too rare to be told apart: {cure}"


def in_order(label: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words by the alphabet."""
    value = number(label)
    return math.isnan(value), 0.0 if math.isnan(value) else value, label
