"""Contrastive learning from images of which many are slices of one thing, with and without the slices that are nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np

HELD_OUT, DIGITS = 600, 1797  # images that the probe is judged on, and all there are


class ReducedSlices(Experiment, name="reduced-slices"):
    """The accuracy of a probe on features that were learned by contrast, by which slices of each volume were kept.

    Wolf et al. 2024, arXiv:2410.14524: neighbouring slices of a scan are nearly the same, and in contrastive learning they are pushed apart
    as if they were not. Going through a volume, a slice is kept if it is farther than a threshold from the last one that was kept. A volume
    is one of scikit-learn's digits in ``slices`` that differ by a little drift and noise; ``volumes`` of them are the pool.

    ``hash`` compares by the Hamming distance of 64 bits, which pixel is brighter than the mean; ``embedding`` by the cosine of features of
    a network that learned from the whole pool for a tenth of the steps; ``information`` by mutual information of pixel values, in eight
    steps of grey, over their mean entropy. Each takes the lowest threshold that keeps no more than the ``share`` of
    all slices; since the first of each volume is always kept, that has to be more than one of each. ``random`` draws the ``share``, ``one``
    keeps one of each volume, ``all`` keeps all. All take the same steps, or with ``epochs`` as many passes over what is kept as all slices
    would have had.

    ``accuracy`` is that of a ridge regression on ``labels`` labelled digits; ``volumes`` the share of volumes of which a slice was kept;
    ``steps`` how many were taken.
    """

    trial = Trial({"volumes": 20, "slices": 3, "share": 0.5, "steps": 4, "labels": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    how: Literal["hash", "embedding", "information", "random", "one", "all"] = Field("all", description="which slices are kept")
    share: float = Field(0.1, gt=0, le=1, description="of all slices that is kept")
    volumes: int = Field(200, ge=10, description="in the pool")
    slices: int = Field(20, ge=2, description="of each volume")
    steps: int = Field(300, ge=2, description="of contrastive learning, 64 slices each")
    epochs: bool = Field(False, description="whether passes over the data are equal, in the place of steps")
    labels: int = Field(60, ge=10, description="labelled digits of the probe")

    @model_validator(mode="after")
    def _there_is_enough(self) -> Self:
        if self.how in ("hash", "embedding", "information") and self.share * self.slices <= 1:
            raise ValueError(
                f"share: {self.share:g} of {self.slices} slices is not more than the first of each volume, which is always kept"
            )
        if self.volumes + self.labels > DIGITS - HELD_OUT:
            raise ValueError(
                f"volumes: {self.volumes} and {self.labels} labels are more than the {DIGITS - HELD_OUT} digits that are not held out"
            )
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``volumes`` and ``steps``. Raises UserError where scikit-learn is missing."""
        import numpy as np

        from windtunnel.kits.image.contrastive import features, pretrained, probed
        from windtunnel.kits.image.digits import shuffled_digits

        random = np.random.default_rng(seed)
        pixels, labels = shuffled_digits(self.name, random)
        pool = sliced(pixels[HELD_OUT : HELD_OUT + self.volumes], self.slices, random)
        flat = pool.reshape(-1, 64)
        count, steps = max(round(self.share * len(flat)), 2), self.steps
        if self.how == "all":
            kept = np.arange(len(flat))
        elif self.how == "one":
            kept = np.arange(self.volumes) * self.slices
        elif self.how == "random":
            kept = random.permutation(len(flat))[:count]
        else:
            first = features(pretrained(flat, seed, random, steps=max(steps // 10, 1)), flat) if self.how == "embedding" else flat
            kept = farthest(distances(first.reshape(self.volumes, self.slices, -1), self.how), count)
        if self.epochs:
            steps = max(round(steps * len(kept) / len(flat)), 1)
        model = pretrained(flat[kept], seed, random, steps=steps)
        rest = np.arange(HELD_OUT + self.volumes, len(pixels))[: self.labels]
        right = probed(model, pixels[rest], labels[rest], pixels[:HELD_OUT], labels[:HELD_OUT])
        return {"accuracy": right, "volumes": len(np.unique(kept // self.slices)) / self.volumes, "steps": float(steps)}


def sliced(pixels: np.ndarray, slices: int, random: np.random.Generator) -> np.ndarray:
    """[images, slices, 64]: each image as slices that drift towards another image by up to a fifth, with a little noise."""
    import numpy as np

    other = pixels[random.permutation(len(pixels))]
    way = np.linspace(0, 0.2, slices)[None, :, None]
    found = (1 - way) * pixels[:, None] + way * other[:, None]
    return np.asarray(found + 0.02 * random.standard_normal(found.shape))


def distances(volumes: np.ndarray, how: str) -> np.ndarray:
    """The distance of all pairs of slices within each volume, [volumes, slices, slices]; ``volumes`` [volumes, slices, numbers]."""
    import numpy as np

    if how == "hash":
        bits = volumes > volumes.mean(axis=2, keepdims=True)
        return np.asarray((bits[:, :, None] != bits[:, None]).sum(axis=3), float)
    if how == "embedding":
        length = np.linalg.norm(volumes, axis=2, keepdims=True)
        return np.asarray(1 - (volumes / length) @ (volumes / length).transpose(0, 2, 1))
    grey = np.clip((volumes * 8).astype(int), 0, 7)
    found = np.zeros((len(volumes), volumes.shape[1], volumes.shape[1]))
    for place in np.ndindex(found.shape):
        found[place] = 1 - shared_information(grey[place[0], place[1]], grey[place[0], place[2]])
    return found


def shared_information(one: np.ndarray, two: np.ndarray) -> float:
    """Mutual information of two rows of whole numbers below 8, over the mean of their entropies; 1 where both are constant."""
    import numpy as np

    joint = np.bincount(one * 8 + two, minlength=64).reshape(8, 8) / len(one)

    def entropy(shares: np.ndarray) -> float:
        known = shares[shares > 0]
        return float(-(known * np.log(known)).sum())

    apart = entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))
    return 2 * (apart - entropy(joint)) / apart if apart > 0 else 1.0


def farthest(between: np.ndarray, count: int) -> np.ndarray:
    """Places of ``count`` slices, those kept at the lowest threshold that keeps no more; those over it at the last come in order.

    A slice is kept if it is farther than the threshold from the last kept one of its volume; the first of each is always kept.
    """
    import numpy as np

    def kept(threshold: float) -> np.ndarray:
        volumes, slices, _ = between.shape
        last, found = np.zeros(volumes, int), np.zeros((volumes, slices), bool)
        found[:, 0] = True
        for place in range(1, slices):
            far = between[np.arange(volumes), last, place] > threshold
            found[far, place] = True
            last[far] = place
        return np.flatnonzero(found.ravel())

    values = np.unique(between)
    low, high = 0, len(values) - 1  # at the last value nothing but the first slices is kept
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(kept(values[middle])) <= count else (middle + 1, high)
    return kept(values[low])[:count]
