"""A small and a large network of one task joined in the middle, and what the joint begins from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

    from windtunnel.kits.image.tiny import Weights

LAYERS = 4  # hidden ones of each network, and so three joints: after the first, the second and the third


class StitchedNetworks(Experiment, name="stitched-networks"):
    """Accuracy of networks that begin as a small one and end as a large one, by how the layer between begins.

    Pan et al. 2023, "Stitchable Neural Networks", arXiv:2302.06586. Two networks of four hidden layers, of ``narrow`` and ``wide``, have
    learned digits. After layer n of the narrow one a linear layer takes its place into layer n + 1 of the wide one, for n of 1 to 3. It
    begins as the least squares solution between outputs of both for ``shown`` images, or as ``random`` numbers. Then one of the three
    joints or of the two networks is drawn for each of ``steps`` steps, and all weights train; ``begin: apart`` is what the two networks
    are without any joint, trained as long again, half of the steps each.

    ``joined`` is the mean accuracy of the three joints after the steps and ``joined/before`` ahead of them; ``narrow`` and ``wide`` are
    those of the networks after, ``narrow/before`` and ``wide/before`` ahead. The paper stitches transformers, with a teacher from outside.
    """

    trial = Trial({"steps": 5, "training": 10, "wide": 24, "narrow": 8})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begin: Literal["least-squares", "random", "apart"] = Field("least-squares", description="what a joint begins as")
    narrow: int = Field(12, ge=1, description="of hidden layers of the small network")
    wide: int = Field(96, ge=1, description="of those of the large one")
    training: int = Field(250, ge=1, description="steps of each network before")
    steps: int = Field(150, ge=0, description="of all joints together")
    shown: int = Field(100, ge=1, description="images of the least squares")
    rate: float = Field(1e-3, gt=0, description="learning rate after the joint; three times that before")

    def measure(self, seed: int) -> dict[str, float]:
        """``joined`` and the others above; without a joint ``joined`` is the mean of both networks."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, classified, dealt, share_right, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels = data.images[data.train], data.labels[data.train]
        both = [
            trained(begun((64, *[width] * LAYERS, 10), seed), classified(images, labels), len(images), self.training, 3 * self.rate, random)
            for width in (self.narrow, self.wide)
        ]
        weights = {f"{which}.{name}": weight for which, one in zip(("narrow", "wide"), both, strict=True) for name, weight in one.items()}
        if self.begin != "apart":
            weights.update(self._joints(both[0], both[1], images[: self.shown], seed))
        paths = (0, LAYERS) if self.begin == "apart" else tuple(range(LAYERS + 1))  # 0 is all wide, LAYERS all narrow

        def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
            path = paths[int(random.integers(len(paths)))]
            return torch.nn.functional.cross_entropy(along(held, path, images[rows]), labels[rows])

        after = trained(weights, loss, len(images), self.steps, self.rate, random)
        found: dict[str, dict[int, float]] = {}
        with torch.no_grad():
            for when, held in (("after", after), ("before", weights)):
                found[when] = {path: share_right(along(held, path, data.images[data.held]), data.labels[data.held]) for path in paths}
        joints = [path for path in paths if 0 < path < LAYERS] or list(paths)
        mean = {when: float(np.mean([one[path] for path in joints])) for when, one in found.items()}
        ends = {"narrow": LAYERS, "wide": 0}
        return {
            "joined": mean["after"],
            "joined/before": mean["before"],
            **{name: found["after"][path] for name, path in ends.items()},
            **{f"{name}/before": found["before"][path] for name, path in ends.items()},
        }

    def _joints(self, narrow: Weights, wide: Weights, images: torch.Tensor, seed: int) -> Weights:

        from windtunnel.kits.image.tiny import begun, said

        made = {}
        for place in range(1, LAYERS):
            if self.begin == "random":
                fresh = begun((self.narrow, self.wide), seed * LAYERS + place)
                made[f"joint.{place}.weight"], made[f"joint.{place}.bias"] = fresh["0.weight"], fresh["0.bias"]
                continue
            found = least_squares(said(narrow, images, place), said(wide, images, place))
            made[f"joint.{place}.weight"], made[f"joint.{place}.bias"] = found[:-1].T.contiguous(), found[-1].clone()
        return made


def least_squares(inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """The smallest matrix [in + 1, out], its last row the bias, that brings ``inputs`` [N, in] nearest to ``outputs`` [N, out]."""
    import torch

    return torch.linalg.pinv(torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)) @ outputs


def along(weights: Weights, path: int, inputs: torch.Tensor) -> torch.Tensor:
    """Logits of ``path`` layers of the narrow network and then of the wide one from there on."""
    import torch

    from windtunnel.kits.image.tiny import said

    narrow, wide = (
        {name.removeprefix(which): weight for name, weight in weights.items() if name.startswith(which)} for which in ("narrow.", "wide.")
    )
    if path == 0 or path == LAYERS:
        return said(wide if path == 0 else narrow, inputs)
    joined = torch.nn.functional.linear(said(narrow, inputs, path), weights[f"joint.{path}.weight"], weights[f"joint.{path}.bias"])
    behind = {}
    for name, weight in wide.items():
        place, kind = name.split(".")
        if int(place) >= path:
            behind[f"{int(place) - path}.{kind}"] = weight
    return said(behind, joined)
