"""Choosing among answers by the value of their steps, and learning from steps that a search or plain sampling found."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

MODULUS, NUMBERS, STEPS = 11, 5, 4  # sums modulo 11 of five numbers, written out in four steps
CANDIDATES = 8


class StepValues(Experiment, name="step-values"):
    """The share of problems whose chosen answer is right, of eight that a model wrote, before and after it learned from its own.

    Jiang et al. 2025 (MedS3), arXiv:2501.12051: a tree search over steps of reasoning, whose leaves are worth the share of right answers
    that completions of them come to, gives right traces to learn from and values of steps that a reward model learns; of several answers
    the one of the highest reward is taken. A problem is the sum of five numbers modulo 11 with running sums for steps; the base model
    learned few of these, so it errs.

    ``learns`` says what the model is tuned on before it answers: nothing, right traces of ``tree`` search, or of plain ``sampling`` with as
    many completions. The search grows three children from each node of the tree that looks best, by its value and how often it was visited,
    and completes each new node ``completions`` times. ``picks`` says who chooses among the eight: the ``first``, a ``majority`` of answers,
    ``steps``, a logistic regression on the model's states after each step that was fitted to values of steps, by the lowest of its four, or
    ``oracle``, any that is right.

    ``right`` is the share; ``base`` that of the model before tuning, by its likeliest steps; ``traces`` how many right traces were found;
    ``written`` how many completions they took. It needs scikit-learn.
    """

    trial = Trial({"steps": 4, "tuning": 2, "problems": 6, "judged": 10, "budget": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    learns: Literal["nothing", "tree", "sampling"] = Field("nothing", description="what the model is tuned on")
    picks: Literal["first", "majority", "steps", "oracle"] = Field("majority", description="who chooses among eight answers")
    steps: int = Field(170, ge=1, description="of learning the base model, 64 problems each")
    known: int = Field(400, ge=10, description="problems with steps that the base model learned")
    problems: int = Field(150, ge=2, description="with answers alone, to search")
    budget: int = Field(24, ge=8, description="completions for each of them")
    completions: int = Field(4, ge=1, description="of each new node of the tree")
    tuning: int = Field(40, ge=1, description="steps on right traces")
    judged: int = Field(200, ge=5, description="problems that are judged")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW; a fifth of it in tuning")

    def measure(self, seed: int) -> dict[str, float]:
        """``right``, ``base``, ``traces`` and ``written``."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        counted = np.zeros((1, NUMBERS + STEPS), bool)
        counted[:, NUMBERS:] = True
        rows = problems(self.known, random)
        model = made(seed, MODULUS, NUMBERS + STEPS, width=48)
        learn(model, rows, counted.repeat(len(rows), 0), random, steps=self.steps, rate=self.rate)
        held, asked = problems(self.judged, random), problems(self.problems, random)
        base = (written(model, held[:, :NUMBERS], STEPS)[:, -1] == held[:, -1]).mean()
        traces, spent = 0, 0
        if self.learns != "nothing":
            found = [self._traces(model, one, random) for one in asked]
            right = np.concatenate([part for part, _ in found])
            traces, spent = len(right), sum(count for _, count in found)
            if traces:
                learn(model, right, counted.repeat(traces, 0), random, steps=self.tuning, rate=self.rate / 5)
        answers = written(model, np.repeat(held[:, :NUMBERS], CANDIDATES, axis=0), STEPS, random).reshape(len(held), CANDIDATES, STEPS)
        chosen = self._picked(model, held, answers, random)
        return {"right": float(chosen.mean()), "base": float(base), "traces": float(traces), "written": float(spent)}

    def _traces(self, model: object, problem: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, int]:
        """Right rows of a problem, [rows, NUMBERS + STEPS], each once, and how many completions they took."""
        import numpy as np

        from windtunnel.kits.text.small import written

        numbers, goal = problem[:NUMBERS], problem[-1]
        if self.learns == "sampling":
            rows = written(model, np.repeat(numbers[None], self.budget, axis=0), STEPS, random)
            rows = np.unique(rows[rows[:, -1] == goal], axis=0)
            return np.hstack([np.repeat(numbers[None], len(rows), axis=0), rows]), self.budget
        nodes: list[tuple[tuple[int, ...], float]] = [((), 0.5)]  # steps so far, and the share of completions that came out right
        visits, found, spent = [1], set[tuple[int, ...]](), 0
        while spent + 3 * self.completions <= self.budget:
            open_ = [place for place, (steps, _) in enumerate(nodes) if len(steps) < STEPS - 1]
            if not open_:
                break
            best = max(open_, key=lambda place: nodes[place][1] + 2 * (np.log(sum(visits)) / visits[place]) ** 0.5)
            visits[best] += 1
            prefix = np.array([*numbers, *nodes[best][0]])
            for step in written(model, np.repeat(prefix[None], 3, axis=0), 1, random)[:, 0]:
                steps = (*nodes[best][0], int(step))
                start = np.repeat(np.array([*numbers, *steps])[None], self.completions, axis=0)
                ends = written(model, start, STEPS - len(steps), random)
                spent += self.completions
                right = ends[ends[:, -1] == goal]
                found.update((*steps, *map(int, end)) for end in right)
                nodes.append((steps, len(right) / len(ends)))
                visits.append(1)
        rows = np.array(sorted(found)).reshape(-1, STEPS)
        return np.hstack([np.repeat(numbers[None], len(rows), axis=0), rows]), spent

    def _picked(self, model: object, held: np.ndarray, answers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Whether the chosen answer of each problem is right."""
        import numpy as np

        right = answers[:, :, -1] == held[:, None, -1]
        if self.picks == "first":
            return right[:, 0]
        if self.picks == "oracle":
            return right.any(axis=1)
        if self.picks == "majority":
            often = np.array([[(row == one).sum() for one in row] for row in answers[:, :, -1]])
            return right[np.arange(len(held)), often.argmax(axis=1)]
        values = self._judge(model, random)(np.repeat(held[:, :NUMBERS], CANDIDATES, axis=0), answers.reshape(-1, STEPS))
        return right[np.arange(len(held)), values.reshape(answers.shape[:2]).argmax(axis=1)]

    def _judge(self, model: object, random: np.random.Generator):  # type: ignore[no-untyped-def]
        """The lowest value of the steps of answers, learned by a regression from whether completions of a step came out right."""
        import numpy as np

        from windtunnel.core.errors import needing
        from windtunnel.kits.text.small import written

        with needing(self.name, "scikit-learn", "vision"):
            from sklearn.linear_model import LogisticRegression
        known = problems(3 * self.problems, random)
        first = written(model, known[:, :NUMBERS], STEPS, random)
        heads = []
        for step in range(1, STEPS + 1):
            given = np.repeat(np.hstack([known[:, :NUMBERS], first[:, :step]]), self.completions, axis=0)
            ends = written(model, given, STEPS - step, random)[:, -1] if step < STEPS else given[:, -1]
            good = ends == np.repeat(known[:, -1], self.completions)
            if 0 < good.sum() < len(good):
                heads.append((step, LogisticRegression(C=0.03, max_iter=200).fit(states(model, given), good)))

        def value(numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
            each = [head.predict_proba(states(model, np.hstack([numbers, steps[:, :step]])))[:, 1] for step, head in heads]
            return np.min(each, axis=0) if each else np.zeros(len(numbers))

        return value


def problems(count: int, random: np.random.Generator) -> np.ndarray:
    """Rows of numbers and their running sums, [count, NUMBERS + STEPS]."""
    import numpy as np

    numbers = random.integers(0, MODULUS, (count, NUMBERS))
    return np.hstack([numbers, numbers.cumsum(axis=1)[:, 1:] % MODULUS])


def states(model: object, rows: np.ndarray) -> np.ndarray:
    """What the blocks of the model make of the last two tokens of ``rows``, and five times the nats that each step cost it."""
    import numpy as np
    import torch

    from windtunnel.kits.text.small import losses

    tokens = torch.from_numpy(rows)
    with torch.no_grad():
        found = model.states(tokens)  # type: ignore[attr-defined]
        parts = torch.cat([one[:, -2:].flatten(1) for one in found], dim=1).double().numpy()
        cost = losses(model, tokens)[:, NUMBERS - 1 :].double().numpy()
    return np.hstack([parts, 5 * cost])
