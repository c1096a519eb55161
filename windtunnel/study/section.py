"""What is known of the sections: the committed results of their baselines, at several budgets and with many seeds.

Such a result is that of a study of the baseline alone (``arms: {}``), in ``studies/results/section-NAME-CORPUS.json``. What it says holds
for its corpus; for another one it is a first guess at the noise, and no more.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import NamedTuple

from windtunnel.core.errors import UserError
from windtunnel.core.shipped import library
from windtunnel.recipe import Recipe, section
from windtunnel.study.lenient import as_result
from windtunnel.study.result import BASELINE, StudyResult
from windtunnel.study.results import read_result


class Level(NamedTuple):
    """The baseline of a section at one budget: its finished runs by seed."""

    section: str
    corpus: str  # as the file of the result calls it
    tokens_per_parameter: float
    flops: float
    seconds: float  # of training, mean of the runs
    values: dict[int, float]  # the primary metric on test
    metric: str
    unit: str

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return statistics.fmean(self.values.values())

    @property
    def sd(self) -> float | None:
        """Standard deviation between seeds; None for one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


def results(name: str, folder: Path | None = None) -> dict[str, StudyResult]:
    """The committed results of the section ``name`` by corpus; ``folder`` is that of the studies (default: those shipped)."""
    found = ((folder or library("studies")) / "results").glob(f"section-{name}-*.json")
    return {path.stem.removeprefix(f"section-{name}-"): as_result(read_result(path)) for path in sorted(found)}


def levels(name: str, folder: Path | None = None) -> list[Level]:
    """The baseline of the section ``name`` on each corpus at each budget, smaller budgets first.

    Raises:
        UserError: where no section is called so.
    """
    if name not in section.ORDER:
        raise UserError(f"no section is called {name!r}; known: {', '.join(section.ORDER)}")
    found = []
    for corpus, result in results(name, folder).items():
        about, blocks = result.study, Recipe.model_validate(result.recipes[BASELINE]).block_parameters
        for multiple in about.curve:
            runs = [run for run in result.runs if run.multiple == multiple and run.status == "finished" and run.totals.tokens]
            values = {run.seed: value for run in runs if (value := run.test.get(about.metric)) is not None}
            if not values:
                continue
            tokens, flops, seconds = (
                statistics.fmean(getattr(run.totals, key) or 0.0 for run in runs) for key in ("tokens", "flops", "seconds")
            )
            found.append(Level(name, corpus, tokens / blocks, flops, seconds, values, about.metric, about.unit))
    return found
