"""Points that go to goals, and what is learned from watching them."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.ridge import applied, ridge_with_constant
from windtunnel.kits.trajectory.points import PointWorld, on_circle, towards
from windtunnel.parts.experiment.labelled_walks import LabelledWalks
from windtunnel.parts.experiment.walk_features import WalkFeatures


def test_walks_go_to_their_goals_and_are_what_actions_make_of_them():
    random = np.random.default_rng(0)
    world, goals = PointWorld.drawn(random, 1.0), on_circle(random, 20)
    walks = world.walks(random, goals, 20, noise=0.1)
    assert walks.places[:, :-1] + walks.actions == pytest.approx(walks.places[:, 1:])
    assert (np.linalg.norm(walks.places[:, -1] - goals, axis=1) < 0.2).all()
    assert np.linalg.norm(towards(np.zeros((1, 2)), goals[:1])) == pytest.approx(0.25)
    assert towards(goals[:1] - 0.01, goals[:1]) == pytest.approx(0.01)


def test_who_knows_the_place_reaches_the_goal_and_who_stands_does_not():
    random = np.random.default_rng(1)
    quiet = PointWorld.drawn(random, 0.0)
    walks = quiet.walks(random, on_circle(random, 200), 12)
    find = ridge_with_constant(walks.observations.reshape(-1, 24), walks.places.reshape(-1, 2), 1e-6)
    goals = on_circle(random, 100)
    assert quiet.reached(lambda seen: towards(applied(find, seen), goals), random, goals, 25) > 0.7
    assert quiet.reached(lambda seen: np.zeros((100, 2)), random, goals, 25) < 0.2


def test_an_encoder_that_says_actions_keeps_the_place():
    found = {task: WalkFeatures(task=task, steps=150).measure(80)["place"] for task in ("none", "inverse", "reconstruct")}
    assert found["inverse"] > max(found["none"], found["reconstruct"]) + 0.05


def test_who_sees_both_sides_of_an_action_knows_it_better():
    error = {labels: LabelledWalks(labels=labels, walks=50, steps=150).measure(80)["label_error"] for labels in ("both-sides", "past")}
    assert error["both-sides"] < 0.6 * error["past"]


def test_arms_of_a_seed_are_judged_on_the_same_goals_and_starts(monkeypatch):
    asked = []

    def reached(world, policy, random, goals, steps):
        asked.append((goals, random.standard_normal(3)))
        return 0.0

    monkeypatch.setattr(PointWorld, "reached", reached)
    for labels in ("few", "both-sides"):
        LabelledWalks(labels=labels, walks=10, steps=4).measure(80)
    for task in ("none", "inverse"):
        WalkFeatures(task=task, walks=10, steps=4).measure(80)
    for one, other in (asked[:2], asked[2:]):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
