"""Tables drawn from a prior."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally


class TablePrior(StreamedSource, name="table-prior"):
    """Small tables of labelled rows, each a task of its own, drawn from a prior: what a network learns to infer from when there is no data.

    ``gaussian-classes``: rows of a class are Gaussian about a mean that is Gaussian itself with deviation ``spread``, so that the right
    answer is a formula (see the evaluation ``in-context``). ``networks``: the label is the largest output of a random network, with noise;
    columns, classes and noise vary from table to table, as those of real tables do. The same knobs always draw the same tables.

    Mueller et al. 2022, arXiv:2112.10510.
    """

    count: int = Field(2000, ge=1, description="how many tables")
    rows: int = Field(48, ge=2, description="rows of a table")
    features: int = Field(4, ge=2, description="numbers in a row")
    classes: int = Field(3, ge=2, description="labels that a table has; of networks at most")
    prior: Literal["gaussian-classes", "networks"] = Field("gaussian-classes", description="what tables are drawn from")
    spread: float = Field(1.5, gt=0, description="of gaussian-classes: deviation of the means of classes, in deviations of their rows")
    seed: int = Field(0, ge=0, description="another seed draws others")

    def content_fields(self) -> tuple[str, ...]:
        """The rows."""
        return ("cells",)

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The tables, one after the other."""
        import numpy as np

        from windtunnel.kits.sets.tables import gaussian_table, network_table

        random = np.random.default_rng(self.seed)
        for number in range(self.count):
            if self.prior == "networks":
                cells, labels = network_table(random, self.rows, self.features, self.classes)
            else:
                cells, labels = gaussian_table(random, self.rows, self.features, self.classes, self.spread)
            yield {"cells": cells.round(5).tolist(), "label": labels.tolist(), "origin": f"table {number}"}

    def signature(self) -> str:
        """The knobs."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)
