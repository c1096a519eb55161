"""A point that goes to a goal, seen through a fixed curved rendering among things that move by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SEEN, OTHERS = 24, 4  # numbers of an observation, and of what moves by itself


class Walks(NamedTuple):
    """``observations`` [walks, steps + 1, 24], ``actions`` [walks, steps, 2], ``places`` [walks, steps + 1, 2], ``goals`` [walks, 2]."""

    observations: Array
    actions: Array
    places: Array
    goals: Array


@dataclass(frozen=True)
class PointWorld:
    """How a place and the other things look."""

    first: Array
    second: Array
    others: float

    @classmethod
    def drawn(cls, random: np.random.Generator, others: float) -> PointWorld:
        """Another rendering for every generator; ``others`` is how much the rest is seen."""
        return cls(random.standard_normal((2 + OTHERS, 32)), random.standard_normal((32, SEEN)) / np.sqrt(32), others)

    def seen(self, places: Array, rest: Array) -> Array:
        """Observations [..., 24] of places [..., 2] and of what moves by itself [..., 4]."""
        every = np.concatenate([places, self.others * rest], axis=-1)
        return np.asarray(np.tanh(every @ self.first / 2) @ self.second)

    def walks(self, random: np.random.Generator, goals: Array, steps: int, *, noise: float = 0.2) -> Walks:
        """One walk to each goal [walks, 2] by a demonstrator: a step of length 0.25 towards it, and ``noise`` of that length."""
        place, rest = 0.7 * random.standard_normal((len(goals), 2)), random.standard_normal((len(goals), OTHERS))
        places, things, actions = [place], [rest], []
        for _ in range(steps):
            action = towards(place, goals) + 0.25 * noise * random.standard_normal(place.shape)
            place = place + action
            rest = 0.8 * rest + 0.6 * random.standard_normal(rest.shape)
            actions.append(action)
            places.append(place)
            things.append(rest)
        where = np.stack(places, axis=1)
        return Walks(self.seen(where, np.stack(things, axis=1)), np.stack(actions, axis=1), where, goals)

    def reached(self, policy: Any, random: np.random.Generator, goals: Array, steps: int) -> float:
        """The share of walks of ``policy`` (observations [walks, 24] to actions [walks, 2]) that come within 0.3 of their goal."""
        place, rest = 0.7 * random.standard_normal((len(goals), 2)), random.standard_normal((len(goals), OTHERS))
        there = np.zeros(len(goals), bool)
        for _ in range(steps):
            action = policy(self.seen(place, rest))
            place = place + action * np.minimum(1, 0.35 / (np.linalg.norm(action, axis=1, keepdims=True) + 1e-9))
            rest = 0.8 * rest + 0.6 * random.standard_normal(rest.shape)
            there |= np.linalg.norm(place - goals, axis=1) < 0.3
        return float(there.mean())


def towards(place: Array, goals: Array) -> Array:
    """A step of length 0.25 from ``place`` to ``goals``, shorter when they are near."""
    way = goals - place
    return np.asarray(way * np.minimum(1, 0.25 / (np.linalg.norm(way, axis=-1, keepdims=True) + 1e-9)))


def on_circle(random: np.random.Generator, count: int, radius: float = 2.0) -> Array:
    """Goals [count, 2] on a circle."""
    angle = random.uniform(0, 2 * np.pi, count)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
