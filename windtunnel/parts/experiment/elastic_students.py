"""Networks of many sizes cut out of one that learned without labels, by whether smaller ones learned with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.elastic import Cut
    from windtunnel.kits.image.tiny import Weights

SIZE, BATCH = 24, 16
WIDTHS, DEPTHS = (8, 12, 16, 24), (2, 3, 4)
JUDGED = ((8, 2), (12, 3), (16, 3), (24, 4))  # widths and depths that are cut out at the end
MOST = 3.0  # how much more often the narrowest is drawn than the widest, and the shallowest than the deepest
RATES = (1e-3, 3e-3)


class ElasticStudents(Experiment, name="elastic-students"):
    """How well networks of four sizes tell shapes by few labels, by how they learned without any.

    Zhang et al. 2024 (POA), arXiv:2408.01031: a teacher, which is a moving average, teaches the whole student and a smaller one, cut out
    of it anew for each step, what it says of another view of the image; the whole student teaches the smaller one what it says of the same
    view. The loss is 0.8 of the first and 0.2 of each of the others, cross entropies over prototypes. A network of ``width`` takes the
    first numbers, one of ``depth`` the blocks spread from first to last; each size is drawn in proportion to the product of two numbers
    that fall from 3 at the smallest to 1 at the largest. The network is that of ``kits/image/elastic.py``, up to 24 wide and 4
    deep. One head where the paper averages four; losses of patches and of spreading (iBOT, KoLeo), small crops and dropped paths are left
    out; the teacher keeps 0.98 of itself throughout.

    Images are of one drawn shape each (`lone_shapes`); views are those of `shrinking-labels`. ``learned``: ``elastic``; ``no-same-view``,
    without what the whole student teaches; ``uniform``, all sizes drawn equally often; ``plain``, the whole student alone, which is then
    cut; ``apart``, a plain student for each of the four sizes, all with the number of steps that together cost what ``elastic`` costs;
    ``apart-long``, a plain student for each size with as many steps as ``elastic``; ``none``, as it begins, cut. Each chooses its rate
    of two by the mean accuracy on 300 other images.

    ``accuracy`` (the mean over sizes), ``smallest`` and ``largest`` are shares right on new images of a ridge regression from the means
    of the last block, fitted to ``labels`` images; ``cost`` is what all steps at one rate multiply, in millions of millions.
    """

    trial = Trial({"steps": 2, "labels": 40, "images": 60, "judged": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    learned: Literal["elastic", "no-same-view", "uniform", "plain", "apart", "apart-long", "none"] = Field(
        "elastic", description="how they learn"
    )
    images: int = Field(3000, ge=BATCH, description="without labels")
    labels: int = Field(200, ge=10, description="labelled images")
    steps: int = Field(300, ge=1, description="of the elastic student, 16 images each")
    judged: int = Field(600, ge=10, description="images that are judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``smallest``, ``largest`` and ``cost``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.elastic import Cut
        from windtunnel.kits.image.scenes import lone_shapes
        from windtunnel.kits.image.tiny import best

        random = np.random.default_rng(seed)
        unlabelled, known, chosen, judged = (lone_shapes(random, count, SIZE) for count in (self.images, self.labels, 300, self.judged))
        sizes = [Cut(*each) for each in JUDGED]

        def accuracies(networks: dict[Cut, Weights], among: str) -> list[float]:
            asked = chosen if among == "chosen" else judged
            images = torch.from_numpy(np.concatenate([known.images, asked.images]))
            labels = np.concatenate([known.shapes, asked.shapes])[:, 0]
            return [told(networks[size], images, labels, self.labels) for size in sizes]

        networks = best(
            RATES if self.learned != "none" else RATES[:1],
            lambda rate: self._networks(unlabelled.images, sizes, rate, seed),
            lambda one: float(np.mean(accuracies(one, "chosen"))),
        )
        found = accuracies(networks, "judged")
        return {"accuracy": float(np.mean(found)), "smallest": found[0], "largest": found[-1], "cost": self._cost(sizes)}

    def _odds(self) -> dict[Cut, float]:
        """How likely each size is drawn."""
        import numpy as np

        from windtunnel.kits.image.elastic import Cut

        wide, deep = (np.linspace(1.0 if self.learned == "uniform" else MOST, 1, len(some)) for some in (WIDTHS, DEPTHS))
        odds = {
            Cut(width, depth): float(one * other)
            for width, one in zip(WIDTHS, wide, strict=True)
            for depth, other in zip(DEPTHS, deep, strict=True)
        }
        total = sum(odds.values())
        return {size: each / total for size, each in odds.items()}

    def _step_cost(self, size: Cut, *, elastic: bool) -> float:
        """Multiplications of a step: both views forward and backward, and forward in the teacher; with ``elastic`` also the smaller one."""
        smaller = sum(share * each.cost for each, share in self._odds().items()) if elastic else 0.0
        return 2 * BATCH * (4 * size.cost + 3 * smaller)

    def _steps(self, sizes: list[Cut]) -> int:
        """Of each network."""
        if self.learned != "apart":
            return 0 if self.learned == "none" else self.steps
        together = sum(self._step_cost(size, elastic=False) for size in sizes)
        return max(1, round(self.steps * self._step_cost(sizes[-1], elastic=True) / together))

    def _cost(self, sizes: list[Cut]) -> float:
        steps = self._steps(sizes)
        if self.learned.startswith("apart"):
            return steps * sum(self._step_cost(size, elastic=False) for size in sizes) / 1e12
        return steps * self._step_cost(sizes[-1], elastic=self.learned in ("elastic", "no-same-view", "uniform")) / 1e12

    def _networks(self, images: np.ndarray, sizes: list[Cut], rate: float, seed: int) -> dict[Cut, Weights]:
        """The network of each size."""
        from windtunnel.kits.image.elastic import cut

        steps = self._steps(sizes)
        if self.learned.startswith("apart"):
            return {size: self._student(images, size, steps, rate, seed) for size in sizes}
        held = self._student(images, sizes[-1], steps, rate, seed)
        return {size: cut(held, size) for size in sizes}

    def _student(self, images: np.ndarray, size: Cut, steps: int, rate: float, seed: int) -> Weights:
        """The student after ``steps``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.elastic import PROTOTYPES, WARM, cut, scores, sharpened, taught, whole
        from windtunnel.kits.image.sparse_masking import view
        from windtunnel.kits.image.tiny import trained

        random = np.random.default_rng((seed, 1))
        student = whole(size, seed)
        teacher = {name: weight.clone() for name, weight in student.items()}
        centre, odds = torch.zeros(PROTOTYPES), self._odds()
        smaller, shares = list(odds), list(odds.values())

        def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
            pair = [view(images[rows.numpy()], random) for _ in range(2)]
            with torch.no_grad():
                said = [scores(teacher, each) for each in pair]
                wanted = [sharpened(each, centre) for each in said]
                centre.mul_(0.9).add_(0.1 * torch.cat(said).mean(dim=0))
            full = [scores(held, each) for each in pair]
            crossed = taught(full[0], wanted[1]) + taught(full[1], wanted[0])
            if self.learned not in ("elastic", "no-same-view", "uniform"):
                return crossed
            drawn = cut(held, smaller[int(random.choice(len(smaller), p=shares))])
            small = scores(drawn, torch.cat(pair)).chunk(2)
            found = 0.8 * crossed + 0.2 * (taught(small[0], wanted[1]) + taught(small[1], wanted[0]))
            if self.learned != "no-same-view":
                same = [(each.detach() / WARM).softmax(dim=1) for each in full]
                found = found + 0.2 * (taught(small[0], same[0]) + taught(small[1], same[1]))
            return found

        def follow(held: Weights, step: int) -> None:
            for name, weight in teacher.items():
                weight.lerp_(held[name], 0.02)

        return trained(student, loss, len(images), steps, rate, random, batch=BATCH, after=follow)


def told(network: Weights, images: torch.Tensor, labels: np.ndarray, known: int) -> float:
    """The share right of images after the first ``known``, whose labels are given."""
    import numpy as np
    import torch

    from windtunnel.kits.image.elastic import hidden
    from windtunnel.kits.image.planted import few_label_accuracy

    with torch.no_grad():
        features = hidden(network, images).double().numpy()
    return few_label_accuracy(features, labels, np.arange(known), np.arange(known, len(labels)))
