"""Spoiled images restored by a network that learned other ways of spoiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch


class RestoredImages(Experiment, name="restored-images"):
    """The error of digits restored from a way of spoiling that training lacked, after a few pairs of it.

    Liu et al. 2024, arXiv:2410.01591: one network learns from 3.6 million simulated pairs to restore CT of low dose, of few views and of a
    limited angle, and is adapted to a new setting with few pairs. Here digits are spoiled by noise, by blur, by leaving out every other
    row, and by leaving out a side. Unseen is a side left out with noise and blur at once. ``many`` learns from all four, ``noise`` from
    noise alone, ``none`` begins anew, ``clean`` learns to give back what it is given.

    A network of two hidden layers adds to what it is given. ``pairs`` of the unseen way are learned from for 60 steps. The numbers are
    ``error``, the squared distance from true pixels over that of what was given, and ``before``, the same before any pair.
    """

    trial = Trial({"steps": 4})

    unit: ClassVar[str] = "share of the error of what is given"

    first: Literal["none", "noise", "clean", "many"] = Field("none", description="what is learned first")
    pairs: int = Field(5, ge=1, description="of the unseen way")
    steps: int = Field(600, ge=1, description="of learning first, 64 digits each")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``before``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        images = torch.from_numpy(found.images / 16).float()
        held = torch.from_numpy(random.random(len(images)) < 0.3)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            last = nn.Linear(128, 64)
            nn.init.zeros_(last.weight)
            net = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), last)
            ways = {"many": WAYS, "noise": ("noise",), "clean": ("clean",), "none": ()}[self.first]
            train = images[~held]
            if ways:
                self._learned(net, lambda: self._pairs(train, ways, random), self.steps, 3e-3)
            asked, given = images[held], spoiled(images[held], "unseen")
            before = self._error(net, given, asked)
            few = train[torch.from_numpy(random.choice(len(train), self.pairs, replace=False))]
            pair = spoiled(few, "unseen"), few
            self._learned(net, lambda: pair, 60, 1e-3)
        return {"error": self._error(net, given, asked), "before": before}

    def _pairs(self, images: torch.Tensor, ways: tuple[str, ...], random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        true = images[torch.from_numpy(random.integers(0, len(images), 64))]
        return spoiled(true, ways[int(random.integers(len(ways)))]), true

    def _learned(self, net: torch.nn.Module, pairs: Callable[[], tuple[torch.Tensor, torch.Tensor]], steps: int, rate: float) -> None:
        """Train ``net`` in place by least squares."""
        import torch

        def loss(step: int) -> torch.Tensor:
            given, true = pairs()
            return (restored(net, given) - true).square().mean()

        take_steps(torch.optim.Adam(net.parameters(), rate, fused=True), loss, steps)

    def _error(self, net: torch.nn.Module, given: torch.Tensor, true: torch.Tensor) -> float:
        import torch

        with torch.no_grad():
            return float((restored(net, given) - true).square().mean() / (given - true).square().mean())


WAYS = ("noise", "blur", "rows", "side")


def restored(net: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    """What is given [images, 8, 8] and what the network adds."""
    found: torch.Tensor = given + net(given.flatten(1)).view_as(given)
    return found


def spoiled(images: torch.Tensor, way: str) -> torch.Tensor:
    """Images [images, 8, 8] spoiled in one ``way``; ``unseen`` is blur, then noise, then the left or right three columns left out."""
    import torch

    found = images.clone()
    if way in ("blur", "unseen"):
        wide = torch.nn.functional.pad(found[:, None], (1, 1, 1, 1), mode="replicate")
        found = torch.nn.functional.avg_pool2d(wide, 3, 1)[:, 0]
    if way in ("noise", "unseen"):
        found = found + (0.3 if way == "noise" else 0.1) * torch.randn(found.shape)
    if way == "rows":
        found[:, int(torch.randint(0, 2, ())) :: 2] = 0
    if way in ("side", "unseen"):
        left = torch.rand(len(found)) < 0.5
        found[left, :, :3] = 0
        found[~left, :, 5:] = 0
    return found
