"""What a strong student learns from the labels of a weak supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH = 128
HELD_OUT = 5  # one of so many labels of each kind is not trained on
WARM = 0.2  # share of the steps over which the student's own answers come to count
TEMPERATURE = 0.1  # of pretraining


class WeakLabels(Experiment, name="weak-labels"):
    """The accuracy of a student that learns from a supervisor who is often wrong, and how much of the way to right labels it goes.

    Burns et al. 2023, "Weak-to-Strong Generalization", arXiv:2312.09390. The supervisor is a logistic regression on scikit-learn's digits
    at a quarter of their pixels, fitted to ``supervised`` images of each class. It labels ``weak`` other images, with probabilities. The
    student is a linear head on the features of two frozen layers, which were ``pretrained`` without labels to tell shifted and noisy views
    of an image from those of others, or are ``random``. It learns these labels, then ``right`` right ones (Mallen and Belrose 2024,
    arXiv:2410.13215, who ask what a budget of labels of both kinds buys). A fifth of the labels of each kind is held out. With ``stops``
    the head after each kind is that of the step that fitted these best, as theirs; else few right labels undo what many weak ones taught.

    ``confidence`` is the share of the student's own answer in what it learns to say, after a warm-up: its own probabilities made hard, at
    thresholds that keep each class as frequent as the supervisor has it. The numbers are ``accuracy``, that of the supervisor (``weak``)
    and of the same student with right labels of the same images (``ceiling``), and ``recovered``: how much of the way from the one to
    the other it went. It needs scikit-learn.
    """

    trial = Trial({"steps": 4, "pretraining": 4, "weak": 40})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    student: Literal["pretrained", "random"] = Field("pretrained", description="what its features are")
    supervised: int = Field(3, ge=1, description="labelled images of each class that the supervisor learns from")
    weak: int = Field(800, ge=0, description="images that the supervisor labels")
    right: int = Field(0, ge=0, description="rightly labelled images that the student learns from afterwards")
    confidence: float = Field(0.0, ge=0, le=1, description="share of the student's own answer in its targets")
    stops: bool = Field(False, description="whether the head is that of the step that fitted held-out labels best, and not of the last one")
    steps: int = Field(200, ge=1, description="of the student, on labels of each kind")
    pretraining: int = Field(400, ge=1, description="steps without labels")
    rate: float = Field(1e-2, gt=0, description="learning rate of the head (AdamW)")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``recovered``, ``weak`` and ``ceiling``.

        Raises:
            UserError: where scikit-learn is missing, and for more labels than there are images.
        """
        import numpy as np
        import torch
        from sklearn.linear_model import LogisticRegression

        from windtunnel.kits.image.digits import digits

        random = np.random.default_rng(seed)
        found = digits(self.name)
        images, labels = found.data / 16, found.target
        order = random.permutation(len(labels))
        held, rest = order[:600], order[600:]
        known = np.concatenate([rest[labels[rest] == one][: self.supervised] for one in range(10)])
        others = rest[~np.isin(rest, known)]
        blurred = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
        supervisor = LogisticRegression(max_iter=300).fit(blurred[known], labels[known])
        if self.weak + self.right > len(others):
            raise UserError(f"weak-labels: weak {self.weak} and right {self.right} are more than the {len(others)} images that are left")
        told, sure = others[: self.weak], others[len(others) - self.right :]
        soft = supervisor.predict_proba(blurred[others])[: self.weak]
        truth = np.eye(10)[labels]
        taught = [(told, soft, self.confidence), (sure, truth[sure], 0.0)], [(told, truth[told], 0.0), (sure, truth[sure], 0.0)]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            body = self._body(images[rest], random)
            with torch.no_grad():
                features = body(torch.from_numpy(images).float())
                features = (features - features.mean(dim=0)) / (features.std(dim=0) + 0.1)
            heads = [self._taught(features, stages, seed) for stages in taught]
        own, ceiling = (float((head(features[held]).argmax(dim=1).numpy() == labels[held]).mean()) for head in heads)
        weak = float(supervisor.score(blurred[held], labels[held]))
        return {"accuracy": own, "recovered": (own - weak) / max(ceiling - weak, 1e-6), "weak": weak, "ceiling": ceiling}

    def _body(self, images: np.ndarray, random: np.random.Generator) -> Any:
        """Two layers; unless they are random, the views of one image are told from those of the others of a batch (SimCLR)."""
        import torch
        from torch import nn
        from torch.nn.functional import cross_entropy, normalize

        body = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        if self.student == "random":
            return body
        head = nn.Linear(128, 64)

        def loss(step: int) -> torch.Tensor:
            chosen = images[random.choice(len(images), BATCH, replace=False)]
            one, two = (normalize(head(body(_view(chosen, random))), dim=1) for _ in range(2))
            scores, own = one @ two.T / TEMPERATURE, torch.arange(BATCH)
            return cross_entropy(scores, own) + cross_entropy(scores.T, own)

        take_steps(torch.optim.AdamW([*body.parameters(), *head.parameters()], 1e-3), loss, self.pretraining)
        return body

    def _taught(self, features: torch.Tensor, stages: list[tuple[np.ndarray, np.ndarray, float]], seed: int) -> Any:
        """A head trained on each of ``stages``: rows of ``features``, the probabilities of their labels, and the confidence."""
        import copy

        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        head = torch.nn.Linear(128, 10)
        for places, wanted, confidence in stages:
            held = len(places) // HELD_OUT
            judged, target = features[places[:held]], torch.from_numpy(wanted[:held]).float()
            optimizer = torch.optim.AdamW(head.parameters(), self.rate)
            best, kept = _cross_entropy(head(judged), target), copy.deepcopy(head.state_dict())
            for step in range(self.steps if len(places) else 0):
                rows = held + random.choice(len(places) - held, min(BATCH, len(places) - held), replace=False)
                logits, told = head(features[places[rows]]), torch.from_numpy(wanted[rows]).float()
                share = confidence * min(1.0, step / (WARM * self.steps))
                loss = _cross_entropy(logits, (1 - share) * told + share * hardened(logits.detach().softmax(dim=1), told))
                take_step(optimizer, loss)
                if self.stops and (now := _cross_entropy(head(judged), target)) < best:
                    best, kept = now, copy.deepcopy(head.state_dict())
            if self.stops and held:
                head.load_state_dict(kept)
        return head


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def hardened(own: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
    """The student's probabilities ``own`` [N, classes] as one class each, at thresholds that give classes the shares they have in ``weak``.

    The threshold of a class is the quantile of its column in ``own`` above which as many rows lie as ``weak`` gives it, as the released
    code has it for two classes; a row's class is the one that is furthest above its threshold.
    """
    import torch

    shares = weak.mean(dim=0)
    columns = zip(own.unbind(dim=1), (1 - shares).clamp(0, 1).tolist(), strict=True)
    thresholds = torch.stack([column.quantile(share) for column, share in columns])
    best = (own - thresholds).argmax(dim=1)
    return torch.nn.functional.one_hot(best, own.shape[1]).to(own.dtype)


def _view(images: np.ndarray, random: np.random.Generator) -> torch.Tensor:
    """``images`` [N, 64] moved by a pixel at most, lighter or darker, with noise."""
    import numpy as np
    import torch

    squares = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    down, right = random.integers(3, size=(2, len(images)))
    grid = np.arange(8)
    moved = squares[np.arange(len(images))[:, None, None], down[:, None, None] + grid[:, None], right[:, None, None] + grid]
    changed = moved * random.uniform(0.7, 1.3, (len(images), 1, 1)) + 0.15 * random.standard_normal(moved.shape)
    return torch.from_numpy(changed.reshape(-1, 64)).float()
