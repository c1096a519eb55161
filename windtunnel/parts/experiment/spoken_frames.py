"""Sounds of a language told from few labelled frames, on what filling in hidden frames of it, of others, or of both has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

BANDS, SOUNDS, OWN = 16, 30, 12  # numbers of a frame, sounds of all languages, and of one
AROUND, HIDDEN = 5, 1  # frames on either side that are read, and frames on either side of the middle that are hidden with it
SPOKEN, BATCH = 60, 128  # frames of an utterance; windows of a step


class SpokenFrames(Experiment, name="spoken-frames"):
    """The share of frames whose sound is told wrongly in a language with few labels, by what was learned from sound alone before.

    Nowakowski et al. 2023, arXiv:2301.07295: a speech model of 53 languages goes on with its own task on unlabelled Ainu, then learns from
    few labels, to which those of related languages may be added. Made languages speak 12 of 30 sounds, each for three to six frames of 16
    numbers that slide into each other, with a gain for each speaker and noise that keeps its colour; which sound follows which belongs to
    the language. The target shares ``shared`` of its 12 sounds with one of four languages that the first training heard, and no more than
    happens with the rest. The task is to draw the three hidden frames in the middle of eleven by a linear map of rank ``width``, in the
    place of contrast with quantised frames; nothing is hidden when sounds are told, by ridge regression on ``labels`` frames.

    ``learned``: ``old``, the four languages; ``continued``, these and then the target; ``other``, these and then a further language;
    ``target``, the target alone, for the steps of the second training; ``target-long``, for those of both; ``none``, random; ``raw``, the
    window itself. ``borrowed`` adds as many labelled frames of the related language.

    Numbers are ``error`` on new frames, and ``drawn``, the squared error of hidden frames over their variance.
    """

    trial = Trial({"before": 5, "steps": 5, "utterances": 20, "labels": 60})

    unit: ClassVar[str] = "share wrong"

    learned: Literal["old", "continued", "other", "target", "target-long", "none", "raw"] = Field(
        "old", description="what was learned before"
    )
    borrowed: bool = Field(False, description="whether labels of the related language are added")
    shared: float = Field(0.75, ge=0, le=1, description="share of the target's sounds that the related language has")
    labels: int = Field(100, ge=20, description="labelled frames")
    utterances: int = Field(150, ge=4, description="of each language of the first training, without labels")
    few: int = Field(60, ge=4, description="utterances of the second training, without labels")
    width: int = Field(24, ge=1, description="rank of the map")
    before: int = Field(600, ge=1, description="steps of the first training")
    steps: int = Field(300, ge=1, description="of the second")
    rate: float = Field(0.01, gt=0, description="learning rate of Adam")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``drawn``."""
        import numpy as np

        from windtunnel.kits.image.planted import few_label_accuracy

        random = np.random.default_rng(seed)
        world = 2 * random.standard_normal((SOUNDS, BANDS)), 0.7 * random.standard_normal((BANDS, BANDS))
        old = [language(random) for _ in range(4)]
        kept = round(self.shared * OWN)
        rest = np.setdiff1d(np.arange(SOUNDS), old[0][0])
        target = language(
            random, np.concatenate([random.choice(old[0][0], kept, replace=False), random.choice(rest, OWN - kept, replace=False)])
        )
        heard = [spoken(world, each, self.utterances, random) for each in old]
        heard += [spoken(world, each, self.few, random) for each in (target, language(random))]
        known, held, lent = (spoken(world, each, 40, random) for each in (target, target, old[0]))
        maps = self._maps([windows(each[0]) for each in heard], np.random.default_rng((seed, 1)))

        def read(frames: np.ndarray) -> np.ndarray:
            return windows(frames) if maps is None else windows(frames) @ maps[0]

        parts = [known, held, lent]
        features = np.concatenate([read(each[0]) for each in parts])
        names = np.concatenate([middles(each[1]) for each in parts])
        sizes = np.cumsum([0, *(len(middles(each[1])) for each in parts)])
        few = random.permutation(sizes[1])[: self.labels]
        if self.borrowed:
            few = np.concatenate([few, sizes[2] + random.permutation(sizes[3] - sizes[2])[: self.labels]])
        right = few_label_accuracy(features, names, few, np.arange(sizes[1], sizes[2]))
        drawn = 1.0
        if maps is not None:
            rows = windows(held[0])
            drawn = float(((hidden(rows) @ maps[0] @ maps[1] - inner(rows)) ** 2).mean() / inner(rows).var(axis=0).mean())
        return {"error": 1 - right, "drawn": drawn}

    def _maps(self, heard: list[np.ndarray], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """The map from windows to features and that from features to hidden frames, after all training; None reads windows."""
        import numpy as np

        if self.learned == "raw":
            return None
        size = (2 * AROUND + 1) * BANDS
        maps = [random.standard_normal(shape) / shape[0] ** 0.5 for shape in ((size, self.width), (self.width, (2 * HIDDEN + 1) * BANDS))]
        former, own, further = np.concatenate(heard[:4]), heard[4], heard[5]
        plan = {
            "old": [(former, self.before)],
            "continued": [(former, self.before), (own, self.steps)],
            "other": [(former, self.before), (further, self.steps)],
            "target": [(own, self.steps)],
            "target-long": [(own, self.before + self.steps)],
            "none": [],
        }
        for rows, steps in plan[self.learned]:
            filled(maps, rows, steps, self.rate, random)
        return maps[0], maps[1]


def filled(maps: list[np.ndarray], rows: np.ndarray, steps: int, rate: float, random: np.random.Generator) -> None:
    """Train both maps in place to draw hidden frames: Adam, a rate that falls in one line."""
    import numpy as np

    means = [[np.zeros_like(each), np.zeros_like(each)] for each in maps]
    for step in range(1, steps + 1):
        some = rows[random.integers(0, len(rows), BATCH)]
        given = hidden(some)
        features = given @ maps[0]
        off = (features @ maps[1] - inner(some)) * 2 / BATCH
        slopes = [given.T @ (off @ maps[1].T), features.T @ off]
        for place, slope in enumerate(slopes):
            first, second = means[place]
            first *= 0.9
            first += 0.1 * slope
            second *= 0.99
            second += 0.01 * slope**2
            change = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
            maps[place] = maps[place] - rate * (1 - (step - 1) / steps) * change


def language(random: np.random.Generator, sounds: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Its sounds [OWN], and how likely each follows each [OWN, OWN], never itself."""
    import numpy as np

    own = random.choice(SOUNDS, OWN, replace=False) if sounds is None else sounds
    odds = np.exp(1.5 * random.standard_normal((OWN, OWN))) * (1 - np.eye(OWN))
    return own, odds / odds.sum(axis=1, keepdims=True)


def spoken(
    world: tuple[np.ndarray, np.ndarray], own: tuple[np.ndarray, np.ndarray], count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frames [count, SPOKEN, BANDS] and their sounds [count, SPOKEN]."""
    import numpy as np

    from windtunnel.kits.vectors import picked

    ends, now = np.zeros(count, int), random.integers(0, OWN, count)
    sounds = np.zeros((count, SPOKEN), int)
    for place in range(SPOKEN):
        over = ends <= place
        now = np.where(over, picked(own[1][now], random), now)
        ends = np.where(over, place + random.integers(3, 7, count), ends)
        sounds[:, place] = own[0][now]
    plain = world[0][sounds]
    before, after = (np.concatenate(each, axis=1) for each in ((plain[:, :1], plain[:, :-1]), (plain[:, 1:], plain[:, -1:])))
    slid = 0.25 * before + 0.5 * plain + 0.25 * after
    gain = random.uniform(0.7, 1.3, (count, 1, BANDS))
    return slid * gain + random.standard_normal(slid.shape) @ world[1] + 0.5 * random.standard_normal(slid.shape), sounds


def windows(frames: np.ndarray) -> np.ndarray:
    """Every eleven frames in a row [windows, 11 * BANDS]."""
    import numpy as np

    found = np.lib.stride_tricks.sliding_window_view(frames, 2 * AROUND + 1, axis=1)
    return np.asarray(found.swapaxes(2, 3).reshape(-1, (2 * AROUND + 1) * BANDS))


def middles(sounds: np.ndarray) -> np.ndarray:
    """The sound in the middle of each window."""
    return sounds[:, AROUND:-AROUND].reshape(-1)


def hidden(rows: np.ndarray) -> np.ndarray:
    """Windows whose frames in the middle are 0."""
    found = rows.copy()
    found[:, (AROUND - HIDDEN) * BANDS : (AROUND + HIDDEN + 1) * BANDS] = 0
    return found


def inner(rows: np.ndarray) -> np.ndarray:
    """The frames in the middle of windows."""
    return rows[:, (AROUND - HIDDEN) * BANDS : (AROUND + HIDDEN + 1) * BANDS]
