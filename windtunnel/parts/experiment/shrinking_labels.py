"""Networks of convolutions tuned on fewer and fewer labels, by what they learned without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIZE, BATCH = 24, 16
RATES = (3e-3, 1e-2)


class ShrinkingLabels(Experiment, name="shrinking-labels"):
    """The accuracy that a network loses when a few of its labels are left, by what it learned without labels before.

    Wolf et al. 2023, arXiv:2308.06534, compare SparK, masked drawing by sparse convolutions, with contrastive methods on scans as labels
    shrink. Images are drawn scenes of one coloured shape at 24 pixels, anywhere in one quarter, on an uneven, tinted ground; the class is
    the shape, so colour, place, size and ground are in the way, and pixels do not tell.

    ``pretext``: ``none``; ``sparse``, masked places of 4 pixels drawn where convolutions, their means and deviations keep to what is seen;
    ``dense``, the same with ordinary convolutions over masked pixels; ``contrast``, two views of each image found among those of a step
    (SimCLR), which stands for the contrastive methods of the paper. All see the same images for as many steps. The whole network and a
    layer of classes are then tuned, on all labels, a tenth and three hundredths of them, as many steps each; the rate is
    the best of two on 150 other images, once for each.

    ``drop`` is ``all`` less ``few``, in shares right; ``all``, ``tenth`` and ``few`` are the shares right on new images.
    """

    trial = Trial({"unlabelled": 40, "pretraining": 2, "labels": 100, "tuning": 2, "judged": 20})

    unit: ClassVar[str] = "share right"

    pretext: Literal["none", "sparse", "dense", "contrast"] = Field("none", description="what is learned without labels")
    ratio: float = Field(0.6, gt=0, lt=1, description="share of places that is masked")
    unlabelled: int = Field(2000, ge=BATCH, description="images without labels")
    pretraining: int = Field(300, ge=1, description="steps on them, 16 images each")
    labels: int = Field(1000, ge=100, description="images with a label, where all are used")
    tuning: int = Field(100, ge=1, description="steps of tuning, 16 images each")
    judged: int = Field(500, ge=10, description="images that are judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``drop``, ``all``, ``tenth`` and ``few``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        unlabelled, labelled, chosen, judged = (drawn(random, count) for count in (self.unlabelled, self.labels, 150, self.judged))
        found = {}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            start = self._pretrained(unlabelled[0], seed)
            for name, share in (("all", 1.0), ("tenth", 0.1), ("few", 0.03)):
                count = max(1, round(share * self.labels))
                some = labelled[0][:count], labelled[1][:count]
                tuned = [self._tuned(start, *some, rate, seed) for rate in RATES]
                best = max(tuned, key=lambda one: right(one[0], one[1], *chosen))
                found[name] = right(best[0], best[1], *judged)
        return {"drop": found["all"] - found["few"], **found}

    def _pretrained(self, images: torch.Tensor, seed: int) -> Any:
        """A network after its pretext."""
        import numpy as np
        import torch

        from windtunnel.kits.image.contrastive import contrast
        from windtunnel.kits.image.sparse_masking import STRIDE, WIDTHS, Convolutions, Redrawn, shown, view
        from windtunnel.kits.small_decoder import descend

        network, random, views = Convolutions(), torch.Generator().manual_seed(seed), np.random.default_rng((seed, 1))
        if self.pretext == "none":
            return network
        redrawn = Redrawn(network, sparse=self.pretext == "sparse")
        project = torch.nn.Sequential(torch.nn.Linear(WIDTHS[2], 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))

        def loss(step: int) -> torch.Tensor:
            some = images[torch.randint(0, len(images), (BATCH,), generator=random)]
            if self.pretext != "contrast":
                return redrawn.loss(some, shown(BATCH, SIZE // STRIDE, self.ratio, random))
            both = torch.cat([view(some.numpy(), views), view(some.numpy(), views)])
            first, second = project(network.pooled(both)).chunk(2)
            return contrast(first, second)

        whole = torch.nn.ModuleList([network, project]) if self.pretext == "contrast" else redrawn
        descend(whole, loss, self.pretraining, 3e-3)
        return network

    def _tuned(self, start: Any, images: torch.Tensor, labels: torch.Tensor, rate: float, seed: int) -> tuple[Any, Any]:
        """A copy of the network and a layer of classes, after tuning."""
        import copy

        import torch

        from windtunnel.kits.image.scenes import SHAPES
        from windtunnel.kits.image.sparse_masking import WIDTHS
        from windtunnel.kits.small_decoder import descend

        torch.manual_seed(seed)
        network, head, random = copy.deepcopy(start), torch.nn.Linear(WIDTHS[2], len(SHAPES)), torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(images), (BATCH,), generator=random)
            return torch.nn.functional.cross_entropy(head(network.pooled(images[rows])), labels[rows])

        descend(torch.nn.ModuleList([network, head]), loss, self.tuning, rate)
        return network, head


def right(network: Any, head: Any, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images named rightly."""
    import torch

    with torch.no_grad():
        found = head(network.pooled(images)).argmax(dim=1) == labels
    return float(found.float().mean())


def drawn(random: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [count, 3, SIZE, SIZE] of one shape each, and which."""
    import torch

    from windtunnel.kits.image.scenes import lone_shapes

    made = lone_shapes(random, count, SIZE)
    return torch.from_numpy(made.images), torch.from_numpy(made.shapes[:, 0])
