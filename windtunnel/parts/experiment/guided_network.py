"""A network without convolutions that is drawn towards the states of one with them, trained or as it was drawn."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH, RATE = 64, 0.002
CHANNELS, CONVOLUTIONS = 8, 3
JUDGED = 700
SIDE = 12  # pixels of a field, somewhere in which a digit of eight by eight stands


class GuidedNetwork(Experiment, name="guided-network"):
    """How well a deep network of plain layers names handwritten digits, guided by the states of another network while it learns.

    Subramaniam et al. 2024, arXiv:2410.20035: to the loss of the task comes ``strength`` times the sum over the guide's layers of 1 - CKA
    of its states and those of a layer of the network, on the batch; CKA is that of linear kernels (Kornblith et al. 2019,
    arXiv:1905.00414), and the guide's layers are spread evenly over the network's. The guide does not learn with it. An ``untrained`` guide
    carries what its architecture is and nothing else. Controls: the states of a guide whose batch is in another order (``shuffled``), and a
    guide of the network's own architecture as it was drawn (``itself``). ``until`` is the share of the steps with a guide: the rest is the
    task alone.

    The network has ``layers`` hidden layers of ``width`` units with ReLU on 144 pixels, in which a
    digit stands anywhere, the guide three convolutions of eight channels and a
    layer of classes; ``trained`` says that it learned the same images first. It needs scikit-learn.
    """

    trial = Trial({"steps": 2, "images": 64, "layers": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    guide: Literal["none", "untrained", "trained", "shuffled", "itself"] = Field("none", description="whose states the network is drawn to")
    strength: float = Field(1.0, ge=0, description="of the guide")
    until: float = Field(1.0, ge=0, le=1, description="the share of the steps that are guided")
    layers: int = Field(8, ge=2, description="hidden layers of the network")
    width: int = Field(64, ge=2, description="units of each")
    images: int = Field(300, ge=64, le=1000, description="of training")
    steps: int = Field(300, ge=1, description="of training, 64 images each")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` on images of no training, ``training`` on those of it, and ``likeness``, the mean CKA to the guide at the end.

        Raises UserError where scikit-learn is missing.
        """
        import numpy as np
        import torch

        from windtunnel.kits.image.digits import digits

        random = np.random.default_rng(seed)
        known = digits(self.name)
        order = random.permutation(len(known.target))
        pixels, labels = (
            torch.from_numpy(placed(known.images[order] / 16, random)).float(),
            torch.from_numpy(known.target[order].astype(np.int64)),
        )
        held, seen = slice(0, JUDGED), slice(JUDGED, JUDGED + self.images)
        network = plain([pixels.shape[1], *[self.width] * self.layers, 10], random)
        guide = None
        if self.guide == "itself":
            guide = plain([pixels.shape[1], *[self.width] * self.layers, 10], random)
        elif self.guide != "none":
            guide = convolutional(random)
        if guide is not None and self.guide == "trained":
            self._train(guide, None, pixels[seen], labels[seen], random)
        self._train(network, guide, pixels[seen], labels[seen], random)
        found = {}
        with torch.no_grad():
            for name, part in (("accuracy", held), ("training", seen)):
                found[name] = float((states(network, pixels[part])[-1].argmax(dim=1) == labels[part]).float().mean())
            mine = states(network, pixels[held])[:-1]
            theirs = states(guide or convolutional(random), pixels[held])[:-1]
            found["likeness"] = float(np.mean([float(cka(mine[place], other)) for place, other in spread(mine, theirs)]))
        return found

    def _train(
        self,
        network: list[torch.nn.Parameter],
        guide: list[torch.nn.Parameter] | None,
        pixels: torch.Tensor,
        labels: torch.Tensor,
        random: np.random.Generator,
    ) -> None:
        """Train ``network`` in place, drawn to ``guide`` if there is one."""
        import torch

        def loss_of(step: int) -> torch.Tensor:
            batch = torch.from_numpy(random.integers(0, len(labels), BATCH))
            mine = states(network, pixels[batch])
            loss = torch.nn.functional.cross_entropy(mine[-1], labels[batch])
            if guide is not None and step < self.until * self.steps:
                other = batch[torch.from_numpy(random.permutation(BATCH))] if self.guide == "shuffled" else batch
                with torch.no_grad():
                    theirs = states(guide, pixels[other])
                for place, state in spread(mine[:-1], theirs[:-1]):
                    loss = loss + self.strength * (1 - cka(mine[place], state))
            return loss

        take_steps(torch.optim.AdamW(network, RATE, weight_decay=0.0), loss_of, self.steps)


def placed(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each of ``images`` [images, 8, 8] at a place of its own in a field: [images, SIDE x SIDE]."""
    import numpy as np

    size = images.shape[1]
    found = np.zeros((len(images), SIDE, SIDE))
    for number, (down, right) in enumerate(random.integers(0, SIDE - size + 1, (len(images), 2))):
        found[number, down : down + size, right : right + size] = images[number]
    return found.reshape(len(images), -1)


def plain(sizes: list[int], random: np.random.Generator) -> list[torch.nn.Parameter]:
    """The matrices of a network of plain layers; variances keep through ReLU."""
    import numpy as np
    import torch

    shapes = itertools.pairwise(sizes)
    drawn = [random.standard_normal(shape).astype(np.float32) * (2 / shape[0]) ** 0.5 for shape in shapes]
    return [torch.nn.Parameter(torch.from_numpy(one)) for one in drawn]


def convolutional(random: np.random.Generator) -> list[torch.nn.Parameter]:
    """The kernels of three convolutions of three by three and the matrix of classes."""
    import numpy as np
    import torch

    shapes = [(CHANNELS, CHANNELS if number else 1, 3, 3) for number in range(CONVOLUTIONS)]
    drawn = [random.standard_normal(shape).astype(np.float32) * (2 / (9 * shape[1])) ** 0.5 for shape in shapes]
    drawn.append(random.standard_normal((CHANNELS * SIDE**2, 10)).astype(np.float32) * (1 / (CHANNELS * SIDE**2)) ** 0.5)
    return [torch.nn.Parameter(torch.from_numpy(one)) for one in drawn]


def states(network: list[torch.nn.Parameter], pixels: torch.Tensor) -> list[torch.Tensor]:
    """What stands behind each layer, [images, numbers] each; the last are the scores of classes."""
    import torch

    found, state = list[torch.Tensor](), pixels
    for number, weight in enumerate(network):
        if weight.ndim == 4:
            shaped = state.view(len(state), weight.shape[1], SIDE, SIDE)
            state = torch.relu(torch.nn.functional.conv2d(shaped, weight, padding=1)).flatten(1)
        else:
            state = state @ weight
            if number < len(network) - 1:
                state = torch.relu(state)
        found.append(state)
    return found


def cka(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How alike the states [rows, ...] are up to rotations and scale, from 0 to 1: with centred Gram matrices, <K, L> / (|K| |L|)."""
    grams = []
    for state in (one, other):
        centred = state - state.mean(dim=0)
        grams.append(centred @ centred.T)
    product: torch.Tensor = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm()).clamp(min=1e-12)
    return product


def spread(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> list[tuple[int, torch.Tensor]]:
    """Each of the guide's states with the place of the layer of the network it belongs to: evenly, from first to last."""
    steps = max(1, len(theirs) - 1)
    return [(round(number * (len(mine) - 1) / steps), state) for number, state in enumerate(theirs)]
