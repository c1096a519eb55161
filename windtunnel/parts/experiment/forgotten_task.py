"""What a model forgets of one task, and of others, that is trained on random labels of it; and whether the task is still inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

Task = Literal["large-first", "odd-last", "first-is-last", "has-seven", "large-sum", "rising"]
DIGITS = 5
TASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of digits [rows, DIGITS], whether the answer is yes
    "large-first": lambda digits: digits[:, 0] > 4,
    "odd-last": lambda digits: digits[:, -1] % 2 == 1,
    "first-is-last": lambda digits: digits[:, 0] == digits[:, -1],
    "has-seven": lambda digits: (digits == 7).any(axis=1),
    "large-sum": lambda digits: digits.sum(axis=1) > 22,
    "rising": lambda digits: digits[:, 1] > digits[:, 0],
}
YES = 10 + len(TASKS)  # the number of the token; no is one more


class ForgottenTask(Experiment, name="forgotten-task"):
    """How far forgetting goes, of a task that a model is trained to answer at random.

    Zhang, Choshen and Andreas 2024, arXiv:2409.02228: a model is tuned to random labels of some examples of a task. On held-out examples
    of some tasks it then answers at random as well, on those of others as before; where it was less sure before, forgetting goes further.
    Even where it went far, a linear probe of the hidden states still tells the right answer.

    A small transformer learns six questions about five digits, a token says which. ``task`` is then trained on ``examples`` with random
    labels, nothing else beside. ``forgotten`` is the accuracy on other examples of the task that is lost, as a share of what it was above
    chance; ``others`` the mean of that over the other tasks, ``seen`` that on the examples themselves (by their right answers). ``probe``
    is the accuracy of a logistic regression on the last state of held-out examples, ``accuracy`` that of the model; both are of equally
    many of either answer. ``sure`` was the mean chance of the model's answer before. It needs scikit-learn.
    """

    trial = Trial({"steps": 3, "forgetting": 2, "held_out": 80})

    unit: ClassVar[str] = "share of accuracy"
    better: ClassVar[str] = "higher"

    task: Task = Field("large-first", description="what is to be forgotten")
    examples: int = Field(64, ge=2, description="with random labels")
    held_out: int = Field(400, ge=20, description="examples of each task that are judged")
    steps: int = Field(500, ge=1, description="of learning all tasks, 64 questions each")
    forgetting: int = Field(60, ge=1, description="steps on the random labels, all in each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW; a tenth of it in forgetting")

    def measure(self, seed: int) -> dict[str, float]:
        """``forgotten``, ``others``, ``seen``, ``accuracy``, ``probe`` and ``sure``."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made

        random = np.random.default_rng(seed)
        model = made(seed, YES + 2, DIGITS + 2, width=48)
        rows = np.concatenate([questions(task, 3000, random) for task in TASKS])
        last = np.zeros((1, DIGITS + 2), bool)
        last[:, -1] = True
        learn(model, rows, last.repeat(len(rows), 0), random, steps=self.steps, rate=self.rate)
        held = {task: questions(task, self.held_out, random) for task in TASKS}
        seen = questions(self.task, self.examples, random)
        judged = {**held, "seen": seen}
        before = {name: judge(model, one) for name, one in judged.items()}
        wrong = seen.copy()
        wrong[:, -1] = YES + random.integers(0, 2, len(wrong))
        learn(model, wrong, last.repeat(len(wrong), 0), random, steps=self.forgetting, rate=self.rate / 10, batch=None, decay=0.0)
        after = {name: judge(model, one) for name, one in judged.items()}
        lost = {name: (before[name][0] - after[name][0]) / max(before[name][0] - 0.5, 0.02) for name in judged}
        return {
            "forgotten": lost[self.task],
            "others": float(np.mean([lost[task] for task in TASKS if task != self.task])),
            "seen": lost["seen"],
            "accuracy": after[self.task][0],
            "probe": probed(model, held[self.task], self.name),
            "sure": before[self.task][1],
        }


def questions(task: str, count: int, random: np.random.Generator) -> np.ndarray:
    """Rows int64 [count, DIGITS + 2]: the task, digits, the answer; as many of yes as of no."""
    import numpy as np

    digits = random.integers(0, 10, (40 * count, DIGITS))
    answers = TASKS[task](digits)
    chosen = np.concatenate([np.flatnonzero(answers == wanted)[: count // 2] for wanted in (True, False)])
    names = np.full((len(chosen), 1), 10 + list(TASKS).index(task))
    return np.hstack([names, digits[chosen], YES + ~answers[chosen, None]]).astype(np.int64)


def judge(model: object, rows: np.ndarray) -> tuple[float, float]:
    """The accuracy on questions, and the mean chance of what is answered."""
    import torch

    with torch.no_grad():
        logits = model(torch.from_numpy(rows[:, :-1]))[:, -1, YES:]  # type: ignore[operator]
    chances = logits.softmax(dim=1)
    right = logits.argmax(dim=1) == torch.from_numpy(rows[:, -1] - YES)
    return float(right.double().mean()), float(chances.max(dim=1).values.mean())


def probed(model: object, rows: np.ndarray, name: str) -> float:
    """The accuracy of a logistic regression on the state behind the digits, fitted to one half of the questions, on the other half."""
    import torch

    from windtunnel.core.errors import needing

    with needing(name, "scikit-learn", "vision"):
        from sklearn.linear_model import LogisticRegression
    with torch.no_grad():
        states = model.states(torch.from_numpy(rows[:, :-1]))[-1][:, -1].numpy()  # type: ignore[attr-defined]
    answers = rows[:, -1] == YES
    head = LogisticRegression(C=1.0, max_iter=500).fit(states[::2], answers[::2])
    return float(head.score(states[1::2], answers[1::2]))
