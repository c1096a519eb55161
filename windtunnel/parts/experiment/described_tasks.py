"""Tasks on strings that are described in words: which descriptions, how many tasks, and whose examples make new ones work."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SYMBOLS, LENGTH, WORDS = 10, 5, 2  # of strings; words of a description
MOVES = ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 2, 3, 4, 0), (4, 0, 1, 2, 3), (1, 0, 2, 4, 3))
CHANGES = 5  # of a symbol: 0 to 4 further on, round the alphabet
HELD = 6  # tasks that no general example is of
MOVE, CHANGE = SYMBOLS, SYMBOLS + len(MOVES)  # the first tokens of words
NUMBER = CHANGE + CHANGES  # the first token of numbers of tasks
BLANK = NUMBER + SYMBOLS * (SYMBOLS - 1)


class DescribedTasks(Experiment, name="described-tasks"):
    """The share of strings that a network writes right by a task that it was not trained on, from its description.

    Mishra et al. 2022 (Natural Instructions), arXiv:2104.08773: models that read a task's definition do tasks that they were not tuned on.
    Zhang, Wang and Charton 2024 (Only-IF), arXiv:2410.04717: rules to replace one symbol by another are followed when they are new only
    if many different ones were in training, however many examples there are, and from the whole alphabet. Shi et al. 2023,
    arXiv:2310.15326: general examples help a specialist of few examples, and the more, the more tasks it is for.

    A task of ``verbs`` orders the five symbols of a string in one of five ways and moves each on in the alphabet by 0 to 4; its definition
    is the two verbs. Of 25 tasks 6 are held out. A task of ``rules`` replaces one of 10 symbols by another wherever it stands; the
    definition is the two symbols, 12 strings of 100 have no place for it, and a third of all 90 rules are held out. ``told`` is what the
    network reads beside the string: the ``definition``, a ``number`` of the task, or ``nothing``. ``tasks`` of those not held out are
    trained on; ``narrow`` takes them from the first half of the alphabet. ``example`` shows one string of the task and what became of it,
    too.

    ``specialist`` examples are of held-out tasks, of ``breadth`` of them, and come as ``share`` of every batch. All arms take as many
    steps. A small transformer that sees in both directions reads and writes in place. ``held`` is the share of strings right by tasks held
    out (those of ``breadth``, where there are special ones), ``seen`` by tasks of general examples.
    """

    trial = Trial({"steps": 3, "judged": 20, "examples": 30})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    kind: Literal["verbs", "rules"] = Field("verbs", description="tasks: two verbs, or rules to replace a symbol")
    told: Literal["definition", "number", "nothing"] = Field("definition", description="what is read beside the string")
    example: bool = Field(False, description="whether one solved string of the task is read as well")
    tasks: int = Field(19, ge=1, description="different tasks of general examples")
    narrow: bool = Field(False, description="whether rules are of the first half of the alphabet (in training)")
    examples: int = Field(4000, ge=1, description="general ones")
    specialist: int = Field(0, ge=0, description="examples of held-out tasks")
    breadth: int = Field(HELD, ge=1, description="held-out tasks that special examples are of")
    share: float = Field(0.5, ge=0, le=1, description="of a batch that is special, where there are special examples")
    batch: int = Field(32, ge=2, description="strings of a step")
    steps: int = Field(500, ge=1, description="of training")
    judged: int = Field(400, ge=1, description="strings of each kind")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``held`` and ``seen``. Raises PartError for more tasks than there are."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import descend
        from windtunnel.kits.text.small import made

        random = np.random.default_rng(seed)
        seen, held = self._tasks(random)
        general = self._rows(seen[random.integers(len(seen), size=self.examples)], random)
        special = self._rows(held[random.integers(len(held), size=self.specialist)], random) if self.specialist else general
        model = made(seed, BLANK + 1, general.given.shape[1], width=48, causal=False)

        def loss(step: int) -> torch.Tensor:
            apart = round(self.batch * self.share) if self.specialist else 0
            of_special = random.integers(len(special.given), size=apart)
            of_general = random.integers(len(general.given), size=self.batch - apart)
            given = torch.from_numpy(np.vstack([special.given[of_special], general.given[of_general]]))
            wanted = torch.from_numpy(np.vstack([special.wanted[of_special], general.wanted[of_general]]))
            return torch.nn.functional.cross_entropy(model(given)[:, -LENGTH:].transpose(1, 2), wanted)

        descend(model, loss, self.steps, self.rate)

        def right(tasks: np.ndarray) -> float:
            asked = self._rows(tasks[random.integers(len(tasks), size=self.judged)], random)
            with torch.no_grad():
                told = model(torch.from_numpy(asked.given))[:, -LENGTH:, :SYMBOLS].argmax(dim=2).numpy()
            return float((told == asked.wanted).all(axis=1).mean())

        return {"held": right(held), "seen": right(seen)}

    def _tasks(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Those of general examples, and those held out: rows of two numbers."""
        import numpy as np

        if self.kind == "verbs":
            every = np.array([(move, change) for move in range(len(MOVES)) for change in range(CHANGES)])
        else:
            every = np.array([(one, other) for one in range(SYMBOLS) for other in range(SYMBOLS) if one != other])
        out = HELD if self.kind == "verbs" else len(every) // 3
        every = every[random.permutation(len(every))]
        held, rest = every[:out][: self.breadth if self.specialist else out], every[out:]
        if self.narrow:
            rest = rest[(rest < SYMBOLS // 2).all(axis=1)]
        if self.tasks > len(rest):
            raise PartError(f"{self.name}: tasks {self.tasks}: {len(rest)} are not held out; lower it")
        return rest[: self.tasks], held

    def _rows(self, tasks: np.ndarray, random: np.random.Generator) -> Rows:
        """A string for each of ``tasks``, with what is told of it."""
        import numpy as np

        strings, shown = (random.integers(SYMBOLS, size=(len(tasks), LENGTH)) for _ in range(2))
        if self.kind == "rules":
            place = random.integers(LENGTH, size=len(tasks))
            applies = random.random(len(tasks)) < 0.8
            for each in (strings, shown):
                each[applies, place[applies]] = tasks[applies, 0]
        told = np.full((len(tasks), WORDS), BLANK)
        if self.told == "definition":
            told = tasks + (np.array([MOVE, CHANGE]) if self.kind == "verbs" else 0)
        elif self.told == "number":
            told[:, 0] = (
                NUMBER + tasks[:, 0] * SYMBOLS + tasks[:, 1] - (tasks[:, 1] > tasks[:, 0] if self.kind == "rules" else 0) - tasks[:, 0]
            )
        between = [shown, done(shown, tasks, self.kind)] if self.example else []
        return Rows(np.hstack([told, *between, strings]), done(strings, tasks, self.kind))


class Rows(NamedTuple):
    """What is read, int64 [rows, places], the string last, and what is to be written, int64 [rows, LENGTH]."""

    given: np.ndarray
    wanted: np.ndarray


def done(strings: np.ndarray, tasks: np.ndarray, kind: str) -> np.ndarray:
    """``strings`` [rows, LENGTH] after ``tasks`` [rows, 2]: a move and a change, or a symbol and what takes its place."""
    import numpy as np

    if kind == "rules":
        return np.where(strings == tasks[:, :1], tasks[:, 1:], strings)
    return np.asarray((np.take_along_axis(strings, np.array(MOVES)[tasks[:, 0]], axis=1) + tasks[:, 1:]) % SYMBOLS)
