"""Judges of a model's own answers that were taught without anybody's marks, and what they are good for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

KEYS, MEANINGS, WAYS, DRAWN = 300, 30, 16, 8  # questions, things to be said, words for half of these, samples a question
SAID = 2  # words of an answer that are its meaning
BLANK = KEYS + MEANINGS * WAYS
END = BLANK + 1


class JudgedAnswers(Experiment, name="judged-answers"):
    """How well a judge that never saw a mark says which of a model's answers are right (area under the ROC curve over answers).

    Ye and Ng 2024 (Self-J), arXiv:2409.00935: answers that a model samples are marked by how near they are to the reference answer (and by
    the model's own rating of them beside it); a judge learns these marks, with and without the reference, and the one with it teaches the
    one without (self-distillation). The judge then declines answers and picks the best of several.

    A question is one of 300 keys; its answer says two of 30 meanings, of which half have one word and half any of 16. A third of the keys
    are told once, a third 4 times and a third 16 times, so a model knows some; and it is unsure of the word where it knows the meaning, so
    that right answers may be less likely than wrong ones. The mark is the cosine of the mean word vectors of answer and reference, where
    words of one meaning are near one another. A judge is a ridge regression on what the model has inside when it reads question and answer:
    the mean and the last state, and of each word of the answer the log-probability and the entropy of what could stand there; with the
    reference it also sees the mark. ``judge`` was taught by marks; ``distilled`` by the mean of marks and of what the judge with the
    reference says, which is told the very mark that it learns, so that this can be no better than ``judge``; ``likelihood``, the mean
    log-probability of the words, is the rival that needs no teaching, and ``shuffled`` a judge taught by the marks of other answers.
    ``exact`` was taught by what is right, a bound. Judges learn on half of the keys, and are judged on the other.

    ``best`` is the share of questions that the judge's choice of 8 samples answers, ``likeliest`` the choice by likelihood, ``any`` of a
    random one; ``kept`` and ``kept_likelihood`` the share right among the half of all answers that either keeps.
    """

    trial = Trial({"steps": 3})

    unit: ClassVar[str] = "area under the ROC curve"
    better: ClassVar[str] = "higher"

    steps: int = Field(400, ge=1, description="of the model's training, 32 answers each")
    width: int = Field(32, ge=4, multiple_of=4, description="of the model")
    noise: float = Field(0.3, ge=0, description="how far apart the vectors of words of one meaning are, where meanings are 1 long")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import numpy as np

        from windtunnel.kits.detection import area
        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        truth = np.stack([random.permutation(MEANINGS)[:SAID] for _ in range(KEYS)])
        often = random.permutation(np.resize([1, 4, 16], KEYS))
        rows = said(truth, np.repeat(np.arange(KEYS), often), random)
        counted = np.zeros(rows.shape, bool)
        counted[:, 1:] = True
        model = made(seed, END + 1, 1 + SAID, width=self.width)
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate, batch=32)
        keys = np.repeat(np.arange(KEYS), DRAWN)
        answers = written(model, keys[:, None], SAID, random)
        read = reading(model, np.hstack([keys[:, None], answers]))
        right = (meaning(answers) == truth[keys]).all(axis=1)
        vectors = np.repeat(random.standard_normal((MEANINGS, 16)) / 4, WAYS, axis=0)
        vectors += self.noise * random.standard_normal(vectors.shape) / 4
        marks = cosines(vectors, answers, said(truth, keys, random)[:, 1:])
        teaches = np.isin(keys, random.permutation(KEYS)[: KEYS // 2])

        def judge(features: np.ndarray, target: np.ndarray) -> np.ndarray:
            return regression(features[teaches], target[teaches])(features)

        informed = judge(np.hstack([read.inside, marks[:, None]]), marks)
        scores = {
            "judge": judge(read.inside, marks),
            "distilled": judge(read.inside, (marks + informed) / 2),
            "likelihood": read.likelihood,
            "shuffled": judge(read.inside, random.permutation(marks)),
            "exact": judge(read.inside, right.astype(float)),
        }
        new = ~teaches
        found = {name: area(score[new], right[new]) for name, score in scores.items()}
        for name, score in (("best", scores["judge"]), ("likeliest", scores["likelihood"])):
            chosen = score.reshape(KEYS, DRAWN).argmax(axis=1)
            found[name] = float(right.reshape(KEYS, DRAWN)[np.arange(KEYS), chosen][new[::DRAWN]].mean())
        found["any"] = float(right[new].mean())
        for name, score in (("kept", scores["judge"]), ("kept_likelihood", scores["likelihood"])):
            found[name] = float(right[new][score[new] >= np.median(score[new])].mean())
        return found


class Read(NamedTuple):
    """Of each row: what is ``inside`` [rows, 2 * width + 2 * SAID], and the mean log-probability of its words."""

    inside: np.ndarray
    likelihood: np.ndarray


def said(truth: np.ndarray, keys: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A row for each of ``keys``: the key, then its two meanings: an even one in its one word, an odd one in one of 16."""
    import numpy as np

    way = random.integers(WAYS, size=(len(keys), SAID)) * (truth[keys] % 2)
    return np.hstack([keys[:, None], KEYS + WAYS * truth[keys] + way])


def meaning(words: np.ndarray) -> np.ndarray:
    """What words of answers mean; other tokens mean nothing that is true."""
    import numpy as np

    return np.where((words >= KEYS) & (words < BLANK), (words - KEYS) // WAYS, -1)


def cosines(vectors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of the mean word vectors of two answers each; tokens that are no words have no vector."""
    import numpy as np

    def mean(words: np.ndarray) -> np.ndarray:
        known = (words >= KEYS) & (words < BLANK)
        return np.asarray((vectors[np.where(known, words - KEYS, 0)] * known[..., None]).mean(axis=1))

    first, second = mean(one), mean(other)
    return np.asarray((first * second).sum(axis=1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1) + 1e-9))


def reading(model: torch.nn.Module, rows: np.ndarray) -> Read:
    """What ``model`` has inside over ``rows``, and how likely it held the words behind the first."""
    import numpy as np
    import torch

    from windtunnel.kits.text.small import losses

    tokens = torch.from_numpy(np.ascontiguousarray(rows))
    with torch.no_grad():
        state = model.norm(model.states(tokens)[-1])  # type: ignore[operator,index]
        odds = torch.log_softmax(model(tokens[:, :-1]), dim=2)
        unsure = -(odds.exp() * odds).sum(dim=2)
        told = -losses(model, tokens)
        inside = torch.cat([state.mean(dim=1), state[:, -1], told, unsure], dim=1)
        return Read(inside.double().numpy(), told.mean(dim=1).double().numpy())


def regression(given: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A linear regression with a small ridge, as a function."""
    centre, scale = given.mean(axis=0), given.std(axis=0) + 1e-9
    some = (given - centre) / scale
    weights = ridge(some, target - target.mean(), 0.01 * len(some))
    return lambda more: (more - centre) / scale @ weights
