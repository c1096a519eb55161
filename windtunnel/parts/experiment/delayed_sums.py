"""A network that generalises long after it knows its training set by heart, by how much it is shown of what follows from what."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

KNOWN = 0.95  # accuracy from which a set counts as known


class DelayedSums(Experiment, name="delayed-sums"):
    """The accuracy on held-out sums of a network that knows the sums of training by heart, and when either came.

    Wang et al. 2024, arXiv:2405.15071 (and Power et al. 2022, arXiv:2201.02177): with weight decay and long training, a transformer that
    was shown facts and what follows from two of them comes to conclude by itself, long after training accuracy is 1, the sooner, the more
    inferred facts there are for each atomic one, and not the more facts there are. Sums modulo a number are the smallest such world: a
    table of vectors holds what each symbol is, and every sum follows from two. ``ratio`` sums are shown for each symbol, counting both
    orders of two symbols. The vectors of two symbols are added and go through one hidden layer; all is trained with AdamW on all sums at
    once.

    ``held_out`` is the accuracy on the other sums at the end, ``train`` that of training; ``memorised`` and ``generalised`` are the steps
    after which they were known (the number of steps where they never were), ``delay`` the latter over the former.
    """

    trial = Trial({"modulus": 7, "ratio": 4.0, "steps": 6})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    modulus: int = Field(23, ge=3, description="symbols, and what sums are taken modulo")
    ratio: float = Field(20.0, gt=0, description="sums that are shown for each symbol")
    decay: float = Field(1.0, ge=0, description="weight decay")
    steps: int = Field(2500, ge=5, description="of training, all sums in each")
    rate: float = Field(1e-2, gt=0, description="learning rate")

    def measure(self, seed: int) -> dict[str, float]:
        """``held_out``, ``train``, ``memorised``, ``generalised`` and ``delay``. Raises PartError where no sum is shown, or none left."""
        import numpy as np
        import torch
        from torch import nn

        random = np.random.default_rng(seed)
        pairs = np.array([(one, two) for one in range(self.modulus) for two in range(one, self.modulus)])
        order = random.permutation(len(pairs))
        shown = round(self.ratio * self.modulus / 2)  # a sum and its mirror image are one
        if not 0 < shown < len(pairs):
            raise PartError(f"{self.name}: ratio {self.ratio} shows {shown} of {len(pairs)} sums; some have to be shown, and some held out")
        rows = torch.from_numpy(pairs[order])
        sums = rows.sum(dim=1) % self.modulus
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            table, layers = nn.Embedding(self.modulus, 48), nn.Sequential(nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, self.modulus))
        optimizer = torch.optim.AdamW([*table.parameters(), *layers.parameters()], self.rate, weight_decay=self.decay, fused=True)

        def right(part: slice) -> float:
            with torch.no_grad():
                return float((layers(table(rows[part]).sum(dim=1)).argmax(dim=1) == sums[part]).double().mean())

        memorised, generalised = float(self.steps), float(self.steps)
        for step in range(1, self.steps + 1):
            take_step(optimizer, nn.functional.cross_entropy(layers(table(rows[:shown]).sum(dim=1)), sums[:shown]))
            if step % 25 == 0:
                if memorised == self.steps and right(slice(0, shown)) >= KNOWN:
                    memorised = float(step)
                if generalised == self.steps and right(slice(shown, None)) >= KNOWN:
                    generalised = float(step)
        ends = right(slice(shown, None)), right(slice(0, shown))
        return {
            "held_out": ends[0],
            "train": ends[1],
            "memorised": memorised,
            "generalised": generalised,
            "delay": generalised / memorised,
        }
