"""A question answered from examples that are shown beside it: none, any, or those that are found for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

LABELS, WIDTH = 6, 12  # answers of a task, and numbers of a question
COPIES, NOISE = 3, 0.25  # of each value in the bank, and how far a question is from its value
BATCH, RATE, HIDDEN = 64, 0.01, 64


class RetrievedDemonstrations(Experiment, name="retrieved-demonstrations"):
    """The share of questions of tasks that were not trained on that a small network answers, by how its examples are chosen.

    Mueller et al. 2023, arXiv:2307.00119 (Meta-training with Demonstration Retrieval): in training over many tasks and in testing, labelled
    examples that are nearest to the input are found in a bank of all tasks and shown beside it. Brinkmann et al. 2023,
    arXiv:2310.12537 (PAVE): to extract values of attributes, examples that are like the input are shown in the prompt; models that are
    tuned without them fail at values that were not in training.

    A task has ``values``, points each with one of six answers drawn at random; a question is a point near one of them, with a vector that
    says the task. The bank has three labelled points for each value of each task. The network reads a question through a hidden layer of
    64, and beside it ``shown`` examples by attention: the score of an example is a learned bilinear form of question and example, and what
    is read is the answers of the examples. ``demonstrations`` are ``none``, ``random`` (of the same task), ``random-bank`` (of any),
    ``nearest`` in the bank by the angle of task and point together, or ``nearest-shuffled``, the same with answers of others. ``unseen`` is
    about tasks that were not trained on, ``seen`` about new questions of tasks that were.
    """

    trial = Trial({"steps": 3, "tasks": 8, "values": 4, "asked": 50})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    demonstrations: Literal["none", "random", "random-bank", "nearest", "nearest-shuffled"] = Field(
        "none", description="which examples are shown"
    )
    tested: Literal["same", "random", "nearest"] = Field("same", description="which are shown in testing, if others than in training")
    shown: int = Field(4, ge=1, le=20, description="examples")
    tasks: int = Field(60, ge=4, description="a quarter of which are not trained on")
    values: int = Field(12, ge=2, description="of a task")
    steps: int = Field(400, ge=1, description="of training, 64 questions each")
    asked: int = Field(1500, ge=10, description="questions that are judged, of each kind")

    def measure(self, seed: int) -> dict[str, float]:
        """``unseen`` and ``seen``, and how often an example of the question's own value is ``there``, of unseen tasks."""
        import numpy as np

        random = np.random.default_rng(seed)
        bank = Bank.drawn(self.tasks, self.values, random)
        held = self.tasks // 4
        weights = self._trained(bank, held, random)
        shown = self.demonstrations if self.tested == "same" else self.tested
        found = {}
        for name, first, last in (("unseen", 0, held), ("seen", held, self.tasks)):
            asked = bank.questions(self.asked, first, last, random)
            examples = bank.examples(asked, shown, self.shown, random)
            found[name] = float((answers(weights, bank, asked, examples).argmax(dim=1).numpy() == asked.labels).mean())
            if name == "unseen":
                there = (bank.value[examples.rows] == asked.values[:, None]) & (bank.task[examples.rows] == asked.tasks[:, None])
                found["there"] = float(there.any(axis=1).mean()) if shown != "none" else 0.0
        return {"unseen": found["unseen"], "seen": found["seen"], "there": found["there"]}

    def _trained(self, bank: Bank, held: int, random: np.random.Generator) -> list[torch.nn.Parameter]:
        import numpy as np
        import torch

        size = bank.points.shape[1]
        shapes = ((size, HIDDEN), (HIDDEN,), (HIDDEN, LABELS), (size, size), (LABELS, LABELS))
        weights = [
            torch.nn.Parameter(torch.from_numpy(random.standard_normal(shape).astype(np.float32) / shape[0] ** 0.5)) for shape in shapes
        ]
        optimizer = torch.optim.AdamW(weights, RATE, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, self.steps)
        for _ in range(self.steps):
            asked = bank.questions(BATCH, held, self.tasks, random)
            examples = bank.examples(asked, self.demonstrations, self.shown, random)
            loss = torch.nn.functional.cross_entropy(answers(weights, bank, asked, examples), torch.from_numpy(asked.labels))
            take_step(optimizer, loss)
            schedule.step()
        return weights


class Questions(NamedTuple):
    """``points`` float32 [questions, size], and the task, value and answer of each, int64 [questions]."""

    points: np.ndarray
    tasks: np.ndarray
    values: np.ndarray
    labels: np.ndarray


class ShownExamples(NamedTuple):
    """``rows`` of the bank, int64 [questions, shown], and the ``labels`` that are shown of them; ``none`` where nothing is."""

    rows: np.ndarray
    labels: np.ndarray
    none: bool


class Bank(NamedTuple):
    """Labelled ``points`` [rows, size] of all tasks, with the task, the value and the answer of each row.

    A point is the vector of its task, then its own. ``centres`` [tasks, values, WIDTH], ``names`` [tasks, WIDTH] and ``right`` [tasks,
    values] are what they are drawn around.
    """

    points: np.ndarray
    task: np.ndarray
    value: np.ndarray
    label: np.ndarray
    centres: np.ndarray
    names: np.ndarray
    right: np.ndarray

    @classmethod
    def drawn(cls, tasks: int, values: int, random: np.random.Generator) -> Bank:
        """So many tasks of so many values."""
        import numpy as np

        centres, names = random.standard_normal((tasks, values, WIDTH)), random.standard_normal((tasks, WIDTH))
        right = random.integers(0, LABELS, (tasks, values))
        task, value = (np.repeat(each.ravel(), COPIES) for each in np.indices((tasks, values)))
        points = np.concatenate([names[task], centres[task, value] + NOISE * random.standard_normal((len(task), WIDTH))], axis=1)
        return cls(points.astype(np.float32), task, value, right[task, value], centres, names, right)

    def questions(self, count: int, first: int, last: int, random: np.random.Generator) -> Questions:
        """So many, of tasks from ``first`` to ``last``, the last excluded."""
        import numpy as np

        task, value = random.integers(first, last, count), random.integers(0, self.right.shape[1], count)
        own = self.centres[task, value] + NOISE * random.standard_normal((count, WIDTH))
        return Questions(np.concatenate([self.names[task], own], axis=1).astype(np.float32), task, value, self.right[task, value])

    def examples(self, asked: Questions, chosen: str, shown: int, random: np.random.Generator) -> ShownExamples:
        """Those that are shown beside each question."""
        import numpy as np

        from windtunnel.kits.vectors import unit

        count, rows = len(asked.tasks), len(self.task)
        if chosen.startswith("nearest"):
            found = np.argpartition(-unit(asked.points) @ unit(self.points).T, shown, axis=1)[:, :shown]
        elif chosen == "random":
            each = self.right.shape[1] * COPIES
            found = asked.tasks[:, None] * each + random.integers(0, each, (count, shown))
        else:
            found = random.integers(0, rows, (count, shown))
        labels = self.label[random.permutation(rows)] if chosen == "nearest-shuffled" else self.label
        return ShownExamples(found, labels[found], chosen == "none")


def answers(weights: list[torch.nn.Parameter], bank: Bank, asked: Questions, examples: ShownExamples) -> torch.Tensor:
    """Logits of answers [questions, LABELS]: those of the question through its layer, and those read from examples."""
    import torch

    inner, bias, outer, form, read = weights
    points = torch.from_numpy(asked.points)
    found = torch.relu(points @ inner + bias) @ outer
    if examples.none:
        return found
    near = torch.from_numpy(bank.points[examples.rows])
    odds = torch.einsum("qi,ij,qsj->qs", points, form, near).softmax(dim=1)
    told = torch.einsum("qs,qsl->ql", odds, torch.nn.functional.one_hot(torch.from_numpy(examples.labels), LABELS).float())
    return found + told @ (read * 4)
