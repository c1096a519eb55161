"""Telling questions that ask the same, from few labelled pairs, after training on something else first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

INTENTS, SUBJECTS, EACH = 60, 12, 5  # intents, five to a subject
FORMS, LENGTH, COMMON = 5, 6, 80  # wordings of a notion, words of a sentence, words that any sentence may have
NOTIONS = INTENTS + SUBJECTS  # each intent and each subject has wordings in questions and others in answers
WORDS = 2 * NOTIONS * FORMS + COMMON
BATCH = 64  # pairs of a step


class MatchedQuestions(Experiment, name="matched-questions"):
    """The accuracy of telling whether two questions have one intent, of intents that had no labelled pair.

    McCreery et al. 2020, arXiv:2008.13546: an encoder is first tuned to tell answers that match a question from others, of which there are
    many for nothing, then to the few labelled pairs of questions; 82.6 percent after 78.7 at most with other tasks first. A question has
    three words of its intent and one of its subject, each in one of five wordings, and two that say nothing; an answer speaks of both in
    wordings of its own. Pairs that do not match are of one subject. An encoder averages the vectors of words; a layer on the product and
    the distance of two averages tells whether they match.

    ``first`` says what comes before the ``pairs`` labelled ones: ``nothing``, ``answers`` that match or not, ``shuffled`` answers with
    labels at random, ``complete``, telling answers from answers half of whose words are others (a task that needs no matching), or
    ``words``, telling a word of a sentence from the mean of its others. All but ``nothing`` take as many steps; ``longer`` spends them on
    the labelled pairs.
    """

    trial = Trial({"steps": 4, "tuning": 3})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    first: Literal["nothing", "answers", "shuffled", "complete", "words", "longer"] = Field("answers", description="what is learned first")
    pairs: int = Field(100, ge=4, description="labelled pairs of questions")
    steps: int = Field(800, ge=1, description="of what comes first, 64 pairs each")
    tuning: int = Field(100, ge=1, description="steps on labelled pairs")
    rate: float = Field(0.01, gt=0, description="learning rate of Adam; a third of it in tuning that comes second")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` on new pairs of held-out intents, and ``seen`` on those of intents with labelled pairs."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        model = matcher(seed)
        subjects = random.permutation(SUBJECTS)
        ours, others = (np.flatnonzero(np.isin(np.arange(INTENTS) // EACH, part)) for part in (subjects[:6], subjects[6:]))
        few = sentences(ours, self.pairs, random)
        tests = [sentences(intents, 1000, random) for intents in (others, ours)]  # drawn first, so that all arms are judged on the same
        if self.first == "longer":
            fit(model, lambda: picked(few, random), self.steps, self.rate)
        elif self.first != "nothing":
            fit(model, lambda: self._first(random), self.steps, self.rate)
        fit(model, lambda: picked(few, random), self.tuning, self.rate if self.first == "nothing" else self.rate / 3)

        def right(one: np.ndarray, two: np.ndarray, match: np.ndarray) -> float:
            with torch.no_grad():
                return float(((model(torch.from_numpy(one), torch.from_numpy(two)) > 0).numpy() == match).mean())

        return {"accuracy": right(*tests[0]), "seen": right(*tests[1])}

    def _first(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A batch of what comes first: two lots of sentences, and whether they match."""
        import numpy as np

        if self.first in ("answers", "shuffled"):
            one, two, match = sentences(np.arange(INTENTS), BATCH, random, answers=True)
            return one, two, random.permutation(match) if self.first == "shuffled" else match
        one, _, _ = sentences(np.arange(INTENTS), BATCH, random, answers=self.first == "complete")
        match = random.random(BATCH) < 0.5
        if self.first == "complete":
            two = one.copy()
            two[~match, ::2] = random.integers(0, WORDS, two[~match, ::2].shape)
            return two, two, match
        two = np.repeat(one[:, :1], LENGTH, axis=1)  # a word, and the others of its sentence or of another one
        rest = np.where(match[:, None], one, np.roll(one, 1, axis=0))
        rest[:, 0] = rest[:, 1]
        return rest, two, match


def sentences(
    intents: np.ndarray, count: int, random: np.random.Generator, *, answers: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Questions, and questions or answers, int64 [count, LENGTH] each, and whether they are of one intent; all pairs are of one subject."""
    import numpy as np

    first, match = random.choice(intents, count), random.random(count) < 0.5
    other = first // EACH * EACH + (first % EACH + random.integers(1, EACH, count)) % EACH
    return said(first, random), said(np.where(match, first, other), random, answers=answers), match


def said(intents: np.ndarray, random: np.random.Generator, *, answers: bool = False) -> np.ndarray:
    """A sentence of each intent, in a random order of words."""
    import numpy as np

    count = len(intents)
    notions = np.stack([intents, intents, intents, INTENTS + intents // EACH], axis=1)
    own = (notions + NOTIONS * answers) * FORMS + random.integers(0, FORMS, (count, 4))
    rest = 2 * NOTIONS * FORMS + random.integers(0, COMMON, (count, LENGTH - 4))
    return random.permuted(np.hstack([own, rest]), axis=1).astype(np.int64)


def picked(few: tuple[np.ndarray, np.ndarray, np.ndarray], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch of labelled pairs."""
    chosen = random.integers(len(few[2]), size=BATCH)
    return few[0][chosen], few[1][chosen], few[2][chosen]


def matcher(seed: int) -> Any:
    """A module from two lots of sentences to log odds that they match."""
    import torch
    from torch import nn

    class Matcher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.EmbeddingBag(WORDS, 32, mode="mean"), nn.Linear(64, 1)
            nn.init.normal_(self.table.weight, std=0.5)

        def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
            first, second = self.table(one), self.table(two)
            return self.head(torch.cat([first * second, (first - second).abs()], dim=1))[:, 0]

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return Matcher()


def fit(model: Any, batch: Any, steps: int, rate: float) -> None:
    """Steps of Adam on pairs that ``batch()`` gives."""
    import torch

    def loss(step: int) -> torch.Tensor:
        one, two, match = (torch.from_numpy(part) for part in batch())
        return torch.nn.functional.binary_cross_entropy_with_logits(model(one, two), match.float())

    take_steps(torch.optim.Adam(model.parameters(), rate), loss, steps)
