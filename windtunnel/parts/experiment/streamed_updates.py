"""A trained model that is updated for one task after the other, by what keeps it from forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

BATCH, MOMENTS = 32, 8  # images of a step; places within a task at which it is judged
TURNS = (60, 120, 180, 240, 300)  # degrees of the tasks


class StreamedUpdates(Experiment, name="streamed-updates"):
    """What is known of tasks that came one after the other, and of what was known before, by the way of updating.

    The model is a linear layer on ``width`` rectified random features of scikit-learn's digits. It has learned upright ones (``begin:
    nothing``: it has not). ``tasks: turns`` are digits turned by 60 to 300 degrees, all classes in each; ``classes``, two classes of
    upright digits each, of which nothing was known before. ``way``:

    - ``sequential``: gradient descent on the task at hand; ``falling``: with a peak rate that is divided by the number of the task.
    - ``replay``: a quarter of a batch is of earlier tasks and of what was before, of which 20 images each are kept.
    - ``merged``: after each task the weights are ``kept`` of those before it and the rest of those after.
    - ``elastic``: weights are held by the diagonal of the Fisher matrix of all before, times ``holds`` (EWC, Kirkpatrick et al. 2017).
    - ``low-rank``: a task moves the weights by a matrix of rank 2.
    - ``joint``: all tasks at once, with as many steps; ``all-seen``: each task together with all before it.

    With R[i, j] the accuracy on task j after task i: ``accumulated`` is the mean of the last row, ``retained`` the accuracy on what was
    learned before (0 for ``classes``), ``forward`` the mean over tasks of the accuracy while each is learned (at eight moments),
    ``forgetting`` the mean of R[j, j] - R[i, j] over all i > j, and ``area`` the mean over tasks of their forward and all later accuracies
    (FWT, NBT and AUC of LIBERO, Liu et al. 2023, arXiv:2306.03310, whose NBT is averaged over i first). Rates and what a way has to choose
    are chosen by ``accumulated`` on other images.
    """

    trial = Trial({"steps": 8, "width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    way: Literal["sequential", "falling", "replay", "merged", "elastic", "low-rank", "joint", "all-seen"] = Field(
        "sequential", description="of updating"
    )
    tasks: Literal["turns", "classes"] = Field("turns", description="what comes one after the other")
    begin: Literal["trained", "nothing"] = Field("trained", description="whether upright digits were learned before")
    kept: tuple[float, ...] = Field((0.3, 0.5, 0.7, 0.9), description="shares of the weights before a task, of which merged chooses one")
    holds: tuple[float, ...] = Field((1.0, 10.0, 100.0), description="weights of the Fisher matrix, of which elastic chooses one")
    rates: tuple[float, ...] = Field((0.03, 0.1, 0.3), min_length=1, description="of gradient descent, of which one is chosen")
    steps: int = Field(80, ge=8, description="of each task")
    width: int = Field(256, ge=1, description="random features")

    def measure(self, seed: int) -> dict[str, float]:
        """``accumulated`` and the others above."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import dealt, turned

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        matrix = random.standard_normal((64, self.width)) / 8
        middle = data.images[data.train].numpy().mean(axis=0)

        def read(images: torch.Tensor) -> np.ndarray:
            found = np.maximum((images.numpy() - middle) @ matrix, 0)
            return np.concatenate([found / np.sqrt(self.width) * 8, np.ones((len(found), 1))], axis=1)

        parts = [part.numpy() for part in (data.train, data.chosen, data.held)]
        labels = data.labels.numpy()
        upright = read(data.images)
        views = [read(turned(data.images, degrees)) for degrees in TURNS] if self.tasks == "turns" else [upright] * 5
        pairs = random.permutation(10).reshape(5, 2)
        wanted = [np.arange(10) if self.tasks == "turns" else pair for pair in pairs]
        shown, chosen, held = (
            [
                (view[rows[np.isin(labels[rows], those)]], labels[rows[np.isin(labels[rows], those)]])
                for view, those in zip(views, wanted, strict=True)
            ]
            for rows in parts
        )
        before = [(upright[rows], labels[rows]) for rows in parts]
        first = np.zeros((10, self.width + 1))
        if self.begin == "trained" and self.tasks == "turns":
            first = descend(first, before[0], 200, 0.3, np.random.default_rng((seed, 1)))
        settings = {"merged": self.kept, "elastic": self.holds}.get(self.way, (0.0,))

        def flown(rate: float, setting: float, judged: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return self._updated(first, before[0], shown, judged, rate, setting, np.random.default_rng((seed, 2)))

        tried = [(rate, setting) for rate in self.rates for setting in settings]
        rate, setting = max(tried, key=lambda one: float(flown(one[0], one[1], chosen)[1][-1].mean()))
        weight, table, while_learned = flown(rate, setting, held)
        return {
            "accumulated": float(table[-1].mean()),
            "retained": right(weight, before[2]) if self.tasks == "turns" else 0.0,
            **transfer(table, while_learned),
        }

    def _updated(  # type: ignore[no-untyped-def]
        self, first, old, shown, judged, rate: float, setting: float, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The weights in the end, the accuracies [after task, on task] and those while each task is learned [tasks]."""
        import numpy as np

        weight, fisher, memory = first.copy(), np.zeros_like(first), []
        if self.tasks == "turns" and self.begin == "trained":
            memory.append(tuple(part[:20] for part in old))
            fisher += information(weight, old)
        table, during = np.zeros((len(shown), len(shown))), np.zeros(len(shown))
        for task, (inputs, labels) in enumerate(shown):
            given: tuple[np.ndarray, ...] = (inputs, labels)
            if self.way in ("joint", "all-seen"):
                some = shown if self.way == "joint" else shown[: task + 1]
                given = tuple(np.concatenate(part) for part in zip(*some, strict=True))
            start, found = weight.copy(), []
            for moment in range(MOMENTS):
                steps = self.steps * (moment + 1) // MOMENTS - self.steps * moment // MOMENTS
                more = tuple(np.concatenate(part) for part in zip(*memory, strict=True)) if self.way == "replay" and memory else None
                share = rate / (task + 1) if self.way == "falling" else rate
                hold = (setting * fisher, start) if self.way == "elastic" else None
                weight = descend(weight, given, steps, share, random, more=more, hold=hold)
                if self.way == "low-rank":
                    left, values, across = np.linalg.svd(weight - start, full_matrices=False)
                    weight = start + (left[:, :2] * values[:2]) @ across[:2]
                found.append(right(weight, judged[task]))
            if self.way == "merged":
                weight = setting * start + (1 - setting) * weight
            during[task], table[task] = np.mean(found), [right(weight, each) for each in judged]
            fisher += information(weight, (inputs, labels))
            rows = random.permutation(len(inputs))[:20]
            memory.append((inputs[rows], labels[rows]))
        return weight, table, during


def transfer(table: np.ndarray, during: np.ndarray) -> dict[str, float]:
    """``forward``, ``forgetting`` and ``area`` from accuracies [after task, on task] and those while each is learned [tasks]."""
    import numpy as np

    count = len(table)
    forgotten = [table[task, task] - table[after, task] for task in range(count) for after in range(task + 1, count)]
    areas = [(during[task] + table[task + 1 :, task].sum()) / (count - task) for task in range(count)]
    return {"forward": float(during.mean()), "forgetting": float(np.mean(forgotten or [0.0])), "area": float(np.mean(areas))}


def descend(weight, given, steps, rate, random, *, more=None, hold=None):  # type: ignore[no-untyped-def]
    """A layer [classes, in] after steps of gradient descent; a quarter of a batch is of ``more``; ``hold``: strengths, and where to."""
    import numpy as np

    from windtunnel.kits.vectors import softmax

    weight, (inputs, labels) = weight.copy(), given
    for _ in range(steps):
        rows = random.integers(len(inputs), size=BATCH if more is None else BATCH * 3 // 4)
        some, wanted = inputs[rows], labels[rows]
        if more is not None:
            rows = random.integers(len(more[0]), size=BATCH // 4)
            some, wanted = np.concatenate([some, more[0][rows]]), np.concatenate([wanted, more[1][rows]])
        odds = softmax(some @ weight.T)
        odds[np.arange(len(wanted)), wanted] -= 1
        weight -= rate * odds.T @ some / len(wanted)
        if hold is not None:  # an implicit step, which no strength makes unstable
            weight = hold[1] + (weight - hold[1]) / (1 + rate * hold[0])
    return weight


def information(weight, given):  # type: ignore[no-untyped-def]
    """The diagonal of the Fisher matrix of a softmax layer, by the labels given, [classes, in]."""
    import numpy as np

    from windtunnel.kits.vectors import softmax

    inputs, labels = given
    odds = softmax(inputs @ weight.T)
    odds[np.arange(len(labels)), labels] -= 1
    return (odds**2).T @ inputs**2 / len(labels)


def right(weight, given):  # type: ignore[no-untyped-def]
    """The accuracy of a layer."""
    return float(((given[0] @ weight.T).argmax(axis=1) == given[1]).mean())
