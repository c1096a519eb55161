"""Titles and skills: adverts say what their job is called and asks for, and what stands beside titles teaches what they mean."""

from __future__ import annotations

import numpy as np

from windtunnel.core.registry import make
from windtunnel.parts.experiment.titles_and_skills import COMMON, FILLERS, NAMES, OWN, World
from windtunnel.slots import Experiment


def test_adverts_are_of_their_job():
    world = World.drawn(12, np.random.default_rng(0))
    assert world.names.shape == (12, NAMES) and world.skills.shape == (12, OWN)
    assert set(world.names[:, -1]) == set(world.names[:, 1]), "every job's last name is another's second"
    assert all(len(set(world.skills[job]) & set(world.skills[(job + 1) % 12])) == OWN // 2 for job in range(12))
    adverts = world.adverts(200, np.random.default_rng(1))
    common, fillers = world.words - FILLERS - COMMON, world.words - FILLERS
    for title, skills, job in zip(*adverts, strict=True):
        said, asked = np.flatnonzero(title), np.flatnonzero(skills)
        assert (said < 12 * NAMES).sum() == 1 and said[0] in world.names[job] and (said[1:] >= fillers).all()
        assert set(asked[asked < common]) <= set(world.skills[job]) and ((asked >= common) & (asked < fillers)).sum() in (1, 2)


def test_what_stands_beside_titles_teaches_what_they_mean():
    def recall(**knobs: object) -> float:
        knobs = {"jobs": 12, "adverts": 600, "steps": 150, "queries": 200, **knobs}
        return make(Experiment, {"titles-and-skills": knobs}).measure(0)["recall"]

    trained, shuffled, words = recall(), recall(encoder="shuffled"), recall(encoder="tf-idf")
    assert words < 0.4 and shuffled < 0.5 < trained - 0.1 and recall(with_skills=True) > trained
