"""One model for several tasks on tables that are written as text, by what was hidden of tables in the training before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WORDS = ("blank", "gap-1", "gap-2", "ask", "end", "the", "of", "is", "row", "yes", "no", "select", "where", "which", "true", "query")
BLANK, GAP, _, ASK, END, THE, OF, IS, ROW, YES, NO, SELECT, WHERE, WHICH, TRUE, QUERY = range(len(WORDS))
NAMES, COLUMNS, VALUES = 12, 6, 16
NAME, COLUMN, VALUE = len(WORDS), len(WORDS) + NAMES, len(WORDS) + NAMES + COLUMNS
VOCABULARY = VALUE + VALUES
HEIGHT, WIDTH = 3, 2  # rows and columns of a table
ANSWER = 9  # tokens at most: two gaps with four tokens, and the end
TASKS = ("lookup", "verify", "query")
LONGEST = HEIGHT * (2 + 2 * WIDTH) + 2 * 6 + 1 + ANSWER  # a table, two sentences about it, what asks, and the answer
Example = tuple[list[int], list[int]]  # what is given, and the answer


class LinearTables(Experiment, name="linear-tables"):
    """The share of answers about new tables that are right, mean over three tasks, after tuning on ``examples`` of each.

    Sarkar and Lausen 2023, arXiv:2310.00789: models that were trained on text go on with tables, written row by row with the text that
    stands around them, of which a part is hidden and to be restored; then one model is tuned on all tasks on tables. Tables are made:
    three rows, each with a name and two values with the names of their columns, and two true sentences ("the COLUMN of NAME is VALUE").
    Tasks are ``lookup`` (the value of a column of a name), ``verify`` (whether a sentence is true, a half each) and ``query`` (a
    question written as select and where), with no sentences beside the table.

    A decoder of two layers stands for T5: what is given comes first, and the answer, alone, is learned. Each hidden token becomes the mark
    of its gap, where T5 has one for a span, since places are learned here and not relative. ``then`` is what follows ``text``
    steps on text, for as many again: ``cells``, two whole cells are hidden; ``spans``, two spans of one to three tokens of table and
    sentences; ``text``, the same as before: spans of five sentences, some of which say again what was said; ``nothing`` leaves it and the
    text out. ``tuned_on`` is ``all`` tasks in one model, or each in a model of its own (``single``), which takes as many steps.

    Numbers are ``right``, the mean over tasks, and each task. Every arm chooses the rate of tuning on other tables.
    """

    trial = Trial({"text": 2, "tuning": 2, "examples": 20, "rates": (1e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    then: Literal["cells", "spans", "text", "nothing"] = Field("cells", description="what comes behind text")
    tuned_on: Literal["all", "single"] = Field("all", description="one model for all tasks, or one for each")
    text: int = Field(600, ge=1, description="steps on text, and as many on what comes then")
    examples: int = Field(200, ge=1, description="of each task")
    tuning: int = Field(200, ge=1, description="steps of tuning")
    rates: tuple[float, ...] = Field((5e-4, 1.5e-3, 4e-3), min_length=1, description="of tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``right``, ``lookup``, ``verify`` and ``query``."""
        import copy

        import numpy as np

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.text.small import learn, made

        learning, asking = np.random.default_rng(seed).spawn(2)
        model = made(seed, VOCABULARY, LONGEST, width=64)
        if self.then != "nothing":
            for kind in ("text", self.then):
                rows, counted = laid([hidden(kind, learning) for _ in range(64 * min(self.text, 200))])
                learn(model, rows, counted, learning, steps=self.text, rate=3e-3)
        few, chosen, held = ({task: [asked(task, asking) for _ in range(count)] for task in TASKS} for count in (self.examples, 150, 400))

        def tuned(rate: float, tasks: tuple[str, ...]) -> Any:
            own = copy.deepcopy(model)
            rows, counted = laid([each for task in tasks for each in few[task]])
            learn(own, rows, counted, np.random.default_rng((seed, 1)), steps=self.tuning, rate=rate)
            return own

        found: dict[str, float] = {}
        for tasks in [TASKS] if self.tuned_on == "all" else [(task,) for task in TASKS]:
            kept = best(
                self.rates,
                lambda rate, tasks=tasks: tuned(rate, tasks),  # type: ignore[misc]
                lambda own, tasks=tasks: float(np.mean([right(own, chosen[task]) for task in tasks])),  # type: ignore[misc]
            )
            found |= {task: right(kept, held[task]) for task in tasks}
        return {"right": float(np.mean(list(found.values()))), **found}


def drawn(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names [rows], columns [columns] and values [rows, columns] of a table, as tokens; no value comes twice."""
    names = NAME + random.permutation(NAMES)[:HEIGHT]
    columns = COLUMN + random.permutation(COLUMNS)[:WIDTH]
    return names, columns, VALUE + random.permutation(VALUES)[: HEIGHT * WIDTH].reshape(HEIGHT, WIDTH)


def sentence(name: int, column: int, value: int) -> list[int]:
    """That a column of a name has a value."""
    return [THE, column, OF, name, IS, value]


def written_table(names: np.ndarray, columns: np.ndarray, values: np.ndarray) -> list[int]:
    """A table row by row: the name, then each column with its value."""
    found: list[int] = []
    for name, row in zip(names.tolist(), values.tolist(), strict=True):
        found += [ROW, name]
        for column, value in zip(columns.tolist(), row, strict=True):
            found += [column, value]
    return found


def hidden(kind: str, random: np.random.Generator) -> Example:
    """A text, or a table with two sentences, of which two parts are hidden; the answer says them, each behind its gap."""
    names, columns, values = drawn(random)
    facts = [(int(names[row]), int(columns[column]), int(values[row, column])) for row in range(HEIGHT) for column in range(WIDTH)]
    if kind == "text":
        told = [facts[place] for place in random.permutation(len(facts))[:3]]
        tokens = [token for place in (0, 1, 2, *random.permutation(3)[:2]) for token in sentence(*told[place])]
    else:
        tokens = written_table(names, columns, values)
        for place in random.permutation(len(facts))[:2]:
            tokens += sentence(*facts[place])
    if kind == "cells":
        step = 2 + 2 * WIDTH
        cells = [row * step + 3 + 2 * column for row in range(HEIGHT) for column in range(WIDTH)] + [
            row * step + 1 for row in range(HEIGHT)
        ]
        spans = [(int(place), int(place) + 1) for place in sorted(random.permutation(cells)[:2])]
    else:
        half = len(tokens) // 2
        begins = int(random.integers(half - 3)), half + int(random.integers(len(tokens) - half - 3))
        spans = [(begin, begin + int(random.integers(1, 4))) for begin in begins]
    given, answer, done = list[int](), list[int](), 0
    for gap, (begin, end) in enumerate(spans):
        given += [*tokens[done:begin], *[GAP + gap] * (end - begin)]
        answer += [GAP + gap, *tokens[begin:end]]
        done = end
    return [*given, *tokens[done:], ASK], [*answer, END]


def asked(task: str, random: np.random.Generator) -> Example:
    """A table with a question about it, and the answer."""
    names, columns, values = drawn(random)
    row, column = int(random.integers(HEIGHT)), int(random.integers(WIDTH))
    about, value, table = (int(names[row]), int(columns[column])), int(values[row, column]), written_table(names, columns, values)
    if task == "lookup":
        return [*table, THE, about[1], OF, about[0], ASK], [value, END]
    if task == "verify":
        true = bool(random.integers(2))
        others = values[values != value]
        said = value if true else int(others[random.integers(len(others))])
        return [*table, TRUE, *sentence(*about, said), ASK], [YES if true else NO, END]
    other = int(columns[1 - column])
    return [*table, QUERY, WHICH, about[1], IS, value, THE, other, ASK], [SELECT, other, WHERE, about[1], value, END]


def laid(examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of tokens [examples, LONGEST], the answer at the same place in all, and whether a token is counted: those of the answer."""
    import numpy as np

    rows = np.full((len(examples), LONGEST), BLANK)
    counted = np.zeros(rows.shape, bool)
    begin = LONGEST - ANSWER
    for row, (given, answer) in enumerate(examples):
        rows[row, : len(given) - 1] = given[:-1]
        rows[row, begin - 1 : begin + len(answer)] = [given[-1], *answer]
        counted[row, begin : begin + len(answer)] = True
    return rows, counted


def right(model: Any, examples: list[Example]) -> float:
    """The share of examples whose whole answer is right."""
    from windtunnel.kits.text.small import written

    rows, counted = laid(examples)
    begin = LONGEST - ANSWER
    longest = max(len(answer) for _, answer in examples)
    told = written(model, rows[:, :begin], longest)
    return float(((told == rows[:, begin : begin + longest]) | ~counted[:, begin : begin + longest]).all(axis=1).mean())
