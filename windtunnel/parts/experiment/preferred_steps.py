"""Answers with steps in between, tuned by what is preferred to the model's own wrong ones, and revised by the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    Learner = torch.nn.Module

MODULUS, TERMS, JUDGED, BATCH = 5, 5, 300, 32
THINK, AGAIN = MODULUS, MODULUS + 1  # the signs before an answer with its steps, and before another one
STEPS = TERMS - 1  # tokens of an answer: running sums, the last of which is the result
WRONG = 0.5  # share of drafts shown before an answer that have a wrong step
SMOOTH = 5e-3  # of the labels of preferences


class PreferredSteps(Experiment, name="preferred-steps"):
    """The share of sums right that a model writes with their steps, after tuning by preferences of one kind and then another.

    Buehler 2024 (PRefLexOR), arXiv:2410.12375. A first stage lowers NLL(chosen) - beta log sigmoid(log odds(chosen) - log odds(rejected)),
    with odds p / (1 - p) of the mean likelihood of a token (ORPO, Hong et al. 2024, arXiv:2403.07691); the rejected answers are the model's
    own, written anew every ``renewed`` steps. A second stage tells the model's right answers from its wrong ones by the reverse
    Kullback-Leibler divergence of preferences with smoothed labels (EXO, Ji et al. 2024, arXiv:2402.00856), against the model before the
    stage; thoughts may be masked there, so that the result alone counts. At inference the model reads its answer and writes another.

    A question is the sum of five numbers modulo 5, its steps are running sums. The model first learns ``few`` questions with true answers,
    half of them behind a draft that is to be revised, of which half have a wrong step; tuning has ``questions`` more, whose true answers
    are the chosen ones: nothing is retrieved here and no teacher writes them. ``how``: ``tuned`` is the likelihood of chosen answers alone;
    ``odds`` the first stage alone; ``masked`` the first and then the second with thoughts masked, ``whole`` without the mask. All take the
    same steps of tuning, the stages half each, at the rate of ``rates`` that is right most often on the last 100 of ``questions``, which no
    stage learns from.

    ``accuracy`` is the share right of answers that are the likeliest, ``before`` that ahead of tuning, ``revised`` after two revisions,
    ``voted`` of the commonest of three drawn answers, which costs as much.
    """

    trial = Trial({"few": 20, "questions": 110, "steps": 2, "tuning": 2, "rates": [0.001]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    how: Literal["tuned", "odds", "masked", "whole"] = Field("odds", description="what tuning lowers")
    few: int = Field(150, ge=1, le=1000, description="questions that the model learns first")
    questions: int = Field(700, gt=100, le=1800, description="of tuning, the last 100 of which choose the rate")
    steps: int = Field(150, ge=1, description="of learning first, 32 questions each")
    tuning: int = Field(40, ge=2, description="steps of tuning, 32 questions each")
    renewed: int = Field(10, ge=1, description="steps after which rejected answers are written anew")
    beta: float = Field(0.1, gt=0, description="weight of the odds, and of the second stage's preferences")
    rates: tuple[float, ...] = Field((1e-4, 3e-4), min_length=1, description="learning rates of AdamW in tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``before``, ``revised`` and ``voted``."""
        import copy

        import numpy as np

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.text.small import learn, made

        random = np.random.default_rng(seed)
        sums = sums_of(random, self.few + self.questions + JUDGED)
        first, asked, held = np.split(sums, [self.few, self.few + self.questions])
        begun = made(seed, MODULUS + 2, TERMS + 2 * STEPS + 2, width=48)
        learn(begun, *self._first(first, random), random, steps=self.steps, rate=3e-3, batch=BATCH)

        def tuned(rate: float) -> Learner:
            model, own = copy.deepcopy(begun), np.random.default_rng((seed, 1))
            half = self.tuning if self.how in ("tuned", "odds") else self.tuning // 2
            self._stage(model, asked[:-100], own, half, rate, self.how if self.how == "tuned" else "odds")
            if half < self.tuning:
                self._stage(model, asked[:-100], own, self.tuning - half, rate, self.how)
            return model

        model = best(self.rates, tuned, lambda one: right(answers(one, asked[-100:]), asked[-100:]))
        found = answers(model, held)
        again = answers(model, held, answers(model, held, found))
        votes = np.stack([answers(model, held, random=random)[:, -1] for _ in range(3)])
        return {
            "accuracy": right(found, held),
            "before": right(answers(begun, held), held),
            "revised": right(again, held),
            "voted": float((commonest(votes) == truth(held)[:, -1]).mean()),
        }

    def _first(self, sums: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows with true answers, then the same behind drafts; and which tokens are learned. Short rows are filled up behind."""
        import numpy as np

        true = truth(sums)
        drafts = true.copy()
        wrong = random.random(len(sums)) < WRONG
        begin = random.integers(STEPS, size=len(sums))
        slip = random.integers(1, MODULUS, size=len(sums))
        drafts = np.where(wrong[:, None] & (np.arange(STEPS) >= begin[:, None]), (drafts + slip[:, None]) % MODULUS, drafts)
        alone, behind = row(sums, true), row(sums, drafts, true)
        rows = np.concatenate([np.hstack([alone, np.zeros((len(alone), STEPS + 1), int)]), behind])
        counted = np.zeros(rows.shape, bool)
        counted[: len(sums), TERMS + 1 : TERMS + 1 + STEPS] = True
        counted[len(sums) :, -STEPS:] = True
        return rows, counted

    def _stage(self, model: Learner, sums: np.ndarray, random: np.random.Generator, steps: int, rate: float, kind: str) -> None:
        """Tune ``model`` in place."""
        import copy

        import torch

        from windtunnel.kits.small_decoder import descend

        before, pairs = copy.deepcopy(model), list[AnswerPairs]()

        def loss(step: int) -> torch.Tensor:
            if step % self.renewed == 0 and kind != "tuned":
                pairs[:] = [drafted(model, sums, random) if kind == "odds" else told_apart(model, sums, random)]
            some = AnswerPairs(sums, truth(sums), truth(sums)) if kind == "tuned" else pairs[0]
            chosen = random.integers(len(some.sums), size=BATCH) if len(some.sums) else random.integers(0, size=0)
            if not len(chosen):  # every draft is right or every one wrong: there is nothing to prefer
                return 0.0 * next(model.parameters()).sum()
            good = likelihoods(model, some.sums[chosen], some.chosen[chosen])
            if kind == "tuned":
                return -good.mean()
            bad = likelihoods(model, some.sums[chosen], some.rejected[chosen])
            if kind == "odds":
                return -good.mean() - self.beta * torch.nn.functional.logsigmoid(odds(good) - odds(bad)).mean()
            with torch.no_grad():
                ago = [likelihoods(before, some.sums[chosen], one[chosen]) for one in (some.chosen, some.rejected)]
            part = slice(-1, None) if kind == "masked" else slice(None)
            margin = sum_of(good, part) - sum_of(bad, part) - sum_of(ago[0], part) + sum_of(ago[1], part)
            return exact(self.beta * margin).mean()

        descend(model, loss, steps, rate)


class AnswerPairs(NamedTuple):
    """Sums [pairs, TERMS], and answers [pairs, STEPS] that are chosen and rejected."""

    sums: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray


def sums_of(random: np.random.Generator, count: int) -> np.ndarray:
    """``count`` different sums."""
    import numpy as np

    return random.choice(MODULUS**TERMS, count, replace=False)[:, None] // MODULUS ** np.arange(TERMS) % MODULUS


def truth(sums: np.ndarray) -> np.ndarray:
    """Running sums from the second number on."""
    import numpy as np

    return np.asarray(sums.cumsum(axis=1)[:, 1:] % MODULUS)


def row(sums: np.ndarray, *told: np.ndarray) -> np.ndarray:
    """Sums, a sign, an answer, and a sign before each further one."""
    import numpy as np

    parts = [sums]
    for place, one in enumerate(told):
        parts += [np.full((len(sums), 1), AGAIN if place else THINK), one]
    return np.hstack(parts)


def answers(model: Learner, sums: np.ndarray, draft: np.ndarray | None = None, random: np.random.Generator | None = None) -> np.ndarray:
    """What the model writes [sums, STEPS], perhaps behind a draft; the likeliest, or with ``random`` drawn."""
    import numpy as np

    from windtunnel.kits.text.small import written

    empty = np.zeros((len(sums), 0), int)
    prompts = row(sums, empty) if draft is None else row(sums, draft, empty)
    return written(model, prompts, STEPS, random).clip(max=MODULUS - 1)


def right(found: np.ndarray, sums: np.ndarray) -> float:
    """The share whose last token is the result."""
    return float((found[:, -1] == truth(sums)[:, -1]).mean())


def commonest(votes: np.ndarray) -> np.ndarray:
    """Of each column the number that comes most often, of equals the first of the votes."""
    import numpy as np

    return np.array([max(column, key=column.count) for column in votes.T.tolist()])


def drafted(model: Learner, sums: np.ndarray, random: np.random.Generator) -> AnswerPairs:
    """True answers, and what the model writes: its own where it is wrong, all others left out."""
    found = answers(model, sums, random=random)
    wrong = (found != truth(sums)).any(axis=1)
    return AnswerPairs(sums[wrong], truth(sums)[wrong], found[wrong])


def told_apart(model: Learner, sums: np.ndarray, random: np.random.Generator) -> AnswerPairs:
    """Of four drawn answers of each sum one with a right result and one with a wrong one, where there are both."""
    import numpy as np

    drawn = np.stack([answers(model, sums, random=random) for _ in range(4)], axis=1)
    hits = drawn[:, :, -1] == truth(sums)[:, -1:]
    both = hits.any(axis=1) & ~hits.all(axis=1)
    place = np.arange(len(sums))
    return AnswerPairs(sums[both], drawn[place, hits.argmax(axis=1)][both], drawn[place, hits.argmin(axis=1)][both])


def likelihoods(model: Learner, sums: np.ndarray, told: np.ndarray) -> torch.Tensor:
    """Logarithms of the likelihood of each token of answers, [sums, STEPS]."""
    import torch

    from windtunnel.kits.text.small import losses

    return -losses(model, torch.from_numpy(row(sums, told)))[:, -STEPS:]


def odds(likely: torch.Tensor) -> torch.Tensor:
    """log p / (1 - p) of the mean likelihood of a token, [answers]."""
    import torch

    mean = likely.mean(dim=1).clamp(max=-1e-6)
    return mean - torch.log1p(-mean.exp())


def sum_of(likely: torch.Tensor, places: slice) -> torch.Tensor:
    """The logarithm of the likelihood of what stands at ``places``, [answers]."""
    return likely[:, places].sum(dim=1)


def exact(margins: torch.Tensor) -> torch.Tensor:
    """KL of (sigmoid(m), sigmoid(-m)) from (1 - SMOOTH, SMOOTH), of each margin."""
    import math

    import torch

    good, bad = torch.nn.functional.logsigmoid(margins), torch.nn.functional.logsigmoid(-margins)
    return good.exp() * (good - math.log(1 - SMOOTH)) + bad.exp() * (bad - math.log(SMOOTH))
