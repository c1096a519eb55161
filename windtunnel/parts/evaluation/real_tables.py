"""Labels told in context on real tables, beside what is fitted to the same rows."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import TABLES
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective

ASKED = 64  # rows that are told at most, so that a table of thousands is no dearer than one of a hundred


class RealTables(Evaluation, name="real-tables"):
    """Bits a label on small real tables that were never trained on, some rows of which are shown, beside gradient boosting fitted to these.

    The tables are scikit-learn's; of wide ones the first columns are read, by every rival alike, standardised over the rows that are shown
    or told (their labels are not looked at). ``draws`` deals of shown and told rows are made by fixed seeds, the same for every model.
    ``boosting`` is scikit-learn's HistGradientBoostingClassifier with leaves of at least 5 rows, which suits so few, ``logistic`` its
    regression with the usual penalty. ``real_tables`` is the mean over tables, ``real_accuracy`` that of the shares that are told right.
    It needs scikit-learn.
    """

    trial = Trial({"tables": ["iris"], "shown": 10, "draws": 1}, model={"family": "pfn"}, beside={**TABLES, "evaluations": []})

    unit: ClassVar[str] = "bits per label"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "real_tables"
    by_objective: ClassVar[bool] = False

    tables: Many[Literal["iris", "wine", "breast_cancer"]] = Field(("iris", "wine", "breast_cancer"), description="which tables")
    shown: int = Field(32, ge=4, description="rows that are shown")
    draws: int = Field(5, ge=1, description="how often shown and told rows are dealt")

    def measures(self, objective: Objective) -> bool:
        """One that reads tables."""
        return "cells" in objective.fields and "label" in objective.fields

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The means over tables, then the numbers of each.

        Raises:
            PartError: where a table has more classes than the model tells.
            UserError: without scikit-learn.
        """
        import numpy as np

        from windtunnel.kits.sets.told import bits, told

        found: dict[str, list[float]] = {}
        for name in self.tables:
            mine: dict[str, list[float]] = {}
            for draw in range(self.draws):
                cells, known, labels = dealt(name, held_out.facts.features, self.shown, draw)
                if labels.max() >= held_out.facts.classes:
                    raise PartError(f"real-tables: {name} has {labels.max() + 1} classes; give encoding.tables as many")
                asked = known < 0
                odds = told(model, cells[None], known[None], held_out)[0][asked]
                mine.setdefault("real_tables", []).append(bits(odds, labels[asked]))
                mine.setdefault("real_accuracy", []).append(float((odds.argmax(axis=-1) == labels[asked]).mean()))
                for rival, value in rivals(name, held_out.facts.features, self.shown, draw).items():
                    mine.setdefault(rival, []).append(value)
            for what, values in mine.items():
                found[f"{what}/{name}"] = [float(np.mean(values))]
                found.setdefault(what, []).append(float(np.mean(values)))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return {key: means[key] for key in sorted(means, key=lambda key: ("/" in key, key != "real_tables"))}


def dealt(name: str, features: int, shown: int, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells float64 [rows, features], known labels (-1: to be told) and labels int64 [rows] of a deal of the table ``name``.

    Every class is among the shown rows.
    """
    import numpy as np

    from windtunnel.kits.sets.tables import bundled

    values, labels = bundled(name, "real-tables")
    random = np.random.default_rng([draw, len(values)])
    order = random.permutation(len(values))
    first = np.array([order[labels[order] == label][0] for label in np.unique(labels)])
    order = np.concatenate([first, order[~np.isin(order, first)]])[: shown + ASKED]
    values, labels = values[order, :features].astype(np.float64), labels[order].astype(np.int64)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    cells = np.pad(values, ((0, 0), (0, features - values.shape[1])))
    return cells, np.where(np.arange(len(labels)) < shown, labels, -1), labels


@functools.lru_cache(maxsize=64)
def rivals(name: str, features: int, shown: int, draw: int) -> dict[str, float]:
    """Bits a label of boosting and of logistic regression, fitted to the rows that are shown."""
    import numpy as np

    from windtunnel.kits.sets.tables import library
    from windtunnel.kits.sets.told import bits

    sklearn = library("real-tables")
    cells, known, labels = dealt(name, features, shown, draw)
    asked = known < 0
    models: dict[str, Any] = {
        "boosting": sklearn.ensemble.HistGradientBoostingClassifier(min_samples_leaf=5, max_iter=50),
        "logistic": sklearn.linear_model.LogisticRegression(max_iter=300),
    }
    found = {}
    for rival, model in models.items():
        model.fit(cells[~asked], labels[~asked])
        odds = np.zeros((int(asked.sum()), int(labels.max()) + 1))
        odds[:, model.classes_] = model.predict_proba(cells[asked])
        found[rival] = bits(odds, labels[asked])
    return found
