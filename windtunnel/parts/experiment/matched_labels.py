"""A kind of map that no network was trained on, drawn of images after a few whose maps are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIZE = 16  # pixels on a side
MAPS = ("inside", "edge", "depth", "down", "across", "red", "circle", "near")
RATES = (3e-3, 1e-2)
Drawer = Callable[["torch.Tensor"], "torch.Tensor"]


class MatchedLabels(Experiment, name="matched-labels"):
    """The squared error of a kind of map that was held out of training, drawn after a few given ones, over that of its mean.

    Kim et al. 2024 (Chameleon), arXiv:2404.18459: many dense tasks are learned in episodes; patches of a query attend to patches of support
    images at several levels, what comes back are the embedded labels of the supports, weighed by level for each task, and a decoder draws
    the map; a new task tunes few numbers on its supports. Here scenes of two coloured shapes at 16 pixels have eight maps: what is
    inside an object, its edge, how deep inside a pixel lies, how far down and how far right in its object, how red the object is, what is
    inside a circle, and how near the next object is. The seed holds two of them out; the others are learned. What a task tunes is a bias
    of each convolution and the weights of the levels, which begin as the mean of those learned. The paper's pretrained vision
    transformer, its many levels and images of many resolutions are left out.

    ``learned``: ``matching``; ``matching-fixed``, without tuning; ``multitask``, the same reader with a head for each map, then a new head
    and all of it tuned on the given images; ``scratch``, that without anything learned before. Matching learns ``steps`` episodes of one
    map, ten supports and eight queries; multitask as many steps of one map and eighteen images. What is tuned chooses its rate of two
    by the error on a third of the given images, of which it was not tuned, and is then tuned on all; matching may also stay as it is.

    ``error`` is the mean over both maps of 100 other scenes, 1 for a map that is its mean of all pixels; ``trained`` the same of the
    maps that were learned, by their own numbers and the same supports, and 1 where nothing was.
    """

    trial = Trial({"steps": 2, "tuning": 2, "shots": 4, "scenes": 30})

    unit: ClassVar[str] = "share of the variance"

    learned: Literal["matching", "matching-fixed", "multitask", "scratch"] = Field(
        "multitask", description="what the network learned before"
    )
    shots: int = Field(10, ge=3, le=400, description="images whose map is given")
    scenes: int = Field(600, ge=20, description="images of the learned maps")
    steps: int = Field(500, ge=1, description="on the learned maps")
    tuning: int = Field(60, ge=1, description="steps on the given images")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``trained``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.matching import LabelMatching, SharedMaps

        random = np.random.default_rng(seed)
        (images, maps), (given, given_maps), (asked, truth) = (drawn(random, count) for count in (self.scenes, self.shots, 100))
        order = random.permutation(len(MAPS))
        held, known = order[:2].tolist(), order[2:].tolist()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = LabelMatching(len(known)) if self.learned.startswith("matching") else SharedMaps(len(known))
            if self.learned != "scratch":
                self._pretrained(network, images, maps[:, known], seed)
            errors = []
            for task in held:
                draw = self._adapted(network, given, given_maps[:, task], seed)
                errors.append(error(draw, asked, truth[:, task]))
            trained = [1.0] if self.learned == "scratch" else [
                error(own(network, place, given, given_maps[:, task]), asked, truth[:, task]) for place, task in enumerate(known)
            ]  # fmt: skip
        return {"error": float(np.mean(errors)), "trained": float(np.mean(trained))}

    def _pretrained(self, network: torch.nn.Module, images: torch.Tensor, maps: torch.Tensor, seed: int) -> None:
        """Steps on the learned maps."""
        import torch

        from windtunnel.kits.image.matching import LabelMatching
        from windtunnel.kits.small_decoder import descend

        random = torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randperm(len(images), generator=random)[:18]
            task = int(torch.randint(0, maps.shape[1], (), generator=random))
            few = 10 if isinstance(network, LabelMatching) else 0
            draw = own(network, task, images[rows[:few]], maps[rows[:few], task])
            return torch.nn.functional.mse_loss(draw(images[rows[few:]]), maps[rows[few:], task])

        descend(network, loss, self.steps, 3e-3)

    def _adapted(self, network: torch.nn.Module, given: torch.Tensor, labels: torch.Tensor, seed: int) -> Drawer:
        """What draws a new map, after tuning at the best of the rates."""
        from windtunnel.kits.image.matching import LabelMatching

        if self.learned == "matching-fixed":
            return new(network, given, labels)[0]
        cut = max(2, len(given) - len(given) // 3)

        def tuned(rate: float, count: int) -> Drawer:
            return self._tuned(network, given[:count], labels[:count], rate, seed)

        errors = {rate: error(tuned(rate, cut), given[cut:], labels[cut:]) for rate in RATES}
        if isinstance(network, LabelMatching):  # tuning few numbers may also do nothing
            errors[0.0] = error(new(network, given[:cut], labels[:cut])[0], given[cut:], labels[cut:])
        rate = min(errors, key=lambda one: errors[one])
        return tuned(rate, len(given)) if rate else new(network, given, labels)[0]

    def _tuned(self, network: torch.nn.Module, given: torch.Tensor, labels: torch.Tensor, rate: float, seed: int) -> Drawer:
        """After ``tuning`` steps: of matching those numbers that are the task's, else of all of the network and a new head."""
        import copy

        import torch

        from windtunnel.kits.image.matching import LabelMatching

        torch.manual_seed(seed)
        network, random = copy.deepcopy(network), torch.Generator().manual_seed(seed)
        draw, weights = new(network, given, labels)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randperm(len(given), generator=random)
            if isinstance(network, LabelMatching):  # a part of what is given is asked for, by the rest
                asked, few = rows[: max(1, len(rows) // 3)][:8], rows[max(1, len(rows) // 3) :]
                found = network(given[asked], given[few[:40]], labels[few[:40]], *weights)
            else:
                asked = rows[:18]
                found = draw(given[asked])
            return torch.nn.functional.mse_loss(found, labels[asked])

        take_steps(torch.optim.AdamW(weights, rate, weight_decay=0.0, foreach=False), loss, self.tuning, falling)
        return draw


def own(network: torch.nn.Module, task: int, given: torch.Tensor, labels: torch.Tensor) -> Drawer:
    """What draws a learned map, by the numbers of its task."""
    from windtunnel.kits.image.matching import LabelMatching, SharedMaps

    if isinstance(network, LabelMatching):
        return lambda images: network(images, given, labels, network.biases[task], network.gates[task])
    assert isinstance(network, SharedMaps)
    return lambda images: network(images, network.biases[task], network.heads[task])


def new(network: torch.nn.Module, given: torch.Tensor, labels: torch.Tensor) -> tuple[Drawer, list[torch.Tensor]]:
    """What draws a map after those that are given, and the weights that tune it."""
    from windtunnel.kits.image.matching import LabelMatching, SharedMaps, map_head

    assert isinstance(network, LabelMatching | SharedMaps)
    bias = network.biases.mean(dim=0).detach().requires_grad_()
    if isinstance(network, LabelMatching):
        gates = network.gates.mean(dim=0).detach().requires_grad_()
        return lambda images: network(images, given, labels, bias, gates), [bias, gates]
    head = map_head()
    return lambda images: network(images, bias, head), [bias, *network.read.parameters(), *head.parameters()]


def error(draw: Drawer, images: torch.Tensor, truth: torch.Tensor) -> float:
    """The mean squared distance over the variance of the map, whose mean is 0 and deviation 1 over all scenes."""
    import torch

    with torch.no_grad():
        found = torch.cat([draw(some) for some in images.split(20)])
    return float((found - truth).square().mean() / (truth - truth.mean()).square().mean())


def drawn(random: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [count, 3, SIZE, SIZE] and their maps [count, maps, SIZE, SIZE], brought to a fixed mean and deviation each."""
    import numpy as np
    import torch
    from scipy.ndimage import binary_erosion, distance_transform_edt

    from windtunnel.kits.image.scenes import COLOURS, SHAPES, scenes

    made = scenes(random, random.integers(0, 5, (count, 2)), random.integers(0, 6, (count, 2)), SIZE, radius=(0.17, 0.23))
    place = (np.arange(SIZE) + 0.5) / SIZE
    masks, radii = made.masks.astype(float), made.radii[..., None, None]
    down = (place[:, None] - made.middles[..., 0, None, None]) / radii
    across = (place[None, :] - made.middles[..., 1, None, None]) / radii
    red = np.array(list(COLOURS.values()))[:, 0][made.colours][..., None, None] / 255
    inside = np.asarray(made.masks.any(axis=1))
    deep = np.stack([distance_transform_edt(one) for one in inside])
    near = np.stack([np.exp(-distance_transform_edt(~one) / 2) for one in inside])
    maps = {
        "inside": inside,
        "edge": inside & ~np.stack([binary_erosion(one) for one in inside]),
        "depth": deep,
        "down": (masks * down).sum(axis=1),
        "across": (masks * across).sum(axis=1),
        "red": (masks * red).sum(axis=1),
        "circle": (masks * (made.shapes == SHAPES.index("circle"))[..., None, None]).sum(axis=1),
        "near": near * ~inside,
    }
    scales = {"inside": (0.35, 0.48), "edge": (0.25, 0.43), "depth": (0.5, 0.8), "down": (0.0, 0.3), "across": (0.0, 0.3)}
    scales |= {"red": (0.15, 0.3), "circle": (0.08, 0.27), "near": (0.2, 0.25)}
    every = [(maps[name] - scales[name][0]) / scales[name][1] for name in MAPS]
    return torch.from_numpy(made.images), torch.from_numpy(np.stack(every, axis=1)).float()
