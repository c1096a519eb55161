"""Whether facts that were told in one way, in several, with their relations, or as questions can be had by asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

ATTRIBUTES, VALUES, WORDINGS, LENGTH = 3, 12, 4, 8  # of a person, values of each, words that may stand before one, tokens of a text
BLANK, ASK, ASK_FRIEND, FRIEND = range(4)  # then attributes, words before values, values of each attribute, and people


class ToldAnew(Experiment, name="told-anew"):
    """The share of questions about people that a model answers, of people about whom no question was ever in training.

    Allen-Zhu and Li 2023, arXiv:2309.14316: a model that saw each person's facts in one text, however often, knows the text by heart and
    cannot be asked; told in other words and orders the facts can be had. Yang et al. 2025 (EntiGraph), arXiv:2409.07431: text about the
    relations of entities of a document teaches more than the document again or in other words. Yuan and Liu 2022, arXiv:2206.11147: text
    turned into prompts and answers teaches more than raw text.

    People have a name of one token, three attributes of twelve values, and a friend. A text names a person and tells the values, each
    behind a word that says nothing of the attribute; ``told`` says how: ``once`` in one order and wording, ``reworded`` in a new wording
    each time, ``permuted`` in a new order, ``both``, or ``related``, where half of the texts are about a person and the friend: the person,
    that they are friends, the friend, and one of the friend's attributes. All arms see as many texts. Of the texts a share ``prompts`` are
    questions and answers about the first half of the people. Then the model is tuned on questions about these and, in a share, on
    ``friends`` of them, for ``tuning`` steps.

    ``asked`` is the share of answers that are right about the other half, ``trained`` about the first; ``two_hop`` of questions about the
    friend of one of the other half; ``by_heart`` the share of values right in the texts as first told, of all people. Chance is 1 in 12.
    """

    trial = Trial({"people": 20, "steps": 4, "tuning": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    told: Literal["once", "reworded", "permuted", "both", "related"] = Field("once", description="how facts are told")
    people: int = Field(200, ge=10, description="of whom half are asked about in training")
    prompts: float = Field(0.0, ge=0, lt=1, description="share of questions among the texts, about the first half")
    friends: float = Field(0.3, ge=0, lt=1, description="share of questions about friends in tuning")
    steps: int = Field(600, ge=1, description="on texts, 64 each")
    tuning: int = Field(300, ge=0, description="on questions, 64 each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW; half of it in tuning")

    def measure(self, seed: int) -> dict[str, float]:
        """``asked``, ``trained``, ``two_hop`` and ``by_heart``."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        values = random.integers(0, VALUES, (self.people, ATTRIBUTES))
        friends = (np.arange(self.people) + random.integers(1, self.people // 2, self.people)) % self.people
        half = self.people // 2
        first, other = np.arange(half), np.arange(half, self.people)
        texts = [self._texts(values, friends, random) for _ in range(20)]
        rows = np.concatenate(texts)
        asked = random.random(len(rows)) < self.prompts
        rows[asked] = questions(random.choice(first, int(asked.sum())), values, random)
        model = made(seed, person(self.people), LENGTH, width=48)
        learn(model, rows, counted(rows), random, steps=self.steps, rate=self.rate)
        heart = as_told(np.arange(self.people), values)
        by_heart = [(written(model, heart[:, : place - 1], 1)[:, 0] == heart[:, place - 1]).mean() for place in (3, 5, 7)]
        if self.tuning:
            who = random.choice(first, 2000)
            rows = questions(who, values, random)
            hop = random.random(len(rows)) < self.friends
            rows[hop] = questions(who[hop], values, random, friends=friends)
            learn(model, rows, counted(rows), random, steps=self.tuning, rate=self.rate / 2)

        def right(people: np.ndarray, of: np.ndarray | None = None) -> float:
            some = questions(np.repeat(people, ATTRIBUTES), values, random, friends=of)
            return float((written(model, some[:, :3], 1)[:, 0] == some[:, 3]).mean())

        found = {"asked": right(other), "trained": right(first), "two_hop": right(other, friends)}
        return found | {"by_heart": float(np.mean(by_heart))}

    def _texts(self, values: np.ndarray, friends: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A text of every person, int64 [people, LENGTH], in the way of ``told``."""
        import numpy as np

        people = np.arange(len(values))
        order = np.tile(np.arange(ATTRIBUTES), (len(people), 1))
        wording = np.zeros(order.shape, np.int64)
        if self.told in ("permuted", "both"):
            order = random.permuted(order, axis=1)
        if self.told in ("reworded", "both"):
            wording = random.integers(0, WORDINGS, order.shape)
        found = as_told(people, values, order, wording)
        if self.told == "related":
            some, which = people[random.random(len(people)) < 0.5], random.integers(0, ATTRIBUTES, len(people))
            found[some] = BLANK
            friend, one = friends[some], which[some]
            told = value(one, values[friend, one])
            found[some, :5] = np.stack([person(some), np.full(len(some), FRIEND), person(friend), worded(0 * one), told], axis=1)
        return found


def named(attribute: np.ndarray) -> np.ndarray:
    """The token of an attribute, which questions alone have."""
    return 4 + attribute


def worded(wording: np.ndarray | int) -> np.ndarray:
    """The token of a word that stands before a value and says nothing of the attribute."""
    import numpy as np

    return np.asarray(4 + ATTRIBUTES + np.asarray(wording))


def value(attribute: np.ndarray, number: np.ndarray) -> np.ndarray:
    """The token of a value; every attribute has values of its own."""
    return 4 + ATTRIBUTES + WORDINGS + attribute * VALUES + number


def person(number: np.ndarray | int):  # type: ignore[no-untyped-def]
    """The token of a person; of how many there are, the size of the vocabulary."""
    return 4 + ATTRIBUTES + WORDINGS + ATTRIBUTES * VALUES + number


def as_told(people: np.ndarray, values: np.ndarray, order: np.ndarray | None = None, wording: np.ndarray | int = 0) -> np.ndarray:
    """A person, then each attribute and its value, in ``order`` [people, ATTRIBUTES]."""
    import numpy as np

    found = np.full((len(people), LENGTH), BLANK, np.int64)
    order = np.tile(np.arange(ATTRIBUTES), (len(people), 1)) if order is None else order
    found[:, 0] = person(people)
    found[:, 1:7:2] = worded(wording)
    found[:, 2:8:2] = value(order, np.take_along_axis(values[people], order, axis=1))
    return found


def questions(people: np.ndarray, values: np.ndarray, random: np.random.Generator, *, friends: np.ndarray | None = None) -> np.ndarray:
    """A question and its answer about each of ``people``, or about their friends: a sign, an attribute, the person, the value."""
    import numpy as np

    which = random.integers(0, ATTRIBUTES, len(people))
    of = people if friends is None else friends[people]
    found = np.full((len(people), LENGTH), BLANK, np.int64)
    sign, told = np.full(len(people), ASK if friends is None else ASK_FRIEND), value(which, values[of, which])
    found[:, :4] = np.stack([sign, named(which), person(people), told], axis=1)
    return found


def counted(rows: np.ndarray) -> np.ndarray:
    """Which tokens are learned: of texts all behind the person, of questions the answer."""
    import numpy as np

    found = rows != BLANK
    asked = (rows[:, 0] == ASK) | (rows[:, 0] == ASK_FRIEND)
    found[asked, :3] = False
    return np.asarray(found)
