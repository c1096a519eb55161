"""Devices that tune one network together, by what of it they send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.tiny import Weights

MATRICES = ("0.weight", "1.weight", "2.weight")
RANK = 4


class FederatedRounds(Experiment, name="federated-rounds"):
    """Accuracy after rounds in which a few devices each train on images of their own and what they send is averaged.

    Sun et al. 2022, "Exploring Parameter-Efficient Fine-Tuning to Enable Foundation Models in Federated Learning", arXiv:2210.01708: only
    the trained part of a pretrained network is sent, and averaged by the number of images. The network has two hidden layers and has
    learned upright digits of scikit-learn; devices have other digits, turned by ``degrees``, classes dealt by a Dirichlet distribution of
    ``even``. ``sends``: ``all`` weights, the ``head``, the ``biases``, ``factors`` B and A of rank 4 at each matrix, averaged one by one,
    or ``products``, where their products are averaged and the truncated decomposition of the mean goes back. ``begin: random`` is ``all``
    without pretraining's weights.

    With ``labelled`` below 1 only that share of a device's images has labels. ``unlabelled: guess`` trains also on the others whose
    largest probability is above 0.9, with the answer of the weights received as label (Incremental semi-supervised federated learning,
    2023, of which no rule is public: a reconstruction).

    ``accuracy`` is that of the averaged network on held-out turned digits; ``sent`` how many numbers a device sends a round.
    """

    trial = Trial({"rounds": 1, "devices": 4, "training": 5})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    sends: Literal["all", "head", "biases", "factors", "products"] = Field("all", description="what trains and is sent")
    begin: Literal["pretrained", "random"] = Field("pretrained", description="the weights before")
    even: float = Field(0.1, gt=0, description="of the Dirichlet distribution; small ones give a device few classes")
    devices: int = Field(20, ge=1, description="that have images")
    asked: int = Field(5, ge=1, description="devices that train in a round")
    rounds: int = Field(12, ge=1, description="of averaging")
    steps: int = Field(8, ge=1, description="of a device in a round")
    degrees: float = Field(30.0, description="by which the digits of devices are turned")
    rates: tuple[float, ...] = Field((3e-3, 2e-2), min_length=1, description="learning rates that are tried")
    labelled: float = Field(1.0, gt=0, le=1, description="share of images that have labels")
    unlabelled: Literal["nothing", "guess"] = Field("nothing", description="what is made of the others")
    training: int = Field(250, ge=1, description="steps before")
    width: int = Field(48, ge=1, description="of both hidden layers")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``sent``.

        Raises:
            PartError: where no image has a label.
        """
        import numpy as np

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, trained, turned

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        before, own = data.train.tensor_split(2)  # the labels of what devices have were never learned
        labels = data.labels[own]
        first = begun((64, self.width, self.width, 10), seed)
        if self.begin == "pretrained":
            loss = classified(data.images[before], data.labels[before])
            first = trained(first, loss, len(before), self.training, 5e-3, np.random.default_rng((seed, 2)))
        views = turned(data.images, self.degrees)
        shares = self._dealt(labels.numpy(), random)
        known = random.random(len(labels)) < self.labelled
        if not known.any():
            raise PartError(f"{self.name}: of {len(labels)} images none has a label; raise labelled")

        def flown(rate: float) -> Weights:
            return self._rounds(first, (views[own], labels), shares, known, rate, seed)

        found = best(self.rates, flown, lambda one: right(one, views[data.chosen], data.labels[data.chosen]))
        sent = sum(weight.numel() for weight in self._free(first, seed).values())
        return {"accuracy": right(found, views[data.held], data.labels[data.held]), "sent": float(sent)}

    def _dealt(self, labels: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        """Which images each device has; each image is on one."""
        import numpy as np

        owner = np.zeros(len(labels), int)
        for label in range(10):
            mine = np.nonzero(labels == label)[0]
            owner[mine] = random.choice(self.devices, len(mine), p=random.dirichlet(np.full(self.devices, self.even)))
        return [np.nonzero(owner == device)[0] for device in range(self.devices)]

    def _free(self, weights: Weights, seed: int) -> Weights:
        """What trains, as a round begins."""
        import torch

        if self.sends in ("factors", "products"):
            generator, made = torch.Generator().manual_seed(seed), {}
            for name in MATRICES:
                out, read = weights[name].shape
                made[f"{name}.down"] = torch.randn(RANK, read, generator=generator) / read**0.5
                made[f"{name}.up"] = torch.zeros(out, RANK)
            return made
        chosen = {"all": "", "head": "2.", "biases": ".bias"}[self.sends]
        return {name: weight for name, weight in weights.items() if chosen in name}

    def _rounds(
        self, first: Weights, shown: tuple[torch.Tensor, torch.Tensor], shares: list[np.ndarray], known: np.ndarray, rate: float, seed: int
    ) -> Weights:
        """The network after all rounds."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import classified, trained

        random, free = np.random.default_rng((seed, 1)), self._free(first, seed)
        asking = np.random.default_rng((seed, 3))  # apart, as how much a device draws depends on how many labels it has
        for _ in range(self.rounds):
            able = [device for device in range(self.devices) if known[shares[device]].any()]
            sent, sizes = [], []
            for device in asking.choice(able, min(self.asked, len(able)), replace=False):
                mine = torch.from_numpy(shares[device])
                inputs, wanted = self._taught(placed(first, free), shown[0][mine], shown[1][mine], torch.from_numpy(known[shares[device]]))
                loss = classified(inputs, wanted)

                def of_rows(one: Weights, rows: torch.Tensor, loss: Any = loss) -> torch.Tensor:
                    found: torch.Tensor = loss(placed(first, one), rows)
                    return found

                step = trained(free, of_rows, len(inputs), self.steps, rate, random, batch=16)
                sent.append(step)
                sizes.append(len(inputs))
            free = averaged(sent, sizes) if self.sends != "products" else averaged_products(sent, sizes)
        return placed(first, free)

    def _taught(
        self, weights: Weights, images: torch.Tensor, labels: torch.Tensor, known: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a device trains on."""
        import torch

        from windtunnel.kits.image.tiny import said

        if self.unlabelled == "nothing":
            return images[known], labels[known]
        with torch.no_grad():
            sure, guess = said(weights, images).softmax(dim=1).max(dim=1)
        taken = known | (sure > 0.9)
        return images[taken], torch.where(known, labels, guess)[taken]


def placed(first: Weights, free: Weights) -> Weights:
    """``first`` with what trains in its place, or with products of factors added to its matrices."""
    if not any(name.endswith(".up") for name in free):
        return first | free
    return first | {name: first[name] + free[f"{name}.up"] @ free[f"{name}.down"] for name in MATRICES}


def averaged(sent: list[Weights], sizes: list[int]) -> Weights:
    """The mean of each tensor, by sizes."""
    return {name: sum(size * one[name] for size, one in zip(sizes, sent, strict=True)) / sum(sizes) for name in sent[0]}  # type: ignore[misc]


def averaged_products(sent: list[Weights], sizes: list[int]) -> Weights:
    """Factors of the mean of products, cut to their rank."""
    import torch

    made = {}
    for name in MATRICES:
        mean = averaged([{name: one[f"{name}.up"] @ one[f"{name}.down"]} for one in sent], sizes)[name]
        left, values, right = torch.linalg.svd(mean, full_matrices=False)
        root = values[:RANK].sqrt()
        made[f"{name}.up"], made[f"{name}.down"] = left[:, :RANK] * root, root[:, None] * right[:RANK]
    return made
