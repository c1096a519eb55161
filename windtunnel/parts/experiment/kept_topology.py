"""Two towers that meet captions of one field after the other, and what keeps the likeness of what they knew."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SHARP = 10.0  # what cosines are multiplied by


class KeptTopology(Experiment, name="kept-topology"):
    """The share of images that find their caption among those of all fields after the last one, by what keeps earlier ones.

    Zhu et al. 2023, "CTP: Towards Vision-Language Continual Pretraining via Compatible Momentum Contrast and Topology Preservation",
    arXiv:2308.07146. Pairs are drawn: a thing is a normal vector, its image and its caption are two fixed linear maps of it with noise,
    and a field lies in a subspace of its own, of which ``shared`` dimensions are in all. Two linear towers learn by the contrastive loss
    one field after the other. ``keeps``: ``nothing``; ``topology``: the divergence from the likenesses, image to text, text to image and
    within each, that the towers of the task before give to a batch; ``momentum``: a moving average answers, which moves by 0.05 to the
    weights and by 0.05 to those of the task before, and also gives the targets of the contrast; ``both``: the method; ``features``: the
    squared distance of vectors from those of the task before; ``merged``: after each task the mean of its weights and those before;
    ``joint``: all fields at once, with as many steps.

    ``recall`` is the share of first answers among captions of all fields, ``first`` that of images of the first field and ``last`` that
    of the last.
    """

    trial = Trial({"steps": 3, "fields": 2, "pairs": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    keeps: Literal["nothing", "topology", "momentum", "both", "features", "merged", "joint"] = Field(
        "nothing", description="what keeps earlier fields"
    )
    fields: int = Field(4, ge=2, description="one after the other")
    shared: int = Field(4, ge=0, description="dimensions that all fields have")
    inside: int = Field(8, ge=1, description="dimensions of a field besides")
    size: int = Field(16, ge=1, description="numbers of a vector of image or caption")
    pairs: int = Field(300, ge=2, description="of each field")
    noise: float = Field(0.5, ge=0, description="of images and captions")
    steps: int = Field(100, ge=1, description="on each field")
    rate: float = Field(0.03, gt=0, description="learning rate of Adam")
    weight: float = Field(1.0, ge=0, description="of what keeps")

    def measure(self, seed: int) -> dict[str, float]:
        """``recall``, ``first`` and ``last``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import trained

        random, width = np.random.default_rng(seed), 48
        generator = torch.Generator().manual_seed(seed)
        maps = torch.randn(2, width, width, generator=generator) / width**0.5
        whole = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
        known: list[list[torch.Tensor]] = []
        held: list[list[torch.Tensor]] = []
        for field in range(self.fields):
            begin = self.shared + field * self.inside
            axes = torch.cat([whole[:, : self.shared], whole[:, begin : begin + self.inside]], dim=1)
            for count, where in ((self.pairs, known), (40, held)):
                things = torch.randn(count, axes.shape[1], generator=generator) @ axes.T
                where.append([things @ each + self.noise * torch.randn(count, width, generator=generator) / width**0.5 for each in maps])
        weights = {name: torch.randn(width, self.size, generator=generator) / width**0.5 for name in ("image", "text")}
        fields = [[torch.cat(part) for part in zip(*known, strict=True)]] * self.fields if self.keeps == "joint" else known
        unit = torch.nn.functional.normalize

        def both(towers: dict[str, torch.Tensor], given: list[torch.Tensor]) -> list[torch.Tensor]:
            return [unit(part @ towers[name], dim=1) for name, part in zip(("image", "text"), given, strict=True)]

        answers = {name: each.clone() for name, each in weights.items()}
        for task, given in enumerate(fields):
            before = {name: each.clone() for name, each in weights.items()}

            def loss(towers, rows, given=given, task=task, before=before):  # type: ignore[no-untyped-def]
                some = [part[rows] for part in given]
                image, text = both(towers, some)
                total = contrast(image, text)
                if self.keeps in ("momentum", "both"):
                    slow = [part.detach() for part in both(answers, some)]
                    total = total + contrast(image, slow[1]) + contrast(slow[0], text)
                if task and self.keeps in ("topology", "both"):
                    old = [part.detach() for part in both(before, some)]
                    total = total + self.weight * apart([image, text], old)
                if task and self.keeps == "features":
                    old = [part.detach() for part in both(before, some)]
                    total = total + self.weight * sum(
                        (one - other).square().sum(dim=1).mean() for one, other in zip((image, text), old, strict=True)
                    )
                return total

            def follow(towers, step, task=task, before=before):  # type: ignore[no-untyped-def]
                for name in answers:
                    if task:
                        answers[name] += 0.05 * (towers[name] - answers[name]) + 0.05 * (before[name] - answers[name])
                    else:
                        answers[name] += 0.05 * (towers[name] - answers[name])

            weights = trained(weights, loss, len(given[0]), self.steps, self.rate, random, batch=64, after=follow)
            if task and self.keeps == "merged":
                weights = {name: (each + before[name]) / 2 for name, each in weights.items()}
        towers = answers if self.keeps in ("momentum", "both") else weights
        image, text = both(towers, [torch.cat(part) for part in zip(*held, strict=True)])
        right = ((image @ text.T).argmax(dim=1) == torch.arange(len(image))).float().view(self.fields, -1).mean(dim=1)
        return {"recall": float(right.mean()), "first": float(right[0]), "last": float(right[-1])}


def contrast(image, text):  # type: ignore[no-untyped-def]
    """The contrastive loss of a batch of vectors of length 1, both ways."""
    from windtunnel.kits.image.planted import contrastive

    return contrastive(SHARP * image @ text.T)


def apart(now, old):  # type: ignore[no-untyped-def]
    """Half the divergences of likenesses between modalities, and half of those within, self left out, from those of ``old``."""
    import torch

    total = torch.zeros(())
    for one, other in ((0, 1), (1, 0), (0, 0), (1, 1)):
        logits, wanted = SHARP * now[one] @ now[other].T, SHARP * old[one] @ old[other].T
        if one == other:
            mask = torch.eye(len(logits), dtype=torch.bool)
            logits, wanted = logits.masked_fill(mask, -1e4), wanted.masked_fill(mask, -1e4)
        total = total + torch.nn.functional.kl_div(logits.log_softmax(dim=1), wanted.softmax(dim=1), reduction="batchmean") / 2
    return total
