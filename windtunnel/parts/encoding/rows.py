"""Rows of a table with columns of numbers and of categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import ROWS
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.sets.columns import RowColumns

NEVER = ("origin", "group", "source", "text")  # fields of documents that are no columns of their own


class RowsEncoding(Encoding, name="rows"):
    """Rows of one table, a row a unit: numbers and categories, with the label that is to be told.

    A column holds numbers where every value of it in training rows reads as one, else categories. Numbers are standardised by training
    rows, and told no farther than ten deviations; where there is none, the model sees that. A category that fewer than ``rarest`` training
    rows have, or that comes up in held-out rows alone, is read as unknown. Rows whose label no training row has cannot be told and do
    not count. All of this, and rows without a label, is counted, and said with the names of the columns.
    """

    trial = Trial(model={"family": "cells"}, beside=without(ROWS, "encoding"))

    unit: ClassVar[str] = "row"
    evaluation: ClassVar[str] = "labels"

    label: str = Field("label", description="the column that is to be told")
    columns: tuple[str, ...] = Field((), description="the columns that are read (default: all others but text)", examples=[["age", "city"]])
    categories: tuple[str, ...] = Field((), description="columns whose numbers are names, such as a code of a district")
    most: int = Field(64, ge=1, description="values of a column of categories that are told apart, the most frequent ones")
    rarest: int = Field(2, ge=1, description="training rows that a value must be in to be told apart")

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        return {key: getattr(self, key) for key in type(self).model_fields}

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """As for every encoding.

        Raises:
            UserError: where a column is missing, the label is among those that are read, or nothing is left to read.
        """
        from windtunnel.kits.sets.columns import Learner

        tell("learning the columns of training rows")
        names = self._names(corpus)
        learner = Learner(names, self.categories, self.label)
        for source in corpus.sources:
            for row in self._rows(corpus, "train", source, names):
                learner.see(row)
        if 2 < learner.labels.total() < 2 * len(learner.labels):
            tell(
                f"column {self.label!r}, which is to be told, has {len(learner.labels):,} values in {learner.labels.total():,} training "
                "rows, and each is a class of its own; cut an amount into a few classes first"
            )
        known = learner.learned(self.most, self.rarest)
        for line in learner.advice(known):
            tell(line)
        columns = self._counted(corpus, known, names, tell)
        facts = {**columns._asdict(), "categories": {name: list(values) for name, values in columns.categories.items()}}
        return Fitted(
            fields={
                "numbers": Kind("<f4", (max(1, len(columns.numbers)),)),
                "categories": Kind("<i4", (max(1, len(columns.categories)),)),
                "label": Kind("<i8", fill=-1, along="document"),
            },
            facts=facts,
            encode=lambda split, source: self._encode(corpus, split, source, columns, names),
        )

    def _names(self, corpus: Any) -> list[str]:
        """The columns that are read, in the order of the first source."""
        every = list(dict.fromkeys(name for source in corpus.sources for name in corpus.schema(source).names))
        for name in (*self.columns, *self.categories):
            if name not in every:
                raise UserError(f"encoding.rows: no source has a column {name!r}; {nearest(name, every)}")
        if self.label not in every and self.label != type(self).model_fields["label"].default:
            raise UserError(f"encoding.rows: no source has the column {self.label!r}, which is to be told; {nearest(self.label, every)}")
        if self.label in self.columns:
            raise UserError(f"encoding.rows: column {self.label!r} is to be told, so it cannot be read; take it out of columns")
        found = list(self.columns or (name for name in every if name not in NEVER and name != self.label))
        if not found:
            raise UserError(f"encoding.rows: there is no column to read; the fields are {', '.join(every)}")
        return found

    def _rows(self, corpus: Any, split: str, source: str, names: list[str]) -> Iterator[dict[str, Any]]:
        there = corpus.schema(source).names
        for batch in corpus.rows(split, source, [name for name in dict.fromkeys((*names, self.label)) if name in there]):
            yield from batch.to_pylist()

    def _counted(self, corpus: Any, columns: RowColumns, names: list[str], tell: Callable[[str], None]) -> RowColumns:
        """``columns`` with how many cells of each split are missing or unknown; what is worth knowing is told by column."""
        from windtunnel.kits.sets.columns import category, number

        missing: dict[str, int] = {}
        unknown: dict[str, int] = {}
        for split in ("train", "validation", "test"):
            gone, odd, rows, strange, bare = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0, 0, 0
            for source in corpus.sources:
                for row in self._rows(corpus, split, source, names):
                    rows += 1
                    bare += category(row.get(self.label)) is None
                    strange += category(row.get(self.label)) is not None and columns.label(row.get(self.label)) < 0
                    for name in names:
                        written = category(row.get(name))
                        gone[name] += written is None
                        if written is not None:
                            known = columns.categories.get(name)
                            odd[name] += written not in known if known is not None else number(row.get(name)) != number(row.get(name))
            missing[split], unknown[split] = sum(gone.values()), sum(odd.values())
            for what, counts in (("has no value", gone), ("has a value that is read as unknown", odd)):
                for name, count in counts.items():
                    if count:
                        tell(f"column {name!r} {what} in {count:,} of {rows:,} {split} rows")
            if bare and columns.labels:
                tell(f"{bare:,} of {rows:,} {split} rows have no label; they are read and do not count")
            if strange:
                tell(f"{strange:,} of {rows:,} {split} rows have a label that no training row has; they cannot be told and do not count")
        return columns._replace(missing=missing, unknown=unknown)

    def _encode(self, corpus: Any, split: str, source: str, columns: RowColumns, names: list[str]) -> Iterator[Piece]:
        import numpy as np

        for row in self._rows(corpus, split, source, names):
            numbers, codes = columns.coded(row)
            label = np.array([columns.label(row.get(self.label))], np.int64)
            size = numbers.nbytes + codes.nbytes
            numbers, codes = (array if len(array) else np.zeros(1, array.dtype) for array in (numbers, codes))
            yield Piece({"numbers": numbers[None], "categories": codes[None], "label": label}, size, True)

    def reckoned(self) -> RowColumns:
        """As for every encoding; before rows are read a table of one column of numbers stands for any."""
        import numpy as np

        from windtunnel.kits.sets.columns import RowColumns

        return RowColumns(("?",), np.zeros(1), np.ones(1), {}, ("0", "1"))

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row = np.zeros((1, context), np.int64)
        cells = {"numbers": np.zeros((1, context, 1), np.float32), "categories": np.zeros((1, context, 1), np.int32)}
        return {**cells, "label": row, "documents": np.arange(context)[None], "positions": row, "sources": row[0, :1]}

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> RowColumns:
        """What is known of the columns."""
        from windtunnel.kits.sets.columns import RowColumns

        found = {key: stored[key] for key in RowColumns._fields}
        for key in ("numbers", "labels"):
            found[key] = tuple(found[key])
        found["categories"] = {name: tuple(values) for name, values in found["categories"].items()}
        return RowColumns(**found)

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 4) -> list[dict[str, Any]]:
        """Held-out rows by their cells, with the label that the model names."""
        from windtunnel.kits.sets.samples import written_rows

        return written_rows(model, held_out, count)

    @classmethod
    def about(cls, facts: RowColumns) -> dict[str, int]:
        """Columns of both kinds, classes, and cells without a value or with one that is not told apart."""
        counts = {"columns of numbers": len(facts.numbers), "columns of categories": len(facts.categories), "classes": facts.classes}
        for split in facts.missing:
            counts[f"cells without a value in {split}"] = facts.missing[split]
            counts[f"cells read as unknown in {split}"] = facts.unknown[split]
        return counts
