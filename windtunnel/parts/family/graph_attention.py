"""Message passing by attention among neighbours."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.sets.families import SetFamily, common
from windtunnel.kits.trials import GRAPHS
from windtunnel.slots import Inputs, Sizes


class GraphAttention(SetFamily, name="graph-attention"):
    """Message passing on graphs: in each block a node gathers what its neighbours and itself hold, weighted by attention.

    Velickovic et al. 2018, arXiv:1710.10903, in the blocks of a transformer. A graph is named by the mean of its nodes; nodes whose
    features are hidden can be drawn. Its code is windtunnel's own and travels with an exported model, which ``AutoModel`` loads with
    ``trust_remote_code=True``.
    """

    trial = Trial(beside=GRAPHS)

    kind: ClassVar[str] = "graph-network"
    reads: ClassVar[tuple[str, ...]] = ("nodes", "edges", "there", "hidden")
    network: ClassVar[str] = "Graph"

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; of the graphs it asks ``facts`` for ``features`` and ``classes``.

        Raises:
            UserError: where all training graphs have one label.
        """
        if facts.classes == 1:
            raise UserError(
                "model.family: graph-attention needs graphs of two labels or more, or of none; all training graphs have label 0"
            )
        return self.config_class()(features=facts.features, **common(sizes, facts.classes))

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every graph by itself, by the nodes of the largest one."""
        return Inputs(context, facts.nodes)

    def rows(self, facts: Any) -> int:
        """Numbers of a node."""
        return int(facts.features)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; nodes are projected and drawn by a matrix each, degrees looked up, and labels told by a matrix."""
        return self.blocks(sizes) + (2 * facts.features + facts.classes + 17) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family; attention is computed among all nodes and what is no neighbour is left out of it."""
        ends = 12 * facts.features * sizes.width
        return reads * (ends + 6 * self.blocks(sizes) + 12 * sizes.layers * sizes.width * reads) + 6 * facts.classes * sizes.width
