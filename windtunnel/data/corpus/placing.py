"""Which split a document falls into: by a hash of what it is, by a field of it, or because its whole source is held out."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.fields import ORIGIN, RESERVED
from windtunnel.data.corpus.split import fraction, split_keys, split_of

if TYPE_CHECKING:
    import pyarrow

    from windtunnel.data.corpus.tally import Tally

ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ].*)?)?)?")  # of dates in this form alone the order of letters is that of time
SHOWN = 5  # values of a field in a message


@dataclass
class Placing:
    """How the documents of one source come into splits.

    ``settings`` are those of the corpus: ``validation`` and ``test`` as shares; ``field`` with ``since`` or ``where``, where a field
    decides; ``held_out``, the names of sources of which nothing is trained on, and ``held_out_validation``, their share in validation.
    ``lowest`` is where documents stand, as far as advice on the shares needs it; ``values`` are some of the field.
    """

    source: str
    settings: Mapping[str, Any]
    lowest: list[float] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    _beyond: list[float] = field(default_factory=list)  # the first documents that are not in test

    @property
    def held_out(self) -> bool:
        """Whether nothing of the source is trained on."""
        return self.source in self.settings.get("held_out", ())

    @property
    def field_name(self) -> str | None:
        """The field that decides; None where a hash does."""
        return None if self.held_out else self.settings.get("field")

    def places(self, rows: pyarrow.RecordBatch, keys: Sequence[bytes], tally: Tally) -> np.ndarray:
        """The split of each of ``rows``: object [rows], "" for those that the field says nothing of, which are counted in ``tally``."""
        positions = [fraction(key) for key in split_keys(rows, keys)]
        if self.held_out:
            share = 1.0 - self.settings["held_out_validation"]
            return np.array(["test" if position < share else "validation" for position in positions], dtype=object)
        if self.field_name is None:
            return np.array([split_of(position, **self._shares()) for position in positions], dtype=object)
        origins = rows.column(ORIGIN).to_pylist()
        named = [self._named(value, origin) for value, origin in zip(self._column(rows), origins, strict=True)]
        for split, origin in zip(named, origins, strict=True):
            if not split:
                tally.count(f"removed: no value in field {self.field_name!r}, by which the corpus is split", where=origin)
        if "validation" in self._rule():
            return np.array(named, dtype=object)
        own = [split_of(position, validation=self.settings["validation"], test=0.0) for position in positions]
        return np.array([one if split == "train" else split for split, one in zip(named, own, strict=True)], dtype=object)

    def remember(self, keys: Sequence[bytes]) -> None:
        """Keep what advice on the shares needs to know of documents that are new, by the keys that decide."""
        added = {fraction(key) for key in keys}
        self._beyond = heapq.nsmallest(8, {*self._beyond, *(one for one in added if one >= self.settings["test"])})
        self.lowest = sorted({*heapq.nsmallest(8, {*self.lowest, *added}), *self._beyond})

    def _shares(self) -> dict[str, float]:
        return {"validation": self.settings["validation"], "test": self.settings["test"]}

    def _rule(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.settings.get("since") or self.settings["where"]
        return found

    def _column(self, rows: pyarrow.RecordBatch) -> list[Any]:
        name = self.field_name
        if name not in rows.schema.names:
            known = [one for one in rows.schema.names if one not in RESERVED]
            hint = nearest(str(name), known) if known else "they have no fields besides their text"
            raise UserError(f"its documents have no field {name!r}, by which split.field says to split; {hint}")
        values: list[Any] = rows.column(name).to_pylist()
        for value in values:
            if len(self.values) < SHOWN and value is not None and (shown := _plain(value)) not in self.values:
                self.values.append(str(shown))
        return values

    def _named(self, value: Any, origin: str) -> str:
        """The split that the value of the field stands for; "" for none at all."""
        if value is None or value == "":
            return ""
        if self.settings.get("where"):
            shown = str(_plain(value))
            return next((split for split, names in self.settings["where"].items() if shown in names), "train")
        rule, found = self.settings["since"], "train"
        for split in ("validation", "test"):
            if split in rule and _reached(_plain(value), rule[split], str(self.field_name), origin):
                found = split
        return found


def _plain(value: Any) -> Any:
    """A date as ISO text, anything else as it is."""
    return value.isoformat() if isinstance(value, date) else value


def _reached(value: Any, since: str | float, name: str, origin: str) -> bool:
    """Whether a value is ``since`` or later. Raises UserError where the two cannot be compared, naming where it stands."""
    what = f"{origin}: field {name!r} holds {value!r}"
    if not isinstance(since, str):
        try:
            return float(value) >= since
        except (TypeError, ValueError):
            raise UserError(f"{what}, which cannot be compared with {since:g}, the number in split.since") from None
    if isinstance(value, (int, float)):
        raise UserError(f"{what}, a number, and split.since says {since!r}; write a number there")
    if ISO.fullmatch(since) and not ISO.fullmatch(str(value)):
        raise UserError(f"{what}, which is no date like {since}; write dates as YYYY-MM-DD, or split by names with split.where")
    return str(value) >= since
