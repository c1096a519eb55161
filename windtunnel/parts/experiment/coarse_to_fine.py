"""Phrases found in images after pairs without boxes, a few images with boxes, or one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.gated_towers import GatedTowers

SIZE, OBJECTS, CHOICE = 20, 3, 32  # pixels on a side, objects of a scene, and captions among which that of an image is looked for
RATES = (1e-3, 3e-3)


class CoarseToFine(Experiment, name="coarse-to-fine"):
    """How often a phrase is found in its image, by whether pairs without boxes were learned first and whether towers look at each other.

    Dou et al. 2022 (FIBER), arXiv:2206.07643: attention to the other tower stands in the upper layers of both, times a number that begins
    at 0, so that the towers can be used apart; a first stage learns image-text pairs by contrast, matching with hard negatives and hidden
    words, a second one boxes of phrases at high resolution. Here a scene has three coloured shapes at 20 pixels, three of the four kinds of
    two colours and two shapes, so that neither tells alone which is meant; its caption names colour and shape of each in any order; a
    phrase is two words of it; a box is that of the object's mask, and what is learned of it is which patches of 4 pixels have their middle
    in it, by cross entropy of each. Towers have three layers of 32 numbers, the upper two of them gated; both stages have one resolution;
    the paper's queue of features is left out, and its detector's losses are.

    ``stages``: ``both``, ``pairs`` steps on pairs and then ``boxes`` steps on ``boxed`` scenes; ``fine``, as many steps on the boxed
    scenes alone as both stages have; ``coarse``, on pairs alone. With ``fused`` off no gate is ever opened: the first stage is contrast
    alone, and phrases are compared with patches of towers that do not look at each other. Rates of boxes are the best of two on 100 other
    scenes; pairs have the larger.

    ``grounded`` is the share of phrases whose highest patch has its middle in their box, ``retrieved`` how often the caption of an image is
    the most alike of 32 by the towers apart, and ``chance`` the share of patches in a box.
    """

    trial = Trial({"scenes": 40, "boxed": 20, "pairs": 2, "boxes": 2, "judged": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    stages: Literal["fine", "coarse", "both"] = Field("fine", description="what is learned")
    fused: bool = Field(True, description="whether towers look at each other")
    scenes: int = Field(4000, ge=32, description="pairs without boxes")
    boxed: int = Field(60, ge=8, description="scenes with boxes")
    pairs: int = Field(250, ge=1, description="steps on pairs, 16 each")
    boxes: int = Field(150, ge=1, description="steps on boxes, 16 scenes each")
    judged: int = Field(320, ge=CHOICE, description="scenes that are judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``grounded``, ``retrieved`` and ``chance``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best

        random = np.random.default_rng(seed)
        known, boxed, chosen, judged = (drawn(random, count) for count in (self.scenes, self.boxed, 100, self.judged))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = self._coarse(known, seed)
            if self.stages != "coarse":
                steps = self.boxes + (self.pairs if self.stages == "fine" else 0)
                network = best(
                    RATES, lambda rate: self._fine(network, boxed, steps, rate, seed), lambda one: pointed(one, chosen, fused=self.fused)
                )
            return {
                "grounded": pointed(network, judged, fused=self.fused),
                "retrieved": retrieved(network, judged),
                "chance": float(judged.inside.float().mean()),
            }

    def _coarse(self, pairs: Pictured, seed: int) -> GatedTowers:
        """A network after the first stage, or as it begins."""
        import torch

        from windtunnel.kits.image.gated_towers import GatedTowers, coarse_loss
        from windtunnel.kits.image.scenes import COLOURS, SHAPES
        from windtunnel.kits.small_decoder import descend

        network, random = GatedTowers(SIZE, len(COLOURS) + len(SHAPES), 2 * OBJECTS), torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(pairs.images), (16,), generator=random)
            return coarse_loss(network, pairs.images[rows], pairs.words[rows], random, crossed=self.fused)

        descend(network, loss, 0 if self.stages == "fine" else self.pairs, max(RATES))
        return network

    def _fine(self, start: GatedTowers, boxed: Pictured, steps: int, rate: float, seed: int) -> GatedTowers:
        """A copy of ``start`` after steps on boxes."""
        import copy

        import torch

        from windtunnel.kits.small_decoder import descend

        network, random = copy.deepcopy(start), torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(boxed.images), (16,), generator=random)
            found = network.grounded(boxed.images[rows], boxed.words[rows], crossed=self.fused)
            return torch.nn.functional.binary_cross_entropy_with_logits(found, boxed.inside[rows].float())

        descend(network, loss, steps, rate)
        return network


class Pictured(NamedTuple):
    """Images [N, 3, SIZE, SIZE], words [N, 2 x objects] and which patches lie in the box of each phrase, bool [N, objects, patches]."""

    images: torch.Tensor
    words: torch.Tensor
    inside: torch.Tensor


def drawn(random: np.random.Generator, count: int) -> Pictured:
    """Scenes with captions and boxes; objects of a scene are three of the four kinds of two colours and two shapes."""
    import numpy as np
    import torch

    from windtunnel.kits.image.gated_towers import PATCH
    from windtunnel.kits.image.scenes import COLOURS, SHAPES, scenes

    pairs = random.random((count, 4)).argsort(axis=1)[:, :OBJECTS]
    two_colours, two_shapes = (random.random((count, len(kinds))).argsort(axis=1)[:, :2] for kinds in (COLOURS, SHAPES))
    colours, shapes = np.take_along_axis(two_colours, pairs // 2, axis=1), np.take_along_axis(two_shapes, pairs % 2, axis=1)
    made = scenes(random, shapes, colours, SIZE, radius=(0.15, 0.23))
    rows, columns = (np.asarray(made.masks.any(axis=axis)) for axis in (3, 2))
    middle = np.arange(PATCH // 2, SIZE, PATCH)

    def between(lines: np.ndarray) -> np.ndarray:
        first, last = lines.argmax(axis=2), SIZE - lines[..., ::-1].argmax(axis=2)
        return np.asarray((middle >= first[..., None]) & (middle < last[..., None]))

    inside = (between(rows)[..., :, None] & between(columns)[..., None, :]).reshape(count, OBJECTS, -1)
    words = np.stack([colours, len(COLOURS) + shapes], axis=2).reshape(count, -1)
    return Pictured(torch.from_numpy(made.images), torch.from_numpy(words), torch.from_numpy(inside))


def pointed(network: GatedTowers, given: Pictured, *, fused: bool) -> float:
    """The share of phrases whose highest patch lies in their box."""
    import torch

    with torch.no_grad():
        best = network.grounded(given.images, given.words, crossed=fused).argmax(dim=2)
    return float(given.inside.gather(2, best[..., None]).float().mean())


def retrieved(network: GatedTowers, given: Pictured) -> float:
    """How often the caption most like an image, by the towers apart, is its own, among CHOICE."""
    import torch

    with torch.no_grad():
        images, texts = network.apart(given.images, given.words)
    groups = len(images) // CHOICE
    one, other = (each[: groups * CHOICE].unflatten(0, (groups, CHOICE)) for each in (images, texts))
    found = (one @ other.transpose(1, 2)).argmax(dim=2) == torch.arange(CHOICE)
    return float(found.float().mean())
