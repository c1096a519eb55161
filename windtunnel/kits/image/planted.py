"""Planted pairs of image and caption: vectors in the place of images, whose attributes are known, and bags of words that tell of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from windtunnel.kits.optim.descent import take_steps
from windtunnel.kits.ridge import ridge

Array = NDArray[Any]
COUNTS = (6, 6, 3, 5)  # values of the attributes: shape, colour, size, place
STARTS = tuple(np.cumsum((0, *COUNTS)).tolist())
FILLERS = 10  # words that tell of nothing
WORDS = STARTS[-1] + FILLERS
PIXELS = 48
Extra = Callable[[Tensor, Tensor, Array], Tensor]


@dataclass(frozen=True)
class PairWorld:
    """How attributes look: every value of each has a direction, and every pair of a shape and a colour one of its own."""

    single: Array
    joint: Array

    @classmethod
    def drawn(cls, random: np.random.Generator) -> PairWorld:
        """Another world for every generator."""
        return cls(random.standard_normal((STARTS[-1], PIXELS)), random.standard_normal((COUNTS[0], COUNTS[1], PIXELS)))

    def seen(self, attributes: Array, random: np.random.Generator, noise: float, style: Array | None = None) -> Array:
        """Images [N, 48] of ``attributes`` [N, 4]; ``style`` [48, 48] is a linear map that belongs to the source."""
        found = self.single[attributes + np.array(STARTS[:-1])].sum(axis=1) + self.joint[attributes[:, 0], attributes[:, 1]]
        found = found / np.sqrt(5)
        if style is not None:
            found = found @ style
        return np.asarray(found + noise * random.standard_normal(found.shape))


def drawn_attributes(random: np.random.Generator, count: int) -> Array:
    """[count, 4], every value of an attribute equally often."""
    return np.stack([random.integers(0, values, count) for values in COUNTS], axis=1)


def told(attributes: Array, which: Array, random: np.random.Generator | None = None) -> Array:
    """Captions [N, words]: the words of the attributes ``which`` [N, 4] are true for, with two words that tell of nothing if ``random``."""
    found = np.zeros((len(attributes), WORDS))
    rows, columns = np.nonzero(which)
    found[rows, attributes[rows, columns] + np.array(STARTS)[columns]] = 1
    if random is not None:
        found[np.arange(len(found))[:, None], STARTS[-1] + random.integers(0, FILLERS, (len(found), 2))] = 1
    return found


def names(attribute: int) -> Array:
    """A caption [values, words] for every value of an attribute, with its word alone."""
    return np.eye(WORDS)[STARTS[attribute] : STARTS[attribute + 1]]


def unit(vectors: Tensor) -> Tensor:
    """``vectors`` of length 1."""
    return torch.nn.functional.normalize(vectors, dim=-1)


@dataclass(frozen=True)
class PairTowers:
    """Two linear towers to vectors of one width, trained by :meth:`fit`."""

    image: Tensor
    text: Tensor

    @classmethod
    def begun(cls, random: np.random.Generator, width: int = 16, pixels: int = PIXELS, words: int = WORDS) -> PairTowers:
        """At random."""
        matrices = (torch.from_numpy(random.standard_normal((size, width)) / np.sqrt(size)).float() for size in (pixels, words))
        return cls(*(matrix.requires_grad_() for matrix in matrices))

    def images(self, images: Array) -> Tensor:
        """Unit vectors."""
        return unit(torch.from_numpy(images).float() @ self.image)

    def texts(self, words: Array) -> Tensor:
        """Unit vectors."""
        return unit(torch.from_numpy(words).float() @ self.text)

    def fit(
        self,
        images: Array,
        words: Array,
        rows: Callable[[int], Array],
        steps: int,
        *,
        extra: Extra | None = None,
        weight: float = 1.0,
        rate: float = 0.02,
        scale: float = 10.0,
    ) -> PairTowers:
        """Train on the pairs that ``rows`` names for each step; ``extra`` is added to ``weight`` of the contrastive loss."""
        pictures, captions = torch.from_numpy(images).float(), torch.from_numpy(words).float()

        def loss(step: int) -> Tensor:
            chosen = rows(step)
            first, second = unit(pictures[chosen] @ self.image), unit(captions[chosen] @ self.text)
            found = weight * contrastive(scale * first @ second.T)
            return found if extra is None else found + extra(first, second, chosen)

        take_steps(torch.optim.Adam([self.image, self.text], rate, fused=True), loss, steps)
        return self

    def named(self, images: Array, attribute: int) -> Array:
        """The value of an attribute of each image that the nearest name tells [N]."""
        with torch.no_grad():
            return np.asarray((self.images(images) @ self.texts(names(attribute)).T).argmax(dim=1).numpy())


def contrastive(logits: Tensor) -> Tensor:
    """The mean cross entropy of rows and columns of square logits, whose diagonal are the pairs."""
    pairs = torch.arange(len(logits))
    return (torch.nn.functional.cross_entropy(logits, pairs) + torch.nn.functional.cross_entropy(logits.T, pairs)) / 2


def shuffled(random: np.random.Generator, count: int, batch: int) -> Callable[[int], Array]:
    """Rows of a step, drawn at random of ``count``."""
    return lambda step: random.integers(0, count, min(batch, count))


def few_label_accuracy(features: Array, labels: Array, few: Array, held: Array) -> float:
    """The share of ``held`` rows named rightly by ridge regression on the ``few`` (both are numbers of rows), features of unit variance."""
    scaled = (features - features[few].mean(axis=0)) / (features.std(axis=0) + 1e-6)
    wanted = np.eye(labels.max() + 1)[labels[few]]
    own = scaled[few]
    weights = ridge(own, wanted - wanted.mean(axis=0), 0.1 * len(few))
    found = (scaled[held] @ weights + wanted.mean(axis=0)).argmax(axis=1)
    return float((found == labels[held]).mean())
