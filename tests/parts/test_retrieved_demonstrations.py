"""Examples that are found: they are of the question's own value, random ones of its task, and the network reads their answers."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.parts.experiment.retrieved_demonstrations import HIDDEN, LABELS, WIDTH, Bank, answers
from windtunnel.slots import Experiment


def test_examples_are_the_ones_that_are_asked_for():
    random = np.random.default_rng(0)
    bank = Bank.drawn(10, 5, random)
    assert (bank.label == bank.right[bank.task, bank.value]).all() and len(bank.label) == 150
    asked = bank.questions(80, 2, 6, random)
    assert set(asked.tasks) == {2, 3, 4, 5}
    near = bank.examples(asked, "nearest", 3, random)
    own = (bank.task[near.rows] == asked.tasks[:, None]) & (bank.value[near.rows] == asked.values[:, None])
    assert own.mean() > 0.95, "the three copies of its value"
    assert (near.labels[own] == np.broadcast_to(asked.labels[:, None], own.shape)[own]).all()
    same = bank.examples(asked, "random", 4, random)
    assert (bank.task[same.rows] == asked.tasks[:, None]).all() and len(np.unique(bank.value[same.rows])) == 5
    shuffled = bank.examples(asked, "nearest-shuffled", 3, random)
    assert (shuffled.rows == near.rows).all() and (shuffled.labels != near.labels).mean() > 0.5


def test_answers_are_read_from_examples():
    random = np.random.default_rng(1)
    bank = Bank.drawn(4, 3, random)
    asked = bank.questions(5, 0, 4, random)
    size = 2 * WIDTH
    nothing = [torch.zeros(size, HIDDEN), torch.zeros(HIDDEN), torch.zeros(HIDDEN, LABELS)]
    weights = [torch.nn.Parameter(one) for one in (*nothing, torch.eye(size), torch.eye(LABELS))]
    near = bank.examples(asked, "nearest", 2, random)
    scores = np.einsum("qi,qsi->qs", asked.points, bank.points[near.rows])
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    told = 4 * np.einsum("qs,qsl->ql", odds / odds.sum(axis=1, keepdims=True), np.eye(LABELS)[near.labels])
    assert np.allclose(answers(weights, bank, asked, near).detach().numpy(), told, atol=1e-4)
    assert not answers(weights, bank, asked, bank.examples(asked, "none", 2, random)).detach().any()


def test_found_examples_answer_for_tasks_that_were_not_trained_on():
    def numbers(**knobs: object) -> dict[str, float]:
        knobs = {"steps": 150, "asked": 300, "tasks": 40, "values": 8, **knobs}
        return make(Experiment, {"retrieved-demonstrations": knobs}).measure(0)

    near, none = numbers(demonstrations="nearest"), numbers()
    assert near["unseen"] > 0.6 > 0.35 > none["unseen"] and near["there"] > 0.9


def test_what_is_shown_in_testing_alone_is_there():
    knobs = {"steps": 2, "asked": 50, "tasks": 8, "values": 4, "tested": "nearest"}
    assert make(Experiment, {"retrieved-demonstrations": knobs}).measure(0)["there"] > 0.9
