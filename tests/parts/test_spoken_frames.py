"""Sounds told after filling in hidden frames."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.spoken_frames import BANDS, SpokenFrames, filled, hidden, inner, language, middles, spoken, windows


def test_windows_and_their_middles_belong_together():
    frames = np.arange(2 * 60 * BANDS, dtype=float).reshape(2, 60, BANDS)
    rows = windows(frames)
    assert np.array_equal(rows[0], frames[0, :11].reshape(-1)) and np.array_equal(rows[50], frames[1, :11].reshape(-1))
    sounds = np.arange(120).reshape(2, 60)
    assert middles(sounds)[0] == 5 and middles(sounds)[50] == 65
    assert np.array_equal(inner(rows)[0], frames[0, 4:7].reshape(-1)) and not inner(hidden(rows)).any()
    assert np.array_equal(hidden(rows)[:, : 4 * BANDS], rows[:, : 4 * BANDS])


def test_maps_learn_what_neighbours_tell():
    random = np.random.default_rng(0)
    rows = np.tile(random.standard_normal((400, BANDS)), (1, 11)) + 0.1 * random.standard_normal((400, 11 * BANDS))
    maps = [random.standard_normal((11 * BANDS, 16)) / 13, random.standard_normal((16, 3 * BANDS)) / 4]
    filled(maps, rows, 200, 0.01, random)
    assert ((hidden(rows) @ maps[0] @ maps[1] - inner(rows)) ** 2).mean() < 0.2 * rows.var()


def test_no_sound_follows_itself_and_each_lasts_three_frames_or_more():
    random = np.random.default_rng(0)
    own = language(random)
    world = random.standard_normal((30, BANDS)), np.zeros((BANDS, BANDS))
    _, sounds = spoken(world, own, 20, random)
    ends = [np.flatnonzero(np.diff(row)) + 1 for row in sounds]
    lengths = np.concatenate([np.diff(row) for row in ends])
    assert lengths.min() >= 3 and lengths.max() <= 6 and set(sounds.ravel()) <= set(own[0])


def test_going_on_with_the_target_draws_it_better():
    tiny = dict(before=60, steps=60, utterances=30, few=40, labels=60)
    old, continued = (SpokenFrames(learned=learned, **tiny).measure(80) for learned in ("old", "continued"))
    assert continued["drawn"] < old["drawn"]
