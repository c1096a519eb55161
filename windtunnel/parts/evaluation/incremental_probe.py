"""How well classes that come one task after the other can be told on frozen features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

MEANS = {"nearest-mean": "distance", "cosine-mean": "angle", "lda": "lda", "oracle-task": "distance"}
ADAPTED: dict[str, Literal["quick", "slow", "both"]] = {"adapted-layer": "quick", "slow-copy": "slow", "two-speeds": "both"}


class IncrementalProbe(Evaluation, name="incremental-probe"):
    """Average accuracy over the steps at which a further task of classes is met, of a head on frozen features.

    The classes are dealt to ``tasks`` in an order that is drawn ``orders`` times by fixed seeds, the same for every model. After each task
    the head, which is shown the training images of that task alone, is judged on the held-out images of all classes so far. Nothing says
    which task an image is of. The number is the mean over steps and orders; ``/last`` is that after the last task, ``/forgetting`` how far
    the accuracy on a task has fallen since it was highest, over all tasks but the last, and ``/numbers`` how many numbers the head keeps.

    - ``nearest-mean``: the class of the nearest mean (Janson et al. 2022, arXiv:2210.04428); ``cosine-mean``: by angle (SimpleCIL, Zhou et
      al. 2023, arXiv:2303.07338); ``lda``: by distance in the pooled, shrunk covariance. Where these end does not depend on the order.
    - ``sequential``: one layer trained on the task at hand, which forgets; ``gaussian-replay``: the same, aligned with vectors drawn from a
      Gaussian of each class (SLCA's alignment, 2303.05118); ``key-value`` and ``key-votes``: the discrete key-value bottleneck
      (2207.11240), trained and merely counted. Its keys are set on all training images without their labels.
    - ``adapted-means``: means by angle on features beside those of an adapter that was trained on the first task (APER, 2303.07338);
      ``widened-means``: the same with a random layer in its place. ``adapted-layer``: a layer behind an adapter, both trained on the task
      at hand; ``two-speeds``: beside it a slow copy of the adapter, the surer of both answers (LAE, 2303.10070); ``slow-copy``: its alone.
    - Oracles, which no method can be: ``oracle-joint`` trains the layer on all tasks so far at once, ``oracle-task`` is told which task an
      image is of, and takes the nearest mean among the classes of that task.

    ``on: pixels`` reads the image itself in the place of features: what the model must beat.
    """

    trial = Trial({"tasks": 2, "orders": 1, "epochs": 1}, model={"family": "vit"}, beside={**DIGITS, "evaluations": []})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "incremental_probe"
    by_objective: ClassVar[bool] = False

    head: Literal[
        "nearest-mean",
        "cosine-mean",
        "lda",
        "sequential",
        "gaussian-replay",
        "key-value",
        "key-votes",
        "adapted-means",
        "widened-means",
        "adapted-layer",
        "two-speeds",
        "slow-copy",
        "oracle-joint",
        "oracle-task",
    ] = Field("nearest-mean", description="what tells classes")
    tasks: int = Field(5, ge=2, description="tasks that the classes are dealt to, as evenly as can be")
    orders: int = Field(3, ge=1, description="how often the order of the classes is drawn")
    on: Literal["features", "pixels"] = Field("features", description="what the head reads")
    epochs: int = Field(10, ge=1, description="passes over each task of heads that are trained")
    rate: float | None = Field(None, gt=0, description="learning rate of these (default: 0.01 of a layer, 0.3 of values)")
    books: int = Field(32, ge=1, description="tables of the key-value heads")
    keys: int = Field(64, ge=2, description="keys of each table")
    width: int = Field(14, ge=1, description="numbers of a key")
    inner: int = Field(16, ge=1, description="width of the adapter of the heads that have one")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``incremental_probe``, ``/last``, ``/forgetting`` and ``/numbers``.

        Raises:
            PartError: where documents are no images, have fewer classes than there are tasks, or a class is not in both splits.
        """
        from windtunnel.kits.features import labelled

        if "pixels" not in held_out.stream.fields or held_out.facts.classes < 2:
            raise PartError(f"{self.name} needs images with labels of two classes or more; this corpus has none")
        train, held = (labelled(model, held_out, split, pixels=self.on == "pixels") for split in ("train", held_out.split))
        return self.of_features(train, held, range(self.orders), held_out.split)

    def of_features(self, train: Any, held: Any, orders: Iterable[int], split: str = "test") -> dict[str, float]:
        """The numbers of :meth:`evaluate` from features [images, width] and labels [images], over the orders of classes ``orders``."""
        import numpy as np

        classes = np.intersect1d(train[1], held[1])
        if len(classes) < max(self.tasks, len(np.union1d(train[1], held[1]))):
            raise PartError(f"{self.name}: {self.tasks} tasks of {len(classes)} classes that are in training and in {split} alike")
        found = [
            self.along(train, held, np.array_split(np.random.default_rng(order).permutation(classes), self.tasks), order)
            for order in orders
        ]
        means = np.array([numbers for _, numbers in found]).mean(axis=0)
        matrices = np.array([matrix for matrix, _ in found])  # [orders, steps, tasks]: accuracy after a step on the images of a task
        fallen = (np.nanmax(matrices, axis=1) - matrices[:, -1])[:, :-1]
        name = "incremental_probe"
        return {name: means[0], f"{name}/last": means[1], f"{name}/forgetting": float(fallen.mean()), f"{name}/numbers": means[2]}

    def along(self, train: Any, held: Any, tasks: list[np.ndarray], order: int) -> tuple[np.ndarray, tuple[float, float, float]]:
        """The accuracy after each step on each task so far; and the mean over steps, the last, and the numbers kept."""
        import numpy as np

        head = self._head(train[0], order)
        matrix, each = np.full((len(tasks), len(tasks)), np.nan), []
        for step, task in enumerate(tasks):
            if self.head == "oracle-joint":
                head, task = self._head(train[0], order), np.concatenate(tasks[: step + 1])
            now = np.isin(train[1], task)
            head.update(train[0][now], train[1][now])
            so_far = np.isin(held[1], np.concatenate(tasks[: step + 1]))
            features, labels = held[0][so_far], held[1][so_far]
            scores, seen = head.scores(features), np.array(sorted(head.seen))
            own = np.array([place for label in labels.tolist() for place, one in enumerate(tasks) if label in one])
            if self.head == "oracle-task":
                task_of = np.array([place for label in seen.tolist() for place, one in enumerate(tasks) if label in one])
                scores = np.where(own[:, None] == task_of[None, :], scores, -np.inf)
            right = seen[scores.argmax(axis=1)] == labels
            matrix[step, : step + 1] = [right[own == place].mean() for place in range(step + 1)]
            each.append(float(right.mean()))
        return matrix, (float(np.mean(each)), each[-1], float(head.numbers))

    def _head(self, unlabelled: np.ndarray, order: int) -> Any:
        import numpy as np

        from windtunnel.kits.adapted_heads import AdaptedLayer, AdaptedMeans
        from windtunnel.kits.heads import ClassMeans, KeyValue, TaskLayer

        if self.head in MEANS:
            return ClassMeans(MEANS[self.head])
        how: dict[str, Any] = {"epochs": self.epochs, "random": np.random.default_rng((order, 1))}
        if self.head in ("key-value", "key-votes"):
            how |= {"books": self.books, "keys": self.keys, "width": self.width}
            return KeyValue(unlabelled, **how, rate=self.rate or 0.3, votes=self.head == "key-votes")
        if self.head in ADAPTED:
            return AdaptedLayer(**how, rate=self.rate or 0.01, inner=self.inner, keeps=ADAPTED[self.head])
        if self.head in ("adapted-means", "widened-means"):
            return AdaptedMeans(**how, rate=self.rate or 0.01, inner=self.inner, trained=self.head == "adapted-means")
        return TaskLayer(**how, rate=self.rate or 0.01, replay=self.head == "gaussian-replay")
