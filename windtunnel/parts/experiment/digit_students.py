"""A small network that learns digits from few labels and from what a larger one makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.students import Student, Teacher


class DigitStudents(Experiment, name="digit-students"):
    """How many held-out digits a student of eight hidden numbers tells rightly, by what its teacher gives it.

    ``labels`` learns from ``labelled`` digits by cross entropy; ``both`` adds half of the divergence from the teacher's probabilities,
    ``js`` takes their Jensen-Shannon divergence alone and no labels (Cui et al. 2021, arXiv:2103.05959, SSLD), ``kl`` the usual one. With
    ``pool`` all digits that are not held out are seen, the rest without a label; SSLD chooses them by the teacher, here all fit.

    ``features`` adds to cross entropy the squared distance between unit vectors of the teacher's hidden layer and of a projection of the
    student's; ``tail`` also puts the projection through the teacher's last layer and compares its probabilities (Fan et al. 2024,
    arXiv:2411.06786, ScaleKD, without its maps and its second view).

    With ``task: parity`` the student learns whether a digit is odd, which the teacher was never asked: ``prototypes`` adds to its hidden
    layer what it finds among 16 centres of the teacher's hidden layer by attention, ``random`` the same with centres at random (Li et al.
    2022, arXiv:2212.13180, as we read its abstract).

    The numbers are ``accuracy`` of the student, that of the ``teacher``, and ``parameters`` that the student keeps.
    """

    trial = Trial({"steps": 4, "teacher_steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    gives: Literal["labels", "both", "js", "kl", "features", "tail", "prototypes", "random"] = Field(
        "labels", description="what is learned from"
    )
    task: Literal["digit", "parity"] = Field("digit", description="what the student is asked")
    labelled: int = Field(100, ge=20, description="digits with a label")
    pool: bool = Field(False, description="whether digits without a label are seen as well")
    steps: int = Field(300, ge=1, description="of the student, 64 digits each")
    teacher_steps: int = Field(400, ge=1, description="of the teacher, on all digits that are not held out")
    teacher_width: int = Field(128, ge=8, description="hidden numbers of the teacher")
    width: int = Field(8, ge=2, description="hidden numbers of the student")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``teacher`` and ``parameters``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.digits import digits
        from windtunnel.kits.image.students import Student, Teacher, centres

        found, random = digits(self.name), np.random.default_rng(seed)
        held = random.random(len(found.target)) < 0.3
        images, truth = torch.from_numpy(found.data / 8 - 1).float(), torch.from_numpy(found.target)
        wanted = truth % 2 if self.task == "parity" else truth
        rest = np.nonzero(~held)[0]
        few = random.choice(rest, self.labelled, replace=False)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            teacher = Teacher(self.teacher_width)
            teacher.learn(images[rest], truth[rest], self.teacher_steps, random)
            points = None
            if self.gives in ("prototypes", "random"):
                points = centres(teacher.hidden(images[rest]).detach(), 16, random)
                points = torch.randn_like(points) * points.std() if self.gives == "random" else points
            student = Student(self.width, 2 if self.task == "parity" else 10, self.teacher_width, points)
            self._learned(student, teacher, images, wanted, few, rest if self.pool else few, random)
            with torch.no_grad():
                right = (student(images[held]).argmax(dim=1) == wanted[held]).double().mean()
                known = (teacher(images[held]).argmax(dim=1) == truth[held]).double().mean()
        return {"accuracy": float(right), "teacher": float(known), "parameters": float(student.kept())}

    def _learned(
        self,
        student: Student,
        teacher: Teacher,
        images: torch.Tensor,
        wanted: torch.Tensor,
        few: np.ndarray,
        seen: np.ndarray,
        random: np.random.Generator,
    ) -> None:
        """Train ``student`` in place; half of a step is of the ``few``, whose labels alone are read."""
        import numpy as np
        import torch

        known = torch.zeros(len(images), dtype=torch.bool)
        known[torch.from_numpy(few)] = True

        def loss(step: int) -> torch.Tensor:
            rows = torch.from_numpy(np.concatenate([random.choice(few, 32), random.choice(seen, 32)]))
            return self.loss(student, teacher, images[rows], wanted[rows], known[rows])

        take_steps(torch.optim.Adam(student.parameters(), 1e-2, fused=True), loss, self.steps, falling)

    def loss(self, student: Student, teacher: Teacher, images: torch.Tensor, wanted: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Of a batch, of which the ``known`` have labels."""
        import torch
        from torch.nn import functional

        from windtunnel.kits.image.students import jensen_shannon

        logits = student(images)
        total = logits.sum() * 0
        if self.gives not in ("js", "kl") and known.any():
            total = total + functional.cross_entropy(logits[known], wanted[known])
        if self.gives in ("both", "js", "kl"):
            with torch.no_grad():
                given = teacher(images).softmax(dim=1)
            apart = functional.kl_div(logits.log_softmax(dim=1), given, reduction="batchmean")
            apart = jensen_shannon(given, logits.softmax(dim=1)).mean() if self.gives == "js" else apart
            total = total + (0.5 if self.gives == "both" else 1.0) * apart
        if self.gives in ("features", "tail"):
            with torch.no_grad():
                hidden, given = teacher.hidden(images), teacher(images).softmax(dim=1)
            projected = student.project(student.hidden(images))
            total = total + (functional.normalize(projected, dim=1) - functional.normalize(hidden, dim=1)).square().sum(dim=1).mean()
            if self.gives == "tail":
                total = total + functional.kl_div(teacher.out(projected).log_softmax(dim=1), given, reduction="batchmean")
        return total
