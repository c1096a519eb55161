"""Transformers over the cells of a row."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.sets.families import SetFamily, common
from windtunnel.kits.trials import ROWS
from windtunnel.slots import Inputs, Sizes


class CellsFamily(SetFamily, name="cells"):
    """A transformer over the cells of a row, numbers and categories alike, that names the row's label: the FT-Transformer.

    Gorishniy et al. 2021, arXiv:2106.11959. A cell without a value has a vector of its own. Its code is windtunnel's own and travels with
    an exported model, which ``AutoModel`` loads with ``trust_remote_code=True``.
    """

    trial = Trial(beside=ROWS)

    kind: ClassVar[str] = "row-classifier"
    reads: ClassVar[tuple[str, ...]] = ("numbers", "categories", "hidden")
    network: ClassVar[str] = "Cells"

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; of the columns it asks ``facts`` for ``numbers``, ``sizes`` and ``classes``.

        Raises:
            UserError: where all training rows have one label.
        """
        if facts.classes == 1:
            raise UserError(f"model.family: cells needs rows of two labels or more; all training rows have {facts.labels[0]!r}")
        own = {"numbers": len(facts.numbers), "categories": facts.sizes}
        return self.config_class()(**own, **common(sizes, max(1, facts.classes)))

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every row by itself, by its cells and the position that gathers them."""
        return Inputs(context, self._cells(facts) + 1)

    def rows(self, facts: Any) -> int:
        """Columns; there is no one table that cells are looked up in."""
        return self._cells(facts)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; each column and each category has vectors of its own, and a matrix tells the label."""
        return self.blocks(sizes) + (self._cells(facts) + len(facts.numbers) + sum(facts.sizes) + facts.classes + 3) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family."""
        return reads * (6 * self.blocks(sizes) + 12 * sizes.layers * sizes.width * reads) + 6 * facts.classes * sizes.width

    def _cells(self, facts: Any) -> int:
        return len(facts.numbers) + len(facts.categories)
