"""Rotary positions whose frequencies follow the length of a text along a learned path, beside fixed ways of scaling them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BASE, HEADS = 10_000.0, 4
SYMBOLS, COPIED = 20, 6
LONGER = (1, 2, 4, 8)  # lengths that are judged, in those of training
BATCH = 32
STAGES = 4  # steps of the solver from 1 to the longest


class RotationScheme(NamedTuple):
    """How frequencies change with the length, and whether positions of tuning are spread over longer texts."""

    frequencies: str
    spread: bool


SCHEMES = {
    "learned": RotationScheme("flow", True),
    "spread_interpolated": RotationScheme("interpolated", True),
    "spread_ntk": RotationScheme("ntk", True),
    "spread_plain": RotationScheme("plain", True),
    "interpolated": RotationScheme("interpolated", False),
    "ntk": RotationScheme("ntk", False),
    "plain": RotationScheme("plain", False),
}


class ContinuousRotations(Experiment, name="continuous-rotations"):
    """The share of symbols copied right from far back in texts of four times the length that a model was trained and tuned at.

    Chen et al. 2024 (CLEX), arXiv:2310.16450: the logarithms z of the frequencies of rotary positions move with the length t, in lengths
    of training, as dz/dt = W_down silu(W_up (z + log theta(t))) + d log theta(t) / dt from z(1) = log theta(1), where theta(t) are the
    frequencies of base 10,000 (2 t - 1)^(d / (d - 2)) and W_down begins at 0; we solve it in four steps of Runge and Kutta, as the released
    code does with a fixed step. Tuning draws t from 1 to ``most`` and spreads the positions of a text over t lengths: the first and last
    stay, those between are a sorted draw. A text to be judged has t = its length over that of training, rounded up.

    ``spread_`` are the same draws with fixed frequencies, the control that tells what the learned path adds to spread positions:
    ``interpolated`` (divided by ``most``, Chen et al. 2023, arXiv:2306.15595), ``ntk`` (theta(t) at ``most``) and ``plain``. Without spread
    these are tuned on positions as they are. All are tuned for the same steps at texts of ``length`` symbols, at a rate of ``rates`` that
    is chosen by the loss of such tuning on other texts.

    A text is filler, six symbols, filler and the same six; the last six but one of them count. NAME/1 to NAME/8 are shares for texts of
    1 to 8 lengths, ``untuned/`` those of the model before, ``learned_middle/4`` the share at 4 lengths for t = 2. The first number is
    ``learned/4``.
    """

    trial = Trial({"steps": 1, "tuning": 1, "judged": 4, "rates": [0.001], "length": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    length: int = Field(40, ge=2 * COPIED + 2, description="symbols of a text in training and tuning")
    most: int = Field(4, ge=2, description="lengths that tuning spreads positions over, at most")
    steps: int = Field(1500, ge=1, description="of training, 32 texts each")
    tuning: int = Field(150, ge=1, description="steps of tuning, 32 texts each")
    judged: int = Field(120, ge=1, description="texts of each length")
    width: int = Field(64, ge=16, multiple_of=16, description="of the model")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW in training")
    rates: tuple[float, ...] = Field((3e-4, 1e-3), min_length=1, description="learning rates of AdamW in tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import copy

        import numpy as np

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.small_decoder import descend
        from windtunnel.kits.text.small import made

        random = np.random.default_rng(seed)
        model = made(seed, SYMBOLS, 1, width=self.width, heads=HEADS)
        size = self.width // HEADS
        plain = scaled("plain", size, self.most)
        descend(model, lambda step: self._loss(rotated(model, plain), random, False), self.steps, self.rate)
        texts = {times: drawn(self.length * times, self.judged, random) for times in LONGER}
        found = {f"untuned/{times}": right(rotated(model, plain), rows, times) for times, rows in texts.items()}
        for name, scheme in SCHEMES.items():

            def tuned(rate: float, scheme: RotationScheme = scheme) -> torch.nn.Module:
                own = copy.deepcopy(model)
                moved = scaled(scheme.frequencies, size, self.most)
                ready, some = rotated(own, moved), np.random.default_rng((seed, 1))
                descend(ready, lambda step: self._loss(ready, some, scheme.spread), self.tuning, rate)
                return ready

            def fit(ready: torch.nn.Module, scheme: RotationScheme = scheme) -> float:
                some = np.random.default_rng((seed, 2))
                return -sum(float(self._loss(ready, some, scheme.spread).detach()) for _ in range(4))

            ready = best(self.rates, tuned, fit)
            found |= {f"{name}/{times}": right(ready, rows, times) for times, rows in texts.items()}
            if name == "learned":
                found["learned_middle/4"] = right(ready, texts[4], 2)
        return {name: found[name] for name in ("learned/4", *(name for name in found if name != "learned/4"))}

    def _loss(self, model: torch.nn.Module, random: np.random.Generator, spread: bool) -> torch.Tensor:
        """Of texts of training length, all symbols of which count; ``spread`` their positions over 1 to ``most`` lengths."""
        import torch

        times = int(random.integers(1, self.most + 1)) if spread else 1
        rows = drawn(self.length, BATCH, random)
        positions = torch.from_numpy(places(self.length, times * self.length, random)).float()
        logits = model(rows[:, :-1], positions[:-1], times)
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
        return losses[:, 1 - COPIED :].mean() + 0.1 * losses.mean()


def places(count: int, over: int, random: np.random.Generator) -> np.ndarray:
    """``count`` rising positions below ``over``: the first, the last, and others drawn."""
    import numpy as np

    between = 1 + random.permutation(over - 2)[: count - 2]
    return np.sort(np.concatenate([[0, over - 1], between]))


def drawn(length: int, count: int, random: np.random.Generator) -> torch.Tensor:
    """Texts int64 [count, length]: filler, six different symbols, filler of others, and the six again."""
    import numpy as np
    import torch

    order = np.argsort(random.random((count, SYMBOLS)), axis=1)
    rows = np.take_along_axis(order, COPIED + random.integers(SYMBOLS - COPIED, size=(count, length)), axis=1)
    rows[:, -COPIED:] = order[:, :COPIED]
    first = random.integers(max(1, length // 4), size=count)
    np.put_along_axis(rows, first[:, None] + np.arange(COPIED), order[:, :COPIED], axis=1)
    return torch.from_numpy(rows)


def right(model: torch.nn.Module, rows: torch.Tensor, times: int) -> float:
    """The share of copied symbols, the first of each text left out, that are the likeliest."""
    import torch

    with torch.no_grad():
        logits = model(rows[:, :-1], torch.arange(rows.shape[1] - 1).float(), times)
        return float((logits[:, 1 - COPIED :].argmax(dim=2) == rows[:, 1 - COPIED :]).double().mean())


def ntk(times: torch.Tensor | float, size: int) -> torch.Tensor:
    """Logarithms of the frequencies of base 10,000 (2 times - 1)^(size / (size - 2)), [size / 2]."""
    import math

    import torch

    pairs = torch.arange(0, size, 2) / size
    return -pairs * (math.log(BASE) + size / (size - 2) * torch.log(2 * torch.as_tensor(times, dtype=torch.float32) - 1))


def scaled(kind: str, size: int, most: int) -> torch.nn.Module:
    """Frequencies [size / 2] by the length of a text in those of training: a path that is learned, or the same for all."""
    import torch
    from torch import Tensor, nn

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(size // 2, 2 * size, bias=False), nn.Linear(2 * size, size // 2, bias=False)
            nn.init.zeros_(self.down.weight)

        def slope(self, times: float, logs: Tensor) -> Tensor:
            of_ntk = -torch.arange(0, size, 2) / size * (size / (size - 2)) * 2 / (2 * times - 1)
            return torch.as_tensor(self.down(nn.functional.silu(self.up(logs + ntk(times, size)))) + of_ntk)

        def forward(self, times: float) -> Tensor:
            logs, step = ntk(1.0, size), (times - 1) / STAGES
            for stage in range(STAGES if step else 0):
                here = 1 + stage * step
                one = self.slope(here, logs)
                two = self.slope(here + step / 2, logs + step / 2 * one)
                three = self.slope(here + step / 2, logs + step / 2 * two)
                four = self.slope(here + step, logs + step * three)
                logs = logs + step / 6 * (one + 2 * two + 2 * three + four)
            return logs.exp()

    class Fixed(nn.Module):
        def forward(self, times: float) -> Tensor:
            return ntk(1.0, size).exp() / most if kind == "interpolated" else ntk(float(most) if kind == "ntk" else 1.0, size).exp()

    return Flow() if kind == "flow" else Fixed()


def rotated(model: torch.nn.Module, frequencies: torch.nn.Module) -> torch.nn.Module:
    """A transformer that runs on another one's weights with rotary positions: logits of tokens, positions [places] and the length."""
    import torch
    from torch import Tensor, nn

    class Rotated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.frequencies = model, frequencies

        def forward(self, tokens: Tensor, positions: Tensor, times: float) -> Tensor:
            angles = positions[:, None] * self.frequencies(times)
            state = self.model.tokens(tokens)  # type: ignore[operator]
            for block in self.model.blocks:  # type: ignore[union-attr]
                query, key, value = block.mixed(block.first(state)).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
                query, key = turned(query, angles), turned(key, angles)
                seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
                state = state + block.out(seen.transpose(1, 2).flatten(2))
                state = state + block.down(nn.functional.gelu(block.up(block.second(state))))
            return torch.as_tensor(self.model.read(state))  # type: ignore[operator]

    return Rotated()


def turned(vectors: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """``vectors`` [..., places, size] whose halves are turned by ``angles`` [places, size / 2]."""
    import torch

    one, other = vectors.chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)
