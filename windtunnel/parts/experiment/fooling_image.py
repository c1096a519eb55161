"""One image that scores high for many captions at once: how far that goes, where it comes from, and what stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_step, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WIDTH, INNER, BATCH = 32, 64, 128


class FoolingImage(Experiment, name="fooling-image"):
    """The share of captions for which one mined image scores above the caption's own image.

    Freiberger et al. 2023 (CLIPMasterPrints), arXiv:2307.03798: an image is sought whose smallest cosine with ``captions`` captions is
    largest, by Adam on its pixels within their range. What helps against it: both kinds of vectors are moved towards each other by
    ``share`` of the distance of their means (the modality gap), the published quarter; or training goes on with the mined image in every
    batch, captioned with a word of its own (a sink). Planted pairs of an image of 48 numbers and the words for its four attributes; two
    towers of one hidden layer, trained by contrast until here.

    ``image``: ``mined``; ``random``, of usual numbers; ``mean``, the mean of the captions' own images; ``mixed``, the real image that does
    best. ``defence``: ``none``, ``shift`` or ``sink``; with ``aware`` the image is mined anew against the defended towers.

    Numbers are ``fooled`` for the captions that it was mined for, ``unseen`` for other combinations of the same attributes, ``gap``, the
    distance of the mean vectors of both kinds as they are compared, and ``retrieval``, how often an image is nearest to its own caption of
    100. ``share`` 1 closes the gap.
    """

    trial = Trial({"training": 4, "steps": 4, "captions": 4})

    unit: ClassVar[str] = "share of captions"

    image: Literal["mined", "random", "mean", "mixed"] = Field("mined", description="what is shown")
    defence: Literal["none", "shift", "sink"] = Field("none", description="what is done against it")
    aware: bool = Field(False, description="whether the image is mined against the defended towers")
    share: float = Field(0.25, ge=0, le=1, description="of the distance of means by which `shift` moves both kinds")
    captions: int = Field(25, ge=2, le=200, description="captions that are to be fooled")
    training: int = Field(600, ge=1, description="steps of the towers")
    steps: int = Field(300, ge=1, description="of Adam on the image")
    scale: float = Field(100.0, gt=0, description="of cosines in the contrastive loss")
    noise: float = Field(1.5, ge=0, description="of images, a standard deviation")

    def measure(self, seed: int) -> dict[str, float]:
        """``fooled``, ``unseen``, ``gap`` and ``retrieval``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import PairWorld, drawn_attributes, told

        random = np.random.default_rng(seed)
        world = PairWorld.drawn(random)

        def pairs(attributes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            seen = world.seen(attributes, random, self.noise)
            words = told(attributes, np.ones_like(attributes, bool))
            sink = np.zeros((len(words), 1))
            return torch.from_numpy(seen).float(), torch.from_numpy(np.concatenate([words, sink], axis=1)).float()

        every = drawn_attributes(random, 4000)
        data = pairs(every)
        different = np.unique(drawn_attributes(random, 2000), axis=0)
        asked = different[random.permutation(len(different))[: self.captions + 100]]
        images, words = pairs(asked)
        bound = data[0].abs().max()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            towers = made(data[0].shape[1], data[1].shape[1])
        fit(towers, *data, self.training, random, self.scale)
        shown = self._shown(towers, words[: self.captions], images[: self.captions], data, bound, 0.0, random)
        moved = self.share if self.defence == "shift" else 0.0
        if self.defence == "sink":
            fit(towers, *data, self.training // 3, random, self.scale, sink=shown)
        if self.aware:
            shown = self._shown(towers, words[: self.captions], images[: self.captions], data, bound, moved, random)
        with torch.no_grad():
            gap = moved * apart(towers, *data)
            seen, said = unit(towers[0](images) - gap), unit(towers[1](words) + gap)
            score = said @ unit(towers[0](shown) - gap)[0]
            fooled = score > (said * seen).sum(dim=1)
            nearest = (seen[-100:] @ said[-100:].T).argmax(dim=1) == torch.arange(100)
            left = (seen.mean(dim=0) - said.mean(dim=0)).norm()
        parts = fooled[: self.captions], fooled[self.captions :]
        return {
            **{name: float(part.float().mean()) for name, part in zip(("fooled", "unseen"), parts, strict=True)},
            "gap": float(left),
            "retrieval": float(nearest.float().mean()),
        }

    def _shown(
        self,
        towers: Any,
        words: torch.Tensor,
        own: torch.Tensor,
        data: tuple[torch.Tensor, torch.Tensor],
        bound: torch.Tensor,
        moved: float,
        random: np.random.Generator,
    ) -> torch.Tensor:
        """The image [1, pixels] that is to fool."""
        import torch

        real, _ = data
        if self.image == "random":
            return torch.from_numpy(random.standard_normal((1, real.shape[1]))).float() * real.std()
        if self.image == "mean":
            return own.mean(dim=0, keepdim=True)
        with torch.no_grad():
            gap = moved * apart(towers, *data)
            said = unit(towers[1](words) + gap)
            least = (unit(towers[0](real) - gap) @ said.T).amin(dim=1)
        if self.image == "mixed":
            return real[least.argmax()][None]
        image = (0.1 * torch.from_numpy(random.standard_normal((1, real.shape[1]))).float()).requires_grad_()
        optimizer = torch.optim.Adam([image], 0.1)
        for _ in range(self.steps):
            take_step(optimizer, -(unit(towers[0](image) - gap) @ said.T).amin())
            with torch.no_grad():
                image.clamp_(-bound, bound)
        return image.detach()


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """``vectors`` of length 1."""
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1)


def apart(towers: Any, images: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """The mean vector of images less that of captions, [WIDTH]."""
    import torch

    return torch.as_tensor(towers[0](images).mean(dim=0) - towers[1](words).mean(dim=0))


def made(pixels: int, words: int) -> Any:
    """A tower of images and one of captions, whose vectors have length 1."""
    from torch import nn

    class Tower(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(size, INNER), nn.ReLU(), nn.Linear(INNER, WIDTH))

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            """Unit vectors [rows, WIDTH]."""
            return unit(self.layers(given))

    return nn.ModuleList([Tower(pixels), Tower(words)])


def fit(
    towers: Any,
    images: torch.Tensor,
    words: torch.Tensor,
    steps: int,
    random: np.random.Generator,
    scale: float,
    *,
    sink: torch.Tensor | None = None,
) -> None:
    """Train both towers in place; ``sink`` [1, pixels] is in every batch, with the last word alone for its caption."""
    import torch

    from windtunnel.kits.image.planted import contrastive

    def loss(step: int) -> torch.Tensor:
        rows = torch.from_numpy(random.integers(0, len(images), BATCH))
        seen, said = images[rows], words[rows]
        if sink is not None:
            seen = torch.cat([seen, sink])
            said = torch.cat([said, torch.eye(words.shape[1])[-1:]])
        return contrastive(scale * towers[0](seen) @ towers[1](said).T)

    take_steps(torch.optim.Adam(towers.parameters(), 3e-3, fused=True), loss, steps, falling)
