"""A policy cloned on frozen features of scenes, by the task that the features were learned by."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIZE, KINDS, PATCH = 12, 4, 2  # pixels of a scene's side, kinds of things, pixels of a patch's side
SHAPES = ("111101111", "010111010", "101010101", "111000111")  # of things, 3 x 3
AGENT = "110110000"


class PretextPolicies(Experiment, name="pretext-policies"):
    """The share of scenes in which a cloned policy goes the right way, on features that a task without labels has left.

    Gupta et al. 2024, arXiv:2405.05852: a frozen network that was trained to denoise reads the observation, with little noise or none, and
    a policy on what its layers say is cloned. Made scenes of 12 x 12 pixels show an agent and two of four kinds of things; a command names
    one of both, and the right of four ways is the axis along which it is further off. Tasks and network are those of
    `kits/image/pretexts.py`; patches have 2 x 2 pixels. A ridge regression on the features and the command, each feature for each command
    of its own, clones ``labels`` steps; its strength is chosen on others.

    ``time`` is how noisy scenes are when they are read by what has learned to denoise, and ``depth`` says after how many layers of two it
    is read. Numbers are ``success``, the share of right ways, and ``far``, that where the thing is three or more pixels further off on its
    axis than on the other.
    """

    trial = Trial({"steps": 2, "scenes": 80, "labels": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    pretext: Literal["pixels", "none", "denoise", "masked", "contrast", "rotation"] = Field("denoise", description="the task")
    depth: int = Field(1, ge=0, le=2, description="after how many of its two layers the network is read")
    time: float = Field(0.0, ge=0, lt=1, description="noise of scenes that are read, for `denoise`")
    scenes: int = Field(4000, ge=64, description="without labels")
    labels: int = Field(1000, ge=20, description="steps that are cloned")
    steps: int = Field(500, ge=1, description="of the task")
    rate: float = Field(2e-3, gt=0, description="its learning rate")
    batch: int = Field(64, ge=4, description="scenes of a step")
    ratio: float = Field(0.6, gt=0, lt=1, description="share of the patches that is hidden, for `masked`")

    frames: ClassVar[int] = 1
    shape: ClassVar[str] = "single"
    turning: ClassVar[float] = 0.0
    front: ClassVar[str] = "patches"
    pooled: ClassVar[bool] = False

    def measure(self, seed: int) -> dict[str, float]:
        """``success`` and ``far``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.pretexts import learned, noised

        random = np.random.default_rng(seed)
        bare, known, chosen, held = (scenes(random, count) for count in (self.scenes, self.labels, 400, 1000))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            task = learned(self, bare.images, torch.zeros(len(bare.images), dtype=torch.long), seed, PATCH)
        noise = torch.Generator().manual_seed(seed)

        def read(images: torch.Tensor) -> np.ndarray:
            if task is None:
                return images.flatten(1).double().numpy()
            time = torch.full((len(images),), self.time) if self.pretext == "denoise" else None
            given = images if time is None else noised(images, torch.randn(images.shape, generator=noise), time)
            with torch.no_grad():
                found: np.ndarray = task.network(task.read(given), time=time, depth=self.depth).double().numpy()
            return found

        inputs = [crossed(read(each.images), each.commands) for each in (known, chosen, held)]
        middle, scale = inputs[0].mean(axis=0), inputs[0].std(axis=0) + 1e-6
        inputs = [(each - middle) / scale for each in inputs]
        wanted = np.eye(4)[known.ways] - 0.25
        alike, others = inputs[0] @ inputs[0].T, [each @ inputs[0].T for each in inputs[1:]]
        size = np.trace(alike) / len(alike)

        def answers(strength: float) -> list[np.ndarray]:
            weights = np.linalg.solve(alike + strength * size * np.eye(len(alike)), wanted)
            return [(each @ weights).argmax(axis=1) for each in others]

        found = max((answers(strength) for strength in (0.01, 0.1, 1.0, 10.0)), key=lambda told: float((told[0] == chosen.ways).mean()))
        right = found[1] == held.ways
        return {"success": float(right.mean()), "far": float(right[held.clear].mean())}


class CommandedScenes:
    """Images [N, SIZE, SIZE] of mean 0 and deviation 1, commands, right ways, and whether these are clear."""

    def __init__(self, images: torch.Tensor, commands: np.ndarray, ways: np.ndarray, clear: np.ndarray) -> None:
        self.images, self.commands, self.ways, self.clear = images, commands, ways, clear


def scenes(random: np.random.Generator, count: int) -> CommandedScenes:
    """An agent and two things of different kinds that do not cover each other, and the way to the one that is named."""
    import numpy as np
    import torch

    shapes = np.array([[int(one) for one in shape] for shape in (*SHAPES, AGENT)], float).reshape(-1, 3, 3)
    images = np.zeros((count, SIZE, SIZE))
    kinds = np.argsort(random.random((count, KINDS)), axis=1)[:, :2]
    places = np.zeros((count, 3, 2), int)
    for row in range(count):
        cells = random.permutation(9)[:3]  # of three by three cells of four pixels
        places[row] = np.stack([cells // 3, cells % 3], axis=1) * 4 + random.integers(0, 2, (3, 2))
        for (down, across), shape in zip(places[row], (*kinds[row], KINDS), strict=True):
            images[row, down : down + 3, across : across + 3] += shapes[shape]
    which = random.integers(0, 2, count)
    off = places[np.arange(count), which] - places[:, 2]
    axis = np.abs(off).argmax(axis=1)
    ways = 2 * axis + (off[np.arange(count), axis] > 0)
    clear = np.abs(np.abs(off[:, 0]) - np.abs(off[:, 1])) >= 3
    scaled = (images - images.mean()) / images.std()
    return CommandedScenes(torch.from_numpy(scaled).float(), kinds[np.arange(count), which], ways, clear)


def crossed(features: np.ndarray, commands: np.ndarray) -> np.ndarray:
    """Features [N, width] in the columns of their command, 0 elsewhere: [N, KINDS * width]."""
    import numpy as np

    return (np.eye(KINDS)[commands][:, :, None] * features[:, None]).reshape(len(features), -1)
