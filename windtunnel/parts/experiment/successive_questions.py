"""Questions of several steps: answered at once, worked out in one pass, or taken apart and answered a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

TOKENS, LONGEST, SLOTS = 8, 4, 6  # values; steps of the longest question; places for steps, so that a question stands anywhere
PLUS, TIMES, END, BLANK = range(TOKENS, TOKENS + 4)
STEP = BLANK + 1  # a step is one token: 2 operations on a value
COUNT = STEP + 2 * TOKENS

Solver = Callable[[list[list[int]], bool], list[int]]


class SuccessiveQuestions(Experiment, name="successive-questions"):
    """The share of questions one step longer than those of training that are answered rightly.

    Dua et al. 2022 (Successive Prompting), arXiv:2212.04092: one model asks for the next simple question, another answers it, and both go
    on until the first says that it is done; supervision of the two is apart, and a tool can take the place of the second.

    A question is a value below 8 and up to four steps, each a sum or a product with a value, modulo 8; training has one to three
    steps, the test four (``longer``) or three (``known``). ``direct`` writes the answer; ``one-pass`` writes all steps with their values,
    then an end, in one go; ``successive`` has a decomposer that reads the question and the steps with answers so far and writes the next
    step or the end, and an answerer that reads a value and a step. Steps of a question stand at a random place, so places are all trained.
    ``with_tool`` is right where answers of steps are looked up and steps are the model's own (0 where there are no steps). All ways see the
    same ``examples`` and train for as many steps; successive ones share them between their two models.
    """

    trial = Trial({"steps": 2, "judged": 10})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    way: Literal["direct", "one-pass", "successive"] = Field("successive", description="how questions are answered")
    examples: int = Field(2000, ge=1, description="training questions")
    steps: int = Field(700, ge=2, description="of training, 32 questions each")
    judged: int = Field(200, ge=1, description="questions of each kind")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``longer``, ``known`` and ``with_tool``."""
        import numpy as np

        random = np.random.default_rng(seed)
        asked = [question(int(random.integers(1, LONGEST)), random) for _ in range(self.examples)]
        solve = self._trained(asked, seed, random)
        longer = [question(LONGEST, random) for _ in range(self.judged)]
        known = [question(LONGEST - 1, random) for _ in range(self.judged)]

        def right(some: list[list[int]], tool: bool = False) -> float:
            return float(np.mean(np.array(solve(some, tool)) == [values(each)[-1] for each in some]))

        return {"longer": right(longer), "known": right(known), "with_tool": 0.0 if self.way == "direct" else right(longer, tool=True)}

    def _trained(self, asked: list[list[int]], seed: int, random: np.random.Generator) -> Solver:
        """A function from questions, and whether a tool works out the steps, to answers."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        start, width = 1 + SLOTS, 1 if self.way == "direct" else 2 * LONGEST + 1
        model = made(seed, COUNT, start + width, width=32)
        works = [[values(each)[-1]] if self.way == "direct" else worked(each) for each in asked]
        rows = np.array([spread(each, random) + work + [BLANK] * (width - len(work)) for each, work in zip(asked, works, strict=True)])
        counted = (np.arange(rows.shape[1]) >= start) & (rows != BLANK)
        if self.way == "successive":
            counted &= (rows >= STEP) | (rows == END)  # values are the other model's
        share = 0.5 if self.way == "successive" else 1.0
        learn(model, rows, counted, random, steps=round(share * self.steps), rate=self.rate, batch=32)
        if self.way != "successive":

            def in_one_pass(some: list[list[int]], tool: bool) -> list[int]:
                told = written(model, np.array([spread(each, random) for each in some]), width).tolist()
                return [one[0] if self.way == "direct" else last_value(one, each[0], tool) for one, each in zip(told, some, strict=True)]

            return in_one_pass
        answerer = made(seed + 1, COUNT, 3, width=32)
        single = np.array([[*pair, after(*pair)] for each in asked for pair in zip(values(each), each[1:], strict=False)])
        learn(
            answerer,
            single,
            np.broadcast_to(np.arange(3) == 2, single.shape),
            random,
            steps=round(0.5 * self.steps),
            rate=self.rate,
            batch=32,
        )

        def successively(some: list[list[int]], tool: bool) -> list[int]:
            found = np.array([each[0] for each in some])
            rows, going = np.array([spread(each, random) for each in some]), np.ones(len(some), bool)
            for _ in range(LONGEST):
                step = written(model, rows, 1)[:, 0]
                going &= step >= STEP
                value = written(answerer, np.stack([found, step], axis=1), 1)[:, 0]
                if tool:
                    value = np.array([after(*pair) for pair in zip(found.tolist(), step.tolist(), strict=True)])
                found = np.where(going, value, found)
                rows = np.hstack([rows, step[:, None], found[:, None]])
            return [int(each) for each in found]

        return successively


def question(steps: int, random: np.random.Generator) -> list[int]:
    """A value and so many steps."""
    return [int(random.integers(TOKENS)), *(STEP + random.integers(2 * TOKENS, size=steps)).tolist()]


def after(value: int, step: int) -> int:
    """What a step makes of a value."""
    times, other = divmod(step - STEP, TOKENS)
    return (value * other if times else value + other) % TOKENS


def values(asked: list[int]) -> list[int]:
    """The value of a question and those after each of its steps."""
    found = [asked[0]]
    for step in asked[1:]:
        found.append(after(found[-1], step))
    return found


def worked(asked: list[int]) -> list[int]:
    """Steps with the values after them, then the end."""
    return [token for step, value in zip(asked[1:], values(asked)[1:], strict=True) for token in (step, value)] + [END]


def spread(asked: list[int], random: np.random.Generator) -> list[int]:
    """The value, then the steps in a run that begins at a random one of the places."""
    before = int(random.integers(SLOTS - len(asked) + 2))
    return ([asked[0]] + [BLANK] * before + asked[1:] + [BLANK] * SLOTS)[: 1 + SLOTS]


def last_value(work: list[int], value: int, tool: bool) -> int:
    """The last value of steps that were worked out, up to the end; with a ``tool`` the steps are taken and their values are not."""
    for step, told in zip(work[::2], work[1::2], strict=False):
        if step < STEP:
            break
        value = after(value, step) if tool else told
    return value
