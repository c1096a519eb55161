"""Queries of a new model of images and texts in a gallery that an old one has embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SIDE = 12  # pixels of a drawing
RIDGE = 0.1  # of variances, in correlations and in the projection
NEAR = 5  # texts among which the right one has to be


class Towers(NamedTuple):
    """A linear map for each modality into one space, [width + 1, size]; the last row takes the mean away."""

    images: np.ndarray
    texts: np.ndarray


class CompatibleEmbeddings(Experiment, name="compatible-embeddings"):
    """How often an image finds its caption among captions that an old model embedded, asked by the old model or by a new one.

    Jang and Lim 2024, arXiv:2405.14715 (XBT): a projection from the space of the new model to that of the old one is learned from texts
    alone, which both embed, and serves images too, so that no gallery is embedded anew. Models are canonical correlations of random
    rectified features of drawings (the source `drawn-shapes`) with the words of their captions: ``old`` of few drawings and features,
    ``new`` of ten times as many drawings. ``asked`` says who embeds the image, and by what its embedding comes into the old space:
    ``texts``, a ridge regression on ``texts`` captions alone; ``pairs``, on images that both models embedded, ``pairs`` of them; ``none``,
    as it is. ``new-alone`` is the new model with a gallery of its own: what embedding all anew would give.

    A drawing has one of 300 captions, and the gallery one of each.
    """

    trial = Trial({"drawings": 120, "texts": 40, "pairs": 20, "queries": 40})

    unit: ClassVar[str] = f"share right among {NEAR}"
    better: ClassVar[str] = "higher"

    asked: Literal["old", "texts", "pairs", "none", "new-alone"] = Field(
        "old", description="who embeds the image, and by what it comes to the gallery"
    )
    drawings: int = Field(3000, ge=100, description="that the new model learns from; the old one has a tenth")
    texts: int = Field(300, ge=10, description="captions that the projection is learned from")
    pairs: int = Field(30, ge=10, description="images that it is learned from instead")
    queries: int = Field(500, ge=10, description="images that are asked for")

    def measure(self, seed: int) -> dict[str, float]:
        """``recall``, and ``first``, the share whose own caption is the nearest."""
        import numpy as np

        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        images, words, captions = drawn(self.drawings + self.queries, seed)
        known, asked = np.arange(self.drawings), np.arange(self.drawings, len(images))
        few = known[: self.drawings // 10]
        shallow, deep = (features(images, width, random) for width in (60, 400))
        old, new = towers(shallow[few], words[few], 8), towers(deep[known], words[known], 24)
        gallery, place = np.unique(captions, return_index=True)
        texts = embedded(words[place], new.texts if self.asked == "new-alone" else old.texts)
        queries = embedded(shallow[asked], old.images) if self.asked == "old" else embedded(deep[asked], new.images)
        if self.asked in ("texts", "pairs"):
            if self.asked == "texts":
                shown = random.permutation(place)[: self.texts]
                both = embedded(words[shown], new.texts), embedded(words[shown], old.texts)
            else:
                shown = random.permutation(known)[: self.pairs]
                both = embedded(deep[shown], new.images), embedded(shallow[shown], old.images)
            queries = unit(queries @ regression(*both))
        elif self.asked == "none":
            queries = queries[:, : texts.shape[1]]
        own = np.searchsorted(gallery, captions[asked])
        order = np.argsort(-(queries @ texts.T), axis=1, kind="stable")
        rank = (order == own[:, None]).argmax(axis=1)
        return {"recall": float((rank < NEAR).mean()), "first": float((rank == 0).mean())}


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels [count, numbers] of drawings, which words their captions have [count, words], and the captions."""
    import numpy as np

    from windtunnel.data.corpus.tally import Tally
    from windtunnel.parts.source.drawn_shapes import DrawnShapes

    found: list[Any] = list(DrawnShapes(count=count, size=SIDE, seed=seed).documents(Tally("drawn")))
    captions = np.array([str(one["text"]) for one in found])
    known = sorted({word for caption in set(captions) for word in caption.split()})
    words = np.array([[float(word in caption.split()) for word in known] for caption in captions])
    return np.array([np.ravel(one["image"]) for one in found]) / 255, words, captions


def features(pixels: np.ndarray, width: int, random: np.random.Generator) -> np.ndarray:
    """Random rectified projections of ``pixels`` [N, numbers]: [N, width]."""
    import numpy as np

    shifted = pixels - pixels.mean(axis=0)
    found: np.ndarray = np.maximum(shifted @ random.standard_normal((pixels.shape[1], width)), 0)
    return found


def towers(images: np.ndarray, texts: np.ndarray, size: int) -> Towers:
    """The first ``size`` canonical correlations of ``images`` [N, width] and ``texts`` [N, words], weighted by their strength."""
    import numpy as np

    def whitening(values: np.ndarray) -> np.ndarray:
        variances, axes = np.linalg.eigh(np.cov(values.T))
        return np.asarray(axes / np.sqrt(np.maximum(variances, 0) + RIDGE * variances.mean()))

    one, two = whitening(images), whitening(texts)
    middles = images.mean(axis=0), texts.mean(axis=0)
    together = (images - middles[0]).T @ (texts - middles[1]) / (len(images) - 1)
    left, strength, right = np.linalg.svd(one.T @ together @ two, full_matrices=False)
    weights = np.sqrt(strength[:size])
    maps = one @ left[:, :size] * weights, two @ right[:size].T * weights
    return Towers(*(np.concatenate([each, -(middle @ each)[None]]) for middle, each in zip(middles, maps, strict=True)))


def embedded(values: np.ndarray, tower: np.ndarray) -> np.ndarray:
    """``values`` [N, width] by a map [width + 1, size]: rows of length 1."""
    from windtunnel.kits.vectors import unit

    return unit(values @ tower[:-1] + tower[-1])


def regression(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The ridge regression from ``one`` [N, size] to ``other`` [N, other size]: [size, other size]."""
    import numpy as np

    return ridge(one, other, RIDGE * np.trace(one.T @ one) / one.shape[1])
