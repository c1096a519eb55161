"""Labels told as yes-or-no questions, and what tuning on some of them does for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

TOPICS, OWN, HELD = 40, 8, 10  # topics, words of each, topics that no question of tuning is about
STYLES, STYLED = 6, 20  # ways to write, and words that each way has
TEXT, ABOUT = 24, 6  # words of a text, of which so many are of its topics
STYLE = TOPICS * OWN
NAME = STYLE + STYLES * STYLED
WORDS = NAME + TOPICS
ROUNDS, RATE = 200, 10.0  # of gradient descent


class YesNoQuestions(Experiment, name="yes-no-questions"):
    """How well a model's yes or no sorts texts by topics that it was never asked about, by how many it was tuned on.

    Zhong et al. 2021, arXiv:2104.04670 (Meta-tuning): classification sets are turned into questions with the label's description, a model
    is tuned to say yes or no to those of many sets, and it is judged by the area under the ROC curve of each label of other sets, with
    the likelihood of yes against no as the score. It is better than the same model before, and larger models gain more.

    A text has 24 words, six of them of its two topics of 40, the rest of its style, of which there are six.
    In half of the texts of pre-training the style goes with the topic, in others and in questions it says nothing, so a model has to
    learn what a question is about. Words and names of topics get
    vectors of ``width`` from how often they stand together in ``read`` texts, half of which also hold the name of a topic (singular vectors
    of the positive pointwise mutual information): the pre-trained model. Its answer is name' W (mean vector of the text) with W the
    identity. Tuning fits W by logistic regression on questions about ``topics`` of them, pulled to the identity; half of the questions are
    to be answered by yes. Numbers are mean areas over the 10 topics left out: ``asked`` after tuning, ``before`` it; ``known`` is after
    tuning, over topics tuned on.
    """

    trial = Trial({"read": 200, "questions": 50, "judged": 40})

    unit: ClassVar[str] = "area under the ROC curve"
    better: ClassVar[str] = "higher"

    topics: int = Field(TOPICS - HELD, ge=1, le=TOPICS - HELD, description="that are asked about in tuning")
    width: int = Field(32, ge=2, le=128, description="of vectors")
    tied: float = Field(0.5, ge=0, le=1, description="share of the texts read whose style goes with their first topic")
    read: int = Field(4000, ge=50, description="texts that vectors are made from")
    questions: int = Field(8000, ge=10, description="of tuning")
    pull: float = Field(0.0001, ge=0, description="strength with which W is pulled to the identity")
    judged: int = Field(600, ge=20, description="texts, all asked about every topic that is judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``asked``, ``before`` and ``known``."""
        import numpy as np

        random = np.random.default_rng(seed)
        order = random.permutation(TOPICS)
        held, tuned = order[:HELD], order[HELD : HELD + self.topics]
        vectors = embedded(written(self.read, random, self.tied), self.width, random)
        names = vectors[NAME:]
        texts, asked, answers = questions(written(2 * self.questions, random), tuned, self.questions, random)
        weights = fitted(names[asked], vectors[texts.words].mean(axis=1), answers, self.pull)
        judged = written(self.judged, random)
        seen = vectors[judged.words].mean(axis=1)
        return {
            "asked": area(seen @ weights.T @ names[held].T, judged, held),
            "before": area(seen @ names[held].T, judged, held),
            "known": area(seen @ weights.T @ names[tuned].T, judged, tuned),
        }


class Texts(NamedTuple):
    """``words`` int64 [texts, TEXT] and the two ``topics`` of each [texts, 2]."""

    words: np.ndarray
    topics: np.ndarray


def written(count: int, random: np.random.Generator, tied: float = 0.0) -> Texts:
    """Texts of two topics each, in one style each: with a chance of ``tied`` that of the first topic, which it shares with others."""
    import numpy as np

    first = random.integers(TOPICS, size=count)
    topics = np.stack([first, (first + random.integers(1, TOPICS, size=count)) % TOPICS], axis=1)
    of_which = np.tile(topics, (1, ABOUT // 2))  # as many words of either
    about = of_which * OWN + random.integers(OWN, size=(count, ABOUT))
    style = np.where(random.random(count) < tied, first % STYLES, random.integers(STYLES, size=count))[:, None]
    other = STYLE + style * STYLED + random.integers(STYLED, size=(count, TEXT - ABOUT))
    return Texts(np.hstack([about, other]), topics)


def embedded(texts: Texts, width: int, random: np.random.Generator) -> np.ndarray:
    """A vector for each word and name, [WORDS, width]; half of the texts hold the name of one of their topics, too."""
    import numpy as np

    there = np.zeros((len(texts.words), WORDS))
    np.put_along_axis(there, texts.words, 1.0, axis=1)
    named = np.flatnonzero(random.random(len(there)) < 0.5)
    there[named, NAME + texts.topics[named, random.integers(2, size=len(named))]] = 1
    together = there.T @ there
    np.fill_diagonal(together, 0)
    share = together.sum(axis=1) / together.sum()
    expected = together.sum() * share[:, None] * share
    positive = np.log(np.maximum(together, 1e-12) / np.maximum(expected, 1e-12)).clip(min=0)
    left, size, _ = np.linalg.svd(positive)
    found = left[:, :width] * np.sqrt(size[:width])
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))


def questions(texts: Texts, topics: np.ndarray, count: int, random: np.random.Generator) -> tuple[Texts, np.ndarray, np.ndarray]:
    """``count`` of ``texts``, a topic of ``topics`` that each is asked about, and whether it is about it: half of them are."""
    import numpy as np

    about = np.isin(texts.topics, topics)
    yes = np.flatnonzero(about.any(axis=1))[: count // 2]
    own = np.where(about[yes, 0], texts.topics[yes, 0], texts.topics[yes, 1])
    rest = random.permutation(len(texts.words))
    other = topics[random.integers(len(topics), size=len(rest))]
    no = np.flatnonzero((texts.topics[rest] != other[:, None]).all(axis=1))[: count - len(yes)]
    chosen = np.concatenate([yes, rest[no]])
    answers = np.repeat([1.0, 0.0], [len(yes), len(no)])
    return Texts(texts.words[chosen], texts.topics[chosen]), np.concatenate([own, other[no]]), answers


def fitted(names: np.ndarray, texts: np.ndarray, answers: np.ndarray, pull: float) -> np.ndarray:
    """W of name' W text and a bias by logistic regression, from the identity and pulled to it; both scaled so that steps are even."""
    import numpy as np

    scale = np.linalg.norm(texts, axis=1).mean()
    weights = np.eye(names.shape[1])
    slope = 1 / max(1e-9, float((((names * texts).sum(axis=1)) / scale).std()))  # so that logits begin with a deviation of 1
    texts = texts / scale * slope
    bias = -float(((names @ weights) * texts).sum(axis=1).mean())
    for _ in range(ROUNDS):
        error = 1 / (1 + np.exp(-(((names @ weights) * texts).sum(axis=1) + bias))) - answers
        weights = weights - RATE * ((names * error[:, None]).T @ texts / len(error) + pull * (weights - np.eye(len(weights))))
        bias -= 0.5 * error.mean()
    return np.asarray(weights)


def area(scores: np.ndarray, texts: Texts, topics: np.ndarray) -> float:
    """The mean over ``topics`` of the area under the ROC curve of scores [texts, topics]."""
    import numpy as np

    from windtunnel.kits.detection import area as under

    own = [(texts.topics == topic).any(axis=1) for topic in topics]
    return float(np.mean([under(scores[:, place], about) for place, about in enumerate(own)]))
