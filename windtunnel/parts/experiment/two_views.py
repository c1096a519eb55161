"""A pretrained network and a small new one that read a task together, where each was misled by something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

MARKS = 10  # inputs of each misleading mark


class TwoViews(Experiment, name="two-views"):
    """Accuracy where neither the mark of pretraining nor that of tuning says anything, by how the two are brought together.

    Roh et al. 2024, "LEVI: Generalizable Fine-tuning via Layer-wise Ensemble of Different Views", arXiv:2402.04644: layers of a frozen
    pretrained network are each read together with a small network that is trained from scratch, and all their predictions are averaged
    under one loss. Inputs are digits of scikit-learn with two marks of ten inputs beside them. In pretraining the first mark is that of
    the label in ``misled`` of the images, in tuning, on ``labels`` images, the second in ``misled_later``; else a mark is at random, and
    in the test both are.

    ``way``: ``layers`` is the method; ``heads``, the same without the small network; ``outputs``, the mean of the small network and a
    probe of the pretrained one, each trained alone; ``probe``; ``all`` weights tuned; ``twice``, the mean of two such with other batches;
    ``between``, the mean of the weights before and after that tuning, with the tuned head; ``small``, the small network alone. Rates are
    chosen on images like those of tuning.

    Numbers are ``accuracy`` in the test, and ``alike``, that on images like those of tuning.
    """

    trial = Trial({"before": 4, "steps": 4, "rates": (1e-2,), "labels": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    way: Literal["layers", "heads", "outputs", "probe", "all", "twice", "between", "small"] = Field(
        "layers", description="what reads the task"
    )
    misled: float = Field(0.95, ge=0, le=1, description="share of images of pretraining whose first mark tells the label")
    misled_later: float = Field(0.95, ge=0, le=1, description="share of images of tuning whose second mark does")
    noise: float = Field(0.5, ge=0, description="standard deviation of noise on pixels, without which marks are hardly needed")
    labels: int = Field(300, ge=10, le=800, description="images of tuning")
    width: int = Field(64, ge=1, description="of both hidden layers of the pretrained network")
    small: int = Field(16, ge=1, description="of both of the small one")
    before: int = Field(250, ge=1, description="steps of pretraining")
    steps: int = Field(150, ge=1, description="of tuning")
    rates: tuple[float, ...] = Field((1e-3, 3e-3, 1e-2), min_length=1, description="of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``alike``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, share_right, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)

        def marked(rows: Tensor, first: float, second: float) -> Tensor:
            marks = [mark(data.labels[rows].numpy(), share, random) for share in (first, second)]
            noise = self.noise * random.standard_normal((len(rows), 64))
            return torch.cat([data.images[rows] + torch.from_numpy(noise).float(), *marks], dim=1)

        chance = 0.1
        shown = marked(data.train, self.misled, chance)
        old = trained(
            begun((64 + 2 * MARKS, self.width, self.width, 10), seed),
            classified(shown, data.labels[data.train]),
            len(shown),
            self.before,
            3e-3,
            random,
        )
        known = data.train[: self.labels]
        given, labels = marked(known, chance, self.misled_later), data.labels[known]
        alike, broken = marked(data.chosen, chance, self.misled_later), marked(data.held, chance, chance)

        def flown(rate: float) -> Callable[[Tensor], Tensor]:
            return self._tuned(old, given, labels, rate, seed)

        found = best(self.rates, flown, lambda one: share_right(one(alike), data.labels[data.chosen]))
        return {
            "accuracy": share_right(found(broken), data.labels[data.held]),
            "alike": share_right(found(alike), data.labels[data.chosen]),
        }

    def _tuned(self, old: Weights, given: Tensor, labels: Tensor, rate: float, seed: int) -> Callable[[Tensor], Tensor]:
        """From inputs to scores of classes."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, classified, said, trained

        random = np.random.default_rng((seed, 1))
        head = begun((self.width, 10), seed + 1)
        fresh = begun((64 + 2 * MARKS, self.small, self.small, 10), seed + 2)

        def fitted(weights: Weights, loss: Callable[[Weights, Tensor], Tensor], only: set[str] | None = None) -> Weights:
            return trained(weights, loss, len(given), self.steps, rate, random, only=only)

        if self.way in ("layers", "heads"):
            extra = self.small if self.way == "layers" else 0
            free = {f"small.{name}": weight for name, weight in fresh.items() if not name.startswith("2.")}
            for layer in (1, 2):
                made = begun((self.width + extra, 10), seed + 2 + layer)
                free |= {f"head{layer}.weight": made["0.weight"], f"head{layer}.bias": made["0.bias"]}

            def answer(held: Weights, inputs: Tensor) -> Tensor:
                side = {name.removeprefix("small."): weight for name, weight in held.items() if name.startswith("small.")}
                total = inputs.new_zeros(())
                for layer in (1, 2):
                    read = said(old, inputs, layer)
                    if extra:
                        read = torch.cat([read, torch.relu(said(side, inputs))], dim=1)
                    total = (
                        total + torch.nn.functional.linear(read, held[f"head{layer}.weight"], held[f"head{layer}.bias"]).softmax(dim=1) / 2
                    )
                return total

            held = fitted(free, lambda one, rows: torch.nn.functional.nll_loss((answer(one, given[rows]) + 1e-9).log(), labels[rows]))
            return lambda inputs: answer(held, inputs)
        whole = old | {"2.weight": head["0.weight"], "2.bias": head["0.bias"]}
        loss = classified(given, labels)
        if self.way == "small":
            return _answers(fitted(fresh, loss))
        probe = fitted(whole, loss, {"2.weight", "2.bias"}) if self.way in ("probe", "outputs") else {}
        if self.way == "probe":
            return _answers(probe)
        if self.way == "outputs":
            return _mean(_answers(probe), _answers(fitted(fresh, loss)))
        tuned = fitted(whole, loss)
        if self.way == "between":
            return _answers({name: weight if name.startswith("2.") else (weight + old[name]) / 2 for name, weight in tuned.items()})
        return _mean(_answers(tuned), _answers(fitted(whole, loss))) if self.way == "twice" else _answers(tuned)


def _answers(weights: Weights) -> Callable[[Tensor], Tensor]:
    """Probabilities of a network."""
    from windtunnel.kits.image.tiny import said

    return lambda inputs: said(weights, inputs).detach().softmax(dim=1)


def _mean(one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda inputs: (one(inputs) + other(inputs)) / 2


def mark(labels: np.ndarray, share: float, random: np.random.Generator) -> Tensor:
    """Ten inputs [N, 10] of which one is 1: that of the label in ``share`` of the cases, in the others one of the nine that remain."""
    import numpy as np
    import torch

    shown = np.where(random.random(len(labels)) < share, labels, (labels + random.integers(1, MARKS, len(labels))) % MARKS)
    return torch.from_numpy(np.eye(MARKS, dtype=np.float32)[shown])
