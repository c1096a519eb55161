"""Signs, and the channels that keep more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.salient_signs import SalientSigns, rounded


def test_rounding_keeps_ends_and_has_so_many_levels():
    weight = torch.randn(5, 200, generator=torch.Generator().manual_seed(0))
    found = rounded(weight, 4)
    assert all(len(torch.unique(row)) == 4 for row in found) and torch.allclose(found.amax(dim=1), weight.amax(dim=1), atol=1e-5)
    assert float((found - weight).abs().max()) <= float((weight.amax(dim=1) - weight.amin(dim=1)).max()) / 6 + 1e-5


def test_signs_are_about_the_mean_of_a_row_and_chosen_channels_keep_4_bits():
    weight, shown = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)), torch.rand(20, 10)
    shown[:, 3] += 5
    part = SalientSigns(share=0.1)
    kept = part._kept(weight, shown, np.random.default_rng(0))
    assert kept.nonzero().tolist() == [[3]]
    found = part._signs(weight, kept, shown, np.random.default_rng(0))
    assert torch.equal(found[:, 3], rounded(weight, 16)[:, 3])
    rest = weight[:, ~kept]
    middle = rest.mean(dim=1, keepdim=True)
    scale = (rest - middle).abs().mean(dim=1, keepdim=True)
    assert torch.allclose(found[:, ~kept], middle + scale * torch.where(rest >= middle, 1.0, -1.0))


def test_fitting_lowers_the_error_and_bits_are_counted():
    knobs = {"training": 60, "width": 48, "steps": 60}
    plain, fitted = (SalientSigns(fitted=fitted, **knobs).measure(80) for fitted in (False, True))
    assert fitted["error"] < plain["error"]
    kept, every = round(0.2 * 48), 48 * 48
    assert plain["bits"] == pytest.approx((every + 3 * 48 * kept + 2 * 16 * 48 + 48 + 32 * 48) / every)
    assert SalientSigns(rule="round", **knobs).measure(80)["bits"] == pytest.approx(2 + 32 * 48 / every)
