"""Mixing domains by a learned policy: exact losses, gradient steps that go down, and logs that add up."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.mixing_agent import DOMAINS, STAGES, STATE, Log, MixingAgent, TableRun, logged, world


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


def test_whoever_chooses_meets_the_same_large_run(monkeypatch):
    even = MixingAgent(how="even").measure(137)

    def late(part, random, seed):
        random.random(1000)
        return lambda state: np.full(DOMAINS, 1 / DOMAINS)

    monkeypatch.setattr(MixingAgent, "_chooser", late)
    assert MixingAgent(how="agent").measure(137) == even


def test_the_agent_looks_ahead_and_the_greedy_one_does_not():
    random = np.random.default_rng(138)
    mixture, state, after = random.dirichlet(np.ones(DOMAINS), 3000), np.zeros((3000, STATE)), np.zeros((3000, STATE))
    start = random.random(3000) < 0.5
    state[:, 0] = np.where(start, 0.0, 1.0 * (random.random(3000) < 0.5))
    state[:, 1] = start
    after[:, 0] = mixture[:, 0] > 0.3  # much of the first domain costs a little now and pays later
    reward = np.where(start, -1.0 * (mixture[:, 0] > 0.3), 3.0 * state[:, 0])
    log = Log(state, mixture, reward, after, start.astype(float))
    drawn = random.dirichlet(np.ones(DOMAINS), 64)
    best = {}
    for how in ("agent", "greedy"):
        value = MixingAgent(how=how, fitting=150, conservative=0.0)._fitted(log, np.random.default_rng(0), 3)
        best[how] = drawn[int(value(np.eye(STATE)[1], drawn).argmax())][0]
    assert best["agent"] > 0.3 > best["greedy"]
