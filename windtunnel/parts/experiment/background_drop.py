"""What a usual background is worth to a network that learned from captions, and to one that learned from labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights


class BackgroundDrop(Experiment, name="background-drop"):
    """The accuracy on images with the usual background of their class, less that on images with another's.

    Wang et al. 2024, "A Sober Look at the Robustness of CLIPs to Spurious Features", arXiv:2403.11497 (CounterAnimal). A digit of
    scikit-learn stands beside a background, one of ten patterns of 16 inputs; in ``usual`` of the training images it is that of the
    class. The same two hidden layers learn from ``labels``, by a softmax over classes; from ``captions``, by the contrastive loss of
    image and caption in a batch (a caption is the name of the class, and images of one class in a batch share it); or from ``told``
    captions, which name the background too. A caption's vector is the sum of those of its names, and learned with the image's. Two-tower
    networks answer by the nearest name. The rate is chosen by accuracy on other images with backgrounds as in training, since one that is
    low leaves more to backgrounds.

    Numbers are ``drop``, ``common`` and ``counter``, the accuracies with usual and with other backgrounds.
    """

    trial = Trial({"steps": 4, "rates": (3e-3,)})

    unit: ClassVar[str] = "accuracy lost"
    better: ClassVar[str] = "lower"

    learns: Literal["labels", "captions", "told"] = Field("labels", description="what training says of an image")
    usual: float = Field(0.9, ge=0.1, le=1, description="share of the images of a class with its usual background")
    width: int = Field(64, ge=1, description="of both hidden layers")
    size: int = Field(16, ge=1, description="numbers of a vector of image or caption")
    steps: int = Field(250, ge=1, description="of training")
    rates: tuple[float, ...] = Field((1e-3, 3e-3, 1e-2), min_length=1, description="learning rates, of which one is chosen")
    batch: int = Field(64, ge=2, description="images of a step")
    sharp: float = Field(10.0, gt=0, description="what cosines are multiplied by")

    def measure(self, seed: int) -> dict[str, float]:
        """``drop``, ``common`` and ``counter``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, dealt, said, share_right, trained

        random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        data = dealt(self.name, random)
        patterns = torch.rand(10, 16, generator=generator)

        def seen(rows: Tensor, share: float) -> tuple[Tensor, Tensor]:
            """Images, and which background each has."""
            labels = data.labels[rows]
            away = torch.from_numpy(random.integers(1, 10, len(rows)))
            shown = torch.where(torch.from_numpy(random.random(len(rows)) < share), labels, (labels + away) % 10)
            noise = 0.3 * torch.randn(len(rows), 16, generator=generator)
            return torch.cat([data.images[rows], patterns[shown] + noise], dim=1), shown

        images, shown = seen(data.train, self.usual)
        chosen = seen(data.chosen, self.usual)[0]
        asked = {name: seen(data.held, share)[0] for name, share in (("common", 1.0), ("counter", 0.0))}  # before names are drawn
        labels = data.labels[data.train]
        weights = begun((80, self.width, self.width, 10 if self.learns == "labels" else self.size), seed)
        if self.learns != "labels":
            weights |= {
                "names": torch.randn(10, self.size, generator=generator),
                "backgrounds": torch.randn(10, self.size, generator=generator),
            }

        def loss(held: Weights, rows: Tensor) -> Tensor:
            found = said(_tower(held), images[rows])
            if self.learns == "labels":
                return torch.nn.functional.cross_entropy(found, labels[rows])
            unit = torch.nn.functional.normalize
            captions = held["names"][labels[rows]] + (held["backgrounds"][shown[rows]] if self.learns == "told" else 0)
            logits = self.sharp * unit(found, dim=1) @ unit(captions, dim=1).T
            same = labels[rows][:, None] == labels[rows]
            if self.learns == "told":
                same = same & (shown[rows][:, None] == shown[rows])
            wanted = same.float() / same.sum(dim=1, keepdim=True)
            return -(wanted * (logits.log_softmax(dim=1) + logits.T.log_softmax(dim=1))).sum(dim=1).mean() / 2

        def flown(rate: float) -> Weights:
            return trained(weights, loss, len(images), self.steps, rate, np.random.default_rng((seed, 1)), batch=self.batch)

        def judged(held: Weights, some: Tensor, rows: Tensor) -> float:
            given = said(_tower(held), some)
            scores = given if self.learns == "labels" else given @ torch.nn.functional.normalize(held["names"], dim=1).T
            return share_right(scores, data.labels[rows])

        kept = best(self.rates, flown, lambda one: judged(one, chosen, data.chosen))
        found = {name: judged(kept, some, data.held) for name, some in asked.items()}
        return {"drop": found["common"] - found["counter"], **found}


def _tower(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if name not in ("names", "backgrounds")}
