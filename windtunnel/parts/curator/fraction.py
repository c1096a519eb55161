"""A curator that keeps a share of the training documents."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.frame import engine
from windtunnel.data.corpus.split import content_key
from windtunnel.kits.text.choice import wanted
from windtunnel.slots import Curator, CuratorContext

if TYPE_CHECKING:
    import daft


class Fraction(Curator, name="fraction"):
    """Keep a share of the training documents of some sources, to see what having less text would be worth.

    A document stays or goes by a hash of its text alone (of its origin where it has no text), so a smaller share is a part of every larger
    one, whatever else differs.
    """

    trial = Trial({"share": 0.5})

    share: float = Field(gt=0, le=1, description="the share of documents that stays")
    sources: Many[str] = Field((), description="the sources it is applied to (default: all)")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The documents that stay, unchanged and in their order. Raises PartError for a source that is not there."""
        daft = engine()
        origin = daft.col("origin")
        what = daft.col("text").fill_null(origin) if "text" in documents.column_names else origin
        stays = what.apply(lambda text: position(text) < self.share, return_dtype=daft.DataType.bool())
        return documents.where(stays | ~wanted(self, documents, self.sources))


def position(text: str) -> float:
    """Where ``text`` stands between 0 (included) and 1, by a hash that says nothing about the split it is in."""
    key = hashlib.blake2b(content_key(text), digest_size=8, person=b"fraction").digest()
    return (int.from_bytes(key, "big") >> 11) / (1 << 53)
