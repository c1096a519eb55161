"""Guided networks: likeness is that of its definition, layers are spread evenly, and a guide draws the network to itself."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.parts.experiment.guided_network import SIDE, cka, convolutional, placed, plain, spread, states
from windtunnel.slots import Experiment


def test_likeness_is_that_of_features():
    random = np.random.default_rng(0)
    one, other = (torch.from_numpy(random.standard_normal((20, width))) for width in (5, 7))
    centred = [(state - state.mean(dim=0)).numpy() for state in (one, other)]
    across, own, theirs = (
        np.linalg.norm(a.T @ b) ** (2 if a is not b else 1) for a, b in ((centred[0], centred[1]), centred[:1] * 2, centred[1:] * 2)
    )
    assert np.isclose(float(cka(one, other)), across / (own * theirs))
    turn = torch.linalg.qr(torch.from_numpy(random.standard_normal((5, 5))))[0]
    assert np.isclose(float(cka(one, 3 * one @ turn + 1)), 1.0)


def test_layers_are_spread_from_first_to_last():
    mine, theirs = [torch.zeros(1)] * 8, [torch.zeros(1)] * 3
    assert [place for place, _ in spread(mine, theirs)] == [0, 4, 7]
    assert [place for place, _ in spread(mine, theirs[:1])] == [0]


def test_states_are_of_every_layer():
    random = np.random.default_rng(1)
    images = placed(random.random((4, 8, 8)), random)
    assert images.shape == (4, SIDE**2) and (np.count_nonzero(images, axis=1) == 64).all()
    pixels = torch.from_numpy(images).float()
    network, guide = plain([SIDE**2, 6, 6, 10], random), convolutional(random)
    mine, theirs = states(network, pixels), states(guide, pixels)
    assert [one.shape[1] for one in mine] == [6, 6, 10] and len(theirs) == 4 and theirs[-1].shape == (4, 10)
    assert torch.allclose(mine[1], torch.relu(torch.relu(pixels @ network[0]) @ network[1])) and theirs[0].min() >= 0


def test_a_guide_draws_the_network_to_itself():
    def likeness(guide: str) -> float:
        return make(Experiment, {"guided-network": {"guide": guide, "steps": 50, "layers": 3}}).measure(0)["likeness"]

    assert likeness("untrained") > likeness("none") + 0.1
