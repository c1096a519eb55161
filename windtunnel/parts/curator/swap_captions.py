"""A curator that gives captions to the wrong images on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.frame import engine, streamed
from windtunnel.kits.text.choice import text_of, wanted
from windtunnel.slots import Curator, CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import daft


class SwapCaptions(Curator, name="swap-captions"):
    """Exchange the captions of a random share of the training pairs with one another, so that it is known which ones a filter should find.

    For measuring filters and as a control, not for training: held-out pairs stay right. With share 1 no image keeps its caption, and what a
    model of pairs then learns says nothing of held-out ones.
    """

    fields = ("text",)
    trial = Trial({"share": 0.5})

    share: float = Field(0.5, gt=0, le=1, description="share of the pairs whose captions are exchanged")
    sources: Many[str] = Field((), description="the sources whose captions are exchanged, each within itself (default: all)")
    seed: int = Field(0, ge=0, description="which pairs, and with which others")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """All documents in their order, some with the caption of another. Raises PartError where none has a caption to exchange."""
        import numpy as np
        from daft.functions import when

        daft = engine()
        text, judged = text_of(self, documents), wanted(self, documents, self.sources)
        held: dict[str, list[tuple[int, str]]] = {}
        for source, row, caption in streamed(documents.where(judged & text.not_null()), ("source", ROW, "text")):
            held.setdefault(source, []).append((row, caption))
        swapped: dict[int, str] = {}
        random = np.random.default_rng(self.seed)
        for _, pairs in sorted(held.items()):
            chosen = random.permutation(len(pairs))[: round(self.share * len(pairs))]
            exchanged = ((pairs[one], pairs[other]) for one, other in zip(chosen, np.roll(chosen, 1), strict=True))
            swapped |= {own[0]: other[1] for own, other in exchanged if own[1] != other[1]}  # equal captions are none of another image
        if len(swapped) < 2:
            raise PartError(f"swap-captions: {self.share:g} of the pairs is fewer than two, so nothing can be exchanged")
        context.tally.count("changed: caption of another image", len(swapped))
        other = daft.col(ROW).apply(lambda row: swapped.get(row), return_dtype=daft.DataType.string())
        return documents.with_column("text", when(other.not_null(), other).otherwise(text))
