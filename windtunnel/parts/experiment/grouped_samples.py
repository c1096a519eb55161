"""Pictures of a group made together or one by one: what they have in common without being told."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

ITEMS, NUMBERS, GROUP = 6, 6, 3


class GroupedSamples(Experiment, name="grouped-samples"):
    """How far the hidden tint of a group is kept among pictures that a network makes of noise.

    Huang et al. 2024, arXiv:2410.15027: a group of pictures is freed of noise together, each with its own caption, so that what they share
    is learned from groups as they occur; a clean picture of the group is a condition without any training for it. A group is three
    vectors, each the direction of an item, which the caption names, and a tint on a circle that the group shares and no caption names.

    ``one`` sees a picture alone, ``group`` all three; ``late`` is ``group`` that has learned from single pictures, each three times and
    with tints of its own, for all but the last tenth of its steps. The numbers are ``unlike``, the variance of tints within groups over
    that of all tints; ``copied``, the distance of the other tints from that of a clean first picture, over that of two tints at random;
    and ``items``, the share of pictures whose item is the one that was asked for.
    """

    trial = Trial({"groups": 60, "steps": 4})

    unit: ClassVar[str] = "share of the variance"

    sees: Literal["one", "group", "late"] = Field("one", description="what the network sees at once")
    groups: int = Field(2000, ge=20, description="of training")
    steps: int = Field(800, ge=2, description="of training, 128 groups each")

    def measure(self, seed: int) -> dict[str, float]:
        """``unlike``, ``copied`` and ``items``."""
        import numpy as np
        import torch

        from windtunnel.kits.flow import Flow

        random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            ways = 1.5 * torch.nn.functional.normalize(torch.randn(ITEMS, NUMBERS - 2), dim=1)
            items = torch.randint(0, ITEMS, (self.groups, GROUP))
            shared = tinted(ways, items, torch.rand(self.groups, 1).expand(-1, GROUP))
            own = tinted(ways, items, torch.rand(self.groups, GROUP))
            asked = torch.randint(0, ITEMS, (400, GROUP))
            alone = self.sees == "one"
            size, named = (1, GROUP)[not alone], torch.eye(ITEMS)
            flow = Flow(NUMBERS * size, ITEMS * size, 96)
            if self.sees == "late":
                flow.learn(own.flatten(1), named[items].flatten(1), self.steps - self.steps // 10, random, decay=False)
                flow.learn(shared.flatten(1), named[items].flatten(1), self.steps // 10, random)
            else:
                flow.learn(shared.view(-1, NUMBERS * size), named[items].view(-1, ITEMS * size), self.steps, random)
            condition = named[asked].view(-1, ITEMS * size)
            made = flow.sample(condition, NUMBERS * size).view(-1, GROUP, NUMBERS)
            first = tinted(ways, asked[:, :1], torch.rand(400, 1))
            known = torch.cat([first, torch.full((400, GROUP - 1, NUMBERS), torch.nan)], dim=1)
            completed = made if alone else flow.sample(condition, NUMBERS * size, known=known.flatten(1)).view(-1, GROUP, NUMBERS)
        tints = made[..., -2:]
        within = (tints - tints.mean(dim=1, keepdim=True)).square().sum(dim=2).mean() * GROUP / (GROUP - 1)
        apart = (completed[:, 1:, -2:] - first[..., -2:]).norm(dim=2).mean()
        chance = (first[:, 0, -2:] - first[:, 0, -2:].roll(1, 0)).norm(dim=1).mean()
        found = (made[..., :-2] @ ways.T).argmax(dim=2)
        return {
            "unlike": float(within / (tints - tints.mean(dim=(0, 1))).square().sum(dim=2).mean()),
            "copied": float(apart / chance),
            "items": float((found == asked).double().mean()),
        }


def tinted(ways: torch.Tensor, items: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Pictures [groups, pictures, 6]: the way of an item and a tint on the unit circle, with a little noise."""
    import math

    import torch

    tint = torch.stack([(2 * math.pi * turn).cos(), (2 * math.pi * turn).sin()], dim=-1)
    return torch.cat([ways[items], tint], dim=-1) + 0.05 * torch.randn(*items.shape, NUMBERS)
