"""Learning to write programs from those that the model itself found to be right, whole or as far as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

MODULUS, INPUTS, LENGTH = 7, 3, 5  # numbers are counted modulo 7; a program is five signs in postfix order
X, PLUS, TIMES = MODULUS, MODULUS + INPUTS, MODULUS + INPUTS + 1  # tokens: numbers, then the three inputs, then two operations
GIVEN = INPUTS + 1  # what a problem says: the inputs and the result


class SampledPrograms(Experiment, name="sampled-programs"):
    """The share of new problems that a model solves in one or in many tries, by which programs it was trained on.

    Ni et al. 2023, arXiv:2205.14318: beside the one reference of each problem a buffer holds what the model wrote itself and what came out
    right; partly right programs, whose last state is one that a known solution passes through, are kept as far as they go. A problem are
    three numbers and a result modulo 7; a program combines the three, each once, by two operations in postfix order: there are 24, of which
    several are right. What the model writes is right if it gives the result, even where it takes an input twice. ``problems`` have a
    reference each. The model is a small transformer.

    ``reference`` trains on references alone; ``full`` adds programs that were written at temperature 1 after each of ``rounds`` and give
    the result; ``partial`` adds prefixes as well, on which training stops at their end; ``every`` trains on all right programs, which is
    the bound. All take as many steps, in as many parts, at the beginning of which the optimizer is new. ``many`` is the share of held-out
    problems solved by one of 20 tries, ``one`` that by a try (mean); ``kinds`` how many different right programs 20 tries hold, and
    ``buffer`` how many programs a problem has at the end.
    """

    trial = Trial({"problems": 20, "steps": 4, "rounds": 1, "judged": 10})

    unit: ClassVar[str] = "share solved"
    better: ClassVar[str] = "higher"

    how: Literal["reference", "full", "partial", "every"] = Field("full", description="what is trained on")
    problems: int = Field(150, ge=10, description="with a reference")
    steps: int = Field(600, ge=2, description="of training in all, 64 programs each")
    rounds: int = Field(5, ge=1, description="of writing, evenly strewn after the first part of training")
    judged: int = Field(80, ge=5, description="held-out problems")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW, in each round from the beginning")

    def measure(self, seed: int) -> dict[str, float]:
        """``many``, ``one``, ``kinds`` and ``buffer``. Raises PartError for more problems than there are."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        random = np.random.default_rng(seed)
        all_, wanted = programs(), self.problems + self.judged
        if wanted > MODULUS**INPUTS:
            raise PartError(f"{self.name}: {wanted} problems: three numbers modulo 7 are {MODULUS**INPUTS}; lower problems or judged")
        if self.steps <= self.rounds:
            raise PartError(f"{self.name}: steps {self.steps}: there are {self.rounds + 1} parts of training; raise it or lower rounds")
        inputs = random.permutation(np.stack(np.unravel_index(np.arange(MODULUS**INPUTS), (MODULUS,) * INPUTS), axis=1))[:wanted]
        results = np.array([[run(program, row) for program in all_] for row in inputs], np.int64)
        goal = results[np.arange(len(inputs)), random.integers(len(all_), size=len(inputs))]
        given = np.hstack([inputs, goal[:, None]])
        known: list[set[tuple[int, ...]]] = []
        for place in range(self.problems):
            right = [tuple(map(int, program)) for program, result in zip(all_, results[place], strict=True) if result == goal[place]]
            known.append(set(right) if self.how == "every" else {right[random.integers(len(right))]})
        model = made(seed, TIMES + 1, GIVEN + LENGTH, width=48)
        parts = self.rounds + 1
        for part in range(parts):
            if part and self.how in ("full", "partial"):
                tries = written(model, given[: self.problems], LENGTH, random)
                for place, program in enumerate(tries):
                    self._kept(known[place], tuple(map(int, program)), given[place])
            rows, counted = table(given, known)
            learn(model, rows, counted, random, steps=self.steps // parts, rate=self.rate)
        held = given[self.problems :]
        tries = written(model, np.repeat(held, 20, axis=0), LENGTH, random).reshape(len(held), 20, LENGTH)
        solved = np.array([[run(one, row[:INPUTS]) == row[INPUTS] for one in some] for some, row in zip(tries, held, strict=True)])
        kinds = [len({tuple(program) for program in some[good]}) for some, good in zip(tries, solved, strict=True)]
        size = np.mean([len(one) for one in known])
        return {
            "many": float(solved.any(axis=1).mean()),
            "one": float(solved.mean()),
            "kinds": float(np.mean(kinds)),
            "buffer": float(size),
        }

    def _kept(self, known: set[tuple[int, ...]], program: tuple[int, ...], given: np.ndarray) -> None:
        """Put ``program`` among the ``known`` ones if it is right, or its longest beginning that passes through a known state."""
        if run(program, given[:INPUTS]) == given[INPUTS]:
            known.add(program)
        elif self.how == "partial":
            states = {stack(one[:end], given[:INPUTS]) for one in known for end in range(2, len(one) + 1)}
            for end in range(LENGTH - 1, 1, -1):
                if stack(program[:end], given[:INPUTS]) in states - {None}:
                    known.add(program[:end])
                    break


def programs() -> np.ndarray:
    """All programs that use each input once, [programs, LENGTH]; x y + z * and so on, of one shape."""
    from itertools import permutations, product

    import numpy as np

    rows = [
        [X + one, X + two, first, X + three, second]
        for (one, two, three), (first, second) in product(permutations(range(INPUTS)), product((PLUS, TIMES), repeat=2))
    ]
    return np.array(rows, np.int64)


def stack(program: tuple[int, ...] | np.ndarray, inputs: np.ndarray) -> tuple[int, ...] | None:
    """What lies on the stack after ``program``, or None where it takes what is not there."""
    found: list[int] = []
    for sign in program:
        if X <= sign < PLUS:
            found.append(int(inputs[sign - X]))
        elif sign >= PLUS and len(found) >= 2:
            two, one = found.pop(), found.pop()
            found.append((one + two if sign == PLUS else one * two) % MODULUS)
        else:
            return None
    return tuple(found)


def run(program: tuple[int, ...] | np.ndarray, inputs: np.ndarray) -> int | None:
    """The result of ``program``, or None where it leaves none, or more than one number."""
    found = stack(program, inputs)
    return found[0] if found is not None and len(found) == 1 else None


def table(given: np.ndarray, known: list[set[tuple[int, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of problems and programs, and which tokens are learned; those of prefixes stop where they end."""
    import numpy as np

    rows, counted = [], []
    for problem, some in zip(given, known, strict=False):
        for program in sorted(some):
            rows.append([*problem, *program, *([0] * (LENGTH - len(program)))])
            counted.append([False] * GIVEN + [place < len(program) for place in range(LENGTH)])
    return np.array(rows, np.int64), np.array(counted)
