"""Three tasks that share one encoder: steps of one task or of all, with and without balance between their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class TaskSteps(Experiment, name="task-steps"):
    """How well one encoder does three tasks, by whether a step is of one task or of all.

    Li et al. 2023, arXiv:2211.09808 (Uni-Perceiver v2): every task is to find the right of many candidates by the cosine of two encodings;
    a step takes one task alone, so that a contrastive task has a whole batch of others to tell apart, and the gradients of tasks
    are balanced. Tasks on planted images: to name the shape, to find the caption of an image among those of the step, and to tell which of
    two halves of the colours it has, whose loss is ``loud`` times as large. ``mixed`` gives each task a third of every step, ``one``
    every third step whole; ``balanced`` is ``one`` with every gradient over the running mean of its task's norm, as we read the paper;
    ``mixed-balanced`` is ``mixed`` with that.

    The numbers are ``retrieved``, the share of captions whose image is found among 200; ``named``, of shapes; ``told``, of halves; and
    ``average``, of all three.
    """

    trial = Trial({"images": 100, "steps": 6})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    steps_of: Literal["mixed", "one", "balanced", "mixed-balanced"] = Field("mixed", description="what a step is of")
    loud: float = Field(10.0, gt=0, description="what the loss of the third task is multiplied by")
    batch: int = Field(48, ge=6, description="images of a step, over all of its tasks")
    images: int = Field(1500, ge=50, description="of training")
    steps: int = Field(450, ge=3, description="of training")
    noise: float = Field(1.0, ge=0, description="deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``retrieved``, ``named``, ``told`` and ``average``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import PIXELS, WORDS, PairWorld, drawn_attributes, told, unit

        random = np.random.default_rng(seed)
        world, attributes, asked = PairWorld.drawn(random), drawn_attributes(random, self.images), drawn_attributes(random, 200)
        seen = torch.from_numpy(world.seen(attributes, random, self.noise)).float()
        judged = torch.from_numpy(world.seen(asked, random, self.noise)).float()
        every = np.ones((self.images, 4), bool)
        words, other = torch.from_numpy(told(attributes, every)).float(), torch.from_numpy(told(asked, every[:1].repeat(200, 0))).float()
        shapes, halves = (torch.from_numpy(attributes[:, place]) for place in (0, 1))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            image, text = (torch.nn.Parameter(torch.randn(size, 16) / size**0.5) for size in (PIXELS, WORDS))
            ends = [torch.nn.Parameter(torch.randn(count, 16)) for count in (6, 2)]

            def loss(task: int, rows: torch.Tensor) -> torch.Tensor:
                vectors = unit(seen[rows] @ image)
                if task == 1:
                    logits, wanted = 10 * vectors @ unit(words[rows] @ text).T, torch.arange(len(rows))
                else:
                    logits, wanted = 10 * vectors @ unit(ends[task // 2]).T, (shapes if task == 0 else halves // 3)[rows]
                return (self.loud if task == 2 else 1.0) * torch.nn.functional.cross_entropy(logits, wanted)

            self._learned([image, text, *ends], loss, random)
            with torch.no_grad():
                vectors = unit(judged @ image)
                found = [
                    (unit(other @ text) @ vectors.T).argmax(dim=1).numpy(),
                    (vectors @ unit(ends[0]).T).argmax(dim=1).numpy(),
                    (vectors @ unit(ends[1]).T).argmax(dim=1).numpy(),
                ]
        right = [(asked[found[0]] == asked).all(axis=1), found[1] == asked[:, 0], found[2] == asked[:, 1] // 3]
        numbers = {name: float(one.mean()) for name, one in zip(("retrieved", "named", "told"), right, strict=True)}
        return {**numbers, "average": float(np.mean(list(numbers.values())))}

    def _learned(self, parameters: list[Any], loss: Any, random: np.random.Generator) -> None:
        """Train ``parameters`` in place at ``loss`` (task, rows)."""
        import torch

        optimizer, norms = torch.optim.Adam(parameters, 0.01), [0.0, 0.0, 0.0]
        for step in range(self.steps):
            tasks = range(3) if self.steps_of.startswith("mixed") else (step % 3,)
            total = [torch.zeros_like(each) for each in parameters]
            for task in tasks:
                rows = torch.from_numpy(random.integers(0, self.images, self.batch // len(tasks)))
                found = torch.autograd.grad(loss(task, rows), parameters, allow_unused=True)
                gradients = [torch.zeros_like(each) if one is None else one for one, each in zip(found, parameters, strict=True)]
                if self.steps_of.endswith("balanced"):
                    norm = float(torch.stack([each.norm() for each in gradients]).norm())
                    norms[task] = 0.9 * norms[task] + 0.1 * norm if norms[task] else norm
                    gradients = [each / (norms[task] + 1e-9) for each in gradients]
                total = [one + each for one, each in zip(total, gradients, strict=True)]
            for each, one in zip(parameters, total, strict=True):
                each.grad = one
            optimizer.step()
