"""A new task met by mixing what a network has changed by for other tasks, with few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from windtunnel.kits.image.tiny import Weights

KNOWN = (-90.0, -60.0, -30.0, 30.0, 60.0, 90.0)  # degrees of the tasks whose changes are mixed
LORA = ("0.weight", "1.weight", "2.weight")


class MixedChanges(Experiment, name="mixed-changes"):
    """Accuracy on digits turned by ``degrees`` that ``shots`` labels a class teach, by what is trained.

    Zhang et al. 2024, "Knowledge Composition using Task Vectors with Learned Anisotropic Scaling", arXiv:2407.02880. A network learns
    upright digits, and six copies of it learn digits turned by 30, 60 and 90 degrees to either side. ``trains``: ``tensors``, a
    coefficient for each change and each tensor, from zero, as in the paper; ``changes``, one for each change; ``one``, one for the sum of
    all changes; ``lora``, one column and row at each matrix, ``last``, the last layer, ``all`` weights, each on the upright network;
    ``nothing``. Rates are chosen for each on validation, which has more labels than training.

    ``accuracy`` is on held-out turned digits, ``numbers`` how many numbers train.
    """

    trial = Trial({"training": 5, "steps": 5, "width": 16, "rates": (0.1,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    trains: Literal["tensors", "changes", "one", "lora", "last", "all", "nothing"] = Field("tensors", description="what the labels move")
    shots: int = Field(2, ge=1, le=60, description="labelled images of each class")
    degrees: float = Field(45.0, description="of the new task")
    width: int = Field(48, ge=1, description="of both hidden layers")
    training: int = Field(120, ge=1, description="steps of the network, and of each change")
    steps: int = Field(80, ge=1, description="on the new task")
    rates: tuple[float, ...] = Field((1e-3, 1e-2, 1e-1), min_length=1, description="learning rates that are tried")

    @field_validator("degrees")
    @classmethod
    def _is_new(cls, value: float) -> float:
        if value in KNOWN:
            raise ValueError(f"a turn by {value:g} degrees is among the changes that are mixed, and so is no new task")
        return value

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``numbers``.

        Raises:
            PartError: where a class has too few images.
        """
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, trained, turned

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels, count = data.images[data.train], data.labels[data.train], len(data.train)
        first = trained(begun((64, self.width, self.width, 10), seed), classified(images, labels), count, self.training, 5e-3, random)
        views = turned(data.images, self.degrees)
        if self.trains == "nothing":
            return {"accuracy": right(first, views[data.held], data.labels[data.held]), "numbers": 0.0}
        few = torch.cat([torch.nonzero(labels == label)[: self.shots, 0] for label in range(10)])
        if len(few) < 10 * self.shots:
            raise PartError(f"{self.name}: a class has fewer than {self.shots} images to learn from; lower shots")
        loss = classified(views[data.train][few], labels[few])
        changes: list[Weights] = []
        if self.trains in ("tensors", "changes", "one"):
            for known in KNOWN:
                tuned = trained(first, classified(turned(images, known), labels), count, self.training, 3e-3, random)
                changes.append({name: tuned[name] - first[name] for name in first})
        free = self._free(first, seed)

        def moved(rate: float) -> Weights:
            held = trained(free, lambda one, rows: loss(self.made(first, changes, one), rows), len(few), self.steps, rate, random)
            return self.made(first, changes, held)

        found = best(self.rates, moved, lambda one: right(one, views[data.chosen], data.labels[data.chosen]))
        return {
            "accuracy": right(found, views[data.held], data.labels[data.held]),
            "numbers": float(sum(each.numel() for each in free.values())),
        }

    def _free(self, first: Weights, seed: int) -> Weights:
        """What trains, as it begins."""
        import torch

        if self.trains == "tensors":
            return {"mix": torch.zeros(len(KNOWN), len(first))}
        if self.trains in ("changes", "one"):
            return {"mix": torch.zeros(len(KNOWN) if self.trains == "changes" else 1, 1)}
        if self.trains == "lora":
            generator, made = torch.Generator().manual_seed(seed), {}
            for name in LORA:
                out, read = first[name].shape
                made[f"{name}.down"] = torch.randn(1, read, generator=generator) / read**0.5
                made[f"{name}.up"] = torch.zeros(out, 1)
            return made
        return {name: weight for name, weight in first.items() if self.trains == "all" or name.startswith("2.")}

    def made(self, first: Weights, changes: list[Weights], free: Weights) -> Weights:
        """The weights of the network from what trains."""
        if self.trains in ("last", "all"):
            return first | free
        if self.trains == "lora":
            return first | {name: first[name] + free[f"{name}.up"] @ free[f"{name}.down"] for name in LORA}
        mix = free["mix"].expand(len(KNOWN), len(first))
        return {
            name: weight + sum(mix[which, place] * change[name] for which, change in enumerate(changes))
            for place, (name, weight) in enumerate(first.items())
        }
