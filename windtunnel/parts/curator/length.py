"""A curator that keeps training documents of a usable length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.text.choice import text_of
from windtunnel.slots import Curator, CuratorContext

if TYPE_CHECKING:
    import daft


class Length(Curator, name="length"):
    """Keep training documents of at least ``shortest`` and at most ``longest`` characters.

    The simplest of the quality rules that Rae et al. 2021 use for MassiveText (arXiv:2112.11446, appendix A.1).
    """

    fields = ("text",)
    trial = Trial({"shortest": 100})

    shortest: int = Field(1, ge=0, description="fewest characters of a document that stays")
    longest: int | None = Field(None, ge=1, description="most characters of a document that stays (default: no limit)")

    @model_validator(mode="after")
    def _in_order(self) -> Length:
        if self.longest is not None and self.longest < self.shortest:
            raise ValueError(f"longest ({self.longest}) is below shortest ({self.shortest}), so no document could stay")
        return self

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The documents of the wanted length, unchanged and in their order, and those without text. Raises PartError where none has one."""
        text = text_of(self, documents)
        from daft.functions import length

        characters: Any = length(text)
        kept = documents.where(text.is_null() | (characters >= self.shortest))
        return kept if self.longest is None else kept.where(text.is_null() | (characters <= self.longest))
