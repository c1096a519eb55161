"""What a small network learns from a task on unlabelled digits, read with few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import torch

    from windtunnel.kits.image.pretexts import Pretext

PATCH = 2


class ImagePretexts(Experiment, name="image-pretexts"):
    """Digits told from few labels, by what a task on all unlabelled digits has left in a small network.

    The tasks are the modules of ``kits/image/pretexts.py``, each with its source; ``none`` leaves the network as it begins and ``pixels``
    reads the images themselves. Patches have 2 x 2 pixels. Scikit-learn's digits, three tenths of them held out; the seed deals. With
    ``classes`` and ``neighbours`` each digit belongs to one of two coarse classes, which the seed draws and which alone are given.

    ``reading: probe`` is a logistic regression on the vector of the frozen network, with ``shots`` labels a digit, the mean of
    four draws of them; ``tune`` trains a head and the whole network on the labels of one draw. The numbers are ``accuracy``;
    ``all_accuracy``, of a probe with all labels; ``parameters``, those of the network that train; with frames ``gap``, the squared error
    of a hidden second frame, and ``copied``, that of the mean of its neighbours; with classes ``within``, the share of the variance
    that is within them.
    """

    trial = Trial({"steps": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    pretext: Literal[
        "pixels", "none", "masked", "choice", "rotation", "next", "later", "mixed", "contrast", "overlap", "denoise", "scales", "classes",
        "neighbours",
    ] = Field("none", description="the task")  # fmt: skip
    reading: Literal["probe", "tune"] = Field("probe", description="how labels are used")
    shots: int = Field(5, ge=1, le=100, description="labels a digit")
    steps: int = Field(300, ge=1, description="of the task")
    images: int | None = Field(None, ge=64, description="unlabelled images (null: all that are not held out)")
    rate: float = Field(2e-3, gt=0, description="learning rate of AdamW")
    batch: int = Field(64, ge=4, description="images of a step")
    depth: int = Field(2, ge=0, le=2, description="after how many of its two layers a probe reads it")
    noise: float | None = Field(None, ge=0, lt=1, description="time at which images are noised when they are read (null: not at all)")
    ratio: float = Field(0.6, ge=0, lt=1, description="share of the patches that is hidden")
    shape: Literal["single", "block"] = Field("single", description="whether what is hidden is rectangles")
    distractors: Literal["same", "other"] = Field("same", description="of `choice`: from the image or from the others")
    turning: float = Field(0.0, ge=0, description="of `contrast`: weight of the task of rotation")
    front: Literal["patches", "scattering"] = Field("patches", description="what the network reads")
    pooled: bool = Field(False, description="whether images are read at half their scale")
    room: int = Field(0, ge=0, le=4, description="pixels added on each side")
    scatter: bool = Field(False, description="whether digits lie anywhere in that room")
    frames: Literal[1, 3] = Field(1, description="times that a digit is seen, moving by up to a pixel each time")

    @model_validator(mode="after")
    def _one_image_where_the_task_is_of_one(self) -> Self:
        if self.frames > 1 and (self.pretext == "overlap" or self.front == "scattering"):
            which = "the task of overlaps" if self.pretext == "overlap" else "scattering"
            raise ValueError(f"frames: {which} is of one image; leave out frames")
        if self.pretext == "scales" and not self.pooled:
            raise ValueError("pooled: the task of scales draws a pooled image at twice its scale; give it pooled: true")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``all_accuracy``, ``parameters`` and what else there is."""
        import numpy as np
        import torch

        from windtunnel.kits.image.digits import digits
        from windtunnel.kits.image.pretexts import learned

        found, random = digits(self.name), np.random.default_rng((seed, 0))
        held = random.random(len(found.target)) < 0.3
        coarse = random.permutation(10)[found.target] // 5
        images, labels = self._placed(found.images, random), np.asarray(found.target)
        draws = [self._few(labels, ~held, random) for _ in range(4)]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            task = learned(self, images[~held][: self.images], torch.from_numpy(coarse[~held]), seed, 1 if self.pooled else PATCH)
            features = self._features(task, images, seed)
            numbers = {"all_accuracy": right(features, labels, ~held, held), "parameters": 0.0}
            if task is not None:
                numbers["parameters"] = float(sum(each.numel() for each in task.network.parameters()))
            if self.frames > 1 and task is not None:  # before tuning, which changes the network
                numbers["gap"], numbers["copied"] = filled(task, images[held])
            if self.reading == "tune" and task is not None:
                accuracy = self._tuned(task, images, torch.from_numpy(labels), draws[0], held)
            else:
                accuracy = float(np.mean([right(features, labels, few, held) for few in draws]))
        if self.pretext in ("classes", "neighbours"):
            numbers["within"] = within(features[held], coarse[held])
        return {"accuracy": accuracy, **numbers}

    def _placed(self, images: np.ndarray, random: np.random.Generator) -> torch.Tensor:
        """Images [N, (frames,) size, size] of mean 0 and deviation 1."""
        import numpy as np
        import torch

        room, mean, spread = self.room, images.mean(), images.std()
        wide = np.pad((images - mean) / spread, ((0, 0), (room, room), (room, room)), constant_values=-mean / spread)
        if self.scatter:
            moves = random.integers(-room, room + 1, (len(wide), 2))
            wide = np.stack([np.roll(image, move, (0, 1)) for image, move in zip(wide, moves, strict=True)])
        if self.frames > 1:
            ways = random.integers(-1, 2, (len(wide), 2))
            steps = range(self.frames)
            wide = np.stack([[np.roll(image, way * step, (0, 1)) for step in steps] for image, way in zip(wide, ways, strict=True)])
        return torch.from_numpy(wide).float()

    def _few(self, labels: np.ndarray, able: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Which images have a label, bool [N]: ``shots`` of each digit."""
        import numpy as np

        few = np.zeros(len(labels), bool)
        for label in range(10):
            few[random.choice(np.nonzero(able & (labels == label))[0], self.shots, replace=False)] = True
        return few

    def _features(self, task: Pretext | None, images: torch.Tensor, seed: int) -> np.ndarray:
        """Vectors [N, width] of images, float64."""
        import torch

        from windtunnel.kits.image.pretexts import noised

        if task is None:
            return images.flatten(1).double().numpy()
        given, time = images, None
        if self.noise is not None:
            time = torch.full((len(images),), self.noise)
            given = noised(images, torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)), time)
        elif self.pretext == "denoise":
            time = torch.zeros(len(images))
        with torch.no_grad():
            vectors = task.network(task.read(given), time=time, depth=self.depth)
        return vectors.double().numpy()

    def _tuned(self, task: Pretext, images: torch.Tensor, labels: torch.Tensor, few: np.ndarray, held: np.ndarray) -> float:
        """The share right of held-out images after 60 steps of the whole network and a head on the ``few``."""
        import torch

        network, head = task.network.train(), torch.nn.Linear(task.network.width, 10)
        given = task.read(images)

        def loss(step: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(head(network(given[few])), labels[few])

        take_steps(torch.optim.AdamW([*network.parameters(), *head.parameters()], 1e-3, weight_decay=0.01, fused=True), loss, 60)
        with torch.no_grad():
            found = head(network(given[held])).argmax(dim=1)
        return float((found == labels[held]).double().mean())


def right(features: np.ndarray, labels: np.ndarray, known: np.ndarray, held: np.ndarray) -> float:
    """The share of ``held`` images that a logistic regression on the ``known`` names rightly, features scaled by the known ones."""
    from sklearn.linear_model import LogisticRegression

    scale = features[known].std(axis=0) + 1e-6
    scaled = (features - features[known].mean(axis=0)) / scale
    found = LogisticRegression(C=0.3, max_iter=200).fit(scaled[known], labels[known])
    return float(found.score(scaled[held], labels[held]))


def filled(task: Pretext, images: torch.Tensor) -> tuple[float, float]:
    """The squared error of the second frame of three, drawn while it is hidden, and that of the mean of its neighbours."""
    import torch

    patches = task.read(images)
    hidden = torch.zeros(patches.shape[:2], dtype=torch.bool)
    size = patches.shape[1] // images.shape[1]
    hidden[:, size : 2 * size] = True
    with torch.no_grad():
        drawn = task.draw(task.network.at(task.network(patches, hidden)))[:, size : 2 * size]
    true = patches[:, size : 2 * size]
    copied = (patches[:, :size] + patches[:, -size:]) / 2
    return float((drawn - true).square().mean()), float((copied - true).square().mean())


def within(features: np.ndarray, classes: np.ndarray) -> float:
    """The share of the variance of ``features`` that lies within two ``classes``."""
    import numpy as np

    means = np.stack([features[classes == label].mean(axis=0) for label in (0, 1)])
    return float(((features - means[classes]) ** 2).sum() / ((features - features.mean(axis=0)) ** 2).sum())
