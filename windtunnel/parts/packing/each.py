"""The packing of documents that stand for themselves: images, pairs, rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Documents, Layout, Packing

if TYPE_CHECKING:
    import numpy as np


class Each(Packing, name="each"):
    """Make one sequence of each document, in a random order. A document that is shorter than a sequence is padded.

    One that is longer is refused, unless ``longer: cut`` leaves its end out, which then is never seen.
    """

    trial = Trial({"longer": "cut"})

    longer: Literal["refuse", "cut"] = Field("refuse", description="what happens to documents that are longer than a sequence")

    def pack(self, documents: Documents, length: int, random: np.random.Generator) -> Layout:
        """A sequence of every document that is not empty. Raises PartError where one is longer than ``length`` and must not be cut."""
        import numpy as np

        longest = int(documents.lengths.max(initial=0))
        if longest > length and self.longer == "refuse":
            raise PartError(
                f"packing each: a document has {longest} units and a sequence holds {length}; raise context by {longest - length}, "
                "or leave the end of long documents out with `each: {longer: cut}`"
            )
        order = random.permutation(len(documents)).astype(np.int64)
        order = order[documents.lengths[order] > 0]
        stops = np.minimum(documents.lengths[order], length)
        return Layout(order, np.zeros_like(order), stops, np.arange(len(order) + 1, dtype=np.int64), length)
