"""One network whose narrower networks are its own first numbers, trained all at once, against networks trained apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

    from windtunnel.kits.image.tiny import Weights


class NestedWidths(Experiment, name="nested-widths"):
    """Accuracy of the networks within one, by how all of them are trained, at one budget of floating-point operations.

    Yu et al. 2020, "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models", arXiv:2003.11142. A network of two
    hidden layers has the widths ``widths``; each narrower one are its first hidden numbers. ``train``: ``sandwich``, in each step the
    widest, the narrowest and two drawn ones, the widest on labels and the others on what the widest answers; ``labels``, the same with
    labels for all; ``drawn``, in each step four drawn widths on labels; ``apart``, a network of its own for each width. All have the same
    multiplications, the steps of the others are longer: ``budget`` of them, as multiples of 1,000 images through the widest.

    ``accuracy`` is the mean over widths, ``narrowest`` and ``widest`` are theirs. Weight decay and dropout, which the paper gives the
    widest alone, and its search are left out; a network without norms needs no calibration of any.
    """

    trial = Trial({"budget": 1, "widths": (4, 8)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    train: Literal["sandwich", "labels", "drawn", "apart"] = Field("sandwich", description="how networks are trained")
    widths: tuple[int, ...] = Field((4, 8, 16, 32), min_length=2, description="of both hidden layers, rising")
    budget: int = Field(20, ge=1, description="multiplications, in 1,000 images forward and backward through the widest")
    rates: tuple[float, ...] = Field((3e-3, 1e-2), min_length=1, description="of which one is chosen for all")
    batch: int = Field(32, ge=1, description="images of a step")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``narrowest`` and ``widest``."""
        import numpy as np
        from torch.nn.functional import cross_entropy

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, said, trained

        data, most = dealt(self.name, np.random.default_rng(seed)), max(self.widths)
        images, labels = data.images[data.train], data.labels[data.train]
        costs = {width: width * (74 + width) for width in self.widths}
        whole = self.budget * 1000 * costs[most]

        def flown(rate: float) -> dict[int, Weights]:
            random = np.random.default_rng((seed, 1))
            if self.train == "apart":
                each = whole / len(self.widths)
                return {
                    width: trained(
                        begun((64, width, width, 10), seed),
                        classified(images, labels),
                        len(images),
                        max(1, round(each / costs[width] / self.batch)),
                        rate,
                        random,
                        batch=self.batch,
                    )
                    for width in self.widths
                }

            def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
                drawn = random.choice(self.widths, 4 if self.train == "drawn" else 2).tolist()
                if self.train == "drawn":
                    return sum(
                        (cross_entropy(said(narrowed(held, width), images[rows]), labels[rows]) for width in drawn), images.new_zeros(())
                    )
                wide = said(held, images[rows])
                wanted = labels[rows] if self.train == "labels" else wide.detach().softmax(dim=1)
                total = cross_entropy(wide, labels[rows])
                return sum(
                    (cross_entropy(said(narrowed(held, width), images[rows]), wanted) for width in (min(self.widths), *drawn)), total
                )

            mean = float(np.mean(list(costs.values())))
            step = 4 * mean if self.train == "drawn" else costs[most] + min(costs.values()) + 2 * mean
            held = trained(
                begun((64, most, most, 10), seed),
                loss,
                len(images),
                max(1, round(whole / step / self.batch)),
                rate,
                random,
                batch=self.batch,
            )
            return {width: narrowed(held, width) for width in self.widths}

        def judged(found: dict[int, Weights], rows: torch.Tensor) -> dict[int, float]:
            return {width: right(one, data.images[rows], data.labels[rows]) for width, one in found.items()}

        found = judged(best(self.rates, flown, lambda one: float(np.mean(list(judged(one, data.chosen).values())))), data.held)
        return {"accuracy": float(np.mean(list(found.values()))), "narrowest": found[min(self.widths)], "widest": found[most]}


def narrowed(weights: Weights, width: int) -> Weights:
    """The network of the first ``width`` hidden numbers of both layers; what reads them grows with the root of how many fewer they are."""
    grown = (weights["1.weight"].shape[1] / width) ** 0.5
    return {
        "0.weight": weights["0.weight"][:width],
        "0.bias": weights["0.bias"][:width],
        "1.weight": weights["1.weight"][:width, :width] * grown,
        "1.bias": weights["1.bias"][:width],
        "2.weight": weights["2.weight"][:, :width] * grown,
        "2.bias": weights["2.bias"],
    }
