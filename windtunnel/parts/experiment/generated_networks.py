"""Weights made for a new task from those of networks for other tasks, against taking one of these as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import torch
    from torch import Tensor

HIDDEN, CLASSES = 12, 3


class GeneratedNetworks(Experiment, name="generated-networks"):
    """Accuracy on tasks of which a few points are known, with weights that a generator has made and nothing trained.

    A task has three classes of points in the plane, each around two centres. A zoo of ``zoo`` networks (2-12-3), all from one beginning,
    have each learned one task, described by its centres. ``way``: ``diffusion``, noise is taken step by step from a vector of ``parts``
    principal components of weights, by a network that is told the centres, as in Soro et al. 2025, arXiv:2402.18153 (D2NWG), without its
    encoders; ``codes``, weights in pieces of 9, each the nearest of ``codes`` centres of k-means, and one code after the other is drawn
    from the description and the code before, as in Bedionita et al. 2025, arXiv:2504.02012 (IGPG), by a softmax regression in the place
    of a transformer; ``nearest``, the network of the zoo whose centres are nearest; ``noisy``, that with noise; ``mean`` of the zoo;
    ``random`` networks of the zoo; ``begun``, what all of them began from; ``restored``, the weights that the target's own training
    gives, decoded from codes: the most that codes allow.

    Each way makes ``tries`` networks, and the best on ``shots`` labelled points a class counts; it is the same for all. ``accuracy`` is
    that, ``tuned`` the accuracy after 20 steps on these points, ``trained`` of networks trained on the tasks themselves and ``apart`` the
    distance of weights to the nearest of the zoo, by the distance between two of the zoo.
    """

    trial = Trial({"zoo": 12, "tasks": 2, "training": 4, "steps": 4, "codes": 4, "parts": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    way: Literal["diffusion", "codes", "nearest", "noisy", "mean", "random", "begun", "restored"] = Field(
        "diffusion", description="where weights come from"
    )
    zoo: int = Field(150, ge=4, description="networks for other tasks")
    tasks: int = Field(12, ge=1, description="new tasks")
    tries: int = Field(5, ge=1, description="networks made for each task, of which the best counts")
    shots: int = Field(5, ge=1, description="labelled points of each class")
    training: int = Field(100, ge=1, description="steps of each network of the zoo")
    steps: int = Field(800, ge=1, description="of training the generator")
    parts: int = Field(24, ge=1, description="principal components of weights")
    codes: int = Field(48, ge=2, description="centres of pieces of weights")

    @model_validator(mode="after")
    def _the_zoo_has_enough(self) -> Self:
        if self.way == "diffusion" and self.parts >= self.zoo:
            raise ValueError(f"parts: weights of {self.zoo} networks have fewer than {self.parts} principal components; lower it")
        if self.way in ("codes", "restored") and self.codes > self.zoo * size() // 9:
            raise ValueError(
                f"codes: weights of {self.zoo} networks are {self.zoo * size() // 9} pieces, fewer than {self.codes}; lower it"
            )
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``tuned``, ``trained`` and ``apart``."""
        import numpy as np
        import torch

        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(self.zoo + self.tasks, CLASSES, 2, 2, generator=generator)
        # An order of its own has no meaning to a task: the two centres of a class are sorted.
        order = centres[..., 0].argsort(dim=2)
        centres = torch.gather(centres, 2, order[..., None].expand_as(centres))
        points, labels = drawn(centres, 20, generator)
        begun = torch.randn(size(), generator=generator) * 0.5
        weights = taught(begun.expand(len(centres), -1), points, labels, self.training, 0.05)
        zoo, own = weights[: self.zoo], weights[self.zoo :]
        told = centres.flatten(1)
        few, answers = drawn(centres[self.zoo :], self.shots, generator)  # before weights are made, so that all ways have the same
        held, wanted = drawn(centres[self.zoo :], 100, generator)
        made = begun.expand(self.tries, self.tasks, -1)  # [tries, tasks, size]
        if self.way != "begun":
            made = self._made(zoo, own, told[: self.zoo], told[self.zoo :], np.random.default_rng(seed), generator)
        scores = torch.stack([right(one, few, answers) for one in made])
        best = made[scores.argmax(dim=0), torch.arange(self.tasks)]
        between = torch.cdist(zoo, zoo)
        return {
            "accuracy": float(right(best, held, wanted).mean()),
            "tuned": float(right(taught(best, few, answers, 20, 0.02), held, wanted).mean()),
            "trained": float(right(own, held, wanted).mean()),
            "apart": float(torch.cdist(best, zoo).amin(dim=1).mean() / between[between > 0].mean()),
        }

    def _made(
        self, zoo: Tensor, own: Tensor, told: Tensor, asked: Tensor, random: np.random.Generator, generator: torch.Generator
    ) -> Tensor:
        import torch

        count = (self.tries, self.tasks)
        if self.way in ("nearest", "noisy"):
            order = torch.cdist(asked, told).argsort(dim=1)[:, : self.tries].T  # the nearest, the next, and so on
            order = order[torch.arange(self.tries) % len(order)]
            if self.way == "nearest":
                return zoo[order]
            return zoo[order[:1].expand(count)] + 0.1 * zoo.std(dim=0) * torch.randn(*count, zoo.shape[1], generator=generator)
        if self.way == "mean":
            return zoo.mean(dim=0).expand(*count, -1)
        if self.way == "random":
            return zoo[torch.randint(len(zoo), count, generator=generator)]
        if self.way == "diffusion":
            return self._diffused(zoo, told, asked, random, generator)
        return self._coded(zoo, own, told, asked, random)

    def _diffused(self, zoo: Tensor, told: Tensor, asked: Tensor, random: np.random.Generator, generator: torch.Generator) -> Tensor:
        """Ancestral sampling through 30 steps of a cosine schedule; a network guesses the clean vector."""
        import math

        import torch

        from windtunnel.kits.image.tiny import begun, said, trained

        middle = zoo.mean(dim=0)
        _, sizes, axes = torch.linalg.svd(zoo - middle, full_matrices=False)
        axes, sizes = axes[: self.parts], sizes[: self.parts] / len(zoo) ** 0.5
        clean, levels = (zoo - middle) @ axes.T / sizes, 30
        kept = torch.tensor([math.cos(math.pi / 2 * (level + 1) / (levels + 1)) ** 2 for level in range(levels)])
        spread = told.std(dim=0)

        def guess(weights: dict[str, Tensor], noisy: Tensor, level: Tensor, about: Tensor) -> Tensor:
            return said(weights, torch.cat([noisy, (level[:, None].float() / levels), about / spread], dim=1))

        def loss(weights: dict[str, Tensor], rows: Tensor) -> Tensor:
            level = torch.from_numpy(random.integers(levels, size=len(rows)))
            share = kept[level][:, None]
            noisy = share.sqrt() * clean[rows] + (1 - share).sqrt() * torch.randn(len(rows), clean.shape[1], generator=generator)
            return (guess(weights, noisy, level, told[rows]) - clean[rows]).square().mean()

        sizes_of = (clean.shape[1] + 1 + told.shape[1], 128, 128, clean.shape[1])
        weights = trained(begun(sizes_of, int(random.integers(1 << 30))), loss, len(zoo), self.steps, 3e-3, random, batch=64)
        about = asked.repeat(self.tries, 1)
        now = torch.randn(len(about), clean.shape[1], generator=generator)
        for level in range(levels - 1, -1, -1):
            found = guess(weights, now, torch.full((len(now),), level), about)
            share, before = kept[level], kept[level - 1] if level else torch.tensor(1.0)
            noise = (now - share.sqrt() * found) / (1 - share).sqrt()
            fresh = torch.randn(now.shape, generator=generator)
            now = before.sqrt() * found + (1 - before).sqrt() * (0.7 * noise + 0.51**0.5 * fresh)
        return (now * sizes @ axes + middle).view(self.tries, self.tasks, -1)

    def _coded(self, zoo: Tensor, own: Tensor, told: Tensor, asked: Tensor, random: np.random.Generator) -> Tensor:
        """Codes of pieces of 9 weights; a table of a softmax regression for each place draws them."""
        import torch

        from windtunnel.kits.image.tiny import trained

        pieces = size() // 9
        flat = zoo.reshape(-1, 9)
        book = flat[torch.from_numpy(random.choice(len(flat), self.codes, replace=False))].clone()
        for _ in range(12):
            nearest = torch.cdist(flat, book).argmin(dim=1)
            total = torch.zeros_like(book).index_add(0, nearest, flat)
            counts = torch.bincount(nearest, minlength=self.codes)[:, None]
            book = torch.where(counts > 0, total / counts.clamp(min=1), book)
        if self.way == "restored":
            return book[torch.cdist(own.reshape(-1, 9), book).argmin(dim=1)].view(1, self.tasks, -1).expand(self.tries, -1, -1)
        codes = torch.cdist(flat, book).argmin(dim=1).view(len(zoo), pieces)
        spread = told.std(dim=0)
        inputs = torch.cat([told / spread, torch.ones(len(told), 1)], dim=1)
        begun = {"told": torch.zeros(pieces, inputs.shape[1], self.codes), "before": torch.zeros(pieces, self.codes, self.codes)}

        def logits(weights: dict[str, Tensor], about: Tensor, place: int, before: Tensor) -> Tensor:
            return about @ weights["told"][place] + weights["before"][place][before]

        def loss(weights: dict[str, Tensor], rows: Tensor) -> Tensor:
            some = codes[rows]
            total = torch.einsum("ni,pio->npo", inputs[rows], weights["told"])
            total[:, 1:] = total[:, 1:] + torch.stack([weights["before"][place][some[:, place - 1]] for place in range(1, pieces)], dim=1)
            return torch.nn.functional.cross_entropy(total.flatten(0, 1), some.flatten())

        weights = trained(begun, loss, len(zoo), max(1, self.steps // 5), 0.05, random, batch=64, decay=0.05)
        about = torch.cat([asked / spread, torch.ones(len(asked), 1)], dim=1).repeat(self.tries, 1)
        drawn_codes, last = [], torch.zeros(len(about), dtype=torch.long)
        generator = torch.Generator().manual_seed(int(random.integers(1 << 30)))
        for place in range(pieces):
            found = logits(weights, about, place, last) if place else about @ weights["told"][0]
            last = torch.multinomial(found.softmax(dim=1), 1, generator=generator)[:, 0]
            drawn_codes.append(last)
        return book[torch.stack(drawn_codes, dim=1)].view(self.tries, self.tasks, -1)


def size() -> int:
    """How many weights a network has, filled up to whole pieces of 9."""
    count = 2 * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES
    return -(-count // 9) * 9


def answers(weights: Tensor, points: Tensor) -> Tensor:
    """Logits [tasks, points, classes] of networks [tasks, size] on points [tasks, points, 2]."""
    import torch

    first, bias, second, last, _ = weights.split(
        [2 * HIDDEN, HIDDEN, HIDDEN * CLASSES, CLASSES, size() - 3 * HIDDEN - (HIDDEN + 1) * CLASSES], dim=1
    )
    inner = torch.tanh(points @ first.view(-1, 2, HIDDEN) + bias[:, None])
    return inner @ second.reshape(-1, HIDDEN, CLASSES) + last[:, None]


def drawn(centres: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``count`` points of each class of every task, [tasks, classes x count, 2], and their labels."""
    import torch

    tasks = len(centres)
    which = torch.randint(2, (tasks, CLASSES, count), generator=generator)
    middle = torch.gather(centres, 2, which[..., None].expand(-1, -1, -1, 2))
    points = middle + 0.25 * torch.randn(middle.shape, generator=generator)
    labels = torch.arange(CLASSES).repeat_interleave(count).expand(tasks, -1)
    return points.flatten(1, 2), labels


def taught(weights: Tensor, points: Tensor, labels: Tensor, steps: int, rate: float) -> Tensor:
    """Networks after ``steps`` of Adam, each on all points of its task."""
    import torch

    held = weights.clone().requires_grad_()

    def loss(step: int) -> Tensor:
        found = answers(held, points).flatten(0, 1)
        return torch.nn.functional.cross_entropy(found, labels.flatten(), reduction="sum") / points.shape[1]

    take_steps(torch.optim.Adam([held], rate), loss, steps)
    return held.detach()


def right(weights: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """The accuracy of each network [tasks]."""
    return (answers(weights, points).argmax(dim=2) == labels).float().mean(dim=1)
