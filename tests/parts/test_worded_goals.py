"""Goals in words: scenes, shortest ways, episodes that are told anew, and what a policy was before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.worded_goals import (
    COLOUR,
    KIND,
    KINDS,
    LONGEST,
    MOVES,
    READ,
    STEPS,
    WORDS,
    Scenes,
    WordedGoals,
    flat,
    played,
    sentences,
    share,
    ways,
)


class Knowing(torch.nn.Module):
    """Goes the shortest way to the thing ``which`` of those that are told of."""

    def __init__(self, scenes: Scenes, which: np.ndarray) -> None:
        super().__init__()
        self.done, self.step = scenes._replace(aim=which).shortest(), 0

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        wanted = torch.from_numpy(np.maximum(self.done[:, self.step], 0))
        self.step += 1
        return torch.nn.functional.one_hot(wanted, 4).float()


def test_scenes_hold_what_shares_a_colour_and_a_kind_with_the_goal():
    pairs = np.arange(KINDS * 6)
    scenes = Scenes.drawn(pairs, 60, np.random.default_rng(0))
    rows = np.arange(60)
    goal = scenes.colours[rows, scenes.aim], scenes.kinds[rows, scenes.aim]
    assert ((scenes.colours == goal[0][:, None]).sum(axis=1) == 2).all() and ((scenes.kinds == goal[1][:, None]).sum(axis=1) == 2).all()
    words = scenes.words()
    assert (
        words.shape == (60, READ)
        and words.max() < WORDS
        and (words[:, -3] == goal[0] + COLOUR).all()
        and (words[:, -2] == goal[1] + KIND).all()
    )
    assert len(set(scenes.aim.tolist())) == 3


def test_the_shortest_way_reaches_the_goal_and_another_is_told_anew():
    scenes = Scenes.drawn(np.arange(KINDS * 6), 80, np.random.default_rng(1))
    assert share(Knowing(scenes, scenes.aim), scenes, np.arange(WORDS)) == 1
    other = (scenes.aim + 1) % 3
    reached, done = played(Knowing(scenes, other), scenes, np.arange(WORDS))
    assert (reached[reached != scenes.aim] >= 0).all() and (reached == other).mean() > 0.5
    again = scenes._replace(aim=reached)
    for step in range(STEPS):
        again = again.moved(done[:, step])
    assert (again.places[np.arange(80), reached] == 0).all(), "the way that is kept ends at what was reached"


def test_ways_are_read_step_by_step():
    scenes = Scenes.drawn(np.arange(KINDS * 6), 5, np.random.default_rng(2))
    inputs, actions = ways(scenes, scenes.shortest())
    rows = np.arange(5)
    assert len(actions) == abs(scenes.places[rows, scenes.aim]).sum() and (inputs[:5] == scenes.words()).all() and actions.max() < 4
    assert MOVES + 4 == COLOUR


def test_texts_say_twice_where_a_thing_stands():
    found = sentences(30, np.random.default_rng(3))
    assert found.shape == (30, LONGEST) and found.max() < WORDS
    for row in found.tolist():
        things = [tuple(row[begin + 1 : begin + 5]) for begin in (0, 6, 12)]
        assert tuple(row[19:21] + row[22:24]) in things and tuple(row[25:27] + row[28:30]) in things


def test_a_vector_policy_learns_ways_and_gathers_more():
    assert flat(0)(torch.zeros((3, READ), dtype=torch.long)).shape == (3, 4)
    knobs = {"begins": "flat", "demonstrations": 100, "steps": 120, "judged": 100, "rates": (4e-3,), "gathered": 40}
    found = WordedGoals(**knobs).measure(90)
    more = WordedGoals(**knobs, rounds=1).measure(90)
    assert found["known"] > 0.2 and found["ways"] == 100 < more["ways"] == pytest.approx(120, abs=20)
