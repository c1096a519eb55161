"""The packing that puts documents beside others like them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Documents, Layout, Packing

if TYPE_CHECKING:
    import numpy as np

MOST = 100_000  # documents; all are compared with all


class Related(Packing, name="related"):
    """Lay documents on a path that goes from each to the likest one left, cut it into windows, and shuffle these.

    Shi et al. 2024, "In-Context Pretraining", arXiv:2310.10638: each document comes once, its neighbours in the window are like it, and
    attention reads across them; so ``separate`` is off here, and cannot be on. Likeness is the cosine of token counts, hashed to ``width``
    and weighted by rarity, where the paper has vectors of Contriever; the path is :func:`windtunnel.kits.text.paths.path`. Near-copies have
    to be removed before, as `near-duplicates` does: else windows teach to copy. Which of equally good ways the path takes depends on an
    order that is drawn anew each epoch. Comparing all with all takes 2 x ``width`` x documents^2 operations an epoch, which no budget
    counts. Windows overlap by one token, as in `concatenate`; what is left after the last whole window is dropped for this epoch.
    """

    trial = Trial({"near": 2})

    separate: bool = Field(False, description="off: attention reads across the documents of a window")
    near: int = Field(9, ge=1, description="likest documents of each that it has an edge to")
    width: int = Field(512, ge=8, description="numbers of a document's vector")

    @field_validator("separate")
    @classmethod
    def _together(cls, value: bool) -> bool:
        if value:
            raise ValueError("documents that are related are to be read together: leave it out, or take the packing `concatenate`")
        return value

    def pack(self, documents: Documents, length: int, random: np.random.Generator) -> Layout:
        """Windows of ``length`` tokens over the path. Raises PartError for more than 100,000 documents, and for one alone."""
        import numpy as np

        from windtunnel.data.pieces import cut
        from windtunnel.kits.text.paths import neighbours, path

        lengths = documents.lengths
        order = random.permutation(len(lengths))
        order = order[lengths[order] > 0]
        if not 1 < len(order) <= MOST:
            what = "one document has no neighbours" if len(order) <= 1 else f"{len(order):,} documents are more than {MOST:,}"
            raise PartError(f"packing related: {what}; take the packing concatenate, or another corpus")
        order = order[path(neighbours(self._vectors(documents)[order], self.near))]
        ends = np.cumsum(lengths[order])
        total, stride = int(ends[-1]), length - 1
        begins = random.permutation(max(1, (total - 1) // stride)).astype(np.int64) * stride
        document, start, stop, first = cut(ends, begins, np.minimum(begins + length, total))
        return Layout(order[document], start, stop, first, length)

    def _vectors(self, documents: Documents) -> np.ndarray:
        """float32 [documents, width]: how often tokens of each hash occur, times log(documents / documents with it)."""
        import numpy as np

        found = np.zeros((len(documents), self.width), np.float32)
        for number, tokens in enumerate(documents.fields("tokens")):
            found[number] = np.bincount(np.asarray(tokens, np.int64) * 2654435761 % 2**32 % self.width, minlength=self.width)
        often = (found > 0).sum(axis=0)
        return found * np.log((1 + len(found)) / (1 + often)).astype(np.float32)
