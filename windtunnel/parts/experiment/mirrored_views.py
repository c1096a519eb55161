"""A generator of bodies seen from any side, made to show one new body of which a few views are given."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.tiny import Weights

SIDE, BLOBS, CODE, INNER = 12, 2, 8, 96  # pixels of a side, pairs of blobs of a body, numbers of a code, hidden numbers
FRONT = (-0.2, 0.9)  # the angles of given views, in radians: a little to one side and more to the other
GRID = 0.9 * 1.5  # where views are judged: up to about 77 degrees on either side


class MirroredViews(Experiment, name="mirrored-views"):
    """How far off views of a new body are that a pre-trained generator shows, by what of it is tuned on a few views.

    Qi et al. 2023 (My3DGen), arXiv:2307.05468: a frozen generator of faces is tuned by changes of low rank in every layer on about ten
    photographs, with a term that a view from one side and the mirrored view from the other are alike. Here a body is of two pairs of blobs
    that mirror each other, drawn from an angle; the network makes 12 x 12 pixels from a code and the angle, and has learned ``bodies``
    bodies; the code is what a body is drawn from, scaled. Views of the new body are given from angles of -11 to 52 degrees. The mirror term
    compares pixels and not what a network of faces says, of angles all around.

    ``tune``: ``code``, a new code alone; ``full``, all weights too; ``low-rank``, for each layer a product of rank ``rank``. ``mirror`` is
    the weight of that term. ``lopsided`` moves one blob of each pair of the new body, so that the term says what is not so. Rates are
    chosen on two further views of the given range.

    Numbers are ``profile``, the squared error of views of 52 degrees or more on either side over the variance of pixels between bodies
    seen from there; ``front``, of views in the given range; and ``trained``, how many numbers are tuned.
    """

    trial = Trial({"bodies": 8, "training": 3, "steps": 3, "rates": (1e-2,)})

    unit: ClassVar[str] = "share of the variance"

    tune: Literal["code", "full", "low-rank"] = Field("low-rank", description="what is tuned")
    mirror: float = Field(0.0, ge=0, description="weight of the term that mirrored views are alike")
    lopsided: float = Field(0.0, ge=0, description="by how much one blob of each pair of the new body is moved")
    rank: int = Field(2, ge=1, description="of changes")
    views: int = Field(10, ge=1, description="given views")
    bodies: int = Field(400, ge=2, description="that the generator has learned")
    training: int = Field(800, ge=1, description="steps of the generator, 128 views each")
    steps: int = Field(200, ge=1, description="of tuning")
    rates: tuple[float, ...] = Field((3e-3, 1e-2, 3e-2), min_length=1, description="of tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``profile``, ``front`` and ``trained``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, trained

        weights, codes = generator(seed, self.bodies, self.training)
        random = np.random.default_rng((seed, 2))
        body = bodies(random, 1)
        body[:, BLOBS:] += self.lopsided * random.standard_normal((1, BLOBS, body.shape[2]))

        def seen(angles: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(drawn(np.repeat(body, len(angles), axis=0), angles)).float()

        given, other = random.uniform(*FRONT, self.views), np.linspace(*FRONT, 4)[1:3]
        angles = np.concatenate([np.linspace(-GRID, -FRONT[1], 8), np.linspace(FRONT[1], GRID, 8)[1:]])
        pictures = seen(given)
        begun = {"code": codes.mean(dim=0)}
        layers = [name for name in weights if name.endswith("weight")]
        if self.tune == "full":
            begun |= weights
        elif self.tune == "low-rank":
            source = torch.Generator().manual_seed(seed)
            for name in layers:
                out, read = weights[name].shape
                begun[f"{name}.down"] = torch.randn(self.rank, read, generator=source) / read**0.5
                begun[f"{name}.up"] = torch.zeros(out, self.rank)

        def shown(held: Weights, at: torch.Tensor) -> torch.Tensor:
            own = {name: held.get(name, weight) for name, weight in weights.items()}
            if self.tune == "low-rank":
                own |= {name: weights[name] + held[f"{name}.up"] @ held[f"{name}.down"] for name in layers}
            return pictured(own, held["code"].expand(len(at), CODE), at)

        def flown(rate: float) -> Weights:
            draw = np.random.default_rng((seed, 3))

            def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
                found = (shown(held, torch.from_numpy(given).float()[rows]) - pictures[rows]).square().mean()
                if self.mirror:
                    around = torch.from_numpy(draw.uniform(-GRID, GRID, 16)).float()
                    turned = shown(held, -around).view(-1, SIDE, SIDE).flip(2).flatten(1)
                    found = found + self.mirror * (shown(held, around) - turned).square().mean()
                return found

            return trained(begun, loss, self.views, self.steps, rate, draw, batch=self.views)

        others = bodies(np.random.default_rng((seed, 4)), 200)

        def error(held: Weights, angles: np.ndarray) -> float:
            true, usual = seen(angles), [drawn(others, np.full(len(others), angle)).var(axis=0).mean() for angle in angles]
            with torch.no_grad():
                return float((shown(held, torch.from_numpy(angles).float()) - true).square().mean() / np.mean(usual))

        found = best(self.rates, flown, lambda held: -error(held, other))
        return {
            "profile": error(found, angles),
            "front": error(found, np.linspace(*FRONT, 12)),
            "trained": float(sum(weight.numel() for weight in begun.values())),
        }


@functools.lru_cache(maxsize=8)
def generator(seed: int, count: int, steps: int) -> tuple[Weights, torch.Tensor]:
    """The weights of a network from codes and angles to pixels, and the codes of ``count`` bodies: what they are drawn from, scaled."""
    import numpy as np
    import torch

    from windtunnel.kits.image.tiny import begun, trained

    random = np.random.default_rng((seed, 1))
    known = bodies(random, count)
    half = known[:, :BLOBS].reshape(count, CODE)
    codes = torch.from_numpy((half - half.mean(axis=0)) / half.std(axis=0)).float()

    def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
        angles = random.uniform(-GRID, GRID, len(rows))
        wanted = torch.from_numpy(drawn(known[rows.numpy()], angles)).float()
        return (pictured(held, codes[rows], torch.from_numpy(angles).float()) - wanted).square().mean()

    return trained(begun((CODE + 6, INNER, INNER, SIDE * SIDE), seed), loss, count, steps, 3e-3, random, batch=128), codes


def pictured(weights: Weights, codes: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Pixels [N, 144] of bodies with ``codes`` [N, CODE] seen from ``angles`` [N]."""
    import torch

    from windtunnel.kits.image.tiny import said

    turns = angles[:, None] * torch.tensor([1.0, 2.0, 3.0])
    return said(weights, torch.cat([codes, turns.sin(), turns.cos()], dim=1))


def bodies(random: np.random.Generator, count: int) -> np.ndarray:
    """Blobs [count, 2 * BLOBS, 4]: place (across, up, towards the viewer) and brightness; the second half mirrors the first one."""
    import numpy as np

    shape = (count, BLOBS)
    parts = [
        random.uniform(0.1, 0.7, shape),
        random.uniform(-0.7, 0.7, shape),
        random.uniform(-0.6, 0.6, shape),
        random.uniform(0.3, 1, shape),
    ]
    half = np.stack(parts, axis=2)
    return np.concatenate([half, half * np.array([-1, 1, 1, 1])], axis=1)


def drawn(shapes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Pixels [N, 144] of bodies [N, blobs, 4], each turned by its angle about the upright axis; what is nearer is brighter."""
    import numpy as np

    sine, cosine = np.sin(angles)[:, None], np.cos(angles)[:, None]
    across = shapes[..., 0] * cosine + shapes[..., 2] * sine
    near = shapes[..., 2] * cosine - shapes[..., 0] * sine
    line = np.linspace(-1, 1, SIDE)
    over = np.exp(-((line - across[..., None]) ** 2) / 0.2)
    down = np.exp(-((line - shapes[..., 1][..., None]) ** 2) / 0.2)
    bright = shapes[..., 3] * (1 + 0.7 * near)
    return np.einsum("nb,nby,nbx->nyx", bright, down, over).reshape(len(shapes), -1)
