"""Prior-data fitted networks."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.core.trial import Trial
from windtunnel.kits.sets.families import SetFamily, common
from windtunnel.kits.trials import TABLES
from windtunnel.slots import Inputs, Sizes


class Pfn(SetFamily, name="pfn"):
    """A transformer over the rows of a table: it is shown some with their labels and tells those of the others, in one forward pass.

    Rows with a label are seen by all rows, rows without by themselves alone; there are no positions, so their order means nothing. Mueller
    et al. 2022, arXiv:2112.10510. Its code is windtunnel's own and travels with an exported model, which ``AutoModel`` loads with
    ``trust_remote_code=True``.
    """

    trial = Trial(beside=TABLES)

    kind: ClassVar[str] = "rows-in-context"
    reads: ClassVar[tuple[str, ...]] = ("cells", "known")
    network: ClassVar[str] = "Pfn"

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; of the tables it asks ``facts`` for ``features`` and ``classes``."""
        return self.config_class()(features=facts.features, **common(sizes, facts.classes))

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every table by itself, by its rows."""
        return Inputs(context, facts.rows)

    def rows(self, facts: Any) -> int:
        """Numbers in a row."""
        return int(facts.features)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; rows are projected by one matrix, labels looked up in a table and told by another matrix."""
        return self.blocks(sizes) + (facts.features + 2 * facts.classes + 1) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family."""
        ends = 6 * (facts.features + facts.classes) * sizes.width
        return reads * (ends + 6 * self.blocks(sizes) + 12 * sizes.layers * sizes.width * reads)
