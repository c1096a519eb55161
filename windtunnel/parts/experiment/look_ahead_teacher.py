"""Self-training whose teacher is asked after steps that are then taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor


class LookAheadTeacher(Experiment, name="look-ahead-teacher"):
    """Accuracy on images without labels of another kind, which a moving average of the network itself labels.

    Du et al. 2022, "Learning from Future: A Novel Self-Training Framework for Semantic Segmentation", arXiv:2209.06993, on classes of
    scikit-learn's digits in the place of pixels: labelled upright digits, and digits turned by ``degrees`` with noise. A step's loss is
    cross entropy on labels, plus that on what the teacher says of the others where it is surer than ``sure``. The teacher is the average
    of the weights, ``slow`` of which stay at each step. ``ahead``: so many steps are taken on the batch first, the teacher following,
    then the weights go back and one step is taken with the labels of that teacher. As in the authors' code neither the teacher nor the
    optimizer's moments go back: with ``restore`` the moments do.

    ``teacher: none`` learns from labels alone. A step of ``ahead`` K costs K + 1 others, so ``steps`` of others have to be that many
    more at equal cost. ``accuracy`` is the teacher's on held-out turned digits.
    """

    trial = Trial({"steps": 4, "before": 4, "ahead": 1})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    teacher: Literal["average", "none"] = Field("average", description="who labels images without labels")
    ahead: int = Field(0, ge=0, description="steps that are taken and taken back before each")
    restore: bool = Field(False, description="whether the optimizer's moments go back too")
    slow: float = Field(0.99, ge=0, lt=1, description="share of the teacher that stays at each step")
    sure: float = Field(0.8, ge=0, lt=1, description="probability above which the teacher's answer counts")
    degrees: float = Field(15.0, description="by which images without labels are turned")
    before: int = Field(150, ge=0, description="steps on labels alone")
    steps: int = Field(150, ge=1, description="that are kept")
    rate: float = Field(2e-3, gt=0, description="learning rate of Adam")
    width: int = Field(64, ge=1, description="of both hidden layers")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, and ``labelled``, that on held-out upright digits."""
        import copy

        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, classified, dealt, right, said, trained, turned

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        labels, own = data.labels[data.train], data.images[data.train]
        generator = torch.Generator().manual_seed(seed)
        views = turned(data.images, self.degrees)
        views = (views + 0.1 * torch.randn(views.shape, generator=generator)).clamp(0, 1)
        other = views[data.train]
        held = trained(begun((64, self.width, self.width, 10), seed), classified(own, labels), len(own), self.before, 3e-3, random)
        held = {name: weight.clone().requires_grad_() for name, weight in held.items()}
        average = {name: weight.detach().clone() for name, weight in held.items()}
        optimizer = torch.optim.Adam(list(held.values()), self.rate, foreach=False)

        def follow() -> None:
            for name, weight in held.items():
                average[name].mul_(self.slow).add_(weight.detach(), alpha=1 - self.slow)

        def step(rows: Tensor, others: Tensor) -> None:
            loss = torch.nn.functional.cross_entropy(said(held, own[rows]), labels[rows])
            if self.teacher == "average":
                with torch.no_grad():
                    certain, guess = said(average, other[others]).softmax(dim=1).max(dim=1)
                each = torch.nn.functional.cross_entropy(said(held, other[others]), guess, reduction="none")
                loss = loss + (each * (certain > self.sure)).mean()
            take_step(optimizer, loss)

        for _ in range(self.steps):
            rows, others = (torch.from_numpy(random.integers(len(own), size=32)) for _ in range(2))
            if self.ahead:
                kept = {name: weight.detach().clone() for name, weight in held.items()}
                moments = copy.deepcopy(optimizer.state_dict()) if self.restore else None
                for _ in range(self.ahead):
                    follow()
                    step(rows, others)
                follow()
                with torch.no_grad():
                    for name, weight in held.items():
                        weight.copy_(kept[name])
                if moments is not None:
                    optimizer.load_state_dict(moments)
            step(rows, others)
            if not self.ahead:
                follow()
        return {
            "accuracy": right(average, views[data.held], data.labels[data.held]),
            "labelled": right(average, data.images[data.held], data.labels[data.held]),
        }
