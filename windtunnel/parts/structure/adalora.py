"""Train low-rank changes of frozen weights whose ranks go where they matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Progress, Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class AdaLora(Structure, name="adalora"):
    """Freeze the model and train ``(alpha / first rank) P diag(v) Q`` beside weight matrices; entries of v that matter least become 0.

    Zhang et al. 2023, "Adaptive Budget Allocation", arXiv:2303.10512. The importance of an entry is a moving average of |weight x
    gradient| times one of how far it strays from that; that of a triplet is that of its v and the means over its two vectors. Every
    ``every`` steps the triplets of all matrices together that matter most keep their v, as many as a budget allows that falls from
    ``first`` to 1 times ``rank`` per matrix along a cubic curve; the vectors of the others stay, so they can come back, until the ranks
    are fixed. The penalty ``orthogonality`` times the mean over all P and Q of the Frobenius norm of P'P - 1 (not squared, as in the
    authors' code and in peft) is part of the loss. P and Q are normal with deviation 0.02, v is zero, so the model begins as it was.

    peft's class is not wrapped: it adds the penalty only to a loss that the model itself computes, and its averages are in no state.
    """

    trial = Trial({"rank": 2, "every": 1})
    identity = "what is frozen would train without it"

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they are frozen",
        "galore": "it projects the weight matrices of the blocks, and here they are frozen",
    }

    rank: int = Field(8, ge=1, description="how many triplets are left for each matrix, on average")
    first: float = Field(1.5, ge=1, description="how many times as many there are at first")
    alpha: float = Field(16.0, gt=0, description="products are multiplied by alpha over the first rank")
    targets: Targets = Field("all", description="which matrices of the blocks get one")
    warmup: float = Field(0.15, ge=0, lt=1, description="share of the phase before the budget begins to fall")
    fixed: float = Field(0.4, gt=0, lt=1, description="share of the phase at its end in which ranks stay")
    every: int = Field(10, ge=1, description="steps between two allocations")
    orthogonality: float = Field(0.1, ge=0, description="weight of the penalty that keeps P and Q orthogonal (paper: 0.1 to 0.5)")
    averages: tuple[float, float] = Field((0.85, 0.85), description="decay of the averages of importance and of its uncertainty")

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the model and add the triplets. They depend on torch's generator and the name of the weight.

        Raises:
            PartError: where no matrix is found, the first rank is larger than a side of one, or a structure is in place already.
        """
        import torch

        from windtunnel.kits.weights.adapters import Triplets, adapt, chosen
        from windtunnel.models.init import generator
        from windtunnel.parts.structure.low_rank import drawn_seed

        seed, first = drawn_seed(), self.first_rank

        def make(name: str, weight: Tensor) -> Triplets:
            left, right = (
                0.02 * torch.randn(shape, generator=generator(seed, f"{name}.{side}"))
                for side, shape in (("left", (len(weight), first)), ("right", (first, weight.shape[1])))
            )
            return Triplets(left.to(weight.dtype), right.to(weight.dtype), self.alpha / first)

        adapt(model, self.name, chosen(model, self.targets, False, self.name), first, make)

    @property
    def first_rank(self) -> int:
        """How many triplets each matrix begins with."""
        return round(self.first * self.rank)

    def penalty(self, model: PreTrainedModel) -> Tensor | None:
        """How far P and Q are from orthogonal, weighted."""
        import torch

        from windtunnel.kits.weights.adapters import adapters

        if not self.orthogonality:
            return None
        norms = []
        for one in adapters(model, self.name).values():
            for product in (one.left.T @ one.left, one.right @ one.right.T):
                norms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device)))
        return self.orthogonality * torch.stack(norms).mean()

    def budget(self, done: float, matrices: int) -> int:
        """How many triplets ``matrices`` matrices have together at share ``done`` of the phase."""
        most, least = self.first_rank * matrices, self.rank * matrices
        span = 1 - self.warmup - self.fixed
        left = 1 - (done - self.warmup) / span if span > 0 else 0.0
        return most if done < self.warmup else least + int((most - least) * min(1.0, max(0.0, left)) ** 3)

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Learn what matters from the gradients of the step just made, and allocate when that is due."""
        import torch

        from windtunnel.kits.weights.adapters import adapters

        if progress is None:
            return
        found = adapters(model, self.name)
        done = progress.done + 1 / max(1, progress.steps)
        is_fixed, budget = done > 1 - self.fixed, self.budget(done, len(found))
        with torch.no_grad():
            if not is_fixed:
                for one in found.values():
                    one.learn(*self.averages)
            kept = sum(int(one.kept.sum()) for one in found.values())
            if kept != budget if is_fixed else (progress.step + 1) % self.every == 0:
                allocate(found, budget)
                is_fixed = True
            for one in found.values() if is_fixed else ():
                one.values.mul_(one.kept)

    def remove(self, model: PreTrainedModel) -> None:
        """Add the products to the matrices."""
        from windtunnel.kits.weights.adapters import merge

        merge(model, self.name)


def allocate(found: dict[str, Any], budget: int) -> None:
    """Let the ``budget`` triplets of all adapters together be kept that matter most; of equal ones the first."""
    import torch

    scores = [one.scores() for one in found.values()]
    flat = torch.cat(scores)
    kept = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    kept[flat.argsort(descending=True, stable=True)[:budget]] = True
    for one, mine in zip(found.values(), kept.split([len(score) for score in scores]), strict=True):
        one.kept.copy_(mine)
