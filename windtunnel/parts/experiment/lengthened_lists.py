"""A model that writes longer than it was trained to, by making its own texts longer in two passes and learning from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    Learner = torch.nn.Module
    List = list[int]

ITEMS = 40  # each of which is followed by one other, round in a circle
WRITE, BRIEF, EXTEND, TO, STOP, BLANK = range(ITEMS, ITEMS + 6)
SHORTEST, LONGEST, FEW = 4, 8, 3  # items of a list in training, and of a brief one
CONTEXT = 44
ROOM = CONTEXT // 2 - 2  # items of a list that can be read and written again, longer
KEPT, DROPPED = 2 / 3, 0.2  # of the first pass, and of the items of a list that the extender reads in tuning
BATCH = 32


class LengthenedLists(Experiment, name="lengthened-lists"):
    """The median length of right lists that a model writes which was trained on lists of 4 to 8 items, after rounds on its own.

    Quan et al. 2024 (Self-Lengthen), arXiv:2410.23933. A generator writes a draft; an extender writes the first half of it longer, of
    which two thirds are kept, then the whole, begun with these; so it writes longer than it can at once. Longer texts that pass checks tune
    the generator (prompt to long) and the extender (draft with 20 percent of its items dropped to long), and the next round begins. Nobody
    else writes.

    A list begins at an item that is asked for, each item is followed by the one that follows it on a circle of 40, and it ends with a
    stop. The base writes lists of 4 to 8 items, brief ones of 3, and lists of 3 to 6 items again with one to three items more. In each
    round ``drafts`` lists are drawn and lengthened, with up to ``tries`` tries each; those that are longer than the draft and right are
    learned. ``own`` is the control: as many lists are drawn for each prompt as the other asked for, and the longest right one is learned,
    by the generator alone, in as many steps.

    ``extended/0`` to ``extended/N`` are the median lengths of right lists drawn for new prompts after each round, ``own/1`` and so on those
    of the control, ``wrong`` and ``wrong_own`` shares of lists that are not right after the last, 0 after none; ``brief`` is the share of
    brief requests answered rightly at the end and ``brief_base`` that of the base. The first number is ``extended/N``, called ``length``.
    """

    trial = Trial({"steps": 2, "tuning": 1, "drafts": 4, "rounds": 1, "tries": 1})

    unit: ClassVar[str] = "items"
    better: ClassVar[str] = "higher"

    rounds: int = Field(3, ge=1, description="of lengthening and tuning")
    drafts: int = Field(100, ge=2, description="lists of a round")
    tries: int = Field(3, ge=1, description="to lengthen a draft")
    steps: int = Field(900, ge=1, description="of training the base, 32 lists each")
    tuning: int = Field(80, ge=1, description="steps of tuning in a round, 32 lists each")
    rate: float = Field(1e-3, gt=0, description="learning rate of AdamW in tuning")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import copy

        import numpy as np

        from windtunnel.kits.text.circle import circle
        from windtunnel.kits.text.small import learn, made

        random = np.random.default_rng(seed)
        after = circle(ITEMS, random)
        base = made(seed, BLANK + 1, CONTEXT, width=64)
        rows, counted = lessons(after, 4000, random)
        learn(base, rows, counted, random, steps=self.steps, rate=3e-3, batch=BATCH)
        generator, extender, alone = (copy.deepcopy(base) for _ in range(3))
        found = {"extended/0": length(base, after, seed)[0]}
        for number in range(1, self.rounds + 1):
            drafts = [one for one in write(generator, prompts(self.drafts, random), random) if right(one, after)]
            pairs, asked = self._lengthened(extender, drafts, after, random)
            self._tune(generator, [spoken(WRITE, long) for _, long in pairs], random)
            self._tune(extender, [retold(thinned(short, random), long) for short, long in pairs], random)
            found[f"extended/{number}"], wrong = length(generator, after, seed)
            self._tune(alone, [spoken(WRITE, one) for one in self._longest(alone, after, max(2, asked // self.drafts), random)], random)
            found[f"own/{number}"], wrong_own = length(alone, after, seed)
        last = found[f"extended/{self.rounds}"]
        brief = {name: briefly(model, after) for name, model in (("brief", generator), ("brief_base", base))}
        return {"length": last, **found, "wrong": wrong, "wrong_own": wrong_own, **brief}

    def _lengthened(
        self, extender: Learner, drafts: list[List], after: np.ndarray, random: np.random.Generator
    ) -> tuple[list[tuple[List, List]], int]:
        """Drafts with longer lists that are right, and how many lists were drawn for them, drafts among them."""
        found, waiting, asked = [], drafts, len(drafts)
        for _ in range(self.tries if drafts else 0):
            halves = extend(extender, [one[: (len(one) + 1) // 2] for one in waiting], [[] for _ in waiting], random)
            kept = [half[: round(KEPT * len(half))] for half in halves]
            longer = extend(extender, waiting, kept, random)
            asked += 2 * len(waiting)
            good = [
                right(long, after) and long[0] == short[0] and len(long) > len(short) for short, long in zip(waiting, longer, strict=True)
            ]
            found += [pair for pair, fine in zip(zip(waiting, longer, strict=True), good, strict=True) if fine]
            waiting = [one for one, fine in zip(waiting, good, strict=True) if not fine]
            if not waiting:
                break
        return found, asked

    def _longest(self, model: Learner, after: np.ndarray, times: int, random: np.random.Generator) -> list[List]:
        """Of ``times`` lists drawn for each prompt the longest that is right."""
        begins = prompts(self.drafts, random)
        drawn = [write(model, begins, random) for _ in range(times)]
        best: list[List] = [max((one for one in each if right(one, after)), key=len, default=[]) for each in zip(*drawn, strict=True)]
        return [one for one in best if one]

    def _tune(self, model: Learner, texts: list[tuple[List, int]], random: np.random.Generator) -> None:
        """Learn what stands behind the prompts of ``texts``, in place; nothing where there are none."""
        from windtunnel.kits.text.small import learn

        if texts:
            rows, counted = placed(texts, random)
            learn(model, rows, counted, random, steps=self.tuning, rate=self.rate, batch=BATCH)


def right(one: List, after: np.ndarray) -> bool:
    """Whether a list has items and each is followed by the one that follows it."""
    from windtunnel.kits.text.circle import chain

    return bool(one) and all(item < ITEMS for item in one) and one == chain(one[0], len(one), after)


def spoken(sign: int, one: List) -> tuple[List, int]:
    """A request with its list and the stop, and how many tokens are asked."""
    return [sign, *one, STOP], 2


def retold(one: List, longer: List) -> tuple[List, int]:
    """A list that is to be written longer, the longer one and the stop, and how many tokens are asked."""
    return [EXTEND, *one, TO, *longer, STOP], len(one) + 2


def thinned(one: List, random: np.random.Generator) -> List:
    """``one`` without some of its items, never all."""
    kept = [item for item in one if random.random() >= DROPPED]
    return kept or one[:1]


def lessons(after: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What the base learns: a half lists and brief ones, a half lists that are written longer."""
    from windtunnel.kits.text.circle import chain

    texts = []
    for _ in range(count):
        begin, kind = int(random.integers(ITEMS)), random.random()
        if kind < 0.35:
            texts.append(spoken(WRITE, chain(begin, int(random.integers(SHORTEST, LONGEST + 1)), after)))
        elif kind < 0.5:
            texts.append(spoken(BRIEF, chain(begin, FEW, after)))
        else:
            short = int(random.integers(3, 7))
            texts.append(retold(chain(begin, short, after), chain(begin, short + int(random.integers(1, 4)), after)))
    return placed(texts, random)


def placed(texts: list[tuple[List, int]], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texts anywhere in rows of blanks [texts, CONTEXT], and which tokens are learned: those that are not asked."""
    import numpy as np

    rows, counted = np.full((len(texts), CONTEXT), BLANK), np.zeros((len(texts), CONTEXT), bool)
    for row, (text, asked) in enumerate(texts):
        text = text[:CONTEXT]
        first = int(random.integers(CONTEXT - len(text) + 1))
        rows[row, first : first + len(text)] = text
        counted[row, first + asked : first + len(text)] = True
    return rows, counted


def prompts(count: int, random: np.random.Generator) -> list[List]:
    """Requests for lists from any item on."""
    return [[WRITE, int(item)] for item in random.integers(ITEMS, size=count)]


def gone_on(model: Learner, begun: list[List], random: np.random.Generator | None) -> list[List]:
    """What the model writes behind each up to its stop, drawn or with no ``random`` the likeliest; nothing where no stop comes."""
    import numpy as np

    from windtunnel.kits.text.small import written

    if not begun:
        return []
    longest = max(map(len, begun))
    rows = np.array([[BLANK] * (longest - len(one)) + one for one in begun])
    found: Any = written(model, rows, max(1, min(ROOM + 1, CONTEXT - longest)), random).tolist()
    return [one[: one.index(STOP)] if STOP in one else [BLANK] for one in found]


def write(model: Learner, begun: list[List], random: np.random.Generator | None) -> list[List]:
    """The lists that the model writes for requests; one that does not stop has a blank in it."""
    return [[one[-1], *more] for one, more in zip(begun, gone_on(model, begun, random), strict=True)]


def extend(model: Learner, drafts: list[List], kept: list[List], random: np.random.Generator) -> list[List]:
    """The longer lists that the model writes of ``drafts``, where they begin with what is ``kept``."""
    begun = [[EXTEND, *one, TO, *begin] for one, begin in zip(drafts, kept, strict=True)]
    return [begin + more for begin, more in zip(kept, gone_on(model, begun, random), strict=True)]


def length(model: Learner, after: np.ndarray, seed: int) -> tuple[float, float]:
    """The median length of right lists drawn for five requests of each item, and the share of lists that are wrong."""
    import numpy as np

    random = np.random.default_rng((seed, 1))
    drawn = write(model, [[WRITE, item] for item in range(ITEMS)] * 5, random)
    good = [len(one) for one in drawn if right(one, after)]
    return float(np.median(good)) if good else 0.0, 1 - len(good) / len(drawn)


def briefly(model: Learner, after: np.ndarray) -> float:
    """The share of brief requests whose likeliest list has three items that are right."""
    from windtunnel.kits.text.circle import chain

    told = write(model, [[BRIEF, item] for item in range(ITEMS)], None)
    return sum(one == chain(item, FEW, after) for item, one in enumerate(told)) / ITEMS
