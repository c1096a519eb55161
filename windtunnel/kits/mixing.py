"""Small networks that are alike but for how the places of a sequence are mixed: by attention, or by one of several recurrences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from windtunnel.kits.text.linear_attention import additive, gated, softmaxed

HEADS = 4
MODES = 16  # of a diagonal state-space model, for each number of the width

Kind = Literal["attention", "additive", "gated", "diagonal"]


class ProjectedMixer(nn.Module):
    """A mixer of queries, keys, values and gates [rows, heads, places, size], between projections of the input."""

    def __init__(self, width: int, mixed: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.mixed = mixed
        self.read, self.norm, self.write = nn.Linear(width, 4 * width), nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, state: Tensor) -> Tensor:
        """[rows, places, width] in and out."""
        query, key, value, gate = self.read(state).unflatten(-1, (4, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return torch.as_tensor(self.write(self.norm(self.mixed(query, key, value, gate).transpose(1, 2).flatten(2))))


class DiagonalMixer(nn.Module):
    """A diagonal state-space model, computed as a convolution as long as the sequence (S4D, Gu et al. 2022, arXiv:2206.11893).

    Each number of the width has 16 complex modes A = -1/2 + i pi n, a step of its own between 0.001 and 0.1, and the kernel
    2 Re sum of C (exp(step A) - 1) / A exp(step A l). What comes out goes through a gated linear layer. It sees what stands before alone.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.step = nn.Parameter(math.log(1e-3) + torch.rand(width) * (math.log(0.1) - math.log(1e-3)))
        self.fall = nn.Parameter(torch.full((width, MODES), math.log(0.5)))
        self.turn = nn.Parameter(math.pi * torch.arange(MODES).float().repeat(width, 1))
        self.out = nn.Parameter(torch.randn(width, MODES, 2) / 2**0.5)
        self.straight, self.write = nn.Parameter(torch.randn(width)), nn.Linear(width, 2 * width)

    def kernel(self, places: int) -> Tensor:
        """What an input adds so many places later, [width, places]."""
        modes = torch.complex(-self.fall.exp(), self.turn)
        steps = self.step.exp()[:, None] * modes
        scaled = torch.view_as_complex(self.out) * (steps.exp() - 1) / modes
        powers = (steps[..., None] * torch.arange(places)).exp()
        return 2 * torch.einsum("wm,wmp->wp", scaled, powers).real

    def forward(self, state: Tensor) -> Tensor:
        """[rows, places, width] in and out."""
        places = state.shape[1]
        given = torch.fft.rfft(state.transpose(1, 2), n=2 * places)
        found = torch.fft.irfft(given * torch.fft.rfft(self.kernel(places), n=2 * places), n=2 * places)[..., :places].transpose(1, 2)
        return nn.functional.glu(self.write(nn.functional.gelu(found + self.straight * state)), dim=-1)


def mixer(kind: Kind, width: int, *, both_ways: bool = False, orders: Sequence[Tensor] | None = None) -> nn.Module:
    """How places of one kind of network are mixed.

    ``both_ways`` is for ``additive``: each place sees all. ``orders`` are for ``gated``: the places in the order of each scan, of which
    what is found is averaged; without them there is one scan, in the order given.
    """

    def read(query: Tensor, key: Tensor, value: Tensor, gate: Tensor) -> Tensor:
        if kind == "attention":
            return softmaxed(query, key, value)
        query = nn.functional.silu(query)
        if kind == "additive":
            return additive(query, key, value, both_ways=both_ways)
        kept = nn.functional.logsigmoid(gate) / 8
        if orders is None:
            return gated(query, key, value, kept)
        found = torch.zeros_like(value)
        for order in orders:
            scanned = gated(*(each[:, :, order] for each in (query, key, value, kept)))
            found = found + scanned[:, :, order.argsort()] / len(orders)
        return found

    return DiagonalMixer(width) if kind == "diagonal" else ProjectedMixer(width, read)


class MixedNetwork(nn.Module):
    """Learned positions, layers of a mixer and an MLP, and heads.

    It reads rows of numbers [rows, places, ``inputs``] or, with ``tokens``, of tokens [rows, places] below ``inputs``. ``heads`` names what
    is read from each place, and how many numbers that is.
    """

    def __init__(
        self, mixers: Sequence[nn.Module], width: int, places: int, inputs: int, heads: dict[str, int], *, tokens: bool = False
    ) -> None:
        super().__init__()
        self.read: nn.Module = nn.Embedding(inputs, width) if tokens else nn.Linear(inputs, width)
        self.positions = nn.Parameter(torch.randn(places, width) * 0.1)
        self.mixers = nn.ModuleList(mixers)
        self.before, self.between = (nn.ModuleList(nn.LayerNorm(width) for _ in mixers) for _ in range(2))
        self.inner = nn.ModuleList(nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in mixers)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in heads.items()})

    def states(self, rows: Tensor) -> Tensor:
        """What the heads read, [rows, places, width]."""
        state = self.read(rows) + self.positions[: rows.shape[1]]
        for mixed, before, between, inner in zip(self.mixers, self.before, self.between, self.inner, strict=True):
            state = state + mixed(before(state))
            state = state + inner(between(state))
        return torch.as_tensor(self.norm(state))

    def forward(self, rows: Tensor, head: str, *, mean: bool = False) -> Tensor:
        """Of each place, or of the ``mean`` over places, what ``head`` says."""
        state = self.states(rows)
        return torch.as_tensor(self.heads[head](state.mean(dim=1) if mean else state))


def made(
    seed: int,
    kind: Kind,
    width: int,
    places: int,
    inputs: int,
    heads: dict[str, int],
    *,
    layers: int = 2,
    tokens: bool = False,
    **mixing: object,
) -> MixedNetwork:
    """A network whose weights are drawn by ``seed`` alone; ``mixing`` as :func:`mixer` takes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mixers = [mixer(kind, width, **mixing) for _ in range(layers)]  # type: ignore[arg-type]
        return MixedNetwork(mixers, width, places, inputs, heads, tokens=tokens)
