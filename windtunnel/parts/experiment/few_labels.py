"""What a small classifier of passages makes of few labels and much text without, by the order of what it learns."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

    from windtunnel.kits.text.passages import Passages

PACKAGES = 8
BATCH, RATE = 64, 0.01
JUDGED = 1000  # passages


class FewLabels(Experiment, name="few-labels"):
    """The share of passages whose package a small network names, after text, labels, its own answers or those of a teacher.

    Turc et al. 2019, arXiv:1908.08962 (Well-Read Students): pre-train a small student on text, then teach it the answers of a large one on
    text without labels. Guo 2020 (Predictions For Pre-training): tune on labels, label much text by one's own answers, train the
    pre-trained network on these, and then once more on the labels alone.

    ``route`` is what the network of ``width`` learns, in order: ``labels``; ``pretrained`` then labels; ``longer`` the same with twice
    the pre-training; ``mixed``: labels and own answers together; ``pseudo``: own answers, then labels; ``distilled``: a teacher's
    answers; ``pretrained-distilled``; ``pretrained-distilled-tuned``, with labels at the end; ``teacher``: the teacher itself, which is
    pre-trained, tuned and ``teacher_width`` wide. Own answers are the likeliest class, a teacher's are its probabilities. All but the first
    see the ``unlabelled`` passages and the labelled ones.

    A network is a layer of word vectors, of which the mean is taken, tanh, and a layer of classes. It is pre-trained to foretell the half
    of a passage's words that are hidden from it. Passages are 20 words of Python's documentation, and their classes the eight packages with
    most of them.
    """

    trial = Trial({"labels": 16, "unlabelled": 100, "pretraining": 2, "tuning": 2, "teacher_width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    route: Literal[
        "labels",
        "pretrained",
        "longer",
        "mixed",
        "pseudo",
        "distilled",
        "pretrained-distilled",
        "pretrained-distilled-tuned",
        "teacher",
    ] = Field("labels", description="what the network learns, in order")
    labels: int = Field(100, ge=8, description="passages with a label, as many of each of the eight packages as can be")
    unlabelled: int = Field(2000, ge=8, description="passages without")
    width: int = Field(8, ge=2, description="of the network")
    teacher_width: int = Field(128, ge=2, description="of the teacher")
    pretraining: int = Field(800, ge=1, description="steps on text, 64 passages each")
    tuning: int = Field(200, ge=1, description="steps on answers or labels, 64 passages each")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``. Raises PartError where this Python has no documentation."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        found = documented(self.name)
        order = random.permutation(len(found.package))
        judged, rest = order[:JUDGED], order[JUDGED:]
        first = {package: rest[found.package[rest] == package][: -(-self.labels // PACKAGES)] for package in range(PACKAGES)}
        labelled = np.concatenate(list(first.values()))[: self.labels]
        other = np.setdiff1d(rest, labelled, assume_unique=True)
        unlabelled = random.permutation(other)[: self.unlabelled]
        if len(labelled) < self.labels or len(unlabelled) < self.unlabelled:
            raise PartError(
                f"{self.name}: {len(rest)} passages are fewer than {self.labels} with a label, spread over packages, and "
                f"{self.unlabelled} without; lower one"
            )
        learner = PassageLearner(found.counts, np.concatenate([labelled, unlabelled]), random, self.pretraining, self.tuning)
        gold = np.eye(PACKAGES, dtype=np.float32)[found.package[labelled]]
        network = self._taught(learner, labelled, gold, unlabelled)
        with torch.no_grad():
            answers = network(learner.inputs[judged]).argmax(dim=1).numpy()
        return {"accuracy": float((answers == found.package[judged]).mean())}

    def _taught(self, learner: PassageLearner, labelled: np.ndarray, gold: np.ndarray, unlabelled: np.ndarray) -> torch.nn.Sequential:
        """The network at the end of its route."""
        import numpy as np

        if self.route == "labels":
            return learner.tuned(learner.fresh(self.width), labelled, gold)
        if self.route == "teacher" or "distilled" in self.route:
            teacher = learner.tuned(learner.pretrained(self.teacher_width), labelled, gold)
            if self.route == "teacher":
                return teacher
            student = learner.fresh(self.width) if self.route == "distilled" else learner.pretrained(self.width)
            student = learner.tuned(student, unlabelled, learner.answers(teacher, unlabelled))
            return learner.tuned(student, labelled, gold) if self.route.endswith("tuned") else student
        start = learner.pretrained(self.width, 2 if self.route == "longer" else 1)
        if self.route in ("pretrained", "longer"):
            return learner.tuned(start, labelled, gold)
        own = learner.answers(learner.tuned(start, labelled, gold), unlabelled)
        own = np.eye(PACKAGES, dtype=np.float32)[own.argmax(axis=1)]
        if self.route == "mixed":
            return learner.tuned(start, np.concatenate([labelled, unlabelled]), np.concatenate([gold, own]))
        return learner.tuned(learner.tuned(start, unlabelled, own), labelled, gold)


@functools.lru_cache(1)
def documented(part: str) -> Passages:
    """Passages of this Python. Raises PartError, for ``part``, where it has too few."""
    from windtunnel.data.corpus.tally import Tally
    from windtunnel.kits.text.passages import passages
    from windtunnel.parts.source.builtin import Builtin

    documents = ((str(text), str(place)) for text, place in Builtin(text="docstrings").documents(Tally(part)))
    return passages(documents, PACKAGES, part)


class PassageLearner:
    """Networks on passages: ``counts`` [passages, words], of which ``text`` are read without labels."""

    def __init__(self, counts: np.ndarray, text: np.ndarray, random: np.random.Generator, pretraining: int, tuning: int) -> None:
        import torch

        self.counts, self.text, self.random, self.pretraining, self.tuning = counts, text, random, pretraining, tuning
        self.inputs = torch.from_numpy(counts / counts.sum(axis=1, keepdims=True).clip(min=1))

    def fresh(self, width: int, outputs: int = PACKAGES) -> torch.nn.Sequential:
        """A network as it is drawn; word vectors are of a size that makes means of them neither small nor large."""
        import torch

        layers = [torch.nn.Linear(self.inputs.shape[1], width), torch.nn.Linear(width, outputs)]
        with torch.no_grad():
            for layer, scale in zip(layers, (1.0, width**-0.5), strict=True):
                layer.weight.copy_(torch.from_numpy(scale * self.random.standard_normal((layer.out_features, layer.in_features))))
                layer.bias.zero_()
        return torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])

    def pretrained(self, width: int, times: int = 1) -> torch.nn.Sequential:
        """One that learned to foretell hidden words of ``text``; its layer of classes is fresh."""
        import torch

        network = self.fresh(width, self.inputs.shape[1])

        def loss() -> torch.Tensor:
            counts = self.counts[self.random.choice(self.text, BATCH)].astype(int)
            hidden = torch.from_numpy(self.random.binomial(counts, 0.5)).float()
            seen = torch.from_numpy(counts).float() - hidden
            odds = network(seen / seen.sum(dim=1, keepdim=True).clamp(min=1)).log_softmax(dim=1)
            return -(odds * hidden).sum() / hidden.sum().clamp(min=1)

        descended(network, loss, times * self.pretraining)
        network[2] = self.fresh(width)[2]
        return network

    def tuned(self, network: torch.nn.Sequential, rows: np.ndarray, answers: np.ndarray) -> torch.nn.Sequential:
        """A copy of ``network`` that learned ``answers`` float32 [rows, classes], probabilities, of passages ``rows``."""
        import copy

        import torch

        network = copy.deepcopy(network)
        targets = torch.from_numpy(answers)

        def loss() -> torch.Tensor:
            batch = self.random.integers(0, len(rows), BATCH)
            return torch.nn.functional.cross_entropy(network(self.inputs[rows[batch]]), targets[batch])

        descended(network, loss, self.tuning)
        return network

    def answers(self, network: torch.nn.Sequential, rows: np.ndarray) -> np.ndarray:
        """The probabilities of classes of passages ``rows``, float32 [rows, classes]."""
        import numpy as np
        import torch

        with torch.no_grad():
            return np.asarray(network(self.inputs[rows]).softmax(dim=1).numpy())


def descended(network: torch.nn.Module, loss: Callable[[], torch.Tensor], steps: int) -> None:
    """So many steps of AdamW on what ``loss()`` gives, its rate falling in a straight line."""
    import torch

    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        take_step(optimizer, loss())
        schedule.step()
