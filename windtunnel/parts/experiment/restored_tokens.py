"""Questions about images answered by a decoder that first wrote captions, with some vectors of the image replaced and drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

    from windtunnel.kits.image.written import Written

SIZE, TILE, VECTOR, WIDTH = 24, 6, 24, 48  # pixels on a side of image and tile, numbers of a tile, and of the decoder
TILES, OBJECTS = 16, 2
RATES = (2e-3, 5e-3)
BETA, RESTORED = 0.01, 10.0  # where the distance turns from squared to absolute, and its weight: as released


class RestoredTokens(Experiment, name="restored-tokens"):
    """The share of questions about images that a decoder answers rightly after few examples, by how it read images before.

    Xie et al. 2024 (Croc), arXiv:2410.14332: between alignment and instructions a decoder writes captions of images of whose vectors three
    quarters are replaced by the most alike of a pool of learned ones; image vectors see each other both ways; from the states at their
    places one layer of attention both ways draws the original vectors, of length 1 (ten times the smooth absolute distance). Here a scene
    has two coloured shapes at 24 pixels, an image is 16 tiles of 24 principal numbers each, brought to the decoder's width by one matrix
    and to length 1, and a caption names quarter, colour and shape of each object. Then questions follow, the colour or the shape of what is
    in a quarter, on ``asked`` scenes, without anything replaced. The decoder begins at random, where the paper's is a language model of
    seven billion numbers.

    ``attention``: ``causal``, or ``mixed``, image vectors both ways; in both stages. ``replaced``: ``none``; ``mask``, by one learned
    vector; ``nearest``, each by the nearest of the pool, which is what the released code does; ``matched``, by those of the pool that have
    the least sum of distances with no vector used twice (Hungarian), which is what the abstract says. ``restore`` says whether the
    originals are drawn. ``pool_begins``: with vectors of length 1, or with normal numbers as released, which are much longer.

    The rate of the first stage is the best of two by ``answered`` on other scenes. Numbers are ``answered`` (about a fifth by chance);
    ``caption``, the share of colours and shapes foretold rightly after the first stage, from the words before; and ``used``, the share of
    the pool that replaces anything in 100 scenes, or 0.
    """

    trial = Trial({"pairs": 40, "steps": 2, "asked": 10, "answering": 2, "judged": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    attention: Literal["causal", "mixed"] = Field("causal", description="what image vectors see")
    replaced: Literal["none", "mask", "nearest", "matched"] = Field("none", description="by what three quarters of them are replaced")
    restore: bool = Field(True, description="whether the originals of all are drawn, where any are replaced")
    pool: int = Field(64, ge=TILES, description="learned vectors")
    pool_begins: Literal["unit", "normal"] = Field("unit", description="how they begin")
    pairs: int = Field(2000, ge=32, description="of images and captions")
    steps: int = Field(300, ge=1, description="on captions, 32 pairs each")
    asked: int = Field(60, ge=8, description="scenes whose questions are answered for it")
    answering: int = Field(100, ge=1, description="steps on questions, 32 each")
    judged: int = Field(300, ge=8, description="scenes that are judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``answered``, ``caption`` and ``used``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.written import TileAxes, written

        random = np.random.default_rng(seed)
        known, asked, chosen, judged = (written(random, count, SIZE, OBJECTS) for count in (self.pairs, self.asked, 100, self.judged))
        compress = TileAxes.of(known.images, TILE, VECTOR)
        with torch.random.fork_rng(devices=()):
            best: tuple[float, Any, Any] | None = None
            for rate in RATES:
                reader = self._learned(compress(known.images), known.captions, rate, seed)
                first = reader.caption(compress(judged.images), judged.captions)
                reader.ask(compress(asked.images), *questions(asked), self.answering, seed)
                right = reader.answered(compress(chosen.images), *questions(chosen))
                if best is None or right > best[0]:
                    best = right, reader, first
            assert best is not None
            _, reader, first = best
            return {
                "answered": reader.answered(compress(judged.images), *questions(judged)),
                "caption": first,
                "used": reader.used(compress(judged.images)[:100]),
            }

    def _learned(self, vectors: torch.Tensor, words: torch.Tensor, rate: float, seed: int) -> Any:
        """A reader after the first stage."""
        import torch

        from windtunnel.kits.image.token_pool import TokenReader
        from windtunnel.kits.small_decoder import descend

        torch.manual_seed(seed)
        reader = TokenReader(TILES, VECTOR, 3 * OBJECTS, WIDTH, self, seed)
        random = torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(vectors), (32,), generator=random)
            written, restored = reader.losses(vectors[rows], words[rows], random, BETA)
            return written + RESTORED * restored

        descend(reader, loss, self.steps, rate)
        return reader


def questions(given: Written) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of every object and of both kinds: the number of the image, the two words of a question and the word that answers it."""
    import torch

    from windtunnel.kits.image.written import IMAGE, TEXT

    words = given.captions.unflatten(1, (OBJECTS, 3))
    rows = torch.arange(len(words))[:, None, None].expand(-1, OBJECTS, 2)
    kinds = torch.tensor([IMAGE, TEXT]).expand(len(words), OBJECTS, -1)  # the first asks for the colour, the other for the shape
    asked = torch.stack([words[:, :, :1].expand(-1, -1, 2), kinds], dim=3)
    return rows.flatten(), asked.flatten(0, 2), words[:, :, 1:].flatten()
