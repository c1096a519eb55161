"""A labelled image model taught by the vectors that two towers have for its images and for the names of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class TaughtByNames(Experiment, name="taught-by-names"):
    """Shapes told in a style that training lacks, by a student of towers that have seen many styles.

    Addepalli et al. 2024, arXiv:2310.08255 (VL2V-ADiP): the student's vector, through a projection, is drawn to the teacher's vector of the
    image and to that of the class name, ``share`` of the first and the rest of the second, by cosines; at first only the projection learns
    (``align``), then only the student; classes are told by the nearest name. ``labels`` learns a layer by cross entropy, ``names`` is
    ``share`` 0, ``logits`` is the mean of cross entropy with labels and with the teacher's softmax over names. With ``align`` all of them
    learn in these two stages.

    Planted images in styles, linear maps near the identity. Teachers have pairs of six styles, the last of which is the one asked for
    with ``knows``; the student is one hidden layer that learned to say all four attributes of images of the first style, and has
    labelled ones of the first two. The numbers are ``unseen``, the share of shapes told rightly in the style that only the teacher may
    know, ``seen`` and ``teacher``, the teacher's own share in the unseen style.
    """

    trial = Trial({"images": 60, "steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    loss: Literal["labels", "logits", "names", "both"] = Field("labels", description="what the student learns from")
    align: bool = Field(True, description="whether the projection learns alone first")
    share: float = Field(0.5, ge=0, le=1, description="of `both`: weight of the teacher's vector of the image")
    images: int = Field(400, ge=50, description="labelled images")
    steps: int = Field(200, ge=2, description="of the student, both stages together")
    style: float = Field(0.8, ge=0, description="how far the map of a style is from the identity")
    knows: bool = Field(True, description="whether the teacher has seen the unseen style")
    noise: float = Field(0.8, ge=0, description="deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``unseen``, ``seen`` and ``teacher``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.image.planted import PIXELS, PairTowers, PairWorld, drawn_attributes, names, shuffled, told

        random = np.random.default_rng((seed, 0))
        world = PairWorld.drawn(random)
        maps = np.eye(PIXELS) + self.style * random.standard_normal((6, PIXELS, PIXELS)) / np.sqrt(PIXELS)

        def seen(count: int, styles: int | list[int]) -> tuple[np.ndarray, np.ndarray]:
            attributes, which = drawn_attributes(random, count), np.resize(styles, count)
            images = np.stack([world.seen(one[None], random, self.noise, maps[at])[0] for one, at in zip(attributes, which, strict=True)])
            return images, attributes

        images, attributes = seen(2400, list(range(6 if self.knows else 5)))
        teacher = PairTowers.begun(random).fit(images, told(attributes, np.ones((2400, 4), bool), random), shuffled(random, 2400, 64), 300)
        images, attributes = seen(self.images, [0, 1])
        tests = {"unseen": seen(600, 5), "seen": seen(600, [0, 1])}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            body = self._begun(*seen(1000, 0), random)
            head = nn.Linear(64, 16 if self.loss in ("names", "both") else 6)
            with torch.no_grad():
                ends, vectors = teacher.texts(names(0)), teacher.images(images)
            self._taught(body, head, torch.from_numpy(images).float(), torch.from_numpy(attributes[:, 0]), ends, vectors, random)
        found = {}
        for name, (asked, truth) in tests.items():
            with torch.no_grad():
                vector = head(body(torch.from_numpy(asked).float()))
                logits = vector if vector.shape[1] == 6 else vector @ ends.T
            found[name] = float((logits.argmax(dim=1).numpy() == truth[:, 0]).mean())
        return {**found, "teacher": float((teacher.named(tests["unseen"][0], 0) == tests["unseen"][1][:, 0]).mean())}

    def _begun(self, images: np.ndarray, attributes: np.ndarray, random: np.random.Generator) -> torch.nn.Module:
        """The student's layer, which has learned to tell all attributes of images of one style."""
        import torch
        from torch import nn

        from windtunnel.kits.image.planted import PIXELS, told

        body, head = nn.Sequential(nn.Linear(PIXELS, 64), nn.ReLU()), nn.Linear(64, 20)
        wanted = torch.from_numpy(told(attributes, attributes >= 0)[:, :20]).float()
        inputs = torch.from_numpy(images).float()

        def loss(step: int) -> torch.Tensor:
            rows = random.integers(0, len(inputs), 64)
            return nn.functional.binary_cross_entropy_with_logits(head(body(inputs[rows])), wanted[rows])

        take_steps(torch.optim.Adam([*body.parameters(), *head.parameters()], 3e-3, fused=True), loss, 150 if self.steps > 10 else 2)
        return body

    def _taught(
        self,
        body: torch.nn.Module,
        head: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        ends: torch.Tensor,
        vectors: torch.Tensor,
        random: np.random.Generator,
    ) -> None:
        """Train in place: the head first and then the body, or both at once without ``align``."""
        import torch

        def loss(step: int) -> torch.Tensor:
            rows = random.integers(0, len(images), 64)
            return self.distance(head(body(images[rows])), labels[rows], ends, vectors[rows])

        stages = [(head,), (body,)] if self.align else [(head, body)]
        for modules in stages:
            optimizer = torch.optim.Adam([each for module in modules for each in module.parameters()], 3e-3, fused=True)
            take_steps(optimizer, loss, self.steps // len(stages))

    def distance(self, found: torch.Tensor, labels: torch.Tensor, ends: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """The loss of a batch: ``found`` of the student, unit vectors ``ends`` of the names and ``vectors`` of the images."""
        from torch.nn import functional

        if self.loss == "labels":
            return functional.cross_entropy(found, labels)
        if self.loss == "logits":
            wanted = (10 * vectors @ ends.T).softmax(dim=1)
            return (functional.cross_entropy(found, labels) + functional.cross_entropy(found, wanted)) / 2
        share, own = (self.share if self.loss == "both" else 0.0), functional.normalize(found, dim=1)
        return -(share * (own * vectors).sum(dim=1) + (1 - share) * (own * ends[labels]).sum(dim=1)).mean()
