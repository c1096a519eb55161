"""Returns of simulated stocks ranked by a network that first learned which stock and which sector a window is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WINDOW, TASKS = 16, ("stock", "sector", "average")


class SimulatedStocks(Experiment, name="simulated-stocks"):
    """The rank correlation of told and true returns of a day, by the tasks that a network learned on windows first.

    A paper of 2025 on stock data ("Pre-training Time Series Models with Stock Data Customization") lets two layers learn from windows of
    prices which stock and which sector they are of, and hidden averages, before they are tuned on returns by squared error and by the order
    of pairs. Here 48 stocks of six sectors have returns that depend on their last ones, by coefficients of the sector and a little of
    the stock, and a common shock of the sector each day; later days are held out. With ``alike`` all have the same coefficients, so that
    there is nothing to tell them by.

    ``first`` names tasks, learned together with equal weights. The number is ``ranks``, Spearman's correlation over stocks, the mean of
    days; tuning takes ``days`` days alone.
    """

    trial = Trial({"days": 20, "steps": 4})

    unit: ClassVar[str] = "rank correlation"
    better: ClassVar[str] = "higher"

    first: Many[str] = Field((), description="tasks learned first: of stock, sector and average")
    alike: bool = Field(False, description="whether all stocks follow one rule")
    days: int = Field(60, ge=5, description="of tuning; 400 are seen without returns to tell")
    steps: int = Field(300, ge=2, description="of the tasks, and as many of tuning, 128 windows each")

    def measure(self, seed: int) -> dict[str, float]:
        """``ranks``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.core.errors import PartError

        if not set(self.first) <= set(TASKS):
            raise PartError(f"simulated-stocks: first is of {', '.join(TASKS)}, not {', '.join(self.first)}")
        random = np.random.default_rng(seed)
        returns = drawn_returns(random, 700, alike=self.alike)
        windows = np.lib.stride_tricks.sliding_window_view(returns, WINDOW, axis=0)[:-1]  # [days, stocks, window]
        after = returns[WINDOW:]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            body = nn.Sequential(nn.Linear(WINDOW, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
            heads = nn.ModuleDict({"stock": nn.Linear(64, 48), "sector": nn.Linear(64, 6), "average": nn.Linear(64, 1)})
            given = torch.from_numpy(windows[:400].copy()).float()
            if self.first:
                self._first(body, heads, given, random)
            out = nn.Linear(64, 1)
            true = torch.from_numpy(after).float()

            def loss(step: int) -> torch.Tensor:
                day = torch.from_numpy(random.integers(400 - self.days, 400, 3))
                told, wanted = out(body(given[day]))[:, :, 0], true[day]
                order = ((told[:, :, None] - told[:, None]) * (wanted[:, :, None] - wanted[:, None])).neg().relu().mean()
                return (told - wanted).square().mean() + order

            take_steps(torch.optim.Adam([*body.parameters(), *out.parameters()], 1e-3, fused=True), loss, self.steps)
            with torch.no_grad():
                told = out(body(torch.from_numpy(windows[420:].copy()).float()))[:, :, 0]
        return {"ranks": float(ranks(told.double().numpy(), after[420:]).mean())}

    def _first(self, body: torch.nn.Module, heads: torch.nn.ModuleDict, given: torch.Tensor, random: np.random.Generator) -> None:
        """Train ``body`` in place at the tasks."""
        import torch
        from torch.nn import functional

        def loss_of(step: int) -> torch.Tensor:
            day, stock = (torch.from_numpy(random.integers(0, count, 128)) for count in (400, 48))
            window = given[day, stock]
            loss = torch.zeros(())
            if "stock" in self.first:
                loss = loss + functional.cross_entropy(heads["stock"](body(window)), stock)
            if "sector" in self.first:
                loss = loss + functional.cross_entropy(heads["sector"](body(window)), stock // 8)
            if "average" in self.first:
                hidden = window * (torch.rand(window.shape) > 0.3)
                loss = loss + (heads["average"](body(hidden))[:, 0] - window.mean(dim=1) * 4).square().mean()
            return loss

        take_steps(torch.optim.Adam([*body.parameters(), *heads.parameters()], 2e-3, fused=True), loss_of, self.steps)


def drawn_returns(random: np.random.Generator, days: int, *, alike: bool) -> np.ndarray:
    """Returns [days, 48], of stocks whose next return depends on their last five, sectors of eight one after the other."""
    import numpy as np

    sector, own = random.standard_normal((6, 5)), random.standard_normal((48, 5))
    weights = 0.9 * np.repeat(sector, 8, axis=0) + 0.4 * own
    if alike:
        weights = np.repeat(weights[:1], 48, axis=0)
    weights = 0.6 * weights / abs(weights).sum(axis=1, keepdims=True)
    found = np.zeros((days + 20, 48))
    for day in range(5, days + 20):
        shock = random.standard_normal(48) + 0.5 * np.repeat(random.standard_normal(6), 8)
        found[day] = (weights * found[day - 5 : day][::-1].T).sum(axis=1) + shock
    return found[20:]


def ranks(told: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row [days]."""
    import numpy as np

    one, other = (each.argsort(axis=1).argsort(axis=1) - (each.shape[1] - 1) / 2 for each in (told, true))
    return np.asarray((one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1)))
