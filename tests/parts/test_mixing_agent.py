"""Mixing domains by a learned policy: exact losses, gradient steps that go down, and logs that add up."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.mixing_agent import DOMAINS, STAGES, STATE, MixingAgent, TableRun, logged, world


def test_losses_are_those_of_the_domains():
    random = np.random.default_rng(133)
    chains = world(6, random)
    run = TableRun(chains, random)
    odds = np.exp(run.table) / np.exp(run.table).sum(axis=1, keepdims=True)
    byhand = [np.mean([-(chain[word] * np.log(odds[word])).sum() for word in range(6)]) for chain in chains]
    assert run.losses() == pytest.approx(byhand)
    assert run.losses()[:2].mean() < run.losses()[2:].mean() and run.state().shape == (STATE,)


def test_what_is_trained_on_is_learned():
    random = np.random.default_rng(134)
    run = TableRun(world(8, random), random)
    before = run.losses()
    run.train(np.array([0, 0, 0, 1.0]), 40)
    assert run.losses()[3] < before[3] and run.mixture[3] == 1


def test_rewards_of_a_run_add_up_to_its_fall():
    random = np.random.default_rng(135)
    log = logged(world(6, random), random)
    assert len(log.reward) == STAGES and log.goes_on.sum() == STAGES - 1
    assert log.mixture.sum(axis=1) == pytest.approx(np.ones(STAGES)) and log.mixture.shape == (STAGES, DOMAINS)
    assert (log.state[1:] == log.after[:-1]).all()
    scale = log.state[0, :DOMAINS]  # losses over the first ones
    assert scale == pytest.approx(np.ones(DOMAINS)) and log.reward.sum() > -5


def test_even_shares_are_a_constant_and_all_choosers_end_somewhere():
    choose = MixingAgent(how="even")._chooser(np.random.default_rng(0), 0)
    assert choose(np.zeros(STATE)) == pytest.approx(np.full(DOMAINS, 0.25))
    found = MixingAgent(how="agent", runs=3, fitting=4).measure(136)
    assert found["loss"] == pytest.approx((found["known"] + found["learned"]) / 2)
