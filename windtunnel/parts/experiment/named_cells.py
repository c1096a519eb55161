"""One network for tables of any columns, whose cells carry the names of their columns, and what it brings to a new table of few rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

CAUSES, NAMES, SHOWN = 2, 12, 6  # hidden numbers behind a row, columns that there are, and columns of a table
FRESH = 2  # columns besides those that no table of pre-training has
HELD, CHOOSING = 400, 200  # rows of a table to be judged on, and to choose a setting by
Table = tuple["np.ndarray", "np.ndarray", "np.ndarray"]  # columns [columns], cells [rows, columns], labels [rows]


class NamedCells(Experiment, name="named-cells"):
    """How well labels of new tables are told from few rows (area under the ROC curve), by what a network learned from other tables.

    Yang et al. 2024 (UniTabE), arXiv:2307.09249: a cell is its column's name, its type and its value, joined by a gate (the TabUnit);
    cells of a row are a set behind a transformer; it learns to fill masked cells and to tell two halves of a row from those of other rows.
    The formula of the gate is ours: norm(g * name + (1 - g) * value + type), g = sigmoid(linear(name, value)). The paper's LSTM that
    writes answers to prompts is here a position that carries the name of what is asked for, and a linear layer on it; names are learned
    vectors, and not words.

    Tables are made: 2 hidden numbers lie behind a row, mixed otherwise in each table, and a column is a bent sum of them with noise, of
    numbers or of signs. The 12 columns are the same in all tables, of which each has 6. The label is the sign of another sum, with noise.

    ``learned``: ``both``, ``fill`` or ``contrast`` before; ``nothing``; ``renamed``, both, but the columns of new tables carry the names
    of others. All weights are tuned on ``rows`` labelled rows. ``logistic`` and ``boosted`` are scikit-learn's on the cells alone. Every
    arm chooses one of three settings (rate, inverse penalty, or depth) on the other rows of three tables that are not judged.
    ``fresh`` of the 6 columns are in no table of pre-training, and ``ignored`` leaves them out.

    Numbers are ``area``, the mean over new tables, and ``filled``, the share of the variance of masked numbers of new rows that is told.
    """

    trial = Trial({"steps": 2, "tuning": 2, "tables": 3, "judged": 1})

    unit: ClassVar[str] = "area under the ROC curve"
    better: ClassVar[str] = "higher"

    learned: Literal["both", "fill", "contrast", "nothing", "renamed", "logistic", "boosted"] = Field(
        "both", description="what comes before"
    )
    rows: int = Field(20, ge=16, description="labelled rows of a new table")
    tables: int = Field(200, ge=1, description="of pre-training")
    steps: int = Field(800, ge=1, description="of pre-training, each on 32 rows of 4 tables")
    tuning: int = Field(60, ge=1, description="steps on a new table")
    judged: int = Field(6, ge=1, description="new tables, mean over all")
    fresh: int = Field(0, ge=0, le=FRESH, description="columns of new tables that no table before had")
    ignored: bool = Field(False, description="leave such columns out")
    width: int = Field(32, ge=8, multiple_of=4, description="of the network")

    def measure(self, seed: int) -> dict[str, float]:
        """``area`` and ``filled``, the latter 0 where nothing fills."""
        import numpy as np

        random, tuning = np.random.default_rng(seed).spawn(2)
        world = MadeColumns(random)
        before = [world.table(random.permutation(NAMES)[:SHOWN], 64, random)[:2] for _ in range(self.tables)]
        new = [self._new(world, random) for _ in range(3 + self.judged)]
        model: Any = None
        if self.learned not in ("logistic", "boosted"):
            model = made(seed, self.width)
            if self.learned != "nothing":
                pretrain(model, before, random, self.steps, fill=self.learned != "contrast", contrast=self.learned != "fill")
        tells = {"logistic": logistic, "boosted": boosted}.get(self.learned)

        def told(table: Table, setting: float, asked: slice) -> float:
            """The area on the rows ``asked`` behind the labelled ones."""
            from windtunnel.kits.detection import area

            columns, cells, labels = table
            given, wanted, rest = cells[: self.rows], labels[: self.rows], cells[self.rows :][asked]
            if tells is not None:
                scores = tells(given, wanted, rest, setting, seed)
            else:
                draw = np.random.default_rng((seed, 2))
                scores = tuned(model, columns, (given, wanted), rest, setting, self.tuning, draw)
            return float(area(scores, labels[self.rows :][asked]))

        grid = {"logistic": (0.01, 0.1, 1.0), "boosted": (1.0, 2.0, 3.0)}.get(self.learned, (3e-4, 1e-3, 3e-3))
        setting = max(grid, key=lambda one: np.mean([told(table, one, slice(CHOOSING)) for table in new[:3]]))
        filled = 0.0
        if model is not None and self.learned not in ("nothing", "contrast"):
            filled = told_cells(model, [table for table in new if self.fresh == 0], tuning)
        return {"area": float(np.mean([told(table, setting, slice(CHOOSING, None)) for table in new[3:]])), "filled": filled}

    def _new(self, world: MadeColumns, random: np.random.Generator) -> Table:
        """A new table, whose columns are as they are to be read."""
        import numpy as np

        known, own = random.permutation(NAMES)[: SHOWN - self.fresh], NAMES + random.permutation(FRESH)[: self.fresh]
        columns, cells, labels = world.table(np.concatenate([known, own]), self.rows + CHOOSING + HELD, random)
        kept = columns < NAMES if self.ignored else np.ones(len(columns), bool)
        columns, cells = columns[kept], cells[:, kept]
        if self.learned == "renamed":  # types stay as they are, names of numbers and of signs change places among themselves
            half = NAMES // 2
            columns = np.where(columns < half, (columns + 5) % half, half + (columns + 5) % half)
        return columns, cells, labels


class MadeColumns:
    """What columns mean: sums of causes, the first half of the ``NAMES`` bent numbers and the second half signs, as with ``FRESH``."""

    def __init__(self, random: np.random.Generator) -> None:
        import numpy as np

        self.sums = random.standard_normal((NAMES + FRESH, CAUSES))
        self.sums /= np.linalg.norm(self.sums, axis=1, keepdims=True)
        self.bends = random.uniform(0.5, 2.5, NAMES + FRESH)

    def table(self, columns: np.ndarray, rows: int, random: np.random.Generator) -> Table:
        """A table of these columns: cells float32, numbers of mean 0 and variance 1, and labels bool."""
        import numpy as np

        mixed = np.eye(CAUSES) + 0.4 * random.standard_normal((CAUSES, CAUSES))
        causes = random.standard_normal((rows, CAUSES)) @ mixed
        plain = causes @ self.sums[columns].T + 0.6 * random.standard_normal((rows, len(columns)))
        bent = np.tanh(self.bends[columns] * plain)
        bent = (bent - bent.mean(axis=0)) / bent.std(axis=0)
        cells = np.where(is_sign(columns), np.sign(plain), bent)
        score = causes @ random.standard_normal(CAUSES)
        score = score / score.std() + 0.5 * random.standard_normal(rows)
        return columns, cells.astype(np.float32), score > 0


def is_sign(columns: np.ndarray) -> np.ndarray:
    """Whether columns hold signs and not numbers."""
    import numpy as np

    return np.where(columns < NAMES, columns >= NAMES // 2, columns % 2 == 1)


class ReadCells(NamedTuple):
    """What a network makes of rows: ``asked`` [rows, width], where the name that is asked for stands, and ``cells`` [rows, columns]."""

    asked: torch.Tensor
    cells: torch.Tensor


def made(seed: int, width: int) -> Any:
    """A network of named cells: names of columns, and two more, for what gathers a row and for a label."""
    import torch
    from torch import nn

    from windtunnel.kits.text.small import SmallBlock

    class NamedNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.names, self.types = nn.Embedding(NAMES + FRESH + 2, width), nn.Embedding(3, width)
            self.value, self.masked = nn.Linear(1, width), nn.Parameter(torch.randn(width) * 0.1)
            self.gate, self.joined = nn.Linear(2 * width, width), nn.LayerNorm(width)
            self.blocks = nn.ModuleList(SmallBlock(width, 4, causal=False) for _ in range(2))
            self.norm, self.number = nn.LayerNorm(width), nn.Linear(width, 1)

        def forward(self, columns: torch.Tensor, cells: torch.Tensor, hidden: torch.Tensor, asked: int = NAMES + FRESH) -> ReadCells:
            names = self.names(columns)
            values = torch.where(hidden[..., None], self.masked, self.value(cells[..., None]))
            gate = torch.sigmoid(self.gate(torch.cat([names, values], dim=-1)))
            kinds = torch.from_numpy(is_sign(columns.numpy())).long()
            states = self.joined(gate * names + (1 - gate) * values + self.types(kinds))
            prompt = self.joined(self.names.weight[asked] + self.types.weight[2]).expand(len(cells), 1, -1)
            states = torch.cat([prompt, states], dim=1)
            for block in self.blocks:
                states = block(states)
            states = self.norm(states)
            return ReadCells(states[:, 0], self.number(states[:, 1:])[..., 0])

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return NamedNetwork()


def pretrain(
    model: Any, tables: list[tuple[np.ndarray, np.ndarray]], random: np.random.Generator, steps: int, *, fill: bool, contrast: bool
) -> None:
    """Steps of filling masked cells (a third of all), of telling which other half of cells is of the same row, or of both."""
    import numpy as np
    import torch

    from windtunnel.kits.small_decoder import descend

    def loss(step: int) -> torch.Tensor:
        chosen = [tables[place] for place in random.integers(len(tables), size=4)]
        rows = [random.integers(len(cells), size=32) for _, cells in chosen]
        columns = torch.from_numpy(np.repeat(np.stack([names for names, _ in chosen]), 32, axis=0))
        cells = torch.from_numpy(np.concatenate([cells[mine] for (_, cells), mine in zip(chosen, rows, strict=True)]))
        found = torch.zeros(())
        if fill:
            hidden = torch.from_numpy(random.random(cells.shape) < 1 / 3)
            found = found + filling(model(columns, cells, hidden).cells, columns, cells)[hidden].mean()
        if contrast:
            order = torch.from_numpy(random.permuted(np.tile(np.arange(SHOWN), (len(cells), 1)), axis=1))
            halves = []
            for half in (order[:, : SHOWN // 2], order[:, SHOWN // 2 :]):
                few = columns.gather(1, half), cells.gather(1, half)
                halves.append(torch.nn.functional.normalize(model(*few, torch.zeros(half.shape, dtype=torch.bool)).asked, dim=1))
            alike = halves[0].view(4, 32, -1) @ halves[1].view(4, 32, -1).transpose(1, 2) / 0.2  # among rows of one table
            own = torch.arange(32).expand(4, 32)
            found = (
                found + (torch.nn.functional.cross_entropy(alike, own) + torch.nn.functional.cross_entropy(alike.transpose(1, 2), own)) / 2
            )
        return found

    descend(model, loss, steps, 3e-3)


def filling(told: torch.Tensor, columns: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """The loss of every cell: half the squared error of a number, and nats of a sign."""
    import torch

    signs = torch.from_numpy(is_sign(columns.numpy()))
    return torch.where(signs, torch.nn.functional.softplus(-told * cells), 0.5 * (told - cells) ** 2)


def told_cells(model: Any, tables: list[Table], random: np.random.Generator) -> float:
    """The share of the variance of masked numbers in tables that is told; 0 without tables."""
    import numpy as np
    import torch

    errors = []
    for columns, cells, _ in tables:
        hidden = torch.from_numpy(random.random(cells.shape) < 1 / 3)
        named = torch.from_numpy(np.tile(columns, (len(cells), 1)))
        with torch.no_grad():
            away = model(named, torch.from_numpy(cells), hidden).cells.numpy() - cells
        errors.append(away[hidden.numpy() & ~is_sign(columns)] ** 2)
    return float(1 - np.concatenate(errors).mean()) if errors else 0.0


def tuned(
    model: Any,
    columns: np.ndarray,
    known: tuple[np.ndarray, np.ndarray],
    rest: np.ndarray,
    rate: float,
    steps: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Scores of ``rest`` after all weights of a copy were tuned to tell labels where the name of the label is asked for."""
    import copy

    import numpy as np
    import torch

    from windtunnel.kits.small_decoder import descend

    own = copy.deepcopy(model)
    width = own.number.in_features
    own.label = torch.nn.Linear(width, 1)
    with torch.no_grad():
        own.label.weight.copy_(torch.from_numpy(random.standard_normal((1, width)) * 0.02))
        own.label.bias.zero_()
    wanted = torch.from_numpy(known[1]).float()

    def says(cells: np.ndarray) -> torch.Tensor:
        named = torch.from_numpy(np.tile(columns, (len(cells), 1)))
        hidden = torch.zeros(cells.shape, dtype=torch.bool)
        return torch.as_tensor(own.label(own(named, torch.from_numpy(cells), hidden, NAMES + FRESH + 1).asked)[:, 0])

    descend(own, lambda step: torch.nn.functional.binary_cross_entropy_with_logits(says(known[0]), wanted), steps, rate)
    with torch.no_grad():
        return np.asarray(says(rest).numpy())


def logistic(cells: np.ndarray, labels: np.ndarray, rest: np.ndarray, setting: float, seed: int) -> np.ndarray:
    """Scores of a logistic regression with the inverse penalty ``setting``."""
    import numpy as np

    from windtunnel.kits.sets.tables import library

    found = library("named-cells").linear_model.LogisticRegression(C=setting).fit(cells, labels)
    return np.asarray(found.decision_function(rest))


def boosted(cells: np.ndarray, labels: np.ndarray, rest: np.ndarray, setting: float, seed: int) -> np.ndarray:
    """Scores of 100 boosted trees of the depth ``setting``."""
    import numpy as np

    from windtunnel.kits.sets.tables import library

    trees = library("named-cells").ensemble.GradientBoostingClassifier(max_depth=int(setting), subsample=0.8, random_state=seed)
    return np.asarray(trees.fit(cells, labels).decision_function(rest))
