"""Values learned from recorded steps, pushed down where nothing was recorded, and what becomes of them when learning goes on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SIDE, WAYS, DISCOUNT = 7, 4, 0.95
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
LIMIT, ROUNDS = 40, 20  # steps of an attempt, and attempts at the beginning of learning online whose mean tells of a dip


class CalibratedValues(Experiment, name="calibrated-values"):
    """Success in fetching and bringing back without resets, by how values were learned before.

    Yang et al. 2023 (RoboFuME), arXiv:2310.15145: a policy learns offline from demonstrations of there and back and from other tasks, with
    conservative values that are floored by the return of the recorded policy (Cal-QL, Nakamoto et al. 2023, arXiv:2303.05479), then goes
    on alone, forwards and backwards in turn, with rewards by a classifier. Here a point moves on a grid of 7 x 7 places, a tenth of its
    moves goes astray, and values are a table for each direction, which begins at random numbers up to
    ``unknown``, so that what was never done looks good. ``demonstrations`` of both directions take the shortest way in
    ``expert`` of their steps; records of other goals bring what lies elsewhere, rewarded only where they come by the goal.

    ``values``: ``calibrated``, the gradient that pushes the value of an action down stops where it is below the recorded return from there
    on; ``conservative``, it does not; ``plain`` has none of it; ``cloned``, the policy repeats what was done most in a place and learns
    online from values of 0.5 for it and 0 for all else; ``none`` begins online from those numbers. ``pull`` is the weight of the push.
    ``resets`` puts the point back before every attempt. ``mistaken`` is how often the classifier takes a place beside the goal for it.

    Numbers are ``late``, the success of the last quarter of the attempts; ``early``, that of the first 20; ``offline``, that of the policy
    before it learns online; and ``dip``, how far the lowest mean of ten attempts in a row, of the first 60, lies below it.
    """

    trial = Trial({"attempts": 24, "sweeps": 5})

    unit: ClassVar[str] = "share of attempts"
    better: ClassVar[str] = "higher"

    values: Literal["calibrated", "conservative", "plain", "cloned", "none"] = Field(
        "calibrated", description="how values are learned offline"
    )
    demonstrations: int = Field(3, ge=1, description="recorded attempts of each direction")
    expert: float = Field(0.6, ge=0, le=1, description="share of recorded steps on the shortest way")
    others: int = Field(5, ge=0, description="recorded attempts with other goals")
    pull: float = Field(0.05, ge=0, description="weight of what pushes values down")
    unknown: float = Field(1.0, ge=0, description="values begin between 0 and this, as those of a network may where nothing was recorded")
    sweeps: int = Field(300, ge=1, description="gradient steps on all recorded steps")
    attempts: int = Field(200, ge=20, description="online, both directions in turn")
    rate: float = Field(0.3, gt=0, le=1, description="of a step on a table")
    chance: float = Field(0.05, ge=0, le=1, description="share of moves that are drawn at random online")
    mistaken: float = Field(0.0, ge=0, le=1, description="share of places beside the goal that are taken for it")
    resets: bool = Field(False, description="whether attempts begin where they ought to")

    def measure(self, seed: int) -> dict[str, float]:
        """``late``, ``early``, ``offline`` and ``dip``."""
        import numpy as np

        random = np.random.default_rng(seed)
        ends = ends_of(random)
        tables = []
        for goal, start in zip(ends, ends[::-1], strict=True):
            steps = recorded(random, start, goal, self.demonstrations, self.expert)
            for _ in range(self.others):
                begin, other = random.integers(0, SIDE, (2, 2))
                steps += recorded(random, tuple(begin.tolist()), tuple(other.tolist()), 1, self.expert, rewarded=goal)
            tables.append(self._learned(steps, self.unknown * random.random((SIDE * SIDE, WAYS))))
        offline = np.mean(
            [self._attempted(tables[one].copy(), ends[1 - one], ends[one], random, 0.0, 0.0)[0] for one in (0, 1) for _ in range(30)]
        )
        place, right = ends[1], []
        for attempt in range(self.attempts):
            way = attempt % 2
            begin = ends[1 - way] if self.resets else place
            done, place = self._attempted(tables[way], begin, ends[way], random, self.chance, self.rate)
            right.append(done)
        early, late = right[:ROUNDS], right[-max(self.attempts // 4, 1) :]
        means = np.convolve(right[: max(60, ROUNDS)], np.ones(10) / 10, "valid")
        return {
            "late": float(np.mean(late)),
            "early": float(np.mean(early)),
            "offline": float(offline),
            "dip": float(max(offline - means.min(), 0.0)),
        }

    def _learned(self, steps: list[tuple[int, int, float, int, bool, float]], table: np.ndarray) -> np.ndarray:
        """Values [places, WAYS] that begin as ``table``, after sweeps over all recorded steps."""
        import numpy as np

        if self.values == "none":
            return table
        places, acts, rewards, then, over, returns = (np.array(each) for each in zip(*steps, strict=True))
        counts = np.zeros_like(table)
        np.add.at(counts, (places, acts), 1)
        if self.values == "cloned":
            return 0.5 * (counts == counts.max(axis=1, keepdims=True)) * (counts.sum(axis=1, keepdims=True) > 0)
        seen = np.maximum(counts.sum(axis=1), 1)
        floor = np.bincount(places, returns, SIDE * SIDE) / seen
        for _ in range(self.sweeps):
            wanted = rewards + DISCOUNT * np.where(over, 0.0, table[then].max(axis=1))
            slope = np.zeros_like(table)
            np.add.at(slope, (places, acts), table[places, acts] - wanted)
            if self.values != "plain":
                slope += self.pull * pushed(table, counts, floor if self.values == "calibrated" else None)
            table -= self.rate * slope / seen[:, None]
        return table

    def _attempted(
        self, table: np.ndarray, place: tuple[int, int], goal: tuple[int, int], random: np.random.Generator, chance: float, rate: float
    ) -> tuple[bool, tuple[int, int]]:
        """Whether the goal is reached, and where the attempt ends; ``table`` learns on the way."""
        for _ in range(LIMIT):
            here = number(place)
            act = int(random.integers(WAYS)) if random.random() < chance else int((table[here] + 1e-6 * random.random(WAYS)).argmax())
            place = moved(place, act, random)
            done = place == goal
            told = done or (rate > 0 and abs(place[0] - goal[0]) + abs(place[1] - goal[1]) == 1 and random.random() < self.mistaken)
            wanted = 1.0 if told else DISCOUNT * float(table[number(place)].max())
            table[here, act] += rate * (wanted - table[here, act])
            if done or told:
                return done, place
        return False, place


def pushed(table: np.ndarray, counts: np.ndarray, floor: np.ndarray | None) -> np.ndarray:
    """The slope of counts times (log sum exp of a place's values less those of what was done), the former floored where ``floor`` is given.

    With a floor [places], actions whose value is below it weigh in the sum with the floor, which has no slope.
    """
    import numpy as np

    from windtunnel.kits.vectors import softmax

    held = table if floor is None else np.maximum(table, floor[:, None])
    odds = softmax(held)
    if floor is not None:
        odds = odds * (table > floor[:, None])
    return np.asarray(counts.sum(axis=1, keepdims=True) * odds - counts)


def ends_of(random: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two places at least seven moves apart."""
    import numpy as np

    while True:
        one, other = random.integers(0, SIDE, (2, 2))
        if np.abs(one - other).sum() >= SIDE:
            return (int(one[0]), int(one[1])), (int(other[0]), int(other[1]))


def number(place: tuple[int, int]) -> int:
    """Of a place."""
    return place[0] * SIDE + place[1]


def moved(place: tuple[int, int], act: int, random: np.random.Generator) -> tuple[int, int]:
    """Where a move ends: a tenth goes another way, and walls hold."""
    down, across = MOVES[int(random.integers(WAYS)) if random.random() < 0.1 else act]
    return min(max(place[0] + down, 0), SIDE - 1), min(max(place[1] + across, 0), SIDE - 1)


def recorded(
    random: np.random.Generator,
    start: tuple[int, int],
    goal: tuple[int, int],
    count: int,
    expert: float,
    rewarded: tuple[int, int] | None = None,
) -> list[tuple[int, int, float, int, bool, float]]:
    """Steps of ``count`` attempts: place, act, reward, next place, whether it ends there, and the discounted return from there on.

    The reward is 1 on reaching ``rewarded``, which is ``goal`` if nothing else is said.
    """
    found, paid = [], goal if rewarded is None else rewarded
    for _ in range(count):
        place, path = start, []
        for _ in range(LIMIT):
            off = (goal[0] - place[0], goal[1] - place[1])
            if off == (0, 0):
                break
            axis = 0 if off[1] == 0 or (off[0] != 0 and random.random() < 0.5) else 1
            act = 2 * axis + (off[axis] > 0) if random.random() < expert else int(random.integers(WAYS))
            then = moved(place, act, random)
            path.append((number(place), act, float(then == paid), number(then), then == paid))
            place = then
            if then == paid:
                break
        back = 0.0
        for step in reversed(path):
            back = step[2] + DISCOUNT * back
            found.append((*step, back))
    return found
