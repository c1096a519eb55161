"""Sentences about pairs, what is masked, and what each network sees."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.parts.experiment.paired_triples import (
    BLANK,
    ENTITY,
    LENGTH,
    MASK,
    RELATION,
    TELLS,
    TRIPLE,
    VERB,
    PairedTriples,
    drawn,
    masked,
    sentences,
    two_headed,
)


def test_verbs_tell_the_relation():
    random = np.random.default_rng(240)
    world = drawn(50, 8, random)
    assert len({tuple(pair) for pair in world.pairs}) == 50
    told = {int(verb): number for number, some in enumerate(world.verbs) for verb in some}
    assert len(told) == 48
    which = random.integers(0, 50, 200)
    rows = sentences(which, world, random)
    assert [told[int(verb)] for verb in rows[:, TELLS] - VERB] == world.relations[which].tolist()
    assert (rows[:, :TRIPLE] == BLANK).all() and (rows[:, [4, 6]] - ENTITY == world.pairs[which]).all()


def test_one_unit_is_masked_and_the_triple_is_told():
    random = np.random.default_rng(241)
    world = drawn(50, 8, random)
    which = np.arange(50)
    rows = sentences(which, world, random)
    given = masked(rows, world.pairs, world.relations, False, random)
    assert {tuple(np.flatnonzero(row == MASK)) for row in given} == {(4,), (5,), (6,)}
    given = masked(rows, world.pairs, world.relations, True, random)
    asked = given[:, 1] == MASK
    assert 10 < asked.sum() < 40 and (given[asked, TRIPLE:] == rows[asked, TRIPLE:]).all()
    assert (given[~asked, 1] - RELATION == world.relations[~asked]).all() and (given[~asked] == MASK).any(axis=1).all()
    assert (given[:, [0, 2]] - ENTITY == world.pairs).all()


def test_reading_sees_what_comes_and_writing_does_not():
    network = two_headed(242)
    rows = torch.from_numpy(np.random.default_rng(243).integers(2, 60, (1, LENGTH)))
    other = rows.clone()
    other[0, 6] += 1
    for both_ways in (True, False):
        moved = (network(rows, both_ways) - network(other, both_ways)).abs().sum(dim=2)[0]
        assert (moved[3] > 1e-6) == both_ways and moved[7] > 1e-6


def test_training_lowers_what_it_trains():
    first, read = (PairedTriples(taught="read", steps=steps, pairs=20, labelled=6).measure(244) for steps in (1, 40))
    assert read["read_loss"] < first["read_loss"] - 0.5 and read["write_loss"] > read["read_loss"]
