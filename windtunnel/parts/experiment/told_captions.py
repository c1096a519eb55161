"""What captions have to tell for two towers to learn what images show."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import numpy as np

    from windtunnel.kits.image.planted import PairTowers, PairWorld


class ToldCaptions(Experiment, name="told-captions"):
    """Two linear towers trained on planted pairs whose captions tell of more or less, by mistake or by guess.

    Images are vectors of a shape, a colour, a size and a place; captions are bags of words. ``true`` tells all four, ``two`` two of
    them that are drawn for each image, ``class`` the shape alone; ``wrong`` exchanges that share of the captions with those of others.

    ``guessed`` asks towers that learned from ``labelled`` true pairs which value of each attribute an image has, and tells that (Shao et
    al. 2023, arXiv:2309.01420); ``random`` tells values drawn at random. Both end with as many steps on the true pairs as
    ``labelled-only``, which has no others. ``found`` and ``balanced`` have a page of ``page`` captions for every image, its own and
    those of others, and take the one that towers from ``labelled`` pairs find nearest; ``balanced`` then draws as many of each cluster
    of captions (Gu et al. 2025, arXiv:2502.12513); ``page-order`` takes any of the page. ``components`` reads no captions: the principal
    components of images, which is what a linear network learns that draws what it saw.

    With ``skewed`` shapes and colours follow Zipf's law in what is trained on. The numbers are ``named``, the mean over attributes of
    the share of held-out images whose nearest name is right; ``rare``, the same for the shapes and colours of the less frequent half;
    ``retrieved``, the share of held-out captions whose nearest image is as they tell; and ``place``, the share of places that a regression
    with ``shots`` labels each tells from the image tower. ``components`` names and retrieves nothing: its first three are 0.
    """

    trial = Trial({"pairs": 200, "steps": 4, "labelled": 60})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    captions: Literal[
        "true", "two", "class", "guessed", "random", "labelled-only", "found", "balanced", "page-order", "components"
    ] = Field("true", description="what towers learn from")  # fmt: skip
    wrong: float = Field(0.0, ge=0, le=1, description="share of the captions that is exchanged")
    skewed: bool = Field(False, description="whether some shapes and colours are rare")
    pairs: int = Field(2000, ge=100, description="images of training")
    labelled: int = Field(100, ge=20, description="true pairs of those that guess or search")
    page: int = Field(8, ge=2, description="captions of a page")
    steps: int = Field(300, ge=1, description="of training")
    batch: int = Field(64, ge=4, description="pairs of a step")
    noise: float = Field(1.0, ge=0, description="deviation of the noise of images")
    shots: int = Field(5, ge=1, le=50, description="labels of a place")

    @model_validator(mode="after")
    def _labelled_are_of_the_pairs(self) -> Self:
        if self.labelled > self.pairs:
            raise ValueError(f"labelled: {self.labelled} true pairs are more than the {self.pairs} pairs; take fewer")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``named``, ``rare``, ``retrieved`` and ``place``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import COUNTS, PairWorld, drawn_attributes, few_label_accuracy, told

        random = np.random.default_rng((seed, 0))
        world = PairWorld.drawn(random)
        attributes = self._attributes(random)
        images = world.seen(attributes, random, self.noise)
        asked = drawn_attributes(random, 1000)
        judged = world.seen(asked, random, self.noise)
        few = np.concatenate([np.nonzero(asked[:, 3] == place)[0][: self.shots] for place in range(COUNTS[3])])
        rest = np.setdiff1d(np.arange(len(asked)), few)
        if self.captions == "components":
            axes = np.linalg.svd(images - images.mean(axis=0), full_matrices=False)[2][:16]
            return {"named": 0.0, "rare": 0.0, "retrieved": 0.0, "place": few_label_accuracy(judged @ axes.T, asked[:, 3], few, rest)}
        towers = self._trained(images, attributes, world, np.random.default_rng((seed, 1)))
        right = np.stack([towers.named(judged, place) == asked[:, place] for place in range(4)], axis=1)
        with torch.no_grad():
            vectors, every = towers.images(judged), towers.texts(told(asked[:300], np.ones((300, 4), bool)))
            nearest = (every @ vectors[:300].T).argmax(dim=1).numpy()
        same = (asked[nearest] == asked[:300]).all(axis=1).mean()
        rare = right[:, :2][asked[:, :2] >= 3].mean()
        place = few_label_accuracy(vectors.double().numpy(), asked[:, 3], few, rest)
        return {"named": float(right.mean()), "rare": float(rare), "retrieved": float(same), "place": place}

    def _attributes(self, random: np.random.Generator) -> np.ndarray:
        import numpy as np

        from windtunnel.kits.image.planted import COUNTS, drawn_attributes

        found = drawn_attributes(random, self.pairs)
        if self.skewed:
            for place in (0, 1):
                share = 1.0 / np.arange(1, COUNTS[place] + 1) ** 1.5
                found[:, place] = random.choice(COUNTS[place], self.pairs, p=share / share.sum())
        return found

    def _trained(self, images: np.ndarray, attributes: np.ndarray, world: PairWorld, random: np.random.Generator) -> PairTowers:
        """The towers after all steps."""
        import numpy as np

        from windtunnel.kits.image.planted import PairTowers, shuffled, told

        every, known = np.ones((self.pairs, 4), bool), np.arange(self.labelled)
        truth = told(attributes, every, random)

        def few() -> PairTowers:
            rows = shuffled(random, self.labelled, self.batch)
            return PairTowers.begun(random).fit(images[known], truth[known], rows, self.steps // 2)

        rows, words = shuffled(random, self.pairs, self.batch), truth
        if self.captions in ("two", "class"):
            which = random.random((self.pairs, 4)).argsort(axis=1) < 2 if self.captions == "two" else every & (np.arange(4) == 0)
            words = told(attributes, which, random)
        elif self.captions == "guessed":
            asked = few()
            words = told(np.stack([asked.named(images, place) for place in range(4)], axis=1), every, random)
        elif self.captions == "random":
            words = told(np.stack([random.permutation(values) for values in attributes.T], axis=1), every, random)
        elif self.captions in ("found", "balanced", "page-order"):
            words, rows = self._paged(images, truth, few() if self.captions != "page-order" else None, random)
        if self.wrong:
            words = words.copy()
            moved = np.nonzero(random.random(self.pairs) < self.wrong)[0]
            words[moved] = words[np.roll(moved, 1)]
        towers = PairTowers.begun(random)
        if self.captions != "labelled-only":
            towers.fit(images, words, rows, self.steps)
        if self.captions in ("guessed", "random", "labelled-only"):
            towers.fit(images[known], truth[known], shuffled(random, self.labelled, self.batch), self.steps // 2)
        return towers

    def _paged(
        self, images: np.ndarray, truth: np.ndarray, search: PairTowers | None, random: np.random.Generator
    ) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
        """A caption of its page for every image, and the rows of a step."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import shuffled

        pages = random.integers(0, self.pairs, (self.pairs, self.page))
        pages[:, 0] = np.arange(self.pairs)
        chosen = random.integers(0, self.page, self.pairs)
        if search is not None:
            with torch.no_grad():
                near = torch.einsum("iw,ipw->ip", search.images(images), search.texts(truth)[pages])
            chosen = near.argmax(dim=1).numpy()
        words = truth[pages[np.arange(self.pairs), chosen]]
        if self.captions != "balanced":
            return words, shuffled(random, self.pairs, self.batch)
        told_shape, told_colour = words[:, :6].argmax(axis=1), words[:, 6:12].argmax(axis=1)
        _, cluster, size = np.unique(told_shape * 6 + told_colour, return_inverse=True, return_counts=True)
        share = 1 / np.maximum(size[cluster], 5)  # the smallest clusters are not drawn without end
        return words, lambda step: random.choice(self.pairs, self.batch, p=share / share.sum())
