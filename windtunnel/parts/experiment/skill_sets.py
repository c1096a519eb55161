"""Whether models that were shown texts with few skills at once write texts with more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

LETTERS, SKILLS, ASKED, LENGTH = 12, 12, 5, 10  # letters of a text's alphabet, skills, most that are asked for, letters of a text
BLANK = 0  # then letters, then skills


class SkillSets(Experiment, name="skill-sets"):
    """The share of texts that show all of k skills which were asked for, by how many were shown together in training.

    Zhao et al. 2024, arXiv:2409.19808: models tuned on texts that show up to three named skills at once get better at four and five, and at
    skills that were held out. Here a skill is that a text of ten letters holds a certain pair of neighbouring letters, which a program
    checks; a text is random but for the pairs that it is asked for. A small transformer learns to write from ``k_min`` to ``k_max`` skills;
    the last ``rare`` skills are only ever shown alone. All arms see as many texts.

    ``four`` and ``five`` are the shares of texts with that many skills that show all of them, ``each`` the share of skills shown when five
    are asked for, ``two`` of texts with two; ``rare`` the share with three skills, all of them rare
    (or with as many as there are).
    """

    trial = Trial({"steps": 3, "judged": 20})

    unit: ClassVar[str] = "share with all"
    better: ClassVar[str] = "higher"

    k_min: int = Field(1, ge=1, le=ASKED, description="fewest skills of a training text")
    k_max: int = Field(3, ge=1, le=ASKED, description="most")
    rare: int = Field(3, ge=0, le=SKILLS - ASKED, description="skills that are shown alone only")
    steps: int = Field(500, ge=1, description="of training, 64 texts each")
    judged: int = Field(300, ge=1, description="texts of each number of skills")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``four``, ``five``, ``each``, ``two`` and ``rare``. Raises PartError where ``k_min`` exceeds ``k_max``."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made, written

        if self.k_min > self.k_max:
            raise PartError(f"{self.name}: k_min {self.k_min} exceeds k_max {self.k_max}; swap them")
        random, judging = np.random.default_rng(seed).spawn(2)
        pairs = skills(random)
        usual = SKILLS - self.rare
        asked = [random.permutation(usual)[: random.integers(self.k_min, self.k_max + 1)] for _ in range(6000)]
        if self.rare:
            for place in range(0, len(asked), 10):
                asked[place] = np.array([usual + random.integers(self.rare)])
        rows = np.stack([shown(one, pairs, random) for one in asked])
        counted = np.zeros(rows.shape, bool)
        counted[:, ASKED:] = True
        model = made(seed, 1 + LETTERS + SKILLS, ASKED + LENGTH, width=40)
        learn(model, rows, counted, random, steps=self.steps, rate=self.rate)

        def judged(members: np.ndarray, k: int) -> np.ndarray:
            sets = [judging.permutation(members)[:k] for _ in range(self.judged)]
            prompts = np.stack([prompt(one) for one in sets])
            texts = written(model, prompts, LENGTH)
            return np.array([[holds(text, pairs[skill]) for skill in one] for text, one in zip(texts, sets, strict=True)])

        common = np.arange(usual)
        five = judged(common, 5)
        found = {"four": judged(common, 4).all(axis=1).mean(), "five": five.all(axis=1).mean(), "each": five.mean()}
        found["two"] = judged(common, 2).all(axis=1).mean()
        if self.rare:
            found["rare"] = judged(np.arange(usual, SKILLS), min(3, self.rare)).all(axis=1).mean()
        return {name: float(value) for name, value in found.items()}


def skills(random: np.random.Generator) -> np.ndarray:
    """Pairs of letters [SKILLS, 2], of which the first all differ, so that any five can stand in one text."""
    import numpy as np

    return np.stack([1 + random.permutation(LETTERS)[:SKILLS], 1 + random.integers(0, LETTERS, SKILLS)], axis=1)


def prompt(asked: np.ndarray) -> np.ndarray:
    """Tokens [ASKED]: blanks, then the skills that are asked for in rising order."""
    import numpy as np

    found = np.full(ASKED, BLANK)
    if len(asked):
        found[-len(asked) :] = 1 + LETTERS + np.sort(asked)
    return found


def shown(asked: np.ndarray, pairs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The prompt and a text of random letters with the pairs of ``asked``, each at a place of its own, in a random order."""
    import numpy as np

    text = 1 + random.integers(0, LETTERS, LENGTH)
    places = 2 * np.sort(random.permutation(LENGTH // 2)[: len(asked)])
    for place, skill in zip(places, random.permutation(asked), strict=True):
        text[place : place + 2] = pairs[skill]
    return np.concatenate([prompt(asked), text])


def holds(text: np.ndarray, pair: np.ndarray) -> bool:
    """Whether the letters of ``pair`` stand side by side."""
    return bool(((text[:-1] == pair[0]) & (text[1:] == pair[1])).any())
