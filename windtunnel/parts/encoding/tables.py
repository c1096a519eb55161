"""Whole tables of numbers with a label for each row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import TABLES
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.sets.tables import Tables


class TablesEncoding(Encoding, name="tables"):
    """Tables of at most ``length`` rows of ``features`` numbers, a table a unit, with the label of each row.

    Shorter tables are filled up with rows that have no label and are never shown. Longer or wider ones are refused: a row that is cut off
    would be lost in silence.
    """

    trial = Trial({"length": 8}, model={"family": "pfn"}, beside=without(TABLES, "encoding"))

    unit: ClassVar[str] = "table"
    evaluation: ClassVar[str] = "labels"

    cells: str = Field("cells", description="the field of a document that holds its rows, each a list of numbers")
    label: str = Field("label", description="the field that holds the label of each row, a whole number from 0; -1: none")
    length: int = Field(48, ge=2, description="most rows of a table")
    features: int = Field(4, ge=1, description="most numbers in a row; where a table has fewer, zeros stand")
    classes: int = Field(3, ge=2, description="labels that there are")

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        return {key: getattr(self, key) for key in type(self).model_fields}

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """As for every encoding; there is nothing to learn.

        Raises:
            UserError: for a source without tables, and a table that does not fit.
        """
        return Fitted(
            fields={"cells": Kind("<f4", (self.length, self.features)), "label": Kind("<i8", (self.length,), fill=-1)},
            facts={"rows": self.length, "features": self.features, "classes": self.classes},
            encode=lambda split, source: self._encode(corpus, split, source),
        )

    def _encode(self, corpus: Any, split: str, source: str) -> Iterator[Piece]:
        import numpy as np

        for batch in corpus.rows(split, source, [self.cells, self.label, "origin"]):
            for written, named, origin in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                where = f"encoding.tables: {source}, {origin}"
                cells, labels = np.zeros((self.length, self.features), "<f4"), np.full(self.length, -1, "<i8")
                if not _are_rows(written) or named is None:
                    raise UserError(f"{where}: rows are lists of numbers that are finite, each with a label; fill in what is missing")
                widths = sorted({len(row) for row in written})
                if len(written) > self.length or max(widths, default=0) > self.features:
                    raise UserError(
                        f"{where}: has {len(written)} rows of {widths[-1]} numbers; length: {self.length} and features: {self.features} "
                        "are the most that fit, so raise them"
                    )
                if len(widths) != 1 or len(named) != len(written):
                    raise UserError(f"{where}: rows are lists of equally many numbers, each with a label")
                if not all(isinstance(label, int) and -1 <= label < self.classes for label in named):
                    raise UserError(f"{where}: a label is a whole number from 0 to {self.classes - 1}, or -1 for none")
                cells[: len(written), : widths[0]] = written
                labels[: len(named)] = named
                yield Piece({"cells": cells[None], "label": labels[None]}, cells.nbytes, True)

    def reckoned(self) -> Tables:
        """As for every encoding."""
        return self.facts({"rows": self.length, "features": self.features, "classes": self.classes})

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row = np.zeros((1, context), np.int64)
        return {
            "cells": np.zeros((1, context, self.length, self.features), np.float32),
            "label": np.zeros((1, context, self.length), np.int64),
            "documents": np.arange(context)[None],
            "positions": row,
            "sources": row[0, :1],
        }

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Tables:
        """How large tables are, and how many labels there are."""
        from windtunnel.kits.sets.tables import Tables

        return Tables(*(int(stored[key]) for key in Tables._fields))

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 4) -> list[dict[str, Any]]:
        """Rows of a held-out table, some with labels that are shown, and others with those that the model tells."""
        from windtunnel.kits.sets.samples import written_tables

        return written_tables(model, held_out)

    @classmethod
    def about(cls, facts: Tables) -> dict[str, int]:
        """Rows and features of a table, and classes."""
        return facts._asdict()


def _are_rows(given: Any) -> bool:
    """Whether ``given`` are lists of finite numbers."""
    if given is None or not all(isinstance(row, list) for row in given):
        return False
    return all(isinstance(one, int | float) and math.isfinite(one) for row in given for one in row)
