"""Chains of layers: they are made of stretches of the whole, the whole is the network, and luck is counted where nothing speaks for it."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.parts.experiment.layer_chains import INNER, LONGEST, WIDTH, drawn, share, through
from windtunnel.slots import Experiment


def test_chains_skip_and_repeat_stretches():
    random = np.random.default_rng(0)
    chains = [drawn(8, random) for _ in range(300)]
    assert all(chain and set(chain) <= set(range(8)) and len(chain) <= 8 * LONGEST for chain in chains)
    assert any(len(chain) < 8 for chain in chains) and any(len(chain) > 8 for chain in chains)
    assert all(drawn(1, random) for _ in range(50)), "never empty"


def test_a_chain_runs_its_blocks_in_their_order():
    random = np.random.default_rng(1)
    shapes = [(64, WIDTH), *[(WIDTH, INNER), (INNER, WIDTH)] * 2, (WIDTH, 10)]
    weights = [torch.from_numpy(random.standard_normal(shape)) for shape in shapes]
    images = torch.from_numpy(random.standard_normal((3, 64)))
    state = (images @ weights[0]).numpy()
    for block in (1, 1, 0):
        state = state + np.tanh(state @ weights[1 + 2 * block].numpy()) @ weights[2 + 2 * block].numpy() / 2
    normal = (state - state.mean(axis=1, keepdims=True)) / np.sqrt(state.var(axis=1, keepdims=True) + 1e-5)
    assert np.allclose(through(weights, images, [1, 1, 0]).numpy(), normal @ weights[-1].numpy())


def test_more_chains_mend_more_and_luck_grows_with_them():
    few, many = (make(Experiment, {"layer-chains": {"chains": count, "steps": 100, "asked": 300}}).measure(0) for count in (3, 60))
    assert many["mended"] > few["mended"] and many["by_luck"] > few["by_luck"] + 0.05 and few["accuracy"] == many["accuracy"]
    assert share(np.array([True, False]), np.array([False, False])) == 0.0
