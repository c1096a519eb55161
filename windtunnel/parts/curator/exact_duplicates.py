"""A curator that keeps one of all documents that are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from windtunnel.core.trial import Trial
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.data.corpus.split import content_keys
from windtunnel.slots import CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class ExactDuplicates(Judge, name="exact-duplicates"):
    """Keep the first of all documents of the same text, up to white space; of documents without text, of the same fields.

    The corpus of a study is without them anyway; this is for `windtunnel curate`.
    """

    trial = Trial(untried="the corpus of a study holds no exact duplicates, so it would find nothing to remove")
    scans: ClassVar[bool] = True

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """A hash of every document; of one that holds nothing, its number."""
        import numpy as np

        rows = documents.column(ROW).to_numpy()
        bare = documents.drop_columns([name for name in (ROW, "source") if name in documents.schema.names])
        keys = [key or int(row).to_bytes(16, "little") for key, row in zip(content_keys(bare), rows, strict=True)]
        return {"row": rows, "key": np.frombuffer(b"".join(keys), np.uint64).reshape(-1, 2)}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The numbers of the documents that go."""
        import numpy as np

        rows = np.concatenate([scan["row"] for scan in scans])
        keys = np.concatenate([scan["key"] for scan in scans])
        stays = np.zeros(len(rows), bool)
        stays[np.unique(keys, axis=0, return_index=True)[1]] = True
        return {"row": rows[~stays]}

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided."""
        import numpy as np

        gone = np.isin(documents.column(ROW).to_numpy(), found["row"])
        return documents, ["exact duplicate" if one else None for one in gone]
