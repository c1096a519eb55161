"""Shapes of many sizes cut out of scenes by networks that look across places, across channels, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIZE, BATCH = 24, 8
RATES = (3e-3, 1e-2)
KINDS = {
    "places": ("places", "places"),
    "channels": ("channels", "channels"),
    "dual": ("places", "channels"),
    "full": ("full", "full"),
}


class DualAttention(Experiment, name="dual-attention"):
    """The Dice overlap of shapes in scenes, by what the blocks of a small U-shaped transformer look across.

    TransDAE 2024, arXiv:2409.02018: each block of a U-shaped transformer has efficient attention across places and then attention across
    channels, and what goes across from the way down to the way up is changed by all scales; it is trained from scratch with Dice and cross
    entropy. Networks are those of ``kits/image/dual_attention.py``, of three scales: every block has two attentions, so ``places`` (two
    across places), ``channels`` (two across channels) and ``dual`` (one each) have as many numbers, but for the temperatures; ``full`` has
    two of ordinary attention across places. ``between`` lets scales look at each other by their means, where the paper's module attends.
    ``pretrained`` draws hidden patches of ``unlabelled`` scenes first, for as many steps as are then trained.

    Scenes have three coloured shapes of radii from 2 to 5 pixels; the classes are the five shapes and the ground, whatever the colour. The
    rate is the best of two by Dice on other scenes. ``dice`` is the mean over shapes on 200 scenes; ``small`` that of objects whose radius
    is below 3.2 pixels (pixels of others left out), ``numbers`` how many train.
    """

    trial = Trial({"scenes": 20, "steps": 2})

    unit: ClassVar[str] = "Dice"
    better: ClassVar[str] = "higher"

    attention: Literal["places", "channels", "dual", "full"] = Field("places", description="what blocks look across")
    between: bool = Field(False, description="whether scales look at each other before they go across")
    pretrained: bool = Field(False, description="whether hidden patches are drawn first")
    scenes: int = Field(200, ge=BATCH, description="with labels")
    unlabelled: int = Field(1000, ge=BATCH, description="scenes without, for pretraining")
    steps: int = Field(250, ge=1, description="of training, 8 scenes each")

    def measure(self, seed: int) -> dict[str, float]:
        """``dice``, ``small`` and ``numbers``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best

        random = np.random.default_rng(seed)
        trained, chosen, judged, other = (drawn(random, count) for count in (self.scenes, 100, 200, self.unlabelled))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            start = self._filled(other[0], seed).state_dict() if self.pretrained else {}
            network = best(RATES, lambda rate: self._learned(trained, start, rate, seed), lambda one: dice(one, *chosen[:2]))
            few = torch.where(judged[2], judged[1], -1)
            return {
                "dice": dice(network, *judged[:2]),
                "small": dice(network, judged[0], few),
                "numbers": float(sum(each.numel() for each in network.parameters())),
            }

    def _network(self, outputs: int, seed: int) -> Any:
        import torch

        from windtunnel.kits.image.dual_attention import DualNetwork

        torch.manual_seed(seed)
        return DualNetwork(SIZE, outputs, KINDS[self.attention], between=self.between)  # type: ignore[arg-type]

    def _filled(self, images: torch.Tensor, seed: int) -> Any:
        """A network after drawing hidden patches of 4 pixels, six of ten: the mean squared distance of their pixels."""
        import torch

        from windtunnel.kits.small_decoder import descend

        network, random = self._network(3, seed), torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(images), (BATCH,), generator=random)
            hidden = torch.rand(BATCH, 1, SIZE // 4, SIZE // 4, generator=random) < 0.6
            hidden = hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)
            apart = (network(images[rows] * ~hidden) - images[rows]).square().mean(dim=1, keepdim=True)
            return torch.as_tensor(apart[hidden].mean())

        descend(network, loss, self.steps, 3e-3)
        return network

    def _learned(self, given: tuple[torch.Tensor, ...], start: dict[str, Any], rate: float, seed: int) -> Any:
        """A network after training on labels, all but its last layer from ``start``."""
        import torch

        from windtunnel.kits.image.dual_attention import dice_and_entropy
        from windtunnel.kits.image.scenes import SHAPES
        from windtunnel.kits.small_decoder import descend

        network, random = self._network(1 + len(SHAPES), seed), torch.Generator().manual_seed(seed)
        network.load_state_dict({name: weight for name, weight in start.items() if not name.startswith("out.")}, strict=False)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(given[0]), (BATCH,), generator=random)
            return dice_and_entropy(network(given[0][rows]), given[1][rows])

        descend(network, loss, self.steps, rate)
        return network


def drawn(random: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, labels [count, SIZE, SIZE] (0 the ground, then shapes), and which pixels are not of a large object."""
    import numpy as np
    import torch

    from windtunnel.kits.image.scenes import COLOURS, SHAPES, scenes

    shapes, colours = random.integers(0, len(SHAPES), (count, 3)), random.integers(0, len(COLOURS), (count, 3))
    made = scenes(random, shapes, colours, SIZE, radius=(2 / SIZE, 5 / SIZE))
    labels = np.where(made.masks, 1 + shapes[..., None, None], 0).max(axis=1)
    large = (made.masks & (made.radii > 3.2 / SIZE)[..., None, None]).any(axis=1)
    return torch.from_numpy(made.images), torch.from_numpy(labels), torch.from_numpy(~large)


def dice(network: Any, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean over shapes of twice what is common over what both have, pixels of ``labels`` -1 left out."""
    import numpy as np
    import torch

    from windtunnel.kits.image.scenes import SHAPES

    with torch.no_grad():
        found = torch.cat([network(some).argmax(dim=1) for some in images.split(50)])
    asked, shares = labels >= 0, []
    for shape in range(1, 1 + len(SHAPES)):
        said, true = (found == shape) & asked, labels == shape
        shares.append(2 * float((said & true).sum()) / max(1.0, float(said.sum() + true.sum())))
    return float(np.mean(shares))
