"""A teacher that is tuned to what its student learns from, and the student that learns from what it then writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WIDTH, ROWS, STYLES = 6, 4, ("spread", "alike", "noisy", "short", "loud", "plain")
DRAFTS, RIDGE = 6, 0.3  # drafts of a question that are compared, and the student's penalty when it reads one


class PreferredDrafts(Experiment, name="preferred-drafts"):
    """The error of students that learned from a teacher's worked examples, by how the teacher came to choose its style.

    Liu et al. 2024 (ARTE), arXiv:2406.19227: a teacher drafts worked examples, the student says by its one-shot accuracy on a probe set how
    good each is, the teacher is tuned to the best and against the worst by direct preference optimisation, and fresh students learn from
    what it writes then. A draft is four pairs of an input in six dimensions and the answer of a linear task, in one of six styles: inputs
    that are spread, alike, few, large, or with wrong answers, or plain ones. A student reads a draft as a ridge regression does, with an
    eye of its own: some dimensions it sees with noise. The teacher is a softmax over styles.

    ``tuned`` is that teacher; ``untuned`` writes all styles alike; ``best`` is untuned, and of six drafts the one that the student prefers
    is kept, without any tuning, so it costs six times the drafts; ``shuffled`` tunes to preferences of nobody, the control. Students learn
    by gradient steps from as many drafts in every arm. ``error`` is their squared error on new inputs over the variance; ``liked`` the mean
    one-shot error of what was written; ``foretells`` the rank correlation over styles of one-shot error and of the error after learning
    from that style alone.
    """

    trial = Trial({"questions": 6, "written": 8})

    unit: ClassVar[str] = "share of variance"

    how: Literal["tuned", "untuned", "best", "shuffled"] = Field("tuned", description="how the teacher writes")
    questions: int = Field(60, ge=2, description="each with six drafts that are compared")
    written: int = Field(8, ge=2, description="drafts that a student learns from")
    beta: float = Field(0.5, gt=0, description="of the preference loss")
    rounds: int = Field(150, ge=1, description="gradient steps on the teacher")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``liked`` and ``foretells``."""
        import numpy as np
        from scipy.stats import spearmanr

        from windtunnel.kits.vectors import softmax

        random = np.random.default_rng(seed)
        task, eye = random.standard_normal(WIDTH), 0.6 * (random.random(WIDTH) < 0.3)
        logits = np.zeros(len(STYLES))
        if self.how in ("tuned", "shuffled"):
            pairs = []
            for _ in range(self.questions):
                styles = random.integers(len(STYLES), size=DRAFTS)
                errors = [read(*draft(task, int(style), random), task, eye, random) for style in styles]
                order = np.argsort(errors) if self.how == "tuned" else random.permutation(DRAFTS)
                pairs.append((styles[order[0]], styles[order[-1]]))
            logits = preferred(np.array(pairs), self.beta, self.rounds)
        odds = softmax(logits)
        kept, liked = [], []
        for _ in range(self.written):
            drafts = [draft(task, int(random.choice(len(STYLES), p=odds)), random) for _ in range(DRAFTS if self.how == "best" else 1)]
            errors = [read(*one, task, eye, random) for one in drafts]
            kept.append(drafts[int(np.argmin(errors))])
            liked.append(min(errors))
        alone = [[draft(task, style, random) for _ in range(self.written)] for style in range(len(STYLES))]
        shot = [np.mean([read(*one, task, eye, random) for one in some]) for some in alone]
        learned = [learn(some, task, eye, random) for some in alone]
        told = spearmanr(shot, learned).statistic
        return {"error": learn(kept, task, eye, random), "liked": float(np.mean(liked)), "foretells": float(told)}


def draft(task: np.ndarray, style: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [rows, WIDTH] and answers [rows] of a style."""
    import numpy as np

    name = STYLES[style]
    inputs = random.standard_normal((2 if name == "short" else ROWS, WIDTH))
    if name == "spread":
        inputs = 2.0 * np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0][:ROWS]
    elif name == "alike":
        inputs = inputs[:1] + 0.1 * inputs
    elif name == "loud":
        inputs = 4 * inputs
    answers = inputs @ task
    return inputs, answers + (2.0 * random.standard_normal(len(answers)) if name == "noisy" else 0.0)


def read(inputs: np.ndarray, answers: np.ndarray, task: np.ndarray, eye: np.ndarray, random: np.random.Generator) -> float:
    """The squared error, over the variance, of a ridge regression on one draft as the student sees it."""

    seen = inputs + eye * random.standard_normal(inputs.shape)
    found = ridge(seen, answers, RIDGE)
    return float(((found - task) ** 2).sum() / (task**2).sum())


def learn(drafts: list[tuple[np.ndarray, np.ndarray]], task: np.ndarray, eye: np.ndarray, random: np.random.Generator) -> float:
    """The squared error, over the variance, of a student after one normalised gradient step on each draft."""
    import numpy as np

    found = np.zeros(WIDTH)
    for inputs, answers in drafts:
        seen = inputs + eye * random.standard_normal(inputs.shape)
        found = found - 0.5 * seen.T @ (seen @ found - answers) / max((seen**2).sum(), 1e-9)
    return float(((found - task) ** 2).sum() / (task**2).sum())


def preferred(pairs: np.ndarray, beta: float, steps: int, rate: float = 1.0) -> np.ndarray:
    """Logits of styles after gradient steps of direct preference optimisation on pairs [pairs, 2] of the better and the worse.

    Against a teacher that was even, log(p / p_before) of a style is its logit and a constant, so the loss of a pair is
    -log sigmoid(beta (logit of the better - logit of the worse)) (Rafailov et al. 2023, arXiv:2305.18290).
    """
    import numpy as np

    logits = np.zeros(len(STYLES))
    for _ in range(steps):
        margin = beta * (logits[pairs[:, 0]] - logits[pairs[:, 1]])
        push = beta / (1 + np.exp(margin)) / len(pairs)
        change = np.zeros(len(STYLES))
        np.add.at(change, pairs[:, 0], push)
        np.add.at(change, pairs[:, 1], -push)
        logits = logits + rate * change
    return logits
