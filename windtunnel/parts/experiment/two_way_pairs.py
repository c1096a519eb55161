"""Captions written from images and images drawn from captions, by one decoder that learned both or by one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

    from windtunnel.kits.small_decoder import SmallDecoder

SIZE, TILE, VECTOR = 24, 12, 16  # pixels on a side of an image and of a tile, and numbers that a tile becomes
TILES, SAID, CHOICE = 4, 3, 32  # tiles of an image, words of a caption, and images among which the drawn one is looked for
RATES = (3e-3, 1e-2)


class TwoWayPairs(Experiment, name="two-way-pairs"):
    """How well one causal decoder writes captions of images and draws images of captions, by which of both it learned.

    Zhu et al. 2023 (VL-GPT), arXiv:2312.09251: an image becomes a short row of continuous vectors; one decoder reads rows of vectors and
    words and learns to foretell what comes next, words by cross entropy and vectors by their squared distance. Here a scene has one
    coloured shape in a quarter, and its caption names quarter, colour and shape. A quarter becomes the 16 leading
    principal numbers of its pixels, in the place of a learned tokenizer with 32 vectors, and drawn vectors are not made into pixels,
    which is what the paper's diffusion decoder does. A row is the image and then the caption, or the caption and then the image.

    ``learned``: ``captions``, rows with the image first alone; ``pictures``, with the caption first alone; ``both``, each half of the time;
    ``words-alone``, both without the loss of vectors. Rates are the best of two by the loss of what was learned on other pairs.

    ``caption`` is the share of colours and shapes that are written rightly, word after word; ``drawn``, how often the vectors that
    were drawn one after the other from a caption are nearest to those of its own image among 32 (1/32 by chance). ``word_bits`` and
    ``vector_error`` are the losses of the second halves of both rows.
    """

    trial = Trial({"pairs": 40, "steps": 2, "judged": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    learned: Literal["captions", "pictures", "both", "words-alone"] = Field("captions", description="which rows and which losses")
    pairs: int = Field(2000, ge=32, description="of training")
    judged: int = Field(512, ge=CHOICE, description="pairs that are judged")
    steps: int = Field(400, ge=1, description="of training, 32 pairs each")

    def measure(self, seed: int) -> dict[str, float]:
        """``caption``, ``drawn``, ``word_bits`` and ``vector_error``."""
        import math

        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.image.written import TileAxes, written

        random = np.random.default_rng(seed)
        known, chosen, judged = (written(random, count, SIZE, SAID // 3) for count in (self.pairs, 200, self.judged))
        compress = TileAxes.of(known.images, TILE, VECTOR)
        sets = [(compress(each.images), each.captions) for each in (known, chosen, judged)]

        def loss_on_others(decoder: SmallDecoder) -> float:
            found = losses(decoder, *sets[1])
            words, vectors = (0.0 if self.learned == "pictures" else found[0]), (0.0 if self.learned == "captions" else found[1])
            return -(words + (0.0 if self.learned == "words-alone" else vectors))

        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            decoder = best(RATES, lambda rate: self._learned(*sets[0], rate, seed), loss_on_others)
            with torch.no_grad():
                said, drawn = writes(decoder, sets[2][0]), draws(decoder, sets[2][1])
        told = (said == sets[2][1]).reshape(len(said), -1, 3)[..., 1:]
        words, vectors = losses(decoder, *sets[2])
        return {
            "caption": float(told.float().mean()),
            "drawn": nearest(drawn, sets[2][0]),
            "word_bits": words / math.log(2),
            "vector_error": vectors,
        }

    def _learned(self, vectors: torch.Tensor, words: torch.Tensor, rate: float, seed: int) -> SmallDecoder:
        """After training."""
        import torch

        from windtunnel.kits.image.written import WORDS
        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random = torch.Generator().manual_seed(seed)
        decoder = SmallDecoder(VECTOR + WORDS, VECTOR + WORDS, TILES + SAID + 2, width=48, seed=seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(vectors), (32,), generator=random)
            first = {"captions": True, "pictures": False}.get(self.learned, step % 2 == 0)
            said, seen = terms(decoder, vectors[rows], words[rows], image_first=first)
            return said if self.learned == "words-alone" else said + seen

        descend(decoder, loss, self.steps, rate)
        return decoder


def terms(
    decoder: SmallDecoder, vectors: torch.Tensor, words: torch.Tensor, *, image_first: bool, given: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cross entropy of words and the squared distance of vectors, each foretold from all before; with ``given`` of what comes second.

    With ``given`` what comes first has a loss of 0.
    """
    import torch

    from windtunnel.kits.image.written import joined

    found = decoder(joined(vectors, words, image_first=image_first)[:, :-1])
    at = (0, TILES + 1) if image_first else (SAID + 1, 0)  # where vectors and words begin to be foretold
    seen, said = found[:, at[0] : at[0] + TILES, :VECTOR], found[:, at[1] : at[1] + SAID, VECTOR:]
    one = torch.nn.functional.cross_entropy(said.flatten(0, 1), words.flatten())
    other = (seen - vectors).square().mean()
    if given:
        return (one, other * 0) if image_first else (one * 0, other)
    return one, other


def losses(decoder: SmallDecoder, vectors: torch.Tensor, words: torch.Tensor) -> tuple[float, float]:
    """Of words after an image, and of vectors after a caption."""
    import torch

    with torch.no_grad():
        said, _ = terms(decoder, vectors, words, image_first=True, given=True)
        _, seen = terms(decoder, vectors, words, image_first=False, given=True)
    return float(said), float(seen)


def writes(decoder: SmallDecoder, vectors: torch.Tensor) -> torch.Tensor:
    """Captions [images, words], the likeliest word after what was written."""
    import torch

    from windtunnel.kits.image.written import joined

    words = torch.zeros(len(vectors), SAID, dtype=torch.int64)
    for place in range(SAID):
        found = decoder(joined(vectors, words, image_first=True)[:, : TILES + 2 + place])
        words[:, place] = found[:, -1, VECTOR:].argmax(dim=1)
    return words


def draws(decoder: SmallDecoder, words: torch.Tensor) -> torch.Tensor:
    """Vectors [captions, tiles, numbers], each after those that were drawn."""
    import torch

    from windtunnel.kits.image.written import joined

    vectors = torch.zeros(len(words), TILES, VECTOR)
    for place in range(TILES):
        found = decoder(joined(vectors, words, image_first=False)[:, : SAID + 2 + place])
        vectors[:, place] = found[:, -1, :VECTOR]
    return vectors


def nearest(drawn: torch.Tensor, true: torch.Tensor) -> float:
    """How often what was drawn is nearest to its own image among CHOICE."""
    import torch

    groups = len(drawn) // CHOICE
    one, other = (each[: groups * CHOICE].flatten(1).unflatten(0, (groups, CHOICE)) for each in (drawn, true))
    found = torch.cdist(one, other).argmin(dim=2) == torch.arange(CHOICE)
    return float(found.float().mean())
