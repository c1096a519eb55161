"""A policy that reads what it sees and what it is to reach as words, by whether it was a language model before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

COLOURS, KINDS, FAR = 6, 6, 2  # of things, and how far one is off at most, along each axis
BLANK, THERE, THE, STANDS, STOP, GO, ACT = range(7)
MOVES = 7  # left, right, down and up
COLOUR, KIND = MOVES + 4, MOVES + 4 + COLOURS
ACROSS, ALONG = KIND + KINDS, KIND + KINDS + 2 * FAR + 1  # words for how far a thing is off
WORDS = ALONG + 2 * FAR + 1
THINGS, STEPS = 3, 8  # of a scene, and most of an episode
READ, LONGEST = 4 * THINGS + 4, 6 * THINGS + 2 * 6  # words of a scene with its goal, and of a text
WAYS = ((-1, 0), (1, 0), (0, -1), (0, 1))


class WordedGoals(Experiment, name="worded-goals"):
    """The share of scenes in which a cloned policy reaches a thing of a colour and kind that it was never sent to together.

    Li et al. 2022 (LID), arXiv:2202.01771: goal and observation are a row of words, read by a transformer that was a language model, which
    is then tuned to say the next action of demonstrations; and data is gathered by the policy itself, whose failures are told anew as ways
    to what they did reach. Made scenes of three things on a grid, of which one shares the colour of the goal and one its kind, each told by
    colour, kind, and how far off it is along both axes. An action is one step, and eight are allowed. A quarter of all pairs of colour and
    kind is in no scene of training.

    ``begins``: ``language``, a model of made texts (three things are told of in sentences, and of some it is said again where they stand);
    ``shuffled``, of the same texts with their words in any order; ``permuted``, language, but the numbers of each weight have changed
    places; ``nothing``; ``flat``, an MLP on one vector of the same facts. Transformers are of two layers, and the words of the texts are
    those of scenes, of all pairs. With ``arbitrary`` each word of a scene is told by another, always the same. ``demonstrations`` are
    shortest ways; in each of ``rounds`` the policy makes ``gathered`` episodes with a fifth of its steps at random, and learns anew from
    the beginning with these besides: as they are where the goal was reached, with the thing that was reached in its place where it was
    another, which ``relabelled`` may forbid.

    Numbers are ``success``, on pairs not seen in training; ``known``, on pairs that were, in new scenes; and ``ways``, how many there were
    to learn from. The rate is chosen by further scenes of known pairs.
    """

    trial = Trial({"texts": 2, "steps": 2, "demonstrations": 20, "judged": 10, "rates": (1e-3,)})

    unit: ClassVar[str] = "share reached"
    better: ClassVar[str] = "higher"

    begins: Literal["language", "shuffled", "permuted", "nothing", "flat"] = Field("language", description="what the policy was before")
    arbitrary: bool = Field(False, description="tell scenes by other words")
    demonstrations: int = Field(200, ge=1, description="ways that are shown")
    rounds: int = Field(0, ge=0, description="of gathering by itself")
    gathered: int = Field(200, ge=1, description="episodes of a round")
    relabelled: bool = Field(True, description="learn from ways to another thing than the goal")
    texts: int = Field(600, ge=1, description="steps on texts")
    steps: int = Field(200, ge=1, description="on actions")
    judged: int = Field(400, ge=1, description="scenes that are judged")
    rates: tuple[float, ...] = Field((5e-4, 1.5e-3, 4e-3), min_length=1, description="of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``success``, ``known`` and ``ways``."""
        import copy

        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best

        reading, random, gathering = np.random.default_rng(seed).spawn(3)
        order = random.permutation(COLOURS * KINDS)
        unseen, seen = np.sort(order[: COLOURS * KINDS // 4]), np.sort(order[COLOURS * KINDS // 4 :])
        begun = self._begun(seed, reading)
        other = np.arange(WORDS)
        if self.arbitrary:
            other[COLOUR:] = COLOUR + random.permutation(WORDS - COLOUR)
        shown, chosen, known, held = (
            Scenes.drawn(pairs, count, random)
            for pairs, count in ((seen, self.demonstrations), (seen, 150), (seen, self.judged), (unseen, self.judged))
        )
        inputs, actions = ways(shown, shown.shortest())

        def tuned(rate: float) -> Any:
            own = copy.deepcopy(begun)
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed)
                clone(own, other[inputs], actions, np.random.default_rng((seed, 1)), self.steps, rate)
            return own

        def policy() -> Any:
            return best(self.rates, tuned, lambda own: share(own, chosen, other))

        own, count = policy(), len(shown.aim)
        for _ in range(self.rounds):
            tried = Scenes.drawn(seen, self.gathered, gathering)
            reached, done = played(own, tried, other, gathering)
            kept = (reached == tried.aim) | ((reached >= 0) & self.relabelled)
            more = ways(tried._replace(aim=np.maximum(reached, 0)), np.where(kept[:, None], done, -1))
            inputs, actions, count = np.concatenate([inputs, more[0]]), np.concatenate([actions, more[1]]), count + int(kept.sum())
            own = policy()
        right = [share(own, scenes, other) for scenes in (held, known)]
        return {"success": right[0], "known": right[1], "ways": float(count)}

    def _begun(self, seed: int, random: np.random.Generator) -> Any:
        """The network that is tuned: what it was before."""
        import numpy as np
        import torch

        from windtunnel.kits.text.small import learn, made

        if self.begins == "flat":
            return flat(seed)
        model = made(seed, WORDS, LONGEST, width=64)
        if self.begins != "nothing":
            texts = sentences(64 * min(self.texts, 200), random)
            if self.begins == "shuffled":
                texts = random.permuted(texts, axis=1)
            learn(model, texts, np.ones_like(texts), random, steps=self.texts, rate=3e-3)
        if self.begins == "permuted":
            with torch.no_grad():
                for weight in model.parameters():
                    weight.copy_(weight.flatten()[torch.from_numpy(random.permutation(weight.numel()))].view_as(weight))
        return model


class Scenes(NamedTuple):
    """``colours``, ``kinds`` [scenes, THINGS], ``places`` [scenes, THINGS, 2] as seen by the agent, and which is the ``aim`` [scenes]."""

    colours: np.ndarray
    kinds: np.ndarray
    places: np.ndarray
    aim: np.ndarray

    @classmethod
    def drawn(cls, pairs: np.ndarray, count: int, random: np.random.Generator) -> Scenes:
        """Scenes whose things are of ``pairs`` (colour times KINDS plus kind): what is aimed at, one of its colour, and one of its kind."""
        import numpy as np

        things, places = np.zeros((count, THINGS), int), np.zeros((count, THINGS, 2), int)
        spots = [(x, y) for x in range(-FAR, FAR + 1) for y in range(-FAR, FAR + 1) if (x, y) != (0, 0)]
        for row in range(count):
            goal = int(random.choice(pairs))
            rest = pairs[pairs != goal]
            alike = [rest[rest // KINDS == goal // KINDS], rest[rest % KINDS == goal % KINDS]]
            things[row] = [goal, *(int(random.choice(few if len(few) else rest)) for few in alike)]
            places[row] = [spots[place] for place in random.permutation(len(spots))[:THINGS]]
        order = random.permuted(np.tile(np.arange(THINGS), (count, 1)), axis=1)
        things = np.take_along_axis(things, order, axis=1)
        return cls(things // KINDS, things % KINDS, np.take_along_axis(places, order[..., None], axis=1), order.argmin(axis=1))

    def words(self) -> np.ndarray:
        """What is read [scenes, READ]: of every thing its colour, kind and place, then the goal. What is far is told as FAR off."""
        import numpy as np

        far = np.clip(self.places, -FAR, FAR) + FAR
        told = np.stack([self.colours + COLOUR, self.kinds + KIND, far[..., 0] + ACROSS, far[..., 1] + ALONG], axis=2)
        rows = np.arange(len(self.aim))
        goal = [np.full(len(rows), GO), self.colours[rows, self.aim] + COLOUR, self.kinds[rows, self.aim] + KIND, np.full(len(rows), ACT)]
        return np.concatenate([told.reshape(len(rows), -1), np.stack(goal, axis=1)], axis=1)

    def moved(self, actions: np.ndarray) -> Scenes:
        """What is seen after ``actions`` [scenes]; -1: none."""
        import numpy as np

        steps = np.array([*WAYS, (0, 0)])[actions]
        return self._replace(places=self.places - steps[:, None])

    def shortest(self) -> np.ndarray:
        """Ways to what is aimed at, across first: actions [scenes, STEPS], -1 where it is reached."""
        import numpy as np

        found, now, rows = np.full((len(self.aim), STEPS), -1), self, np.arange(len(self.aim))
        for step in range(STEPS):
            x, y = now.places[rows, self.aim].T
            found[:, step] = np.where(x < 0, 0, np.where(x > 0, 1, np.where(y < 0, 2, np.where(y > 0, 3, -1))))
            now = now.moved(found[:, step])
        return found


def ways(scenes: Scenes, done: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is read [steps, READ] and the action [steps] of each step of ``done`` [scenes, STEPS] that is none of -1."""
    import numpy as np

    inputs, actions, now = [], [], scenes
    for step in range(STEPS):
        there = done[:, step] >= 0
        inputs.append(now.words()[there])
        actions.append(done[there, step])
        now = now.moved(done[:, step])
    return np.concatenate(inputs), np.concatenate(actions)


def played(model: Any, scenes: Scenes, other: np.ndarray, random: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What was reached of every scene [scenes], and the actions until then [scenes, STEPS], -1 behind.

    An episode ends at what is aimed at; else the last thing that was met counts, or none (-1). With ``random`` a fifth of actions are
    drawn.
    """
    import numpy as np
    import torch

    rows, now = np.arange(len(scenes.aim)), scenes
    done, reached, until = np.full((len(rows), STEPS), -1), np.full(len(rows), -1), np.zeros(len(rows), int)
    for step in range(STEPS):
        with torch.no_grad():
            said = says(model, other[now.words()]).argmax(dim=1).numpy()
        if random is not None:
            said = np.where(random.random(len(rows)) < 0.2, random.integers(len(WAYS), size=len(rows)), said)
        done[:, step] = np.where(reached == scenes.aim, -1, said)
        now = now.moved(done[:, step])
        met = (now.places == 0).all(axis=2)
        fresh = met.any(axis=1) & (reached != scenes.aim)
        reached[fresh] = np.where(met[rows, scenes.aim], scenes.aim, met.argmax(axis=1))[fresh]
        until[fresh] = step + 1
    return reached, np.where(np.arange(STEPS) < until[:, None], done, -1)


def share(model: Any, scenes: Scenes, other: np.ndarray) -> float:
    """The share of scenes in which what is aimed at is reached."""
    return float((played(model, scenes, other)[0] == scenes.aim).mean())


def says(model: Any, words: np.ndarray) -> Any:
    """Logits of actions [rows, 4] of what is read, ``words`` [rows, READ]."""
    import torch

    found = model(torch.from_numpy(words))
    return found if found.dim() == 2 else found[:, -1, MOVES : MOVES + len(WAYS)]


def clone(model: Any, words: np.ndarray, actions: np.ndarray, random: np.random.Generator, steps: int, rate: float) -> None:
    """Steps on ``actions``, 64 at a time."""
    import torch

    from windtunnel.kits.small_decoder import descend

    wanted = torch.from_numpy(actions)

    def loss(step: int) -> torch.Tensor:
        some = random.integers(len(actions), size=64)
        return torch.nn.functional.cross_entropy(says(model, words[some]), wanted[torch.from_numpy(some)])

    descend(model, loss, steps, rate)


def flat(seed: int) -> Any:
    """An MLP on one vector of what is read: which word stands at each place."""
    import torch
    from torch import nn

    class FlatPolicy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(READ * WORDS, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, len(WAYS)))

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.layers(nn.functional.one_hot(words, WORDS).flatten(1).float()))

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return FlatPolicy()


def sentences(count: int, random: np.random.Generator) -> np.ndarray:
    """Texts [count, LONGEST]: there are three things, of any colour and kind, and two of them are told of again."""
    import numpy as np

    scenes = Scenes.drawn(np.arange(COLOURS * KINDS), count, random)
    words, rows = scenes.words(), np.arange(count)
    things = words[:, : 4 * THINGS].reshape(count, THINGS, 4)
    order = random.permuted(np.tile(np.arange(THINGS), (count, 1)), axis=1)
    found = []
    for thing in range(THINGS):
        found += [np.full(count, THERE), *things[:, thing].T, np.full(count, STOP)]
    for again in (0, 1):
        colour, kind, across, along = things[rows, order[:, again]].T
        found += [np.full(count, THE), colour, kind, np.full(count, STANDS), across, along]
    return np.stack(found, axis=1)
