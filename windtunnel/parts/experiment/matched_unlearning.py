"""Forgetting training examples by matching what a linear model of the data says of a model that never saw them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

HIDDEN, RIDGE, ENSEMBLE = 16, 3.0, 24


class MatchedUnlearning(Experiment, name="matched-unlearning"):
    """How far unlearned models are from models that were trained without the forgotten examples.

    Georgiev et al. 2024, arXiv:2410.23232. A datamodel says the outputs for an example x of a model that was trained on a set S as
    beta_x . 1_S; it is fitted to ``retrains`` models, each trained on a random half (ridge regression here, the lasso there). Without
    the forget set F the outputs should be those of the trained model less the sum of beta over F; the model is tuned towards that by
    squared error on the logits of F and of what is retained.

    Networks of one hidden layer learn ``examples`` of scikit-learn's digits; F are the ``forgotten`` examples nearest to one of them, those
    of its class first. ``ascent`` trains against F, a tenth as strongly as on the others, ``retained`` on the others alone, ``nothing``
    leaves the model as it was, and ``oracle`` is a second lot of models that were trained without F: the floor. ``divergence/forget`` is
    the Kullback-Leibler divergence in nats of the margins of 24 unlearned models from those of 24 retrained ones, both taken as normal,
    mean over F (the paper bins them); then of retained examples and of held-out ones. ``correlation`` is that of outputs foretold and true
    over models that the datamodel was not fitted to: below 0.3 nothing follows from it. It needs scikit-learn.
    """

    trial = Trial({"retrains": 20, "examples": 40, "forgotten": 4, "steps": 4, "unlearning": 2})

    unit: ClassVar[str] = "nats"

    how: Literal["matching", "ascent", "retained", "nothing", "oracle"] = Field("matching", description="how examples are forgotten")
    examples: int = Field(100, ge=20, le=1600, description="that are learned")
    forgotten: int = Field(10, ge=1, description="of them are to be forgotten")
    retrains: int = Field(300, ge=10, description="models that the datamodel is fitted to")
    steps: int = Field(80, ge=1, description="of training, all examples in each")
    unlearning: int = Field(60, ge=1, description="steps of unlearning")
    rate: float = Field(0.02, gt=0, description="learning rate of Adam; a quarter of it in unlearning")

    def measure(self, seed: int) -> dict[str, float]:
        """``divergence/forget``, ``divergence/retained``, ``divergence/held_out`` and ``correlation``. Raises PartError if none is kept."""
        import numpy as np
        import torch

        if self.forgotten >= self.examples:
            raise PartError(f"{self.name}: forgotten {self.forgotten}: there are {self.examples} examples, and some have to stay; lower it")
        random = np.random.default_rng(seed)
        data = self._data(random)
        count = self.examples

        def trained(seen: np.ndarray) -> list[Tensor]:
            return fit(first_weights(len(seen), random), data, torch.from_numpy(seen).float(), self.steps, self.rate)

        without = np.ones((ENSEMBLE, count))
        without[:, data.forget] = 0
        oracle = trained(without)
        halves = np.stack([random.permutation(count) < count // 2 for _ in range(self.retrains + 40)]).astype(float)
        beta, correlation = datamodel(halves, outputs(trained(halves), data.pixels).numpy(), self.retrains)
        if self.how == "oracle":
            models = trained(without)
        else:
            models = trained(np.ones((ENSEMBLE, count)))
            models = self._unlearned(models, data, torch.from_numpy(beta).float())
        found = divergence(margins(models, data), margins(oracle, data))
        kept = np.setdiff1d(np.arange(count), data.forget)
        parts = {"forget": found[data.forget], "retained": found[kept], "held_out": found[count:]}
        return {f"divergence/{name}": float(values.mean()) for name, values in parts.items()} | {"correlation": correlation}

    def _data(self, random: np.random.Generator) -> Learned:
        import numpy as np
        import torch

        from windtunnel.kits.image.digits import digits

        found = digits(self.name)
        chosen = random.permutation(len(found.target))[: self.examples + 100]
        pixels, labels = found.data[chosen] / 16, found.target[chosen]
        centre = int(random.integers(self.examples))
        away = ((pixels[: self.examples] - pixels[centre]) ** 2).sum(axis=1) + 1e6 * (labels[: self.examples] != labels[centre])
        return Learned(torch.from_numpy(pixels).float(), torch.from_numpy(labels.astype(np.int64)), np.argsort(away)[: self.forgotten])

    def _unlearned(self, models: list[Tensor], data: Learned, beta: Tensor) -> list[Tensor]:
        import torch

        count, forget = self.examples, torch.from_numpy(data.forget)
        if self.how == "nothing":
            return models
        seen = torch.ones(len(models[0]), count)
        seen[:, forget] = -0.1 if self.how == "ascent" else 0.0
        if self.how in ("ascent", "retained"):
            return fit(models, data, seen, self.unlearning, self.rate / 4)
        with torch.no_grad():
            wanted = outputs(models, data.pixels[:count]) - beta[forget][:, :count].sum(dim=0)
        return fit(models, data, torch.ones(len(models[0]), count), self.unlearning, self.rate / 4, wanted)


class Learned(NamedTuple):
    """Pixels float32 [images, 64] and labels of all images, those to learn first, and which of these are to be forgotten."""

    pixels: Tensor
    labels: Tensor
    forget: np.ndarray


def first_weights(models: int, random: np.random.Generator) -> list[Tensor]:
    """Weights of so many networks, [models, in, out] each."""
    import torch

    sizes = ((64, HIDDEN), (HIDDEN, 10))
    return [torch.from_numpy(random.standard_normal((models, inner, outer)) / inner**0.5).float() for inner, outer in sizes]


def outputs(models: list[Tensor], pixels: Tensor) -> Tensor:
    """Logits [models, images, 10]."""
    return (pixels @ models[0]).tanh() @ models[1]


def fit(models: list[Tensor], data: Learned, seen: Tensor, steps: int, rate: float, wanted: Tensor | None = None) -> list[Tensor]:
    """The networks after steps of Adam on all they see; ``seen`` [models, examples] weighs the cross entropy of each example.

    With ``wanted`` [models, examples, 10] it is the squared distance of the logits from these.
    """
    import torch

    weights = [one.clone().requires_grad_() for one in models]
    pixels, labels = data.pixels[: seen.shape[1]], data.labels[: seen.shape[1]]

    def loss(step: int) -> torch.Tensor:
        found = outputs(weights, pixels)
        if wanted is None:
            each = -found.log_softmax(dim=2).gather(2, labels[None, :, None].expand(len(found), -1, 1))[..., 0]
        else:
            each = ((found - wanted) ** 2).mean(dim=2)
        return (each * seen).sum() / seen.shape[1]

    take_steps(torch.optim.Adam(weights, rate), loss, steps)
    return [one.detach() for one in weights]


def datamodel(subsets: np.ndarray, found: np.ndarray, fitted: int) -> tuple[np.ndarray, float]:
    """Effects [examples, images, 10] of each example's presence on outputs [models, images, 10], and the correlation on left-out models."""
    import numpy as np

    x, y = subsets[:fitted] - 0.5, found[:fitted].reshape(fitted, -1)
    mean = y.mean(axis=0)
    beta = ridge(x, y - mean, RIDGE)
    told, true = (subsets[fitted:] - 0.5) @ beta, found[fitted:].reshape(len(found) - fitted, -1)
    told, true = told - told.mean(axis=0), true - true.mean(axis=0)
    each = (told * true).sum(axis=0) / np.maximum(np.sqrt((told**2).sum(axis=0) * (true**2).sum(axis=0)), 1e-12)
    return beta.reshape(x.shape[1], *found.shape[1:]), float(each.mean())


def margins(models: list[Tensor], data: Learned) -> np.ndarray:
    """The logit of the right class less log of the sum of exp of the others, [models, images]."""
    import numpy as np
    import torch

    found = outputs(models, data.pixels).double()
    right = data.labels[None, :, None].expand(len(found), -1, 1)
    others = found.scatter(2, right, -torch.inf).logsumexp(dim=2)
    return np.asarray((found.gather(2, right)[..., 0] - others).numpy())


def divergence(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Nats by which margins of models [models, images] diverge from others', both taken as normal, of each image."""
    import numpy as np

    spread, other = ours.var(axis=0) + 1e-3, theirs.var(axis=0) + 1e-3
    return np.asarray(0.5 * (np.log(other / spread) + (spread + (ours.mean(axis=0) - theirs.mean(axis=0)) ** 2) / other - 1))
