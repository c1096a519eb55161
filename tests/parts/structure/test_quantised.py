"""Rounding: as close as half a step, exact where values are few, straight through, and refused by name."""

from __future__ import annotations

import pytest
import torch
from tiny_models import build, random_tokens, run

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.weights.quantised import adapted_group, rounded
from windtunnel.slots import Structure


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_no_weight_moves_by_more_than_half_a_step_of_its_group(bits, symmetric):
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)) + 0.5
    groups, found = weight.view(6, 4, 8), rounded(weight, bits, 8, symmetric)
    span = groups.abs().amax(-1) / (2 ** (bits - 1) - 1) if symmetric else (groups.amax(-1) - groups.amin(-1)) / (2**bits - 1)
    off = (found - weight).view(6, 4, 8).abs().amax(-1)
    assert bool((off <= span * 0.5 * 1.01 + 4e-3).all()), "half a step, and what 16 bits round of the scale"
    assert all(len(row.unique()) <= 2**bits for row in found.view(-1, 8))
    assert torch.allclose(rounded(found, bits, 8, symmetric), found, atol=4e-3)


def test_groups_are_halved_where_that_helps():
    even, outlier = torch.ones(4, 64), torch.ones(4, 64)
    outlier[:, 0] = 100
    assert adapted_group(even, 8, 0.1) == 64 and adapted_group(outlier, 8, 0.1) == 8
    assert torch.equal(rounded(torch.zeros(2, 8), 4, 8, True), torch.zeros(2, 8))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_trains_rounded_is_what_remains_and_the_gradient_goes_through(family):
    model, tokens = build(family), random_tokens(2, 12)
    part = make(Structure, {"quantize-weights": {"bits": 3, "group": 8, "when": "training"}})
    plain = run(model, tokens).logits
    part.apply(model)
    logits = run(model, tokens).logits
    assert not torch.allclose(logits, plain, atol=1e-4)
    logits.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters() if weight.ndim == 2)
    part.remove(model)
    assert torch.equal(run(model, tokens).logits, logits)
    at_the_end, once = build(family), make(Structure, {"quantize-weights": {"bits": 3, "group": 8}})
    once.apply(at_the_end)
    assert torch.equal(run(at_the_end, tokens).logits, plain), "until the end nothing is rounded"
    once.remove(at_the_end)
    assert torch.allclose(run(at_the_end, tokens).logits, logits, atol=1e-5)


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(PartError, match=r"groups of 24 do not divide its 32 inputs; .*16, 32"):
        make(Structure, {"quantize-weights": {"group": 24}}).apply(build("llama"))
    with pytest.raises(ValueError, match="above 0"):
        make(Structure, {"quantize-weights": {"group": 0, "threshold": 0.1}})
