"""A decoder that learns to regress in context, beside the exact posterior of how its tasks were drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH, JUDGED = 64, 512  # rows of a step, and those that are judged
APART = 3.0  # how far from 0 the two centres stand
FEW = 2  # weights of a sparse task that are not 0
LEVELS = (0.1, 0.2, 0.4, 0.8)  # standard deviations of the noise where it is unknown
SHARES = (0.25, 0.5, 1.0)  # of labels in context that are drawn at random

Prior = Literal["gaussian", "two-centres", "sparse", "dense-or-sparse", "unknown-noise"]


class InContextRegression(Experiment, name="in-context-regression"):
    """How near a decoder that was trained on rows of examples comes to Bayesian regression, in and out of what it was trained on.

    Panwar et al. 2024, arXiv:2306.04891 (priors of several kinds), Yadlowsky et al. 2023, arXiv:2311.00871 (``dense-or-sparse``), Liu et
    al. 2024, arXiv:2405.15115 (``spread``, noise that is unknown), and a student project of 2023, arXiv:2312.12655 (``window``).

    A task is y = w x + noise, with weights w of its own, where x are the inputs of the last ``window`` places. A row holds ``examples`` of
    one task; at each place the decoder reads x, and x and y of the place before, and foretells y. Weights are drawn from a finite mixture
    of Gaussians, and noise from a set of levels, so the best answer is known exactly: each part of the mixture foretells by a Gaussian
    process, and parts are weighted by how well they foretold the places before. With ``spread`` the network foretells a mean and a variance
    and learns by the likelihood of a Gaussian, else by squared error.

    Errors are of the mean against w x, over all places, in variances of w x; `bayes` is that posterior, `ridge` the one of the prior
    `gaussian`, `distance` how far network and Bayes are from each other. They are told for tasks drawn as in training and, behind a name,
    for ``dense`` and ``sparse`` ones, for those halfway ``between`` one of each, for ``large`` ones (three times the weights), and
    ``last/`` for the last quarter of places; ``random/P`` for rows of which a share P of labels in context were drawn anew.
    """

    trial = Trial({"steps": 2, "examples": 6, "width": 16, "dimensions": 2})

    unit: ClassVar[str] = "variances of what is foretold"
    better: ClassVar[str] = "lower"

    prior: Prior = Field("gaussian", description="how the weights of a task are drawn")
    spread: bool = Field(False, description="whether the network foretells a variance beside the mean")
    dimensions: int = Field(4, ge=1, description="numbers of an input")
    window: int = Field(1, ge=1, description="places whose inputs a label depends on")
    examples: int = Field(16, ge=4, description="of a row")
    noise: float = Field(0.2, gt=0, description="standard deviation, where it is known")
    steps: int = Field(1000, ge=1, description="of training, 64 rows each")
    width: int = Field(64, ge=8, multiple_of=8, description="of the decoder")
    layers: int = Field(2, ge=1, description="of the decoder")
    learning_rate: float = Field(0.005, gt=0, description="of AdamW")

    @model_validator(mode="after")
    def _room(self) -> InContextRegression:
        if "sparse" in self.prior and self.dimensions * self.window <= FEW:
            raise ValueError(f"prior: {self.prior} has {FEW} weights that are not 0; set dimensions to {FEW + 1} or more")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``bayes``, ``ridge`` and ``distance``, and what the docstring of the class names."""
        import numpy as np

        random = np.random.default_rng(seed)
        components = self._components(self.prior)
        network = self._trained(components, random, seed)
        found = self._judged(network, components, Drawn(random, self, components), "")
        size = self.dimensions * self.window
        if self.prior == "dense-or-sparse" or self.prior == "sparse" or (self.prior == "gaussian" and size > 2 * FEW):
            for name, prior in (("dense", "gaussian"), ("sparse", "sparse")):
                found |= self._judged(network, components, Drawn(random, self, self._components(prior)), f"{name}/")
            halves = [Drawn(random, self, self._components(prior)).weights for prior in ("gaussian", "sparse")]
            found |= self._judged(network, components, Drawn(random, self, components, (halves[0] + halves[1]) / 2), "between/")
        large = Drawn(random, self, components)
        found |= self._judged(network, components, Drawn(random, self, components, 3 * large.weights), "large/")
        for share in SHARES if self.window > 1 else ():
            found[f"random/{share:g}"] = self._random_labels(network, Drawn(random, self, components), share, random)
        return found

    def _components(self, prior: str) -> list[Component]:
        """The parts of a mixture, in equal shares but for dense tasks, which are as many as sparse ones."""
        import itertools

        import numpy as np

        size = self.dimensions * self.window
        dense = Component(0.0, np.zeros(size), np.ones(size) / size, self.noise)
        if prior == "two-centres":
            centre = np.eye(size)[0] * APART / np.sqrt(size)
            return [dense._replace(mean=sign * centre) for sign in (-1, 1)]
        if prior == "unknown-noise":
            return [dense._replace(noise=level) for level in LEVELS]
        places = [list(chosen) for chosen in itertools.combinations(range(size), FEW)]
        sparse = [dense._replace(variances=np.isin(np.arange(size), chosen) / FEW) for chosen in places]
        shares = {"gaussian": [dense], "sparse": sparse}
        return shares[prior] if prior in shares else [dense._replace(share=float(np.log(len(sparse)))), *sparse]

    def _trained(self, components: list[Component], random: np.random.Generator, seed: int) -> torch.nn.Module:
        import torch

        from windtunnel.kits.small_decoder import SmallDecoder, descend

        network = SmallDecoder(2 * self.dimensions + 1, 2, self.examples, width=self.width, layers=self.layers, seed=seed)

        def loss_of(_: int) -> torch.Tensor:
            drawn = Drawn(random, self, components, rows=BATCH)
            mean, spread = told(network, drawn)
            labels = torch.from_numpy(drawn.labels).float()
            if self.spread:
                return torch.nn.functional.gaussian_nll_loss(mean, labels, spread)
            return ((mean - labels) ** 2).mean()

        descend(network, loss_of, self.steps, self.learning_rate)
        return network

    def _judged(self, network: torch.nn.Module, components: list[Component], drawn: Drawn, name: str) -> dict[str, float]:
        """Numbers of one set of rows, their names behind ``name``."""
        import numpy as np
        import torch

        with torch.no_grad():
            mean, spread = (each.numpy().astype(float) for each in told(network, drawn))
        best, variance = posterior(components, drawn.features, drawn.labels)
        ridge, _ = posterior(self._components("gaussian"), drawn.features, drawn.labels)
        scale, late = float(drawn.true.var()), slice(-(self.examples // 4), None)

        def error(one: np.ndarray, other: np.ndarray, places: slice = slice(None)) -> float:
            return float(((one - other) ** 2)[:, places].mean() / scale)

        found = {f"{name}error": error(mean, drawn.true), f"{name}bayes": error(best, drawn.true), f"{name}ridge": error(ridge, drawn.true)}
        found |= {f"{name}distance": error(mean, best), f"{name}last/error": error(mean, drawn.true, late)}
        found |= {f"{name}last/bayes": error(best, drawn.true, late), f"{name}last/ridge": error(ridge, drawn.true, late)}
        if self.spread:
            for kind, one, other in (("nats", mean, spread), ("bayes_nats", best, variance)):
                found[f"{name}{kind}"] = float((0.5 * np.log(2 * np.pi * other) + 0.5 * (drawn.labels - one) ** 2 / other).mean())
            found[f"{name}spread_correlation"] = float(
                np.corrcoef(np.log(spread[:, late]).ravel(), np.log(variance[:, late]).ravel())[0, 1]
            )
        return found

    def _random_labels(self, network: torch.nn.Module, drawn: Drawn, share: float, random: np.random.Generator) -> float:
        """The error at the last place where a share of labels before it were drawn anew."""
        import torch

        spoiled = random.random(drawn.labels.shape) < share
        drawn.labels[spoiled] = drawn.labels.std() * random.standard_normal(int(spoiled.sum()))
        with torch.no_grad():
            mean = told(network, drawn)[0].numpy()
        return float(((mean[:, -1] - drawn.true[:, -1]) ** 2).mean() / drawn.true.var())


class Component(NamedTuple):
    """Part of a mixture: the logarithm of its share, not normalised, mean and variances of weights, and the noise."""

    share: float
    mean: np.ndarray
    variances: np.ndarray
    noise: float


class Drawn:
    """Rows of examples: ``inputs`` [rows, places, dimensions], ``features`` of a window, ``true`` and ``labels`` [rows, places]."""

    def __init__(
        self, random: np.random.Generator, knobs: Any, components: list[Component], weights: np.ndarray | None = None, rows: int = JUDGED
    ) -> None:
        import numpy as np

        shares = np.exp([part.share for part in components])
        chosen = random.choice(len(components), rows, p=shares / shares.sum())
        mean, variances, noise = (np.array([getattr(part, name) for part in components])[chosen] for name in ("mean", "variances", "noise"))
        self.weights = mean + np.sqrt(variances) * random.standard_normal(mean.shape) if weights is None else weights
        self.inputs = random.standard_normal((rows, knobs.examples, knobs.dimensions))
        earlier = [np.pad(self.inputs, ((0, 0), (back, 0), (0, 0)))[:, : knobs.examples] for back in range(knobs.window)]
        self.features = np.concatenate(earlier, axis=2)
        self.true = np.einsum("rpf,rf->rp", self.features, self.weights)
        self.labels = self.true + noise[:, None] * random.standard_normal(self.true.shape)


def told(network: torch.nn.Module, drawn: Drawn) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance that the network foretells at each place, from inputs up to it and labels before it: [rows, places] each."""
    import numpy as np
    import torch

    pairs = np.concatenate([drawn.inputs, drawn.labels[..., None]], axis=2)
    before = np.pad(pairs, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    found = network(torch.from_numpy(np.concatenate([drawn.inputs, before], axis=2)).float())
    return found[..., 0], torch.nn.functional.softplus(found[..., 1]) + 1e-3


def posterior(components: list[Component], features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each label given those before it, where weights and noise are drawn from a mixture: [rows, places] each.

    With K = features x variances x features' + noise^2 and its Cholesky factor L, the part of a label that is news is L[t, t] z[t] of
    z = L^-1 (labels - features mean), and its variance L[t, t]^2: one factor serves all places.
    """
    import numpy as np

    means, spreads, shares = [], [], []
    for part in components:
        covariance = np.einsum("rpf,f,rqf->rpq", features, part.variances, features) + part.noise**2 * np.eye(features.shape[1])
        factor = np.linalg.cholesky(covariance)
        news = np.linalg.solve(factor, (labels - features @ part.mean)[..., None])[..., 0]
        size = np.diagonal(factor, axis1=1, axis2=2)
        likely = -0.5 * news**2 - np.log(size)
        means.append(labels - size * news)
        spreads.append(size**2)
        shares.append(part.share + np.cumsum(likely, axis=1) - likely)
    odds = np.exp(np.array(shares) - np.max(shares, axis=0))
    odds /= odds.sum(axis=0)
    mean = (odds * np.array(means)).sum(axis=0)
    return mean, (odds * (np.array(spreads) + np.array(means) ** 2)).sum(axis=0) - mean**2
