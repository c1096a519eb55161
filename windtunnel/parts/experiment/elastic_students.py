"""Networks of many widths cut out of one that learned digits without labels, by whether its narrower networks learned with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.tiny import Weights

RATES, ELASTIC = (3e-3, 1e-2), ("elastic", "no-same-view", "uniform")
OUT, BATCH, WARM = 24, 64, 0.1  # numbers of the head, images of a step, and a temperature


class ElasticStudents(Experiment, name="elastic-students"):
    """Accuracy of a probe on the features of networks of four widths, by how these were learned from unlabelled digits.

    Zhang et al. 2024 (POA), arXiv:2408.01031: a teacher, which is a moving average, teaches the whole student and one of its smaller
    networks, drawn anew for each step, what it says of another view of the image; the whole student teaches the smaller one what it says of
    the same view. The loss is 0.8 of the first and 0.2 of each of the others, cross entropies over prototypes. Prototypes are learned in
    the paper; here they are what the teacher says of the other views of the batch, so that the teacher asks of a view which of them is its
    own (as in momentum contrast, He et al. 2020, arXiv:1911.05722). Networks have one hidden layer, a narrower one is its first numbers,
    and narrow ones are drawn more often than wide ones, up to three times. Several heads, losses of patches and depth are left out.

    ``train``: ``elastic``; ``no-same-view``, without what the whole student teaches; ``uniform``, all widths drawn equally often;
    ``plain``, the whole student alone, which is then cut; ``apart``, a plain student for each width, each with a quarter of the cost of
    ``steps`` of ``elastic``; ``apart-long``, a plain student for each width with ``steps`` steps each; ``none``, as they begin. Each takes
    the rate, of two, with the highest mean accuracy on the quarter of the digits that is kept for that.

    ``narrowest``, ``accuracy`` (the mean over widths) and ``widest`` are of a ridge regression on ``labels`` labelled images;
    ``cost`` is what all steps at one rate multiply, in millions.
    """

    trial = Trial({"steps": 2, "widths": (4, 8), "labels": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    train: Literal["elastic", "no-same-view", "uniform", "plain", "apart", "apart-long", "none"] = Field(
        "elastic", description="how they learn"
    )
    widths: tuple[int, ...] = Field((8, 16, 32, 96), min_length=2, description="of the hidden layer, rising")
    labels: int = Field(200, ge=10, le=800, description="labelled images of the probe")
    steps: int = Field(300, ge=1, description="of the elastic student, 64 images each")
    kept: float = Field(0.98, ge=0, lt=1, description="what the teacher keeps of itself in a step")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``narrowest``, ``widest`` and ``cost``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import few_label_accuracy
        from windtunnel.kits.image.tiny import best, dealt

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, known = data.images[data.train].numpy(), data.train[: self.labels]

        def right(networks: dict[int, Weights], judged: torch.Tensor) -> dict[int, float]:
            rows = torch.cat([known, judged])
            labels, few, rest = data.labels[rows].numpy(), np.arange(len(known)), np.arange(len(known), len(rows))
            features = {width: hidden(one, data.images[rows]).double().numpy() for width, one in networks.items()}
            return {width: few_label_accuracy(each, labels, few, rest) for width, each in features.items()}

        networks = best(
            RATES if self.train != "none" else RATES[:1],
            lambda rate: self._networks(images, rate, seed),
            lambda one: float(np.mean(list(right(one, data.chosen).values()))),
        )
        found = right(networks, data.held)
        steps = self._steps()
        cost = sum(steps[width] * self._step_cost(width) for width in steps)
        return {
            "accuracy": float(np.mean(list(found.values()))),
            "narrowest": found[min(self.widths)],
            "widest": found[max(self.widths)],
            "cost": cost * (64 + OUT) * BATCH / 1e6,
        }

    def _step_cost(self, width: int, *, elastic: bool | None = None) -> float:
        """Of a step, in widths: both views forward and backward and in the teacher, and with ``elastic`` in the narrower student too."""
        narrower = float((self._odds() * self.widths).sum()) if (self.train in ELASTIC if elastic is None else elastic) else 0.0
        return 2 * (4 * width + 3 * narrower)

    def _steps(self) -> dict[int, int]:
        """How many steps each network that is trained by itself has, by its width."""
        if self.train == "apart":
            each = self.steps * self._step_cost(max(self.widths), elastic=True) / len(self.widths)
            return {width: max(1, round(each / self._step_cost(width))) for width in self.widths}
        return dict.fromkeys(self.widths if self.train == "apart-long" else [max(self.widths)], 0 if self.train == "none" else self.steps)

    def _networks(self, images: np.ndarray, rate: float, seed: int) -> dict[int, Weights]:
        """The network of each width."""
        steps = self._steps()
        if self.train.startswith("apart"):
            return {width: self._learned(images, (width,), steps[width], rate, seed) for width in self.widths}
        held = self._learned(images, self.widths, steps[max(self.widths)], rate, seed)
        return {width: narrowed(held, width) for width in self.widths}

    def _odds(self) -> np.ndarray:
        """How likely each width is drawn: in proportion to a number that falls from three at the narrowest to one at the widest."""
        import numpy as np

        places = np.linspace(3, 1, len(self.widths)) if self.train != "uniform" else np.ones(len(self.widths))
        return np.asarray(places / places.sum())

    def _learned(self, images: np.ndarray, widths: tuple[int, ...], steps: int, rate: float, seed: int) -> Weights:
        """The student after ``steps``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.contrastive import views
        from windtunnel.kits.image.tiny import begun, trained

        random = np.random.default_rng((seed, 1))
        student = begun((64, max(widths), OUT), seed)
        teacher = {name: weight.clone() for name, weight in student.items()}
        odds, elastic, own = self._odds(), self.train in ELASTIC, torch.eye(BATCH)

        def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
            chosen = images[rows.numpy()]
            first, second = (torch.from_numpy(views(chosen, random)) for _ in range(2))
            both = torch.cat([first, second])
            with torch.no_grad():
                keys = [each.T for each in reversed(vectors(teacher, both).chunk(2))]  # of each view those of the others

            def likeness(weights: Weights) -> list[torch.Tensor]:
                return [said @ key for said, key in zip(vectors(weights, both).chunk(2), keys, strict=True)]

            whole = likeness(held)
            crossed = taught(whole[0], own) + taught(whole[1], own)
            if not elastic:
                return crossed
            small = likeness(narrowed(held, int(random.choice(widths, p=odds))))
            found = 0.8 * crossed + 0.2 * (taught(small[0], own) + taught(small[1], own))
            if self.train != "no-same-view":
                same = [(each.detach() / WARM).softmax(dim=1) for each in whole]
                found = found + 0.2 * (taught(small[0], same[0]) + taught(small[1], same[1]))
            return found

        def follow(held: Weights, step: int) -> None:
            for name, weight in teacher.items():
                weight.mul_(self.kept).add_(held[name], alpha=1 - self.kept)

        return trained(student, loss, len(images), steps, rate, random, batch=BATCH, after=follow)


def hidden(weights: Weights, inputs: torch.Tensor) -> torch.Tensor:
    """Features [N, width]."""
    import torch

    return torch.relu(torch.nn.functional.linear(inputs, weights["0.weight"], weights["0.bias"]))


def vectors(weights: Weights, inputs: torch.Tensor) -> torch.Tensor:
    """What the head says, of length 1: [N, OUT]."""
    import torch

    found = torch.nn.functional.linear(hidden(weights, inputs), weights["1.weight"], weights["1.bias"])
    return torch.nn.functional.normalize(found, dim=1)


def taught(said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The cross entropy of what a student says with what it is to say."""
    return -(wanted * (said / WARM).log_softmax(dim=1)).sum(dim=1).mean()


def narrowed(weights: Weights, width: int) -> Weights:
    """The network of the first ``width`` hidden numbers; what reads them grows with the root of how many fewer they are."""
    grown = (weights["1.weight"].shape[1] / width) ** 0.5
    return weights | {
        "0.weight": weights["0.weight"][:width],
        "0.bias": weights["0.bias"][:width],
        "1.weight": weights["1.weight"][:, :width] * grown,
    }
