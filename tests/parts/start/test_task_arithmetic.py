"""Sums of differences: each mask by its published formula, against mergekit where it is installed, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import build

from windtunnel.core.errors import PartError
from windtunnel.kits.weights.deltas import by_shift_ranks, size_mask, without_component
from windtunnel.models.save import export
from windtunnel.parts.start.task_arithmetic import TaskArithmetic
from windtunnel.slots import StartContext

NAMES = ("base", "models.0", "models.1")
GIVEN = {name: torch.randn(16, 20, generator=torch.Generator().manual_seed(place)) for place, name in enumerate(NAMES)}


def part(**knobs: Any) -> TaskArithmetic:
    folders = {"base": {"folder": "base"}, "models": [{"folder": "a"}, {"folder": "b"}]}
    return TaskArithmetic.model_validate(folders | knobs)


def merged(given: dict[str, torch.Tensor] = GIVEN, **knobs: Any) -> torch.Tensor:
    return part(**knobs).merged("w", given, None, seed=0)


def test_without_a_mask_it_is_the_weighted_sum():
    base, one, other = GIVEN.values()
    assert torch.allclose(merged(weights=[0.5, -1]), base + 0.5 * (one - base) - (other - base), atol=1e-6)
    onto = torch.ones(16, 20)
    assert torch.allclose(merged({**GIVEN, "onto": onto}), onto + one + other - 2 * base, atol=1e-5)


def test_random_entries_are_divided_by_q_or_by_the_density():
    delta = GIVEN["models.0"] - GIVEN["base"]
    given = {**GIVEN, "models.1": GIVEN["base"]}
    for q in (None, 0.5):
        change = merged(given, mask="random", density=0.25, q=q) - GIVEN["base"]
        kept = change != 0
        assert 0.15 < kept.float().mean() < 0.35
        assert torch.allclose(change[kept], (delta / (q or 0.25))[kept], atol=1e-5)
    again = [part(mask="random", density=0.25).merged("w", given, None, seed) for seed in (0, 0, 1)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


def test_breadcrumbs_leave_out_the_largest_and_the_smallest_of_a_row():
    delta = torch.tensor([[5.0, -4.0, 3.0, -2.0, 1.0], [0.1, 0.2, -0.3, 0.4, -0.5]])
    kept = size_mask(delta, 0.4, 0.2, "row", "w")
    assert kept.tolist() == [[False, True, True, False, False], [False, False, True, True, False]]
    assert size_mask(delta, 0.4, 0.2, "tensor", "w").tolist() == [[False, False, True, True, True], [False, False, False, False, True]]
    with pytest.raises(PartError, match="less than one"):
        size_mask(delta, 0.1, 0.0, "row", "w")


def test_projection_leaves_what_is_orthogonal():
    delta, along = GIVEN["models.0"], GIVEN["models.1"]
    left = without_component(delta, along)
    assert abs(float((left * along).sum())) < 1e-3
    assert torch.allclose(without_component(3 * along, along), torch.zeros(16, 20), atol=1e-5)
    assert torch.equal(without_component(delta, torch.zeros(16, 20)), delta)


def test_masks_by_size_are_those_of_mergekit():
    sparsify = pytest.importorskip("mergekit.sparsify")
    delta = GIVEN["models.0"] - GIVEN["base"]
    top = sparsify.sparsify(delta, 0.25, sparsify.SparsificationMethod.magnitude)
    assert torch.equal(top, delta * size_mask(delta, 0.25, 0.0, "tensor", "w"))
    middle = sparsify.sparsify(delta, 0.25, sparsify.SparsificationMethod.magnitude_outliers, gamma=0.125)
    assert torch.equal(middle, delta * size_mask(delta, 0.25, 0.125, "tensor", "w"))


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"weights": [1.0]}, "1 weights for 2 models"),
        ({"mask": "top"}, "density below 1"),
        ({"density": 0.5}, "density below 1"),
        ({"mask": "top", "density": 0.5, "q": 0.7}, "mask random"),
        ({"mask": "random", "density": 0.5, "q": 0.2}, "q lies between"),
        ({"mask": "middle", "density": 0.9, "drop_top": 0.2}, "add up to at most 1"),
    ],
)
def test_knobs_that_do_not_fit_are_refused(knobs, says):
    with pytest.raises(ValueError, match=says):
        part(**knobs)


def test_differences_of_the_first_layers_are_added_to_the_model_before(tmp_path):
    base, tuned = build("llama", seed=0), build("llama", seed=1)
    folder = str(export(tuned, tmp_path / "tuned"))
    arithmetic = TaskArithmetic.model_validate({"models": [{"folder": folder}], "layers": 1})
    before = {name: weight.detach().clone() for name, weight in base.named_parameters()}
    result = arithmetic.build(base, base.config, 0, StartContext({"models.0": tuned}, None))
    for name, weight in result.named_parameters():
        first = name.startswith("model.layers.0.")
        assert torch.allclose(weight, tuned.get_parameter(name) if first else before[name], atol=1e-6), name
    with pytest.raises(PartError, match="adds nothing"):
        arithmetic.build(tuned, tuned.config, 0, StartContext({"models.0": tuned}, None))


def test_ranks_of_shifts_take_the_place_of_weights():
    config = build("llama").config
    base, one, other = GIVEN.values()
    ranked = part(scale="shift-ranks")
    wanted = by_shift_ranks(base, [one - base, other - base])
    assert torch.allclose(ranked.merged("model.layers.0.mlp.up_proj.weight", GIVEN, lambda: config, 0), base + wanted, atol=1e-5)
    by_token = by_shift_ranks(base.T, [(one - base).T, (other - base).T]).T
    assert torch.allclose(ranked.merged("model.embed_tokens.weight", GIVEN, lambda: config, 0), base + by_token, atol=1e-5)
    assert not torch.allclose(wanted, by_token, atol=1e-3) and not ranked.each_by_itself()
    with pytest.raises(ValueError, match="leave out weights"):
        part(scale="shift-ranks", weights=[1.0, 1.0])
