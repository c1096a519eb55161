"""A layer that meets classes task by task, by which of its rows may move, and what the features under it still know."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.kits.adapted_heads import Bottleneck

    Array = NDArray[np.float64]


class FrozenHeads(Experiment, name="frozen-heads"):
    """Accuracy over all classes after the last task, of an adapter and a layer that were trained on one task after the other.

    Zheng, Qiu and Ma 2024, "Learn or Recall? Revisiting Incremental Learning with Pre-trained Language Models", arXiv:2312.07887 (SEQ*).
    Features are rectified random projections of scikit-learn's digits, an adapter of width 16 stands on them (kits ``adapted_heads``),
    and a layer names the classes met so far; nothing is kept of a task. ``fixes``: ``nothing``: adapter and all rows train on every task;
    ``body``: the adapter trains on the first task alone; ``rows``: rows of earlier tasks stay as they are; ``both``. ``cosine`` answers
    and trains by cosines of rows and features times 10. ``ahead``, an oracle: rows of all classes are there from the first task on and
    take part.

    ``accuracy`` is that of the layer; ``probe`` that of a regression fitted anew on what the adapter makes of all training images in the
    end, ``probe/first`` the same after the first task: what the body has forgotten is the fall between the two. The rate is chosen by
    ``accuracy`` on other images.
    """

    trial = Trial({"tasks": 2, "epochs": 1, "width": 24})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    fixes: Literal["nothing", "body", "rows", "both"] = Field("both", description="what does not move after its first task")
    cosine: bool = Field(True, description="whether rows and features are brought to length 1")
    ahead: bool = Field(False, description="whether rows of classes to come take part from the beginning")
    tasks: int = Field(5, ge=2, le=10, description="that the ten classes are dealt to")
    epochs: int = Field(3, ge=1, description="over the images of a task")
    rates: tuple[float, ...] = Field((0.003, 0.01, 0.03, 0.1, 0.3), min_length=1, description="of gradient descent, of which one is chosen")
    width: int = Field(128, ge=2, description="numbers of a feature")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``probe`` and ``probe/first``."""
        import numpy as np

        from windtunnel.kits.image.tiny import best, dealt

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images = data.images.numpy().astype(np.float64)
        found = np.maximum((images - images.mean(axis=0)) @ random.standard_normal((64, self.width)), 0)
        found /= np.sqrt((found**2).sum(axis=1).mean())
        order = random.permutation(10)
        labels = np.argsort(order)[data.labels.numpy()]  # in the order in which classes come
        train, chosen, held = (rows.numpy() for rows in (data.train, data.chosen, data.held))

        def share(flown: tuple[Bottleneck, Array, list[float]], rows: NDArray[np.int64]) -> float:
            return float((self._scores(flown[0](found[rows]), flown[1]).argmax(axis=1) == labels[rows]).mean())

        flown = best(
            self.rates,
            lambda rate: self._learned(found, labels, train, held, rate, np.random.default_rng((seed, 1))),
            lambda one: share(one, chosen),
        )
        return {"accuracy": share(flown, held), "probe": flown[2][-1], "probe/first": flown[2][0]}

    def _learned(  # type: ignore[no-untyped-def]
        self, found: Array, labels, train, held, rate: float, random: np.random.Generator
    ) -> tuple[Bottleneck, Array, list[float]]:
        """The adapter and the layer after all tasks, and what a probe finds after each."""
        import numpy as np

        from windtunnel.kits.adapted_heads import Bottleneck

        adapter, layer = Bottleneck(self.width, 16, random), np.zeros((10, self.width))
        if self.cosine:
            layer = 0.1 * random.standard_normal((10, self.width)) / self.width**0.5
        probes = []
        for task, classes in enumerate(np.array_split(np.arange(10), self.tasks)):
            rows = train[np.isin(labels[train], classes)]
            met = np.arange(10) if self.ahead else np.arange(classes[-1] + 1)
            moving = met if self.fixes in ("nothing", "body") or not task else met[met >= classes[0]]
            body = self.fixes in ("nothing", "rows") or not task
            for _ in range(self.epochs):
                for some in np.array_split(random.permutation(rows), max(1, len(rows) // 16)):
                    self._step(adapter, layer, found[some], labels[some], met, moving, body, rate)
            probes.append(self._probe(adapter(found), labels, train, held))
        return adapter, layer, probes

    def _scores(self, read: Array, layer: Array) -> Array:
        from windtunnel.kits.vectors import unit

        return 10 * unit(read) @ unit(layer).T if self.cosine else read @ layer.T

    def _step(self, adapter, layer: Array, given: Array, labels, met, moving, body: bool, rate: float) -> None:  # type: ignore[no-untyped-def]
        """One step of gradient descent in place, of cross entropy among the classes ``met``."""
        import numpy as np

        from windtunnel.kits.vectors import softmax, unit

        read = adapter(given)
        odds = np.zeros((len(given), 10))
        odds[:, met] = softmax(self._scores(read, layer)[:, met])
        odds[np.arange(len(given)), labels] -= 1
        odds /= len(given)
        if self.cosine:
            ends, rows = unit(read), unit(layer)
            slope = 10 * odds.T @ ends
            slope = (slope - (slope * rows).sum(axis=1, keepdims=True) * rows) / np.maximum(
                np.linalg.norm(layer, axis=1, keepdims=True), 1e-6
            )
            back = 10 * odds @ rows
            back = (back - (back * ends).sum(axis=1, keepdims=True) * ends) / np.maximum(np.linalg.norm(read, axis=1, keepdims=True), 1e-6)
        else:
            slope, back = odds.T @ read, odds @ layer
        if body:
            down, up = adapter.gradients(given, back)
            adapter.down -= rate * down
            adapter.up -= rate * up
        layer[moving] -= rate * slope[moving]

    def _probe(self, read: Array, labels, train, held) -> float:  # type: ignore[no-untyped-def]
        """The accuracy of a ridge regression onto classes."""
        import numpy as np

        wide = np.concatenate([read, np.ones((len(read), 1))], axis=1)
        shown = wide[train]
        held_by = 1e-2 * np.trace(shown.T @ shown) / shown.shape[1]
        layer = ridge(shown, np.eye(10)[labels[train]], held_by)
        return float(((wide[held] @ layer).argmax(axis=1) == labels[held]).mean())
