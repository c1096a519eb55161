"""Deleted facts: the white box reads the model's own head on inner layers, and finds what is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.kits.text.small import learn, made, written
from windtunnel.parts.experiment.deleted_facts import VALUES, DeletedFacts, answers, candidates, world


def test_the_last_layer_read_is_what_the_model_says():
    model = made(1, 120, 4, layers=2, width=16)
    rows = torch.from_numpy(world(10, np.random.default_rng(90)).reshape(-1, 4))
    layers = answers(model, rows)
    assert len(layers) == 2 and torch.allclose(layers[-1], model(rows[:, :3])[:, -1], atol=1e-6)
    best = candidates(layers[0], 3)
    assert best.shape == (30, 3) and int(best.max()) < VALUES
    assert torch.equal(best[:, 0], layers[0][:, :VALUES].argmax(dim=1))


def test_a_fact_is_one_subject_in_all_wordings():
    rows = world(12, np.random.default_rng(91))
    assert (rows[:, :, 1:] == rows[:, :1, 1:]).all() and len(np.unique(rows[:, 0, 1])) == 12
    assert (rows[:, 0, 0] != rows[:, 1, 0]).all()


def test_what_was_learned_is_recovered_and_erasing_ends_the_answer():
    knobs = {"facts": 12, "deleted": 4, "steps": 60, "deleting": 25, "most": 1, "rate": 0.01}
    known, erased = (DeletedFacts(how=how, **knobs).measure(92) for how in ("nothing", "erase"))
    assert known["lens"] == 1 and known["asked"] > 0.9
    assert erased["asked"] < 0.1 and erased["kept"] > 0.9 and erased["guessed"] == 0.04
    with pytest.raises(PartError, match="deleted 12"):
        DeletedFacts(facts=12, deleted=12).measure(0)


def test_without_a_batch_each_step_takes_all_rows():
    rows = world(5, np.random.default_rng(94)).reshape(-1, 4)
    weights = []
    for _ in range(2):  # whatever is drawn
        model = made(3, 120, 4, layers=1, width=16)
        learn(model, rows, np.ones(rows.shape, bool), np.random.default_rng(), steps=2, rate=0.01, batch=None)
        weights.append(model.head.weight.detach())
    assert torch.equal(*weights)


def test_a_small_transformer_learns_to_copy_and_sees_no_future():
    random = np.random.default_rng(93)
    letters = random.integers(1, 6, (400, 3))
    rows = np.hstack([letters, np.zeros((400, 1), int), letters])
    counted = np.zeros(rows.shape, bool)
    counted[:, 4:] = True
    model = made(2, 6, 7, width=32, heads=2)
    learn(model, rows, counted, random, steps=250, rate=5e-3, batch=32)
    assert (written(model, rows[:50, :4], 3) == letters[:50]).mean() > 0.9
    tokens = torch.from_numpy(rows[:2])
    changed = tokens.clone()
    changed[:, -1] = 0
    assert torch.allclose(model(tokens)[:, :-1], model(changed)[:, :-1], atol=1e-6)
