"""A small network that carries noise to vectors, for experiments on generation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from windtunnel.kits.optim.descent import falling, take_steps


class Flow(nn.Module):
    """Rectified flow: at time s from 0 to 1 between data and noise, ``(1 - s) x + s e``, it says ``e - x``.

    Vectors [rows, numbers] under conditions [rows, condition]. ``hidden`` layers of ``width`` numbers.
    """

    def __init__(self, numbers: int, condition: int, width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(numbers + condition + 3, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, numbers)
        )

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """The way from data to noise at ``time`` [rows, 1]."""
        found: Tensor = self.net(torch.cat([noisy, condition, time, time.square(), (3.14159 * time).sin()], dim=1))
        return found

    def apart(self, data: Tensor, condition: Tensor) -> Tensor:
        """The squared error at times and noise drawn anew, a mean."""
        time, noise = torch.rand(len(data), 1), torch.randn_like(data)
        return (self((1 - time) * data + time * noise, time, condition) - (noise - data)).square().mean()

    def learn(self, data: Tensor, condition: Tensor, steps: int, random: Any, *, rate: float = 3e-3, decay: bool = True) -> Flow:
        """Train in place, 128 rows a step; returns itself."""

        def loss(step: int) -> Tensor:
            rows = torch.from_numpy(random.integers(0, len(data), 128))
            return self.apart(data[rows], condition[rows])

        take_steps(torch.optim.Adam(self.parameters(), rate, fused=True), loss, steps, falling if decay else None)
        return self

    @torch.no_grad()
    def sample(self, condition: Tensor, numbers: int, steps: int = 20, known: Tensor | None = None) -> Tensor:
        """Vectors for conditions; where ``known`` [rows, numbers] is a number it is held: noised as the time asks at every step."""
        noise = torch.randn(len(condition), numbers)
        found = noise
        for step in range(steps, 0, -1):
            time = torch.full((len(condition), 1), step / steps)
            if known is not None:
                found = torch.where(known.isnan(), found, (1 - time) * known + time * noise)
            found = found - self(found, time, condition) / steps
        return found if known is None else torch.where(known.isnan(), found, known)
