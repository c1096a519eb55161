"""One reader of several kinds of writing that is told what to read, against readers of one kind each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

FORMS = 3  # as written, turned by a quarter, dark for bright
TASKS = 2 * FORMS  # of which the left or the right one of two digits is read


class PromptedReader(Experiment, name="prompted-reader"):
    """The share of digits that are read rightly, by one reader that is told the form and the place or by one for each.

    Wang et al. 2024 (Platypus), arXiv:2408.14805: one encoder and decoder reads scene text, handwriting and formulas; prompts tell which,
    and where to read. Here two of scikit-learn's digits stand side by side, as written, turned by a quarter, or dark for bright, and the
    left or the right one is to be read: six tasks. A reader is a ridge regression on rectified random sums of pixels and prompt.

    ``reader``: ``one``, all sums and all images, with six numbers more that tell the task; ``silent``, the same without these;
    ``each``, six readers with a sixth of the sums and of the images each; ``each-wide``, six with all sums each, and a sixth of the images.
    ``told`` is what the prompt says when it is asked: ``right``, ``wrong`` (another task), or ``nothing``.

    Numbers are ``accuracy``, the mean over tasks; and ``worst``, that of the worst task. Digits of the test are in no image of training.
    """

    trial = Trial({"images": 60, "sums": 12})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    reader: Literal["one", "silent", "each", "each-wide"] = Field("one", description="who reads")
    told: Literal["right", "wrong", "nothing"] = Field("right", description="what the prompt says in the test")
    images: int = Field(3000, ge=TASKS, description="of training, all tasks together")
    sums: int = Field(480, ge=TASKS, description="rectified random sums of all readers together")
    loud: float = Field(3.0, gt=0, description="length of the prompt, in standard deviations of a sum of pixels")
    strength: float = Field(0.003, gt=0, description="of the ridge, per image")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``worst``."""
        import numpy as np

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        order = random.permutation(len(found.target))
        split = 2 * len(order) // 3
        known = pages(found.images[order[:split]] / 16, found.target[order[:split]], self.images, random)
        held = pages(found.images[order[split:]] / 16, found.target[order[split:]], 1200, random)
        if self.reader in ("one", "silent"):
            ways = random.standard_normal((known[0].shape[1] + TASKS, self.sums)) / known[0].shape[1] ** 0.5
            ways[-TASKS:] *= self.loud * known[0].std() * known[0].shape[1] ** 0.5
            weights = self._fitted(self._sums(known[0], known[2], ways), known[1])
            asked = (held[2] + 1 + random.integers(TASKS - 1, size=len(held[2]))) % TASKS if self.told == "wrong" else held[2]
            right = (self._sums(held[0], None if self.told == "nothing" else asked, ways) @ weights).argmax(axis=1) == held[1]
        else:
            right = np.zeros(len(held[1]), bool)
            for task in range(TASKS):
                count = self.sums if self.reader == "each-wide" else max(1, self.sums // TASKS)
                ways = random.standard_normal((known[0].shape[1] + TASKS, count)) / known[0].shape[1] ** 0.5
                rows, asked = known[2] == task, held[2] == task
                weights = self._fitted(self._sums(known[0][rows], None, ways), known[1][rows])
                right[asked] = (self._sums(held[0][asked], None, ways) @ weights).argmax(axis=1) == held[1][asked]
        each = [float(right[held[2] == task].mean()) for task in range(TASKS)]
        return {"accuracy": float(np.mean(each)), "worst": min(each)}

    def _sums(self, images: np.ndarray, tasks: np.ndarray | None, ways: np.ndarray) -> np.ndarray:
        """Rectified random sums of pixels and of a prompt, which a silent reader never gets, and 1 [images, sums + 1]."""
        import numpy as np

        found = images @ ways[:-TASKS]
        if tasks is not None and self.reader == "one":
            found = found + ways[-TASKS:][tasks]
        return np.concatenate([np.maximum(found, 0), np.ones((len(images), 1))], axis=1)

    def _fitted(self, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """From sums to digits [sums + 1, 10]."""
        import numpy as np

        return ridge(inputs, np.eye(10)[labels], self.strength * len(inputs) * (inputs**2).mean())


def pages(images: np.ndarray, labels: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels [count, 128] of two digits side by side, the digit that is to be read, and the task: form times two, plus the place."""
    import numpy as np

    both = random.integers(0, len(images), (count, 2))
    tasks = random.integers(0, TASKS, count)
    pair, form = images[both], tasks // 2
    pair = np.where((form == 1)[:, None, None, None], np.rot90(pair, axes=(2, 3)), pair)
    pair = np.where((form == 2)[:, None, None, None], 1 - pair, pair)
    return pair.transpose(0, 2, 1, 3).reshape(count, -1) - 0.5, labels[both[np.arange(count), tasks % 2]], tasks
