"""Series foretold by a network that frees windows of noise, the past held as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

LENGTH = 32


class FilledWindows(Experiment, name="filled-windows"):
    """The error of forecasts by filling the end of a window, beside those of a network that was trained to foretell.

    Yang et al. 2024, arXiv:2406.02212 (GPD): a network of plain layers learns without conditions to free whole windows of noise; a forecast
    holds the past of a window, noised as each step asks, and frees the rest, so that one network serves every horizon. ``fill``: that, the
    median of ``samples``; ``direct``: a network of the same size that foretells ``ahead`` steps by least squares, and repeats itself for
    more; ``season`` repeats the last season. Windows are scaled by their past; where they are learned from, by that of a random length.

    Series are two sines and a trend with noise, periods from 6 to 12 steps; with ``new`` the unseen ones have periods from 4 to 6. The
    number is ``error``, the mean distance from the truth over that of the last season repeated.
    """

    trial = Trial({"series": 40, "steps": 4, "samples": 2})

    unit: ClassVar[str] = "ratio to seasonal naive"

    by: Literal["fill", "direct", "season"] = Field("direct", description="how the future is told")
    horizon: int = Field(4, ge=1, le=12, description="steps that are asked for")
    ahead: int = Field(4, ge=1, le=12, description="of `direct`: steps it was trained for")
    new: bool = Field(False, description="whether unseen series have other periods")
    samples: int = Field(9, ge=1, description="of `fill`: windows drawn for a forecast")
    series: int = Field(2000, ge=20, description="windows of training")
    steps: int = Field(800, ge=1, description="of training, 128 windows each")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.flow import Flow

        random = np.random.default_rng(seed)
        known, _ = drawn_windows(random, self.series, (6, 12))
        asked, period = drawn_windows(random, 300, (4, 6) if self.new else (6, 12))
        past = LENGTH - self.horizon
        naive = np.stack([row[past - at + np.arange(self.horizon) % at] for row, at in zip(asked, period, strict=True)])
        true = asked[:, past:]
        if self.by == "season":
            return {"error": 1.0}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            if self.by == "fill":
                shown = [scaled(row[None], int(random.integers(LENGTH // 2, LENGTH)))[0][0] for row in known]
                flow = Flow(LENGTH, 1, 128).learn(torch.from_numpy(np.array(shown)).float(), torch.zeros(len(known), 1), self.steps, random)
                given, mean, spread = scaled(asked, past)
                held = torch.from_numpy(given).float()
                held[:, past:] = torch.nan
                drawn = [flow.sample(torch.zeros(len(held), 1), LENGTH, known=held)[:, past:] for _ in range(self.samples)]
                found = torch.stack(drawn).median(dim=0).values.double().numpy() * spread + mean
            else:
                net = nn.Sequential(nn.Linear(LENGTH - 12, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, self.ahead))
                found = self._direct(net, known, asked, past, random)
        return {"error": float(abs(found - true).mean() / abs(naive - true).mean())}

    def _direct(self, net: torch.nn.Module, known: np.ndarray, asked: np.ndarray, past: int, random: np.random.Generator) -> np.ndarray:
        """Forecasts [windows, horizon] of a network trained in place, which reads twenty steps."""
        import numpy as np
        import torch

        seen = LENGTH - 12

        def told(windows: np.ndarray) -> np.ndarray:
            given, mean, spread = scaled(windows, windows.shape[1])
            with torch.no_grad():
                found = net(torch.from_numpy(given).float())
            return np.asarray(found.double().numpy() * spread + mean)

        def loss(step: int) -> torch.Tensor:
            rows, begin = random.integers(0, len(known), 128), int(random.integers(0, LENGTH - seen - self.ahead + 1))
            window = known[rows, begin : begin + seen + self.ahead]
            given = torch.from_numpy(scaled(window, seen)[0]).float()
            return (net(given[:, :seen]) - given[:, seen:]).square().mean()

        take_steps(torch.optim.Adam(net.parameters(), 3e-3, fused=True), loss, self.steps, falling)
        path = asked[:, :past]
        while path.shape[1] < past + self.horizon:
            path = np.concatenate([path, told(path[:, -seen:])], axis=1)
        return path[:, past : past + self.horizon]


def scaled(windows: np.ndarray, past: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows less the mean and over the deviation of their first ``past`` steps, with both."""
    mean, spread = windows[:, :past].mean(axis=1, keepdims=True), windows[:, :past].std(axis=1, keepdims=True) + 1e-6
    return (windows - mean) / spread, mean, spread


def drawn_windows(random: np.random.Generator, count: int, periods: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Windows [count, 32] and the whole period of each."""
    import numpy as np

    place, period = np.arange(LENGTH), random.integers(periods[0], periods[1] + 1, count)
    turn = 2 * np.pi * (place / period[:, None] + random.random((count, 1)))
    second = 2 * np.pi * (2 * place / period[:, None] + random.random((count, 1)))
    slope = 0.05 * random.standard_normal((count, 1)) * place
    noise = 0.15 * random.standard_normal((count, LENGTH))
    return np.sin(turn) + random.uniform(0, 0.8, (count, 1)) * np.sin(second) + slope + noise, period
