"""Low-rank experts that were each tuned alone, and who of them answers for an input of which nobody says where it is from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.kits.routing import Array


class RoutedExperts(Experiment, name="routed-experts"):
    """The squared error on inputs of all domains mixed, by how experts are chosen or merged.

    Muqeeth et al. 2024, "Learning to Route Among Specialized Experts for Zero-Shot Generalization", arXiv:2402.05859 (PHATGOOSE): beside
    each expert B A, tuned and frozen, a vector v is trained on the same data, as a gate sigmoid(v . u) on what the expert adds; then
    inputs u and vectors are standardised over their numbers, and of the experts with the ``top`` largest products the additions are
    weighted by a softmax over all. The matrix W and its domains are drawn: inputs of a domain have a mean of their own and vary most in a
    subspace of its own, and what has to be added to W there has rank ``rank``. Experts are the best of that rank for the domain's data
    with noise.

    ``route``: ``gate``, so; ``arrow``, by the size of the input's product with the expert's first right singular vector (Ostapenko et al.
    2024); ``nearest``, by the mean input of a domain, as retrieval does; ``average`` of all experts; ``random``; ``oracle``;
    ``together``, one matrix for all domains, of as many numbers as all experts; ``none``. ``mixed`` of the inputs are sums of inputs of
    two domains, halved in variance, where two experts are needed.

    ``error`` is relative to that of W alone. ``right`` is the share of inputs of one domain whose first expert is the domain's.
    """

    trial = Trial({"inputs": 40, "steps": 3})

    unit: ClassVar[str] = "share of the error of none"
    better: ClassVar[str] = "lower"

    route: Literal["gate", "arrow", "nearest", "average", "random", "oracle", "together", "none"] = Field("gate", description="who answers")
    mixed: float = Field(0.0, ge=0, le=1, description="share of the inputs that are of two domains")
    domains: int = Field(6, ge=2, description="with an expert each")
    width: int = Field(48, ge=8, description="numbers of an input and of an output")
    inside: int = Field(8, ge=1, description="dimensions in which a domain's inputs vary more than others'")
    louder: float = Field(2.0, gt=0, description="how much more, in standard deviations")
    apart: float = Field(
        3.0, ge=0, description="length of the mean of a domain's inputs, where their numbers have a deviation of 1 and more"
    )
    rank: int = Field(4, ge=1, description="of what a domain needs, and of an expert")
    top: int = Field(2, ge=1, description="experts that add something")
    inputs: int = Field(400, ge=10, description="of each domain to learn from")
    noise: float = Field(0.5, ge=0, description="of outputs that experts learn from")
    steps: int = Field(100, ge=1, description="of the gate")
    rate: float = Field(0.3, gt=0, description="of the gate")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``right``."""
        import numpy as np

        from windtunnel.kits.routing import Domain, fitted

        random, size = np.random.default_rng(seed), self.width
        domains = [
            Domain(random, width=size, inside=self.inside, louder=self.louder, apart=self.apart, rank=self.rank)
            for _ in range(self.domains)
        ]
        wanted = [domain.needs for domain in domains]
        shown = [domain.inputs(self.inputs) for domain in domains]
        outputs = [
            given @ one.T + self.noise * random.standard_normal((self.inputs, size)) for given, one in zip(shown, wanted, strict=True)
        ]
        experts = [fitted(given, out, self.rank) for given, out in zip(shown, outputs, strict=True)]
        gates = np.stack([self._gate(given, out, one) for given, out, one in zip(shown, outputs, experts, strict=True)])
        count, first = 1200, random.integers(self.domains, size=1200)
        second = (first + random.integers(1, self.domains, size=count)) % self.domains
        asked = np.concatenate([domains[place].inputs(1) for place in first])
        answers = np.einsum("noi,ni->no", np.stack(wanted)[first], asked)
        two = random.random(count) < self.mixed
        others = np.concatenate([domains[place].inputs(1) for place in second])
        more = np.einsum("noi,ni->no", np.stack(wanted)[second], others)
        asked[two], answers[two] = (asked + others)[two] / 2**0.5, (answers + more)[two] / 2**0.5
        weights = self._weights(asked, shown, experts, gates, first, random)
        if self.route == "together":
            whole = fitted(np.concatenate(shown), np.concatenate(outputs), self.rank * self.domains)
            said = asked @ whole.T
        else:
            said = np.einsum("nk,koi,ni->no", weights, np.stack(experts), asked, optimize=True)
        hit = (weights.argmax(axis=1) == first)[~two] if self.route not in ("together", "none", "average") else np.zeros(1)
        return {"error": float(((said - answers) ** 2).sum() / (answers**2).sum()), "right": float(hit.mean()) if len(hit) else 0.0}

    def _gate(self, given: Array, out: Array, expert: Array) -> Array:
        """The vector of a gate after training from zero by gradient descent on half the mean squared error."""
        import numpy as np

        gate, added = np.zeros(self.width), given @ expert.T
        scale = float((added**2).sum(axis=1).mean())
        for _ in range(self.steps):
            share = 1 / (1 + np.exp(-given @ gate))
            back = ((share[:, None] * added - out) * added).sum(axis=1) * share * (1 - share)
            gate -= self.rate * given.T @ back / len(given) / scale
        return gate

    def _weights(
        self, asked: Array, shown: list[Array], experts: list[Array], gates: Array, domain: NDArray[np.int64], random: np.random.Generator
    ) -> Array:
        """What each expert's addition is multiplied by, [inputs, domains]."""
        import numpy as np

        from windtunnel.kits.routing import standardised
        from windtunnel.kits.vectors import softmax

        count = len(experts)
        if self.route in ("none", "average", "together"):
            return np.full((len(asked), count), 0.0 if self.route == "none" else 1 / count)
        if self.route in ("oracle", "random"):
            return np.eye(count)[domain if self.route == "oracle" else random.integers(count, size=len(asked))]
        if self.route == "arrow":
            scores = np.abs(asked @ np.stack([np.linalg.svd(one)[2][0] for one in experts]).T)
        elif self.route == "nearest":
            scores = standardised(asked) @ standardised(np.stack([given.mean(axis=0) for given in shown])).T / self.width**0.5
        else:
            scores = standardised(asked) @ standardised(gates).T / self.width**0.5
        shares = softmax(scores)
        least = np.sort(shares, axis=1)[:, -min(self.top, count)][:, None]
        kept: Array = np.where(shares >= least, shares, 0.0)
        return np.asarray(kept / kept.sum(axis=1, keepdims=True))
