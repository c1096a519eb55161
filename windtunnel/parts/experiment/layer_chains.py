"""Layers of a trained network that are skipped or run again, input by input, and how much of what that mends is luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WIDTH, INNER, BATCH, RATE = 32, 32, 64, 0.003
LONGEST = 4  # blocks that are skipped or run again together
CLAIMED = {"shorter": 0.75, "mended": 0.6}  # of the paper


class LayerChains(Experiment, name="layer-chains"):
    """How many inputs have a chain of layers that is right and shorter than the network, or right where the network is wrong.

    Li et al. 2025, arXiv:2507.07996 (CoLa): blocks of a trained network are taken as modules, of which each input is given a chain of its
    own, found by a search that knows the right answer. So what is found is a bound, and with enough chains some are right by luck. Two
    controls say how much. ``by_luck``: of the inputs that the network names wrongly, how many have a chain that gives a third class, drawn
    at random, neither the right one nor the network's, for which nothing speaks. ``carried``: a chain that mends one noisy copy of an image
    is run on a second copy of the same image; ``plain`` is how often the whole network is right on that second copy, of the same images.

    The network has residual blocks of one hidden layer and names noisy handwritten digits. Chains are drawn at random, the same for all
    inputs: one to four times a stretch of one to four blocks is skipped, or run two to four times. Search by Monte Carlo trees, which finds
    as good chains in fewer trials, is not here. ``claimed/`` is what the paper has. It needs scikit-learn.
    """

    trial = Trial({"steps": 2, "chains": 4, "asked": 30})

    unit: ClassVar[str] = "share of inputs"
    better: ClassVar[str] = "higher"

    blocks: int = Field(8, ge=2, description="of the network")
    chains: int = Field(100, ge=1, description="that are tried, for every input")
    noise: float = Field(5.0, ge=0, description="standard deviation on pixels from 0 to 16")
    steps: int = Field(400, ge=1, description="of training, 64 images each")
    asked: int = Field(700, ge=10, le=1500, description="images that are judged, of 1797; the others are learned from")

    def measure(self, seed: int) -> dict[str, float]:
        """``shorter``, ``mended``, ``by_luck``, ``carried``, ``plain``, and the network's ``accuracy``.

        Raises UserError where scikit-learn is missing.
        """
        import numpy as np
        import torch

        from windtunnel.kits.image.digits import digits

        random = np.random.default_rng(seed)
        known = digits(self.name)
        order = random.permutation(len(known.target))
        pixels, labels = known.data[order], known.target[order].astype(np.int64)
        weights = self._trained(pixels[self.asked :], labels[self.asked :], random)
        asked, right = pixels[: self.asked], labels[: self.asked]
        copies = [torch.from_numpy((asked + self.noise * random.standard_normal(asked.shape)) / 16).float() for _ in range(2)]
        whole = list(range(self.blocks))
        tried = [drawn(self.blocks, random) for _ in range(self.chains)]
        with torch.no_grad():
            answered = [answers(weights, copy, whole) for copy in copies]
            said = np.stack([answers(weights, copies[0], chain) for chain in tried])
            again = np.stack([answers(weights, copies[1], chain) for chain in tried])
        plain = [each == right for each in answered]
        short = np.array([len(chain) < self.blocks for chain in tried])
        plainly = answered[0]
        third = np.array(
            [random.choice(np.setdiff1d(np.arange(10), pair)) for pair in zip(right, plainly, strict=True)]
        )  # nothing speaks for it
        mended = ~plain[0] & (said == right).any(axis=0)
        first = (said == right).argmax(axis=0)
        found = {
            "shorter": share(((said == right) & short[:, None]).any(axis=0), plain[0]),
            "mended": share(mended, ~plain[0]),
            "by_luck": share((said == third).any(axis=0), ~plain[0]),
            "carried": share(again[first, np.arange(len(right))] == right, mended),
            "plain": share(plain[1], mended),
            "accuracy": float(plain[0].mean()),
        }
        return found | {f"claimed/{name}": value for name, value in CLAIMED.items()}

    def _trained(self, pixels: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> list[torch.nn.Parameter]:
        """Weights into the width, of each block in and out, and of classes."""
        import numpy as np
        import torch

        shapes = [(pixels.shape[1], WIDTH), *[(WIDTH, INNER), (INNER, WIDTH)] * self.blocks, (WIDTH, 10)]
        weights = [
            torch.nn.Parameter(torch.from_numpy(random.standard_normal(shape).astype(np.float32) / shape[0] ** 0.5)) for shape in shapes
        ]

        def loss(step: int) -> torch.Tensor:
            batch = random.integers(0, len(labels), BATCH)
            noisy = (pixels[batch] + self.noise * random.standard_normal((BATCH, pixels.shape[1]))) / 16
            scores = through(weights, torch.from_numpy(noisy).float(), range(self.blocks))
            return torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[batch]))

        take_steps(torch.optim.AdamW(weights, RATE, weight_decay=0.0, fused=True), loss, self.steps)
        return weights


def through(weights: list[torch.nn.Parameter], images: torch.Tensor, chain: list[int] | range) -> torch.Tensor:
    """Scores of classes [images, 10] where blocks are run as ``chain`` says."""
    import torch

    state = images @ weights[0]
    for block in chain:
        state = state + torch.tanh(state @ weights[1 + 2 * block]) @ weights[2 + 2 * block] / 2
    return torch.nn.functional.layer_norm(state, state.shape[1:]) @ weights[-1]


def answers(weights: list[torch.nn.Parameter], images: torch.Tensor, chain: list[int]) -> np.ndarray:
    """The class of each of ``images``."""
    import numpy as np

    return np.asarray(through(weights, images, chain).argmax(dim=1).numpy())


def drawn(blocks: int, random: np.random.Generator) -> list[int]:
    """A chain, never empty: one to four stretches of the whole are skipped, or run again."""
    chain = list(range(blocks))
    for _ in range(int(random.integers(1, 5))):
        first, size = int(random.integers(len(chain))), int(random.integers(1, LONGEST + 1))
        stretch = chain[first : first + size]
        times = int(random.integers(0, 2)) * int(random.integers(2, LONGEST + 1))
        changed = chain[:first] + stretch * times + chain[first + size :]
        chain = changed or chain
    return chain[: LONGEST * blocks]


def share(chosen: np.ndarray, among: np.ndarray) -> float:
    """Of those ``among``, how many are ``chosen``; 0 where there are none."""
    return float(chosen[among].mean()) if among.any() else 0.0
