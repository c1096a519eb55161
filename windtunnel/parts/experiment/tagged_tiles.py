"""Tiles of an image read with and without tags that say which is which."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class TaggedTiles(Experiment, name="tagged-tiles"):
    """How often a question about one tile of many is answered rightly, by the tags of tiles.

    Dai et al. 2024, arXiv:2409.11402 (NVLM): large images are cut into tiles, and a word such as "tile 3" stands before the vectors of
    each. Six tiles with a digit each, whose vectors are read as a set, and the question what is in one. ``text`` tags are the very words of
    the question, ``learned`` ones are vectors of their own, ``order`` numbers the places in the row in which tiles come, and ``none`` says
    nothing. With ``shuffled`` tiles come in any order, as where their number differs from image to image, else in their own.

    The question's word asks, by one layer of attention with queries, keys and values that are learned; an answer is one of ten
    digits. The numbers are ``answered``, and ``early``, the same after a quarter of the steps.
    """

    trial = Trial({"steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    tags: Literal["none", "order", "learned", "text"] = Field("none", description="what says which tile is which")
    shuffled: bool = Field(True, description="whether tiles come in any order")
    tiles: int = Field(6, ge=2, le=12, description="of an image")
    steps: int = Field(300, ge=4, description="of training, 64 images each")

    def measure(self, seed: int) -> dict[str, float]:
        """``answered`` and ``early``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        images, labels = torch.from_numpy(found.data / 8 - 1).float(), torch.from_numpy(found.target)
        held = random.random(len(labels)) < 0.3
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            width = 32
            words, own = nn.Parameter(torch.randn(self.tiles, width)), nn.Parameter(torch.randn(self.tiles, width))
            see = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, width))
            ask, key, value, out = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 10)
            parts = [each for module in (see, ask, key, value, out) for each in module.parameters()]
            optimizer = torch.optim.Adam([words, own, *parts], 3e-3, fused=True)

            def answer(pool: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor]:
                chosen = torch.from_numpy(random.choice(pool, (count, self.tiles)))
                order = torch.rand(count, self.tiles).argsort(dim=1) if self.shuffled else torch.arange(self.tiles).expand(count, -1)
                named = {"none": torch.zeros(1, width), "order": own[None], "learned": own[order], "text": words[order]}[self.tags]
                vectors = see(images[chosen]) + named
                asked = torch.randint(0, self.tiles, (count,))
                scores = torch.einsum("iw,itw->it", ask(words[asked]), key(vectors)) / width**0.5
                read = torch.einsum("it,itw->iw", scores.softmax(dim=1), value(vectors))
                place = (order == asked[:, None]).float().argmax(dim=1)
                return out(read), labels[chosen.gather(1, place[:, None])[:, 0]]

            def right() -> float:
                with torch.no_grad():
                    said, true = answer(np.nonzero(held)[0], 1000)
                    return float((said.argmax(dim=1) == true).double().mean())

            early = 0.0
            for step in range(self.steps):
                said, true = answer(np.nonzero(~held)[0], 64)
                take_step(optimizer, nn.functional.cross_entropy(said, true))
                early = right() if step + 1 == self.steps // 4 else early
            return {"answered": right(), "early": early}
