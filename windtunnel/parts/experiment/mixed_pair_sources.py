"""Two towers trained on pairs of several sources: what mixing does to names under shift, and what telling the source does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class MixedPairSources(Experiment, name="mixed-pair-sources"):
    """How well two towers name the images of styles that training had or lacked, by the sources of their pairs.

    Every source shows planted attributes in a style of its own, a linear map near the identity. ``first`` and ``second`` train on one
    source, ``both`` on half of each at the same total (Nguyen et al. 2022, arXiv:2208.05516, who find that mixtures lie between). The
    styles asked for are ``near_first`` and ``near_second``, each between a source's and a new one.

    ``labels`` is as ``both``, but the captions of the second source are made of a class label: its shape and nothing else; ``prefix``
    prepends a word to each caption that tells the source (Saito et al. 2023, arXiv:2206.01125), and asks with that of the captions;
    ``prefix-label`` asks with that of the labels. All three take every step from one source, ``mixed-steps`` from both.

    The numbers are ``near_first``, the mean over attributes of the share named rightly; ``near_second`` and ``average``, of both; ``own``,
    on the first source; ``shape``, the share of shapes named rightly near the second style; and ``robust``, the logit of
    ``near_first`` less that of ``own``: how much of what it can do a model keeps under shift.
    """

    trial = Trial({"pairs": 200, "steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    sources: Literal["first", "second", "both", "labels", "mixed-steps", "prefix", "prefix-label"] = Field("both", description="of pairs")
    pairs: int = Field(600, ge=60, description="of training, all sources together")
    steps: int = Field(300, ge=1, description="of training, 64 pairs each")
    style: float = Field(0.8, ge=0, description="how far the map of a style is from the identity")
    noise: float = Field(0.7, ge=0, description="deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``near_first``, ``near_second``, ``average``, ``own``, ``shape`` and ``robust``."""
        import numpy as np

        from windtunnel.kits.image.planted import COUNTS, PIXELS, PairTowers, PairWorld, drawn_attributes, told

        random = np.random.default_rng(seed)
        world = PairWorld.drawn(random)
        styles = [np.eye(PIXELS) + self.style * random.standard_normal((PIXELS, PIXELS)) / np.sqrt(PIXELS) for _ in range(4)]
        attributes = drawn_attributes(random, self.pairs)
        origin = (
            np.arange(self.pairs) % 2 if self.sources not in ("first", "second") else np.full(self.pairs, int(self.sources == "second"))
        )
        images = np.where(
            (origin == 0)[:, None],
            world.seen(attributes, random, self.noise, styles[0]),
            world.seen(attributes, random, self.noise, styles[1]),
        )
        labels = self.sources not in ("first", "second", "both")
        which = np.ones((self.pairs, 4), bool)
        if labels:
            which[origin == 1] = np.arange(4) == 0
        words = told(attributes, which, random)
        if labels:
            words[origin == 1, sum(COUNTS) :] = 0
        prefix = self.sources.startswith("prefix")
        words = np.concatenate([words, np.eye(2)[origin] * prefix], axis=1)
        towers = PairTowers.begun(random, words=words.shape[1])
        towers.fit(images, words, self._rows(origin, random), self.steps)
        asked = drawn_attributes(random, 800)
        told_by = np.eye(2)[int(self.sources == "prefix-label")] * prefix

        def named(style: np.ndarray) -> Any:
            seen = world.seen(asked, np.random.default_rng((seed, 1)), self.noise, style)
            return np.array([share_named(towers, seen, asked, attribute, told_by) for attribute in range(4)])

        own, first, second = named(styles[0]), *(named((styles[place] + styles[2 + place]) / 2) for place in (0, 1))
        kept = logit(first.mean(), 4 * len(asked)) - logit(own.mean(), 4 * len(asked))
        numbers = {"near_first": first.mean(), "near_second": second.mean(), "average": (first.mean() + second.mean()) / 2}
        return {name: float(value) for name, value in {**numbers, "own": own.mean(), "shape": second[0], "robust": kept}.items()}

    def _rows(self, origin: np.ndarray, random: np.random.Generator) -> Any:
        """The rows of a step: of one source where captions and labels are told apart."""
        import numpy as np

        whole = np.arange(len(origin))
        parts = [whole[origin == source] for source in np.unique(origin)]
        apart = self.sources in ("labels", "prefix", "prefix-label")
        return lambda step: random.choice(parts[step % len(parts)] if apart else whole, 64)


def logit(share: float, count: int) -> float:
    """Of a ``share`` of ``count`` cases, which counts as half a case away from none and from all."""
    import math

    share = min(max(share, 0.5 / count), 1 - 0.5 / count)
    return math.log(share / (1 - share))


def share_named(towers: Any, images: np.ndarray, attributes: np.ndarray, attribute: int, told_by: np.ndarray) -> float:
    """The share of images whose nearest name of an attribute is right; every name begins with the words ``told_by``."""
    import numpy as np
    import torch

    from windtunnel.kits.image.planted import names

    asked = names(attribute)
    asked = np.concatenate([asked, np.tile(told_by, (len(asked), 1))], axis=1)
    with torch.no_grad():
        found = (towers.images(images) @ towers.texts(asked).T).argmax(dim=1).numpy()
    return float((found == attributes[:, attribute]).mean())
