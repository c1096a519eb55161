"""A network that learns to learn: rows of labelled images whose task is drawn anew, from few tasks or from very many."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH, JUDGED = 64, 400  # rows of a step, and those that are judged
UNSEEN = 2**40  # the number of the first task that training does not have


class ProjectedTasks(Experiment, name="projected-tasks"):
    """The share of images told right at the end of a row, for tasks that training did not have, by how many tasks it had.

    Kirsch et al. 2022 (GPICL), arXiv:2212.04458. A task is a matrix A, normal of variance 1 / inputs, and an order of the labels; a row is
    ``examples`` images x of one task, read as A x beside the label of the image before, and the network tells the label of each. With few
    tasks a network learns them by heart, with more it tells which task a row is of, and with very many it learns to learn. What it carries
    from place to place bounds what it can learn: attention sees all places, a recurrence (``network: recurrent``, a GRU) a state of
    ``width`` numbers. ``same`` is the share of rows of a step that are of one and the same task, which the paper gives as what shortens the
    plateau before learning begins.

    Images are scikit-learn's digits of ``classes`` classes, as the seed deals them, in their first ``inputs`` principal components, scaled
    to variance 1. ``unseen`` is the share right over the last quarter of places, for tasks that training did not have and images that are
    held out, ``seen`` for tasks of training, ``other`` for unseen tasks of images of other classes; ``begin`` is ``unseen`` at the second
    place. ``nearest`` is ``unseen`` of the label of the nearest image before in the row, which needs no training. The rate is one of
    ``rates``, chosen by ``seen`` on images of training.
    """

    trial = Trial({"steps": 1, "examples": 8, "width": 8, "rates": [0.003]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    tasks: int = Field(2**14, ge=1, description="that training draws from")
    same: float = Field(0.0, ge=0, lt=1, description="share of rows that are of one task")
    network: Literal["attention", "recurrent"] = Field("attention", description="what reads rows")
    classes: int = Field(2, ge=2, le=5, description="of images in training")
    inputs: int = Field(6, ge=2, le=30, description="principal components of an image")
    examples: int = Field(20, ge=4, description="of a row")
    steps: int = Field(1500, ge=1, description="of training, 64 rows each")
    width: int = Field(64, ge=8, multiple_of=8, description="of the network, and numbers of a state")
    rates: tuple[float, ...] = Field((1e-3, 3e-3), min_length=1, description="learning rates of AdamW, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.small_decoder import descend

        random = np.random.default_rng(seed)
        train, held, other = bases(self.name, self.classes, self.inputs, random)
        late = slice(-(self.examples // 4), None)

        def rows(base: ImageBase, count: int, own: np.random.Generator, *, unseen: bool = False, same: float = 0.0) -> TaskRows:
            numbers = own.integers(self.tasks, size=count) + (UNSEEN if unseen else 0)
            numbers[own.random(count) < same] = 0
            return drawn(base, [task(seed, int(number), base) for number in numbers], self.examples, own)

        def learned(rate: float) -> torch.nn.Module:
            model, own = self._network(seed), np.random.default_rng((seed, 1))

            def loss(step: int) -> torch.Tensor:
                some = rows(train, BATCH, own, same=self.same)
                return torch.nn.functional.cross_entropy(model(some.given).transpose(1, 2), some.labels)

            descend(model, loss, self.steps, rate)
            return model

        chosen = rows(train, JUDGED, random)
        model = best(self.rates, learned, lambda one: right(one, chosen, late))
        new = rows(held, JUDGED, random, unseen=True)
        return {
            "unseen": right(model, new, late),
            "seen": right(model, rows(held, JUDGED, random), late),
            "other": right(model, rows(other, JUDGED, random, unseen=True), late),
            "begin": right(model, new, slice(1, 2)),
            "nearest": nearest(new, late, self.inputs),
        }

    def _network(self, seed: int) -> torch.nn.Module:
        import torch

        from windtunnel.kits.small_decoder import SmallDecoder

        read = self.inputs + self.classes
        if self.network == "attention":
            return SmallDecoder(read, self.classes, self.examples, width=self.width, seed=seed)

        class Recurrent(torch.nn.Module):
            def __init__(self, width: int, classes: int) -> None:
                super().__init__()
                self.state, self.write = torch.nn.GRU(read, width, batch_first=True), torch.nn.Linear(width, classes)

            def forward(self, given: torch.Tensor) -> torch.Tensor:
                return torch.as_tensor(self.write(self.state(given)[0]))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Recurrent(self.width, self.classes)


class ImageBase(NamedTuple):
    """Images [images, inputs] and their labels."""

    images: np.ndarray
    labels: np.ndarray


class TaskRows(NamedTuple):
    """What is read, float32 [rows, examples, inputs + classes], and labels int64 [rows, examples]."""

    given: torch.Tensor
    labels: torch.Tensor


def bases(part: str, classes: int, inputs: int, random: np.random.Generator) -> tuple[ImageBase, ImageBase, ImageBase]:
    """Images to train on, held-out ones of the same classes, and those of as many other classes; components are those of the first."""
    import numpy as np

    from windtunnel.kits.image.digits import digits

    found = digits(part)
    order, held = random.permutation(10), random.random(len(found.target)) < 0.3
    labels = np.argsort(order)[found.target]
    train, other = labels < classes, (labels >= classes) & (labels < 2 * classes)
    centre = found.data[train & ~held].mean(axis=0)
    _, sizes, axes = np.linalg.svd(found.data[train & ~held] - centre, full_matrices=False)
    scaled = (found.data - centre) @ axes[:inputs].T / sizes[:inputs] * np.sqrt((train & ~held).sum())
    return tuple(ImageBase(scaled[some], labels[some] % classes) for some in (train & ~held, train & held, other))  # type: ignore[return-value]


def task(seed: int, number: int, base: ImageBase) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and the order of labels of the task of this ``number``."""
    import numpy as np

    random, inputs = np.random.default_rng((seed, 2, number)), base.images.shape[1]
    return random.standard_normal((inputs, inputs)) / inputs**0.5, random.permutation(base.labels.max() + 1)


def drawn(base: ImageBase, tasks: list[tuple[np.ndarray, np.ndarray]], examples: int, random: np.random.Generator) -> TaskRows:
    """A row of images of ``base`` for each of ``tasks``."""
    import numpy as np
    import torch

    places = random.integers(len(base.images), size=(len(tasks), examples))
    given = np.einsum("rei,roi->reo", base.images[places], np.stack([one[0] for one in tasks]))
    labels = np.take_along_axis(np.stack([one[1] for one in tasks]), base.labels[places], axis=1)
    before = np.eye(base.labels.max() + 1)[labels[:, :-1]]
    before = np.concatenate([np.zeros_like(before[:, :1]), before], axis=1)
    return TaskRows(torch.from_numpy(np.concatenate([given, before], axis=2)).float(), torch.from_numpy(labels))


def right(model: torch.nn.Module, rows: TaskRows, places: slice) -> float:
    """The share of labels at ``places`` that are the likeliest."""
    import torch

    with torch.no_grad():
        return float((model(rows.given).argmax(dim=2) == rows.labels)[:, places].double().mean())


def nearest(rows: TaskRows, places: slice, inputs: int) -> float:
    """The share of labels at ``places`` that the nearest image before has."""
    import torch

    images = rows.given[..., :inputs]
    far = torch.cdist(images, images) + torch.triu(torch.full((images.shape[1],) * 2, torch.inf))
    told = rows.labels.gather(1, far.argmin(dim=2))
    return float((told == rows.labels)[:, places].double().mean())
