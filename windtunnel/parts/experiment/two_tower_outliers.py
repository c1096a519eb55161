"""Two towers tuned on five classes by pairs of image and name, and how well they tell the other five."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class TwoTowerOutliers(Experiment, name="two-tower-outliers"):
    """Outliers told by two towers of image and name that were tuned with a weaker partition.

    Kim and Hwang 2025, "Enhanced OoD Detection through Cross-Modal Alignment of Multi-Modal Representations", arXiv:2503.18817: the
    contrastive loss of pairs less ``pull`` times the logarithm of its partition. That is cross entropy with (1 - pull) of the partition,
    so matched pairs are pulled together even where cross entropy has nothing to say; at 0 it is plain fine-tuning.

    The image tower is linear on scikit-learn's digits and begins with principal components; names are vectors that begin at the mean of
    their class, ``apart`` from all images in one direction, as names and images of pretrained towers are. All pairs of a batch compete,
    and two images of one class do so with the same name, as in the released code. The score is the largest probability of the cosines with
    known names (MCM). The numbers are ``auroc``, the ``gap`` between the mean image and the mean name, and ``accuracy``.
    """

    trial = Trial({"steps": 4})

    unit: ClassVar[str] = "AUROC"
    better: ClassVar[str] = "higher"

    pull: float = Field(0.0, ge=0, le=1, description="share of the partition that is left out")
    steps: int = Field(300, ge=0, description="of tuning; 0 judges the towers as they begin")
    rate: float = Field(3e-3, gt=0, description="learning rate of Adam")
    batch: int = Field(128, ge=2, description="pairs of a step")
    scale: float = Field(20.0, gt=0, description="what cosines are multiplied by")
    width: int = Field(16, ge=2, le=60, description="numbers of a vector")
    apart: float = Field(1.0, ge=0, description="how far names begin from images, in lengths of a vector")

    def measure(self, seed: int) -> dict[str, float]:
        """``auroc``, ``gap`` and ``accuracy``."""
        import numpy as np
        import torch

        from windtunnel.kits.detection import auroc, from_logits
        from windtunnel.kits.image.digits import five_of_ten

        random = np.random.default_rng(seed)
        data, labels, held = five_of_ten(self.name, random)
        train, known, other = ~held & (labels < 5), held & (labels < 5), held & (labels >= 5)
        images, names = self._begun(data, labels, ~held, random)
        self._tuned(images, names, labels[train], train, random)
        with torch.no_grad():
            ends = torch.nn.functional.normalize(names[0], dim=1)
            inside, outside = ((images(rows) @ ends[:5].T).numpy() for rows in (known, other))
            gap = float((images(known).mean(dim=0) - ends[labels[known]].mean(dim=0)).norm())
        area = auroc(from_logits(inside)["msp"], from_logits(outside)["msp"])
        return {"auroc": area, "gap": gap, "accuracy": float((inside.argmax(axis=1) == labels[known]).mean())}

    def _begun(
        self, data: np.ndarray, labels: np.ndarray, train: np.ndarray, random: np.random.Generator
    ) -> tuple[Any, list[torch.Tensor]]:
        """The image tower as a function of a choice of images, and the names with the matrix that it is, which train."""
        import numpy as np
        import torch
        from sklearn.decomposition import PCA

        found = PCA(self.width, whiten=True, svd_solver="full").fit(data[train]).transform(data)
        inputs = torch.from_numpy(np.concatenate([found, np.ones((len(found), 1))], axis=1)).float()
        matrix = torch.eye(self.width + 1)[:, : self.width].clone().requires_grad_()

        def images(rows: Any) -> torch.Tensor:
            return torch.nn.functional.normalize(inputs[rows] @ matrix, dim=1)

        with torch.no_grad():
            means = torch.stack([images(train & (labels == label)).mean(dim=0) for label in range(10)])
            away = torch.from_numpy(random.standard_normal(self.width)).float()
            names = torch.nn.functional.normalize(means, dim=1) + self.apart * torch.nn.functional.normalize(away, dim=0)
        return images, [names.requires_grad_(), matrix]

    def _tuned(self, images: Any, held: list[torch.Tensor], labels: np.ndarray, train: np.ndarray, random: np.random.Generator) -> None:
        """Train both towers in place on pairs of known images and names."""
        import numpy as np
        import torch

        rows = np.nonzero(train)[0]

        def loss(step: int) -> torch.Tensor:
            chosen = random.choice(len(rows), min(self.batch, len(rows)), replace=False)
            names = torch.nn.functional.normalize(held[0], dim=1)[labels[chosen]]
            logits = self.scale * images(rows[chosen]) @ names.T
            return sum((self.loss(each) for each in (logits, logits.T)), torch.zeros(()))

        take_steps(torch.optim.Adam(held, self.rate), loss, self.steps)

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """Of square logits, whose diagonal are the pairs."""
        return ((1 - self.pull) * logits.logsumexp(dim=1) - logits.diagonal()).mean()
