"""Captions written word by word from a planted image: which words count, and in which order lessons come."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.captioner import Captioner

TEMPLATE = "fffsffcfffff"  # of a caption: f a filler, s the shape, c the colour
SHAPE, COLOUR = TEMPLATE.index("s"), TEMPLATE.index("c")
LENGTH, WORDS = len(TEMPLATE), 24  # words 0 to 11 are the shapes and colours


class CaptionWords(Experiment, name="caption-words"):
    """The share of shapes and colours that a small network writes rightly into the captions of unseen images.

    A caption has twelve words: a shape, a colour and ten that tell nothing of the image, of which a share ``fluff`` is drawn at random and
    the others follow from the word before. The network reads the image, the last two words and its place, and has one hidden layer.

    ``weights``: every word counts alike (``even``), by (1 - p) ** ``power`` where p is what a network without images gives it
    (``surprise``, Chen et al. 2025, arXiv:2505.08971, whose own form is not public), by the same of the network itself (``own``, focal), in
    the inverse of it (``known``), or those of the image alone (``image``); weights have a mean of 1.

    ``lessons``: ``captions`` alone; ``labels-first``, a third of the steps on images with their shape as the one word (Chen et al. 2024,
    arXiv:2407.06438, SOLO); ``after-text``, both from a network that first learned captions without images, where ``mixed`` has a
    quarter of text without images in each step and ``text-kept`` says how much is lost otherwise.

    The numbers are ``attributes``; ``bits``, of a word of unseen captions; and ``text_bits``, of a word without an image.
    """

    trial = Trial({"images": 100, "steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    weights: Literal["even", "surprise", "own", "known", "image"] = Field("even", description="how much a word counts")
    power: float = Field(1.0, gt=0, description="of `surprise` and `own`")
    fluff: float = Field(0.3, ge=0, le=1, description="share of fillers that is drawn at random")
    lessons: Literal["captions", "labels-first", "after-text", "after-text-labels", "after-text-mixed"] = Field(
        "captions", description="what comes in which order"
    )
    images: int = Field(600, ge=50, description="of training")
    steps: int = Field(300, ge=3, description="of training, 12 captions each")
    noise: float = Field(0.8, ge=0, description="deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``attributes``, ``bits`` and ``text_bits``."""
        import math

        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.image.captioner import Captioner
        from windtunnel.kits.image.planted import PairWorld, drawn_attributes

        random = np.random.default_rng(seed)
        world, follow = PairWorld.drawn(random), random.integers(12, WORDS, WORDS)
        attributes, asked = drawn_attributes(random, self.images), drawn_attributes(random, 500)
        images = torch.from_numpy(world.seen(attributes, random, self.noise)).float()
        judged = torch.from_numpy(world.seen(asked, random, self.noise)).float()
        captions, wanted = (torch.from_numpy(self.written(which, follow, random)) for which in (attributes, asked))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = Captioner(images.shape[1])
            reference = None
            if self.weights in ("surprise", "known"):
                reference = Captioner(images.shape[1])
                self._learned(reference, images * 0, captions, self.steps, random, None, even=True)
            if self.lessons.startswith("after-text"):
                self._learned(model, images * 0, captions, self.steps, random, None)
            third = self.steps // 3 if "labels" in self.lessons else 0
            if third:
                self._learned(model, images, torch.from_numpy(labelled(attributes)), third, random, None, only=SHAPE)
            self._learned(model, images, captions, self.steps - third, random, reference)
            with torch.no_grad():
                found, blind = model(judged, wanted), model(judged * 0, wanted)
        right = [(found[:, place].argmax(dim=1) == wanted[:, place]).double().mean() for place in (SHAPE, COLOUR)]
        bits = [nn.functional.cross_entropy(each.flatten(0, 1), wanted.flatten()) / math.log(2) for each in (found, blind)]
        return {"attributes": float(np.mean(right)), "bits": float(bits[0]), "text_bits": float(bits[1])}

    def written(self, attributes: np.ndarray, follow: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Captions [images, 12] of numbers of words."""
        import numpy as np

        found = np.full((len(attributes), LENGTH), 12)
        for place, kind in enumerate(TEMPLATE):
            if kind in "sc":
                found[:, place] = attributes[:, "sc".index(kind)] + 6 * "sc".index(kind)
            elif place:
                before = np.where(found[:, place - 1] < 12, 12, found[:, place - 1])
                free = random.random(len(found)) < self.fluff
                found[:, place] = np.where(free, random.integers(12, WORDS, len(found)), follow[before])
        return found

    def _learned(
        self,
        model: Captioner,
        images: torch.Tensor,
        captions: torch.Tensor,
        steps: int,
        random: np.random.Generator,
        reference: Captioner | None,
        *,
        only: int | None = None,
        even: bool = False,
    ) -> None:
        """Train ``model`` in place; ``only`` learns the word at one place."""
        import torch

        mixed = self.lessons == "after-text-mixed" and bool(images.any())

        def loss(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(images), 12))
            seen, words = images[rows], captions[rows]
            if mixed:
                seen = seen * (torch.arange(12) >= 3)[:, None]
            logits = model(seen, words)
            losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none").view(words.shape)
            if only is not None:
                return losses[:, only].mean()
            own = (-losses).exp().detach()
            given = own if reference is None else reference.likely(words)
            return (losses * self.counts(own if self.weights == "own" else given, even=even or not seen.any())).mean()

        take_steps(torch.optim.Adam(model.parameters(), 5e-3, fused=True), loss, steps, falling)

    def counts(self, likely: torch.Tensor, *, even: bool = False) -> torch.Tensor:
        """How much each word of captions [rows, 12] counts, by how likely it was; 1 in the mean."""
        import torch

        if even or self.weights == "even":
            return torch.ones_like(likely)
        if self.weights == "image":
            found = torch.tensor([float(kind in "sc") for kind in TEMPLATE]).expand(likely.shape)
        else:
            found = (1 - likely).clamp(min=1e-3) ** self.power
            found = 1 / (0.05 + found) if self.weights == "known" else found
        return found / found.mean()


def labelled(attributes: np.ndarray) -> np.ndarray:
    """The shapes of images as captions [images, 12]: the one word that tells anything stands at its place."""
    import numpy as np

    found = np.full((len(attributes), LENGTH), 12)
    found[:, SHAPE] = attributes[:, 0]
    return found
