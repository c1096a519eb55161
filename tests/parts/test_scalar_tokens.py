"""Numbers in and out of networks, stocks, and clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.moved_clips import MovedClips, drawn_clips
from windtunnel.parts.experiment.scalar_tokens import ScalarTokens, split, squashed
from windtunnel.parts.experiment.simulated_stocks import SimulatedStocks, drawn_returns, ranks


def test_digits_are_those_after_the_point():
    assert split(torch.tensor([0.0, 0.37, 0.999])).tolist() == [[0, 0], [3, 7], [9, 9]]
    assert squashed(torch.tensor([-9.0, 0.0, 9.0])).tolist() == pytest.approx([0, 0.5, 0.999])


def test_a_head_says_numbers_better_than_digits():
    error = {outputs: ScalarTokens(outputs=outputs, steps=150).measure(80)["error"] for outputs in ("vector", "digits")}
    assert error["vector"] < error["digits"]


def test_ranks_are_those_of_scipy():
    told, true = np.random.default_rng(0).standard_normal((2, 3, 20))
    assert ranks(told, true) == pytest.approx([spearmanr(*each).statistic for each in zip(told, true, strict=True)])


def test_stocks_of_a_sector_move_together_and_tasks_have_names():
    returns = drawn_returns(np.random.default_rng(0), 3000, alike=False)
    like = np.corrcoef(returns.T)
    assert like[0, 1:8].mean() > 0.1 and abs(like[0, 8:]).mean() < 0.05
    with pytest.raises(PartError, match="first is of stock"):
        SimulatedStocks(first=("price",)).measure(0)


def test_clips_are_of_their_kind():
    clips = drawn_clips(np.random.default_rng(0), np.array([0, 2, 3] * 50)).reshape(-1, 8, 2)
    radius = np.linalg.norm(clips, axis=2)
    assert radius[1::3] == pytest.approx(1, abs=0.2) and (radius[2::3, -1] > 0.9).all() and (radius[2::3, 0] < 0.4).all()
    loss = {general: MovedClips(general=general, steps=60).measure(80)["loss"] for general in (0, 150)}
    assert loss[150] < loss[0]
