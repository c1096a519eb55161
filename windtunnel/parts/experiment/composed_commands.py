"""Whether a model uses a word in combinations that it never saw, by what its training set is like."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

COUNTS = 3  # a command may say twice or thrice, or neither
BLANK, ARROW, END, LEFT, RIGHT, TWICE, THRICE, WORDS = 0, 1, 2, 3, 4, 5, 6, 7  # tokens; verbs and then their actions follow
LONGEST = 3 + 1 + 2 * COUNTS + 1


class ComposedCommands(Experiment, name="composed-commands"):
    """The share of commands with one verb that a model carries out, which saw that verb only by itself.

    Zhou, Jiang and Bansal 2023, arXiv:2311.04420, on the jump split of SCAN (Lake and Baroni 2018): a command is a verb, perhaps left or
    right, perhaps twice or thrice; its actions are a turn, if any, and the verb's action, as often. One verb comes alone in training and is
    tested in all combinations. More verbs, fewer repetitions of each example, and simpler examples should help.

    ``verbs`` is how many others there are, each in all nine combinations; ``examples`` how many of these are drawn for training (0: all),
    as many of each verb, which come again the more often, the fewer they are; ``simple`` is the share of training examples that is drawn
    from those with at most one more word, and not from all, of which five in nine are such. The lone verb is one in ``lone`` of all
    training examples. A small transformer is trained from scratch for as many steps in every arm.

    ``held_out`` is the share of combinations of the lone verb that are right to the end, ``known`` that of commands of other verbs, also
    untrained ones, and ``repeated`` how often each example was seen, on average.
    """

    trial = Trial({"verbs": 2, "steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    verbs: int = Field(4, ge=1, description="besides the one that comes alone")
    examples: int = Field(0, ge=0, description="commands of the others that are trained on; 0: all")
    simple: float = Field(0.0, ge=0, le=1, description="share that is drawn from those with at most one more word, not from all")
    lone: int = Field(8, ge=2, description="one in so many training examples is the verb by itself")
    steps: int = Field(300, ge=1, description="of training, 64 commands each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``held_out``, ``known`` and ``repeated``. Raises PartError for more ``examples`` than there are, and simple ones that are not."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        every = commands(self.verbs + 1)
        own = every[:, 0] == WORDS
        others, tested = every[~own], every[own & ((every[:, 1] != BLANK) | (every[:, 2] != BLANK))]
        rows = self._rows(every, random)
        counted = np.zeros(rows.shape, bool)
        counted[:, 4:] = rows[:, 4:] != BLANK
        model = made(seed, WORDS + 2 * (self.verbs + 1), LONGEST, width=48)
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate)

        def right(some: np.ndarray) -> float:
            told = written(model, some[:, :4], LONGEST - 4)
            return float(((told == some[:, 4:]) | (some[:, 4:] == BLANK)).all(axis=1).mean())

        seen = self.steps * 64 * (1 - 1 / self.lone) / (self.examples or len(others))
        return {"held_out": right(tested), "known": right(others[random.permutation(len(others))[:100]]), "repeated": float(seen)}

    def _rows(self, every: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Training examples [4096, LONGEST]: the first verb of ``every`` command alone, the others as asked."""
        import numpy as np

        others = every[every[:, 0] != WORDS]
        if self.examples > len(others):
            raise PartError(f"{self.name}: examples {self.examples}: {self.verbs} verbs have {len(others)} commands; lower it")
        turn = random.permuted(np.tile(np.arange(len(others) // self.verbs), (self.verbs, 1)), axis=1).ravel()
        chosen = others[np.argsort(turn + random.random(len(turn)))[: self.examples or len(others)]]
        rows = chosen[random.integers(len(chosen), size=4096)]
        short = chosen[(chosen[:, 1] == BLANK) | (chosen[:, 2] == BLANK)]
        if self.simple:
            if not len(short):
                raise PartError(f"{self.name}: no simple command is among {self.examples} examples; raise examples or set simple to 0")
            simple = random.random(4096) < self.simple
            rows[simple] = short[random.integers(len(short), size=simple.sum())]
        rows[random.random(4096) < 1 / self.lone] = every[0]  # a verb by itself comes first
        return rows


def commands(verbs: int) -> np.ndarray:
    """All commands of so many verbs, rows of tokens: verb, manner, count, arrow, then what is to be done and an end; blanks fill up."""
    import numpy as np

    rows = []
    for verb in range(verbs):
        for manner in (BLANK, LEFT, RIGHT):
            for count, often in ((BLANK, 1), (TWICE, 2), (THRICE, 3)):
                action = ([manner] if manner else []) + [WORDS + verbs + verb]
                row = [WORDS + verb, manner, count, ARROW, *(action * often), END]
                rows.append(row + [BLANK] * (LONGEST - len(row)))
    return np.array(rows, np.int64)
