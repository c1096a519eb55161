"""Networks joined in the middle."""

from __future__ import annotations

import pytest
import torch

from windtunnel.kits.image.tiny import begun, said
from windtunnel.parts.experiment.stitched_networks import LAYERS, StitchedNetworks, along, least_squares


def test_least_squares_find_a_linear_map_and_its_bias():
    generator = torch.Generator().manual_seed(0)
    inputs, matrix, bias = (torch.randn(*shape, generator=generator) for shape in ((50, 4), (4, 3), (3,)))
    found = least_squares(inputs, inputs @ matrix + bias)
    assert torch.allclose(found[:-1], matrix, atol=1e-4) and torch.allclose(found[-1], bias, atol=1e-4)


def test_a_path_is_the_small_network_to_the_joint_and_the_large_one_behind_it():
    both = {"narrow": begun((64, *[4] * LAYERS, 10), 0), "wide": begun((64, *[6] * LAYERS, 10), 1)}
    weights = {f"{which}.{name}": weight for which, one in both.items() for name, weight in one.items()}
    weights["joint.2.weight"], weights["joint.2.bias"] = torch.zeros(6, 4), torch.arange(6.0)
    inputs = torch.rand(3, 64)
    assert torch.equal(along(weights, 0, inputs), said(both["wide"], inputs)) and torch.equal(
        along(weights, LAYERS, inputs), said(both["narrow"], inputs)
    )
    wide = both["wide"]
    third = torch.relu(torch.arange(6.0) @ wide["2.weight"].T + wide["2.bias"])
    fourth = torch.relu(third @ wide["3.weight"].T + wide["3.bias"])
    assert torch.allclose(along(weights, 2, inputs), (fourth @ wide["4.weight"].T + wide["4.bias"]).expand(3, 10), atol=1e-5)


def test_least_squares_work_before_any_training_and_random_joints_do_not():
    knobs = {"training": 150, "steps": 0, "wide": 48}
    fitted, random = (StitchedNetworks(begin=begin, **knobs).measure(80) for begin in ("least-squares", "random"))
    assert fitted["joined/before"] > random["joined/before"] + 0.2
    assert fitted["wide"] == pytest.approx(fitted["wide/before"])
