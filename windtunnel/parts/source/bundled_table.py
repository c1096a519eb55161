"""Tables that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally


class BundledTable(StreamedSource, name="bundled-table"):
    """A table of scikit-learn, a row a document: its columns by their names, and ``label``.

    ``iris`` (Fisher 1936) has 150 rows of 4 numbers and 3 labels, ``wine`` 178 of 13 and 3, ``breast_cancer`` 569 of 30 and 2. They need
    the extra ``vision``. Tables of your own are read by ``files``.
    """

    table: Literal["iris", "wine", "breast_cancer"] = Field(description="which table")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The rows in their order. Raises UserError without scikit-learn."""
        from windtunnel.kits.sets.tables import library

        found = getattr(library("bundled-table").datasets, f"load_{self.table}")()
        names = [str(name).replace(" ", "_").replace("_(cm)", "") for name in found.feature_names]
        for row, (values, label) in enumerate(zip(found.data.tolist(), found.target.tolist(), strict=True)):
            named = str(found.target_names[label])
            yield {**dict(zip(names, values, strict=True)), "label": named, "origin": f"{self.table} {row}"}

    def signature(self) -> str:
        """The table; it changes with scikit-learn alone, and never did."""
        return self.table
