"""Places seen by two sensors: features on which both agree, for points, things or whole scenes, and what is known of where one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SIDE, LOOKS, CLASSES, REGIONS, BANDS, THINGS = 6, 8, 5, 4, 24, 4  # of scenes: points of a side, looks, classes; numbers of a point; things
LEVELS = ("points", "things", "scenes")


class TwoSensors(Experiment, name="two-sensors"):
    """The share of points whose class is told rightly from few labels, by the levels at which features of two sensors were made to agree.

    Guo et al. 2024 (SkySense), arXiv:2312.10115: encoders of optical and radar images learn by contrast between teacher and student, and
    between sensors, at the level of points, of things (clusters of points) and of whole images; and learned prototypes of each region are
    attended to by where an image was taken. Here a scene of 6 x 6 points has four things, each of one look; a sensor shows looks by vectors
    of its own under clutter of the scene, clutter of the thing and noise. What the class of a look is depends on the region for half of the
    looks. Features are the directions in which both sensors are most alike: canonical correlations of the covariances of all ``levels``,
    each scaled to one trace and added, which is what a linear contrast comes to. Things are found by clustering the points of a scene.

    ``prototypes`` above 0 clusters the features of the scenes of each region into so many, without labels; a point then has beside it the
    mean of prototypes of its region, weighed by likeness, as one block of columns for each region. ``lost`` draws the region of every scene
    anew. ``place`` has the features themselves in the columns of their region, without prototypes. With no levels, points are read as they
    are.

    Numbers are ``points``, the accuracy of ridge regression from ``labels`` labelled points; and ``scenes``, how often the
    commonest class of a scene is told from the mean of its points, with as many labelled scenes.
    """

    trial = Trial({"scenes": 60, "labels": 60})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    levels: Many[str] = Field(LEVELS, description="of points, things and scenes, at which sensors are made to agree; none reads points")
    width: int = Field(12, ge=1, le=BANDS, description="of features")
    prototypes: int = Field(0, ge=0, description="of each region")
    lost: bool = Field(False, description="whether regions are drawn anew")
    place: bool = Field(False, description="whether features stand in the columns of their region")
    scenes: int = Field(400, ge=20, description="without labels")
    labels: int = Field(300, ge=20, description="labelled points, and scenes")
    noise: float = Field(1.0, ge=0, description="of a point")
    clutter: float = Field(1.0, ge=0, description="of a scene, and of a thing")

    def measure(self, seed: int) -> dict[str, float]:
        """``points`` and ``scenes``."""
        import numpy as np

        from windtunnel.kits.image.planted import few_label_accuracy

        if not set(self.levels) <= set(LEVELS):
            raise PartError(f"{self.name}: levels are of {', '.join(LEVELS)}; not {', '.join(self.levels)}")
        random = np.random.default_rng(seed)
        world = random.standard_normal((2, LOOKS, BANDS)), random.integers(0, CLASSES, (LOOKS, REGIONS))
        world[1][: LOOKS // 2] = world[1][: LOOKS // 2, :1]  # half of the looks mean the same everywhere
        bare, known, held = (self._scenes(world, count, random) for count in (self.scenes, self.labels, 300))
        way = self._aligned(bare) if self.levels else np.eye(BANDS)

        def read(some: SensedScenes) -> np.ndarray:
            regions = random.permutation(some.regions) if self.lost else some.regions
            found = some.seen[0] @ way
            if self.prototypes or self.place:
                found = np.concatenate([found, self._placed(found, regions, centres)], axis=2)
            return found

        centres = self._centres(bare.seen[0] @ way, bare.regions, random) if self.prototypes else None
        features = [read(each) for each in (known, held)]
        flat = np.concatenate([each.reshape(-1, each.shape[2]) for each in features])
        classes = np.concatenate([each.classes.reshape(-1) for each in (known, held)])
        size = known.classes.size
        few, judged = random.permutation(size)[: self.labels], np.arange(size, len(classes))
        points = few_label_accuracy(flat, classes, few, judged)
        means = np.concatenate([each.mean(axis=1) for each in features])
        commonest = np.concatenate([[np.bincount(row).argmax() for row in each.classes] for each in (known, held)])
        scenes = few_label_accuracy(means, commonest, np.arange(self.labels), np.arange(self.labels, len(means)))
        return {"points": points, "scenes": scenes}

    def _scenes(self, world: tuple[np.ndarray, np.ndarray], count: int, random: np.random.Generator) -> SensedScenes:
        """SensedScenes of both sensors."""
        import numpy as np

        centres = random.uniform(0, SIDE, (count, THINGS, 1, 2))
        grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1).reshape(1, 1, -1, 2)
        things = ((centres - grid) ** 2).sum(axis=3).argmin(axis=1)
        looks = np.take_along_axis(random.integers(0, LOOKS, (count, THINGS)), things, axis=1)
        regions, seen = random.integers(0, REGIONS, count), []
        for sensor in range(2):
            whole = random.standard_normal((count, 1, BANDS))
            of_thing = np.take_along_axis(random.standard_normal((count, THINGS, BANDS)), things[..., None], axis=1)
            noise = random.standard_normal((*looks.shape, BANDS))
            seen.append(world[0][sensor][looks] + self.clutter * (whole + of_thing) + self.noise * noise)
        return SensedScenes(np.stack(seen), things, world[1][looks, regions[:, None]], regions)

    def _aligned(self, bare: SensedScenes) -> np.ndarray:
        """From points of the first sensor to features, [BANDS, width]."""
        import numpy as np

        within, across = np.zeros((2, BANDS, BANDS)), np.zeros((BANDS, BANDS))
        for level in self.levels:
            parts = [pooled(each, bare.seen[0], level) for each in bare.seen]
            parts = [each - each.mean(axis=0) for each in parts]
            scale = [1 / np.sqrt((each**2).sum()) for each in parts]
            across += parts[0].T @ parts[1] * scale[0] * scale[1]
            within += np.stack([each.T @ each * one**2 for each, one in zip(parts, scale, strict=True)])
        white = [np.linalg.inv(np.linalg.cholesky(each + 1e-4 * np.trace(each) / BANDS * np.eye(BANDS))) for each in within]
        left, strength, _ = np.linalg.svd(white[0] @ across @ white[1].T)
        return np.asarray(white[0].T @ left[:, : self.width] * strength[: self.width])

    def _centres(self, features: np.ndarray, regions: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Prototypes [REGIONS, prototypes, width] of the points of each region."""
        import numpy as np

        return np.stack(
            [clustered(features[regions == one].reshape(-1, features.shape[2]), self.prototypes, random)[0] for one in range(REGIONS)]
        )

    def _placed(self, features: np.ndarray, regions: np.ndarray, centres: np.ndarray | None) -> np.ndarray:
        """Features, or the prototypes that are like them, in the columns of their region: [scenes, points, REGIONS * width]."""
        import numpy as np

        if centres is not None:
            own = centres[regions]
            apart = ((features[:, :, None] - own[:, None]) ** 2).sum(axis=3)
            odds = np.exp(-(apart - apart.min(axis=2, keepdims=True)) / (apart.mean() / 4))
            features = np.einsum("npk,nkw->npw", odds / odds.sum(axis=2, keepdims=True), own)
        return (np.eye(REGIONS)[regions][:, None, :, None] * features[:, :, None]).reshape(*features.shape[:2], -1)


class SensedScenes:
    """Both sensors' points [2, N, points, BANDS], the thing and the class of each point [N, points], and regions [N]."""

    def __init__(self, seen: np.ndarray, things: np.ndarray, classes: np.ndarray, regions: np.ndarray) -> None:
        self.seen, self.things, self.classes, self.regions = seen, things, classes, regions


def pooled(points: np.ndarray, guide: np.ndarray, level: str) -> np.ndarray:
    """Rows [rows, BANDS] at a level: points as they are, means of clusters of the ``guide``'s points of each scene, or means of scenes."""
    import numpy as np

    if level == "points":
        return points.reshape(-1, points.shape[2])
    if level == "scenes":
        return np.asarray(points.mean(axis=1))
    begin = guide[:, :: guide.shape[1] // THINGS][:, :THINGS]
    for _ in range(4):  # of all scenes at once
        nearest = ((guide[:, :, None] - begin[:, None]) ** 2).sum(axis=3).argmin(axis=2)
        own = np.eye(THINGS)[nearest]
        counts = own.sum(axis=1)[..., None]
        begin = np.where(counts > 0, np.einsum("npk,npb->nkb", own, guide) / np.maximum(counts, 1), begin)
    means = np.einsum("npk,npb->nkb", own, points) / np.maximum(counts, 1)
    return np.asarray(means[counts[..., 0] > 0])


def clustered(rows: np.ndarray, count: int, random: np.random.Generator, turns: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Centres [count, width] of rows and which is nearest to each, by k-means from rows at random."""
    import numpy as np

    centres = rows[random.choice(len(rows), count, replace=False)]
    for _ in range(turns):
        nearest = (rows @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
        own = np.eye(count)[nearest]
        counts = own.sum(axis=0)[:, None]
        centres = np.where(counts > 0, own.T @ rows / np.maximum(counts, 1), centres)
    return centres, nearest
