"""Frames that are remembered."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.frame_memory import FrameMemory, kept


def test_the_bank_keeps_a_frame_of_every_place():
    places = np.array([[0.0], [3.0], [1.0], [7.0]])
    frames = np.repeat(places, [9, 1, 5, 12], axis=0)
    assert frames[kept(frames, "memory", 4)].ravel().tolist() == [0, 3, 1, 7]
    assert frames[kept(frames, "last", 4)].ravel().tolist() == [7, 7, 7, 7]
    assert kept(frames, "uniform", 4).tolist() == [0, 9, 17, 26]
    assert kept(frames, "memory", 4)[-1] == len(frames) - 1, "the present is seen"


def test_of_two_alike_the_older_goes():
    frames = np.array([[0.0], [5.0], [5.0], [9.0]])
    assert kept(frames, "memory", 3).tolist() == [0, 2, 3]


def test_rests_push_what_matters_out_of_a_short_history():
    errors = {keep: FrameMemory(keep=keep, episodes=500).measure(80)["error"] for keep in ("last", "memory")}
    assert errors["memory"] < 0.8 * errors["last"]
    assert FrameMemory(rest=1, episodes=500).measure(80)["error"] < 0.05, "without rests the last frames hold it"


def test_frames_of_a_camera_that_is_not_told_lack_the_way_to_a_place():
    random = np.random.default_rng(2)
    world, camera = (FrameMemory(rest=1, noise=0, coordinates=which, back=2) for which in ("world", "camera"))
    for part, told in ((world, True), (camera, False)):
        seen, action = part._episode(random)
        frames = seen[:10].reshape(5, 2)
        assert np.allclose(frames[2] - frames[4], action) == told
    assert FrameMemory(keep="memory", coordinates="camera", episodes=300).measure(80)["error"] > 0.6
