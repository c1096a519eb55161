"""A prompt that is tuned on a few images of a new style, by where it begins and by which of its numbers are let move."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WIDTH, KINDS, NAMES, STYLES = 24, 4, 36, 6  # of vectors; directions in which styles move images; names, a third of them of the task; styles
SCALE, BATCH = 10.0, 64  # of cosines; pairs of a step
Pairs = tuple["np.ndarray", "np.ndarray"]  # vectors of images and the numbers of their names


class MetaPrompts(Experiment, name="meta-prompts"):
    """Accuracy in a new style after a few steps on few labelled images, by what the prompt had learned from other styles.

    Li et al. 2023, arXiv:2303.06571: images with captions are grouped into styles; a prompt begins where a step on one style, by a gradient
    that a small network regulates, lowers the loss on another; few-shot tuning then uses both. Here images and names are vectors of frozen
    towers: a style scales the numbers of images and moves them in some of four directions; a prompt scales the numbers of names and moves
    them, and nearest by cosine is the answer. The regulator is one gate for each number of the prompt, from 0 up, learned with it.

    ``begins``: ``nothing``, a prompt that changes nothing; ``joint``, learned on all styles at once; ``reptile``, moved towards what steps
    on one style lead to (Nichol et al. 2018); ``meta``, by the slope on another style after these steps (first order); ``gated``, with
    gates besides. The task has names of its own, and as many steps in all lead to each beginning.

    Numbers are ``accuracy``, in the new style; ``shifted``, in another new one that nothing was tuned on; and ``untuned``, in the new style
    before tuning.
    """

    trial = Trial({"steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begins: Literal["nothing", "joint", "reptile", "meta", "gated"] = Field("gated", description="where the prompt begins")
    shots: int = Field(1, ge=1, le=20, description="labelled images of each of twelve names")
    strength: float = Field(1.0, ge=0, description="of styles")
    noise: float = Field(0.25, ge=0, description="of a number of an image")
    steps: int = Field(150, ge=1, description="outer steps of the beginning")
    inner: int = Field(3, ge=1, description="steps within one")
    tuning: int = Field(10, ge=0, description="steps on the labelled images")
    rates: tuple[float, ...] = Field(
        (0.01, 0.03, 0.1, 0.3), min_length=1, description="of tuning, of which one is chosen by a further style"
    )

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``shifted`` and ``untuned``."""
        import numpy as np

        random = np.random.default_rng(seed)
        names = random.standard_normal((NAMES, WIDTH))
        ways = random.standard_normal((KINDS, WIDTH))
        styles = [self._style(ways, random) for _ in range(STYLES + 3)]
        task, others = np.arange(NAMES // 3), np.arange(NAMES // 3, NAMES)
        known = [self._pairs(names, others, style, 400, random) for style in styles[:STYLES]]
        new, shifted, chosen = (self._pairs(names, np.tile(task, 40), style, 0, random) for style in styles[STYLES:])
        few, also = (self._pairs(names, np.tile(task, self.shots), style, 0, random) for style in (styles[STYLES], styles[-1]))
        prompt, gate = self._begun(names[others], known, np.random.default_rng((seed, 1)))

        def tuned(pairs: Pairs, rate: float) -> np.ndarray:
            held = prompt
            for _ in range(self.tuning):
                held = held - rate * gate * slope(held, names[task], pairs)
            return held

        rate = max(self.rates, key=lambda one: right(tuned(also, one), names[task], chosen))
        found = tuned(few, rate)
        return {
            "accuracy": right(found, names[task], new),
            "shifted": right(found, names[task], shifted),
            "untuned": right(prompt, names[task], new),
        }

    def _style(self, ways: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """By how much a style scales numbers, and how it moves them."""
        import numpy as np

        return np.exp(0.5 * self.strength * random.standard_normal(WIDTH)), self.strength * (1 + random.standard_normal(KINDS)) @ ways

    def _pairs(
        self, names: np.ndarray, which: np.ndarray, style: tuple[np.ndarray, np.ndarray], count: int, random: np.random.Generator
    ) -> Pairs:
        """Images of a style, ``count`` of them of ``which`` names or one of each, with numbers among the names of the same third."""
        import numpy as np

        drawn = random.choice(which, count) if count else which
        seen = names[drawn] * style[0] + style[1] + self.noise * WIDTH**0.5 * random.standard_normal((len(drawn), WIDTH)) / 2
        return seen / np.linalg.norm(seen, axis=1, keepdims=True), drawn - which.min()

    def _begun(self, names: np.ndarray, known: list[Pairs], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The prompt [2 * WIDTH] that tuning begins from, and the gates of its numbers."""
        import numpy as np

        prompt, gate = np.zeros(2 * WIDTH), np.ones(2 * WIDTH)

        def some(style: int) -> Pairs:
            rows = random.integers(0, len(known[style][1]), BATCH)
            return known[style][0][rows], known[style][1][rows]

        for step in range(0 if self.begins == "nothing" else self.steps):
            rate = 0.1 * (1 - step / self.steps)
            one, other = random.choice(STYLES, 2, replace=False).tolist()
            if self.begins == "joint":
                for _ in range(self.inner + 1):
                    prompt = prompt - rate * slope(prompt, names, some(int(random.integers(STYLES))))
                continue
            held, path = prompt, np.zeros_like(prompt)
            for _ in range(self.inner):
                down = slope(held, names, some(one))
                held, path = held - 0.1 * gate * down, path + down
            if self.begins == "reptile":
                prompt = prompt + rate * 5 * (held - prompt)
                continue
            outer = slope(held, names, some(other))
            prompt = prompt - rate * outer
            if self.begins == "gated":
                gate = np.maximum(gate + 10 * rate * outer * path, 0)  # what the outer loss says of how far each number went
        return prompt, gate


def scores(prompt: np.ndarray, names: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Logits [images, names]: scaled cosines with names that the prompt has changed."""
    import numpy as np

    changed = names * (1 + prompt[:WIDTH]) + prompt[WIDTH:]
    return SCALE * images @ (changed / np.linalg.norm(changed, axis=1, keepdims=True)).T


def slope(prompt: np.ndarray, names: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Of the mean cross entropy, by the prompt [2 * WIDTH]."""
    import numpy as np

    from windtunnel.kits.vectors import softmax

    images, which = pairs
    logits = scores(prompt, names, images)
    odds = softmax(logits)
    odds[np.arange(len(which)), which] -= 1
    pull = SCALE * odds.T @ images / len(which)  # of the loss by each unit vector
    changed = names * (1 + prompt[:WIDTH]) + prompt[WIDTH:]
    size = np.linalg.norm(changed, axis=1, keepdims=True)
    unit = changed / size
    pull = (pull - (pull * unit).sum(axis=1, keepdims=True) * unit) / size
    return np.concatenate([(pull * names).sum(axis=0), pull.sum(axis=0)])


def right(prompt: np.ndarray, names: np.ndarray, pairs: Pairs) -> float:
    """The share of images whose nearest name is their own."""
    return float((scores(prompt, names, pairs[0]).argmax(axis=1) == pairs[1]).mean())
