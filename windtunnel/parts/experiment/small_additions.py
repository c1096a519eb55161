"""Few numbers added to a frozen network for a new task, by the form they have, on all of its weights or on those that pruning leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

HIDDEN = ("0", "1")


class SmallAdditions(Experiment, name="small-additions"):
    """Accuracy on a new task after tuning a few numbers and the last layer, by the form of the numbers.

    A network of two hidden layers of ``width`` has learned scikit-learn's digits, and learns ones turned by ``degrees`` from ``shots``
    images a class. ``form``:

    - ``bottleneck``: behind each hidden layer h + U relu(D h + b) + c with ``rank`` inner numbers.
    - ``kronecker``: the same with U and D as sums of ``parts`` Kronecker products of small matrices A_i, which all of them share, and
      products of a column and a row (Karimi Mahabadi et al. 2021, arXiv:2106.04647, Compacter).
    - ``low-rank``: a product B A of rank ``rank`` added to the matrix of each hidden layer.
    - ``low-rank-sparse``: of a rank less by one, with as many single entries as that leaves numbers, where the weight is largest (Chen et
      al. 2023, arXiv:2111.00160, DSEE); ``sparse``: entries alone.
    - ``all`` weights; ``last``, the last layer alone.

    ``pruned`` of the entries of hidden matrices, the smallest, are zero from the beginning and stay so; products that are added are not
    pruned, as in DSEE. Rates are chosen on validation images. Numbers are ``accuracy``, and ``numbers``, those trained beside the last
    layer.
    """

    trial = Trial({"training": 4, "steps": 3, "rates": (1e-2,), "width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    form: Literal["bottleneck", "kronecker", "low-rank", "low-rank-sparse", "sparse", "all", "last"] = Field(
        "bottleneck", description="of what trains"
    )
    rank: int = Field(8, ge=2, description="inner numbers of a bottleneck, or the rank of a product")
    parts: int = Field(4, ge=1, description="Kronecker products of a matrix; it divides width and rank")
    pruned: float = Field(0.0, ge=0, lt=1, description="share of the entries of hidden matrices that are zero")
    degrees: float = Field(45.0, description="of the new task")
    shots: int = Field(30, ge=1, le=70, description="images of each class")
    width: int = Field(64, ge=4, description="of both hidden layers")
    training: int = Field(250, ge=1, description="steps before")
    steps: int = Field(100, ge=1, description="of tuning")
    rates: tuple[float, ...] = Field((1e-3, 5e-3, 2e-2, 1e-1), min_length=1, description="of which one is chosen")

    @model_validator(mode="after")
    def _divides(self) -> SmallAdditions:
        if self.form == "kronecker" and (self.width % self.parts or self.rank % self.parts):
            raise ValueError(f"parts ({self.parts}) has to divide width ({self.width}) and rank ({self.rank})")
        most = min(64 * self.width // (self.width + 64), self.width // 2)
        if self.form == "sparse" and self.rank > most:
            raise ValueError(f"rank ({self.rank}): matrices of width {self.width} have entries for products of rank {most} at most")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``numbers``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, share_right, trained, turned

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels = data.images[data.train], data.labels[data.train]
        first = begun((64, self.width, self.width, 10), seed)
        first = trained(first, classified(images, labels), len(images), self.training, 3e-3, random)
        for layer in HIDDEN if self.pruned else ():
            weight = first[f"{layer}.weight"]
            least = weight.abs().flatten().kthvalue(max(1, round(self.pruned * weight.numel()))).values
            first[f"{layer}.weight"] = weight * (weight.abs() > least)
        views = turned(data.images, self.degrees)
        rows = data.train[torch.cat([torch.nonzero(labels == label)[: self.shots, 0] for label in range(10)])]
        free = self._begun(first, torch.Generator().manual_seed(seed))
        masks = {f"{layer}.weight": (first[f"{layer}.weight"] != 0).float() for layer in HIDDEN}

        def loss(held: Weights, some: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(self.said(first, held, views[rows][some], masks), data.labels[rows][some])

        def judged(held: Weights, asked: Tensor) -> float:
            with torch.no_grad():
                return share_right(self.said(first, held, views[asked], masks), data.labels[asked])

        held = best(
            self.rates,
            lambda rate: trained(free, loss, len(rows), self.steps, rate, np.random.default_rng((seed, 1))),
            lambda one: judged(one, data.chosen),
        )
        numbers = sum(weight.numel() for name, weight in free.items() if not name.startswith("2."))
        return {"accuracy": judged(held, data.held), "numbers": float(numbers)}

    def _begun(self, first: Weights, generator: torch.Generator) -> Weights:
        """What trains, as it begins."""
        import torch

        made = {name: first[name] for name in first if name.startswith("2.") or self.form == "all"}
        if self.form == "kronecker":
            made["shared"] = 0.1 * torch.randn(self.parts, self.parts, self.parts, generator=generator)
        for layer in HIDDEN:
            out, read = first[f"{layer}.weight"].shape
            rank = self.rank - (self.form == "low-rank-sparse")
            if self.form in ("bottleneck", "kronecker"):
                made |= {f"{layer}.inner": torch.zeros(self.rank), f"{layer}.outer": torch.zeros(out)}
            if self.form == "bottleneck":
                made |= {f"{layer}.down": torch.randn(rank, out, generator=generator) / out**0.5, f"{layer}.up": torch.zeros(out, rank)}
            elif self.form == "kronecker":
                for name, (high, wide) in {"down": (self.rank, out), "up": (out, self.rank)}.items():
                    for side, length in (("column", high // self.parts), ("row", wide // self.parts)):
                        made[f"{layer}.{name}.{side}"] = torch.randn(self.parts, length, generator=generator) * (2 / length) ** 0.5
            elif self.form.startswith("low-rank"):
                made |= {f"{layer}.low": torch.randn(rank, read, generator=generator) / read**0.5, f"{layer}.high": torch.zeros(out, rank)}
            if self.form.endswith("sparse"):
                made[f"{layer}.entries"] = torch.zeros((out + read) * (1 if self.form == "low-rank-sparse" else self.rank))
        return made

    def said(self, first: Weights, held: Weights, inputs: Tensor, masks: Weights) -> Tensor:
        """Logits of the network with what trains."""
        import torch

        for layer in HIDDEN:
            name = f"{layer}.weight"
            weight = held.get(name, first[name]) * masks[name]
            if f"{layer}.low" in held:
                weight = weight + held[f"{layer}.high"] @ held[f"{layer}.low"]
            if (entries := held.get(f"{layer}.entries")) is not None:
                place = first[name].abs().flatten().topk(len(entries)).indices
                weight = weight + torch.zeros(weight.numel()).index_add(0, place, entries).view_as(weight)
            inputs = torch.relu(torch.nn.functional.linear(inputs, weight, held.get(f"{layer}.bias", first[f"{layer}.bias"])))
            if f"{layer}.inner" in held:
                down, up = self._sides(held, layer)
                inner = torch.relu(torch.nn.functional.linear(inputs, down, held[f"{layer}.inner"]))
                inputs = inputs + torch.nn.functional.linear(inner, up, held[f"{layer}.outer"])
        return torch.nn.functional.linear(inputs, held["2.weight"], held["2.bias"])

    def _sides(self, held: Weights, layer: str) -> tuple[Tensor, Tensor]:
        if self.form == "bottleneck":
            return held[f"{layer}.down"], held[f"{layer}.up"]
        pair = [kronecker(held["shared"], held[f"{layer}.{name}.column"], held[f"{layer}.{name}.row"]) for name in ("down", "up")]
        return pair[0], pair[1]


def kronecker(shared: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """The sum over n of A_n (x) (s_n t_n): [n a, n b] from [n, n, n], [n, a] and [n, b]."""
    import torch

    count, high, wide = len(shared), columns.shape[1], rows.shape[1]
    return torch.einsum("nij,na,nb->iajb", shared, columns, rows).reshape(count * high, count * wide)
