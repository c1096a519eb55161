"""What a model can tell of its own answers: whether it knows, whether one of them is right, and how sure it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

ANSWERS, DRAWN, SHOWN, CHOICES = 24, 30, 5, 4  # kinds of answers, samples of a question, samples shown, answers to choose from
TOLD = (1, 2, 4, 8, 16, 32)  # how often a fact is told
BINS = 10
HIDDEN, ROUNDS = 64, 150  # of the head


class KnownAnswers(Experiment, name="known-answers"):
    """How well a model's own word tells questions that it can answer from others (area under the ROC curve; half is chance).

    Kadavath et al. 2022, arXiv:2207.05221: a head on the state behind a question is trained by cross-entropy on the share of sampled
    answers that were right (P(IK)); a model is shown a question and an answer and says whether it is true (P(True)), better if it also
    sees other answers of its own; probabilities of choices among few are calibrated, and the better, the larger the model.

    ``subjects`` have an answer in each of two relations, one of 24, and every fact is told 1 to 32 times in a training set of which
    ``passes`` are read. Half of the subjects teach what a model says of itself, the others judge it. ``knows`` is the head on the first
    relation, judged on it; ``elsewhere`` the same head on the second; ``surest`` the rival that needs no training, the probability of the
    likeliest answer. ``true``: the model is tuned to say whether a sampled answer is right, on subjects that teach, and judged on samples
    for others; ``true_shown`` the same where five other samples stand beside; ``likely`` the rival, the probability of the sampled answer.
    ``miscalibrated`` is the expected calibration error of choices among four answers, one of them right, in ten bins; ``right`` the share
    of questions whose likeliest answer is right.
    """

    trial = Trial({"subjects": 24, "passes": 1, "tuning": 2})

    unit: ClassVar[str] = "area under the ROC curve"
    better: ClassVar[str] = "higher"

    width: int = Field(32, ge=4, multiple_of=4, description="of the model")
    subjects: int = Field(360, ge=12, description="each with a fact in both relations")
    passes: int = Field(2, ge=1, description="over the facts as often as they are told")
    tuning: int = Field(200, ge=1, description="steps in which it learns to say what is true")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """The eight numbers."""
        import numpy as np
        import torch

        from windtunnel.kits.detection import area
        from windtunnel.kits.text.small import learn, made

        random = np.random.default_rng(seed)
        facts = told(self.subjects, random)
        words = Words(self.subjects)
        rows = np.repeat(words.rows(facts), facts.often, axis=0)
        model = made(seed, words.count, SHOWN + 5, width=self.width, layers=2)
        counted = np.zeros(rows.shape, bool)
        counted[:, 2] = True
        learn(model, rows, counted, random, steps=max(1, self.passes * len(rows) // 32), rate=self.rate, batch=32)
        asked = torch.from_numpy(words.rows(facts)[:, :2])
        with torch.no_grad():
            states = model.states(asked)[-1][:, -1]
            odds = model.read(states)[:, words.answers].softmax(dim=1).double().numpy()
        odds /= odds.sum(axis=1, keepdims=True)
        drawn = np.stack([random.choice(ANSWERS, DRAWN, p=each) for each in odds])
        correct = drawn == facts.answer[:, None]
        teaches, first = facts.subject < self.subjects // 2, facts.relation == 0
        knows = head(states[teaches & first], correct.mean(axis=1)[teaches & first])(states)
        right = odds.argmax(axis=1) == facts.answer
        here, there = ~teaches & first, ~teaches & ~first
        found = {
            "knows": area(knows[here], right[here]),
            "elsewhere": area(knows[there], right[there]),
            "surest": area(odds.max(axis=1)[here], right[here]),
        }
        judged = facts, words, drawn, correct
        for name, shown in (("true", False), ("true_shown", True)):
            found[name] = self._true(model, judged, teaches, shown, random)
        likely = np.take_along_axis(odds, drawn[:, :1], axis=1)[:, 0]
        found["likely"] = area(likely[~teaches], correct[~teaches, 0])
        return {**found, "miscalibrated": miscalibrated(odds, facts.answer, random), "right": float(right.mean())}

    def _true(
        self,
        model: torch.nn.Module,
        judged: tuple[ToldFacts, Words, np.ndarray, np.ndarray],
        teaches: np.ndarray,
        shown: bool,
        random: np.random.Generator,
    ) -> float:
        """The area by which a tuned copy of ``model`` tells first samples that are right from others, of facts that do not teach."""
        import copy

        import numpy as np
        import torch

        from windtunnel.kits.detection import area
        from windtunnel.kits.text.small import learn

        facts, words, drawn, correct = judged

        def rows(which: np.ndarray, places: np.ndarray) -> np.ndarray:
            """The question, perhaps other samples, the one at ``places``, the sign, and whether it is right."""
            others = words.first + drawn[which][:, -SHOWN:] if shown else np.full((len(which), SHOWN), words.blank)
            sampled = words.first + np.take_along_axis(drawn[which], places[:, None], axis=1)
            verdict = words.no + np.take_along_axis(correct[which], places[:, None], axis=1)
            return np.hstack([words.rows(facts)[which][:, :2], others, sampled, np.full((len(which), 1), words.sign), verdict])

        which = np.flatnonzero(teaches).repeat(DRAWN - SHOWN)
        taught = rows(which, np.tile(np.arange(DRAWN - SHOWN), int(teaches.sum())))
        counted = np.zeros(taught.shape, bool)
        counted[:, -1] = True
        tuned = copy.deepcopy(model)
        learn(tuned, taught, counted, np.random.default_rng(random.integers(2**32)), steps=self.tuning, rate=self.rate, batch=32)
        which = np.flatnonzero(~teaches)
        asked = rows(which, np.zeros(len(which), np.int64))
        with torch.no_grad():
            last = tuned(torch.from_numpy(asked[:, :-1]))[:, -1]
        return area((last[:, words.no + 1] - last[:, words.no]).numpy(), correct[which, 0])


class ToldFacts(NamedTuple):
    """Of each fact: its subject, its relation (0 or 1), its answer and how ``often`` it is told."""

    subject: np.ndarray
    relation: np.ndarray
    answer: np.ndarray
    often: np.ndarray


class Words:
    """The numbers of tokens: subjects come first."""

    def __init__(self, subjects: int) -> None:
        self.relation = subjects
        self.first = subjects + 2
        self.answers = slice(self.first, self.first + ANSWERS)
        self.sign, self.blank, self.no = (self.first + ANSWERS + each for each in range(3))
        self.count = self.no + 2  # yes is behind no

    def rows(self, facts: ToldFacts) -> np.ndarray:
        """Subject, relation, answer."""
        import numpy as np

        return np.stack([facts.subject, self.relation + facts.relation, self.first + facts.answer], axis=1)


def told(subjects: int, random: np.random.Generator) -> ToldFacts:
    """Two facts of each subject; how often one is told says nothing of the other."""
    import numpy as np

    subject = np.tile(np.arange(subjects), 2)
    often = np.concatenate([random.permutation(np.resize(np.repeat(TOLD, 2), subjects)) for _ in range(2)])
    return ToldFacts(subject, np.repeat([0, 1], subjects), random.integers(ANSWERS, size=2 * subjects), often)


def head(states: torch.Tensor, shares: np.ndarray, seed: int = 0) -> Callable[[torch.Tensor], np.ndarray]:
    """A network with one hidden layer that foretells ``shares`` from ``states`` by cross-entropy, as a function from states to logits."""
    import torch

    centre, scale = states.mean(dim=0), states.std(dim=0) + 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Linear(states.shape[1], HIDDEN), torch.nn.GELU(), torch.nn.Linear(HIDDEN, 1)).to(
            states.dtype
        )
    given, wanted = (states - centre) / scale, torch.from_numpy(shares)[:, None].to(states.dtype)

    def loss(step: int) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(network(given), wanted)

    take_steps(torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.3), loss, ROUNDS)

    def told(some: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return network((some - centre) / scale)[:, 0].double().numpy()  # type: ignore[no-any-return]

    return told


def miscalibrated(odds: np.ndarray, answers: np.ndarray, random: np.random.Generator) -> float:
    """The mean gap between how likely a choice is and how often it is right, over bins of one choice among four."""
    import numpy as np

    wrong = (answers[:, None] + np.stack([1 + random.permutation(ANSWERS - 1)[: CHOICES - 1] for _ in answers])) % ANSWERS
    chances = np.take_along_axis(odds, np.hstack([answers[:, None], wrong]), axis=1)
    chances /= chances.sum(axis=1, keepdims=True)
    best, right = chances.max(axis=1), chances.argmax(axis=1) == 0
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    return float(sum(abs(right[bins == each].mean() - best[bins == each].mean()) * (bins == each).mean() for each in np.unique(bins)))
