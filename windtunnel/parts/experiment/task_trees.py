"""GridQuestions about a grid of coloured letters that are trees of operators, and what kinds of network answer of new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

CELLS, LETTERS, COLOURS = 9, 6, 6
YES, NO = COLOURS, COLOURS + 1  # answers: colours, yes and no
ANSWERS = COLOURS + 2
EXIST, GET, IF, BLANK = range(4)  # tokens of a question; then colours and letters
TOKENS = 4 + COLOURS + LETTERS
LONGEST = 14  # of a question
READ = 1 + COLOURS + LETTERS + TOKENS  # numbers that a place is given by: empty, colour, letter, token
BATCH = 64
HELD = 5  # one in so many trees is held out


class TaskTrees(Experiment, name="task-trees"):
    """The share of questions about a grid that a network answers, of kinds that training did not have.

    Ito et al. 2024 (gCOG), arXiv:2401.15030. A grid of 9 cells holds coloured letters, each letter once at most. A question is a tree:
    ``exist colour letter`` is answered by yes or no, ``get letter`` by its colour, ``if E then G else G`` by one of the two, as the first
    is so; letters that are asked for are there. Training has the two operators by themselves and trees of one ``if``, each a third, of
    which one in five (by condition and letters) is held out, and grids of ``crowd`` letters at most.

    The judged sets are ``same``, as in training with new grids; ``distractors``, grids with all letters; ``systematic``, trees that were
    held out; and ``productive``, a tree in the first branch of a tree. ``network``: ``recurrent``, a GRU that reads the grid and then the
    question; ``shallow``, attention of one layer over both; ``deep``, of four layers; ``cross``, one layer over the question and one over
    the grid, then one by which the question looks at the grid. All have about as many numbers. A question stands anywhere among 14 places,
    so that longer ones have no place that is new.

    Left out of the paper's: colours and letters are four each, the operators add, compare, and, or, get location, the Perceiver, and
    networks with a stream of each input.
    """

    trial = Trial({"steps": 1, "size": 8, "judged": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    network: Literal["recurrent", "shallow", "deep", "cross"] = Field("deep", description="what reads grid and question")
    crowd: int = Field(4, ge=3, le=LETTERS, description="most letters of a grid in training")
    steps: int = Field(1500, ge=1, description="of training, 64 questions each")
    size: int = Field(48, ge=8, multiple_of=8, description="width of the deep network; others are as large as it is")
    judged: int = Field(600, ge=10, description="questions of each set")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``systematic``, ``distractors``, ``productive``, ``same`` and ``parameters``."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import descend

        random = np.random.default_rng(seed)
        model, own = network(self.network, self.size, seed), np.random.default_rng((seed, 1))

        def loss(step: int) -> torch.Tensor:
            some = questions(BATCH, own, self.crowd)
            return torch.nn.functional.cross_entropy(model(some.read), some.answers)

        descend(model, loss, self.steps, self.rate)
        sets = {
            "systematic": questions(self.judged, random, self.crowd, "held"),
            "distractors": questions(self.judged, random, LETTERS, least=LETTERS),
            "productive": questions(self.judged, random, self.crowd, "nested"),
            "same": questions(self.judged, random, self.crowd),
        }
        with torch.no_grad():
            found = {name: float((model(one.read).argmax(dim=1) == one.answers).double().mean()) for name, one in sets.items()}
        return {**found, "parameters": float(sum(weight.numel() for weight in model.parameters()))}


class GridQuestions(NamedTuple):
    """What is read, float32 [questions, CELLS + LONGEST, READ], answers int64 [questions], and the tokens of each question."""

    read: torch.Tensor
    answers: torch.Tensor
    told: list[list[int]]


def questions(
    count: int, random: np.random.Generator, crowd: int, kind: Literal["trained", "held", "nested"] = "trained", *, least: int = 3
) -> GridQuestions:
    """GridQuestions of a ``kind`` about grids of ``least`` to ``crowd`` letters."""
    import numpy as np
    import torch

    read, answers, every = np.zeros((count, CELLS + LONGEST, READ), np.float32), np.zeros(count, int), []
    for row in range(count):
        present = random.permutation(LETTERS)[: random.integers(least, crowd + 1)]
        colours = random.integers(COLOURS, size=LETTERS)
        places = random.permutation(CELLS)[: len(present)]
        read[row, :CELLS, 0] = 1
        read[row, places, 0] = 0
        read[row, places, 1 + colours[present]] = 1
        read[row, places, 1 + COLOURS + present] = 1
        told = tree(present.tolist(), colours.tolist(), kind, random)
        first = random.integers(LONGEST - len(told) + 1)
        line = np.full(LONGEST, BLANK)
        line[first : first + len(told)] = told
        read[row, CELLS + np.arange(LONGEST), 1 + COLOURS + LETTERS + line] = 1
        answers[row] = answered(told, dict(zip(present.tolist(), colours[present].tolist(), strict=True)))[0]
        every.append(told)
    return GridQuestions(torch.from_numpy(read), torch.from_numpy(answers), every)


def tree(present: list[int], colours: list[int], kind: str, random: np.random.Generator) -> list[int]:
    """The tokens of a question, the operator first, about letters that are there, with conditions that are so as often as not."""

    def exist() -> list[int]:
        letter = int(random.integers(LETTERS))
        if random.random() < 0.5:  # one that is so
            letter = present[int(random.integers(len(present)))]
            return [EXIST, 4 + colours[letter], 4 + COLOURS + letter]
        colour = int(random.integers(COLOURS))
        if letter in present:
            colour = (colours[letter] + 1 + int(random.integers(COLOURS - 1))) % COLOURS
        return [EXIST, 4 + colour, 4 + COLOURS + letter]

    def get() -> list[int]:
        return [GET, 4 + COLOURS + present[int(random.integers(len(present)))]]

    def branch(held: bool) -> list[int]:
        while True:
            found = [IF, *exist(), *get(), *get()]
            if (hash_of(found) % HELD == 0) == held:
                return found

    if kind == "nested":
        return [IF, *exist(), *branch(False), *get()]
    if kind == "held":
        return branch(True)
    which = int(random.integers(3))
    return exist() if which == 0 else get() if which == 1 else branch(False)


def hash_of(tokens: list[int]) -> int:
    """A number of a tree, the same everywhere, in which all of its tokens have a part."""
    found = 7
    for token in tokens:
        found = found * 1_000_003 % 2_147_483_647 + token * 97
    return found // 5


def answered(told: list[int], grid: dict[int, int]) -> tuple[int, list[int]]:
    """The answer of the tree that ``told`` begins with, by the colours of the letters that are there, and the tokens behind it."""
    if told[0] == EXIST:
        return (YES if grid.get(told[2] - 4 - COLOURS) == told[1] - 4 else NO), told[3:]
    if told[0] == GET:
        return grid[told[1] - 4 - COLOURS], told[2:]
    condition, rest = answered(told[1:], grid)
    first, rest = answered(rest, grid)
    second, rest = answered(rest, grid)
    return (first if condition == YES else second), rest


def network(kind: str, size: int, seed: int) -> torch.nn.Module:
    """Logits [questions, ANSWERS] of what is read."""
    import torch
    from torch import Tensor, nn

    from windtunnel.kits.small_decoder import SmallDecoder

    class Read(nn.Module):
        """Attention over grid and question, read at the mean of places of the question."""

        def __init__(self, width: int, layers: int) -> None:
            super().__init__()
            self.body = SmallDecoder(READ, ANSWERS, CELLS + LONGEST, width=width, layers=layers, seed=seed)

        def forward(self, rows: Tensor) -> Tensor:
            return torch.as_tensor(self.body.write(self.body.states(rows, both_ways=True)[:, CELLS:].mean(dim=1)))

    class Recurrent(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.state, self.write = nn.GRU(READ, width, batch_first=True), nn.Linear(width, ANSWERS)

        def forward(self, rows: Tensor) -> Tensor:
            return torch.as_tensor(self.write(self.state(rows)[0][:, -1]))

    class Cross(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.grid, self.question = (
                SmallDecoder(READ, ANSWERS, CELLS + LONGEST, width=width, layers=1, seed=seed + more) for more in (0, 1)
            )
            self.look = nn.TransformerDecoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            self.norm, self.write = nn.LayerNorm(width), nn.Linear(width, ANSWERS)

        def forward(self, rows: Tensor) -> Tensor:
            seen, asked = self.grid.states(rows[:, :CELLS], both_ways=True), self.question.states(rows[:, CELLS:], both_ways=True)
            return torch.as_tensor(self.write(self.norm(self.look(asked, seen)).mean(dim=1)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "recurrent":
            return Recurrent(round((4 * size**2) ** 0.5 * 2 / 8) * 8)
        if kind == "cross":
            return Cross(round(size * (4 / 3.33) ** 0.5 / 4) * 4)
        return Read(size if kind == "deep" else 2 * size, 4 if kind == "deep" else 1)
