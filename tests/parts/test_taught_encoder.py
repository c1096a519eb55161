"""Noise and where it is, both losses of the encoder by their formulas, and probes that tell modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.kits.small_encoder_decoder import SmallEncoderDecoder
from windtunnel.kits.text import by_module
from windtunnel.parts.experiment.taught_encoder import LENGTH, WIDTH, WORDS, TaughtEncoder, noisy, pooled, repaired

COUNT = by_module.WORD + WORDS


def lines(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.integers(by_module.WORD, COUNT, (count, LENGTH))
    rows[np.arange(LENGTH) >= random.integers(6, LENGTH + 1, count)[:, None]] = by_module.BLANK
    return rows


def test_noise_is_where_it_says():
    rows = lines(300, 320)
    given, changed = noisy(rows, np.random.default_rng(321))
    assert ((given != rows) == changed).all() and (given[rows == by_module.BLANK] == by_module.BLANK).all()
    real = rows != by_module.BLANK
    assert abs((given == by_module.MASK)[real].mean() - 0.15) < 0.03 and 0.25 < changed[real].mean() < 0.5
    swapped = (given[:, :-1] == rows[:, 1:]) & (given[:, 1:] == rows[:, :-1])
    assert swapped.mean() > 0.02


def test_losses_of_the_encoder_are_their_formulas():
    rows = lines(5, 322)
    model, head = SmallEncoderDecoder(COUNT, LENGTH + 1, width=WIDTH, seed=6), torch.nn.Linear(WIDTH, COUNT)

    def loss(**weights: float) -> float:
        return float(TaughtEncoder(**weights)._loss([model, head], rows, np.random.default_rng(323)))

    random = np.random.default_rng(323)
    given, changed = noisy(rows, random)
    other = noisy(rows, random)[0]
    states = model.states(torch.from_numpy(given))
    told = torch.nn.functional.cross_entropy(head(states)[torch.from_numpy(changed)], torch.from_numpy(rows)[torch.from_numpy(changed)])
    assert loss(denoise=2.0) - loss() == pytest.approx(2 * float(told), rel=1e-4)
    one, two = pooled(states, given), pooled(model.states(torch.from_numpy(other)), other)
    assert torch.allclose(one[0], states[0, : (rows[0] > 0).sum()].mean(dim=0), atol=1e-6)
    near = torch.cosine_similarity(one[:, None], two[None], dim=2) / 0.1
    assert loss(contrast=3.0) - loss() == pytest.approx(3 * float(-near.log_softmax(dim=1).diagonal().mean()), rel=1e-4)


def test_the_encoder_sees_no_blank_and_the_decoder_nothing_that_comes():
    model, row = SmallEncoderDecoder(COUNT, LENGTH + 1, width=8, seed=7), torch.tensor([[9, 8, 7]])
    longer = torch.tensor([[9, 8, 7, 0, 0]])
    assert torch.allclose(model.states(row), model.states(longer)[:, :3], atol=1e-6)
    written = torch.tensor([[2, 9, 8]])
    first = model(row, written)
    assert torch.allclose(first, model(longer, written), atol=1e-6)
    written[0, 2] = 50
    assert torch.allclose(first[:, :2], model(row, written)[:, :2], atol=1e-6)


def test_probes_tell_modules_whose_rows_are_apart():
    texts = [
        f"topic{chr(97 + number)} " * 3 + " ".join(chr(97 + place % 26) * 3 for place in range(number, number + 5)) for number in range(12)
    ]
    every = ["\n".join(f"{text} {chr(97 + line % 26) * 2} {chr(97 + line // 26) * 4}" for line in range(40)) for text in texts]
    rows, modules = by_module.rows_by_module("x", every, 100, 12, 6, True)
    assert len(rows) == 480 and (np.bincount(modules) == 40).all()
    split, known = by_module.split("x", rows, modules, by_module.ProbeRows(8, 4, 8), np.random.default_rng(1))
    assert {name: len(some) for name, some in split.items()} == {"learned": 96, "choosing": 48, "judged": 96, "trained": 240}
    counts = {name: by_module.counts(split[name], 100) for name in by_module.ProbeRows._fields}
    assert by_module.probed(counts, known)[1] > 0.95
    with pytest.raises(PartError, match="has 40 rows"):
        by_module.split("x", rows, modules, by_module.ProbeRows(20, 4, 8), np.random.default_rng(1))
    with pytest.raises(PartError, match="too few docstrings"):
        by_module.rows_by_module("x", every[:3], 100, 12, 6, True)


def test_a_decoder_that_copies_repairs_nothing():
    rows = lines(200, 324)

    class Copies(torch.nn.Module):
        def forward(self, given: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
            behind = torch.cat([given, torch.zeros(len(given), 1, dtype=torch.long)], dim=1)
            return torch.nn.functional.one_hot(behind, COUNT).float()

    assert repaired(Copies(), rows, np.random.default_rng(1)) < 0.02
