"""Sparse training: which weights are removed and when, what a pruned model loses, and the laws fitted to it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from families import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_models import FAMILIES, build, packed, run
from torch import nn
from transformers.pytorch_utils import Conv1D

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.held_out import held_out
from windtunnel.kits.weights.masks import highest_of_group, keep_highest
from windtunnel.kits.weights.patterns import group_of
from windtunnel.laws import average_parameters, knee
from windtunnel.laws.power import CHINCHILLA
from windtunnel.models.anatomy import anatomy, linears, parameters_count
from windtunnel.models.init import config_for, fresh
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.evaluation.bits_per_byte import BitsPerByte
from windtunnel.parts.evaluation.pruned import limited, removable_share
from windtunnel.slots import Evaluation, Objective, Progress, Structure
from windtunnel.train.count import mean_density
from windtunnel.train.run import fly


def ramp(**knobs: Any) -> Any:
    return make(Structure, {"pruning-ramp": knobs})


def at(step: int, steps: int, done: float | None = None) -> Progress:
    done = step / steps if done is None else done
    return Progress(step, steps, 0, 1, 1, done, done, 0)


def loss_of(model: nn.Module) -> torch.Tensor:
    tokens, documents = packed()
    return nn.functional.cross_entropy(run(model, tokens, documents).logits.flatten(0, 1), tokens.flatten())


def mask_of(model: nn.Module) -> torch.Tensor:
    """All masks of a model in one row."""
    return torch.cat([module.weight_mask.flatten() for module in model.modules() if hasattr(module, "weight_mask")])


def weights_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([module.weight.detach().flatten() for module in linears(model).values()])


def train(structure: Any, model: nn.Module, steps: int, first: int = 0, last: int | None = None, optimizer: Any = None) -> list[float]:
    """Steps as the loop makes them; the share of weights that lived in each."""
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=0.01)
    shares = []
    for step in range(first, steps if last is None else last):
        shares.append(float(mask_of(model).float().mean()))
        loss_of(model).backward()
        assert all((m.weight.grad[~m.weight_mask] == 0).all() for m in linears(model).values())
        optimizer.step()
        structure.constrain(model, at(step, steps))
        optimizer.zero_grad()
        assert all((m.weight[~m.weight_mask] == 0).all() for m in linears(model).values())
    return shares


# Choosing weights ---------------------------------------------------------------------------------------------------------------


def modules_with(*values: torch.Tensor) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for index, value in enumerate(values):
        found[str(index)] = nn.Linear(value.shape[1], value.shape[0], bias=False)
        found[str(index)].weight.data = value
    return found


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 100), st.booleans())
def test_one_threshold_over_all_matrices_exact_to_the_weight(kept, seed, ties):
    random = torch.Generator().manual_seed(seed)
    values = [torch.randn(rows, columns, generator=random) * scale for rows, columns, scale in ((3, 8, 1), (5, 4, 0.3))]
    if ties:
        values = [(value * 2).round() for value in values]
    masks = keep_highest(modules_with(*values), kept)
    flat = np.abs(np.concatenate([value.numpy().ravel() for value in values]))
    gone = np.argsort(flat, kind="stable")[: flat.size - round(kept * flat.size)]  # smallest first, of equals the first
    expected = np.ones(flat.size, bool)
    expected[gone] = False
    assert np.array_equal(torch.cat([mask.flatten() for mask in masks.values()]).numpy(), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.sampled_from([4, 8]), st.floats(0, 1), st.integers(0, 50))
def test_groups_keep_their_highest_and_the_rest_go_by_one_threshold(n, m, over, seed):
    random = torch.Generator().manual_seed(seed)
    values = [torch.randn(4, 2 * m, generator=random), torch.randn(3, m, generator=random) * 0.2]
    kept = n / m + (1 - n / m) * over
    masks = list(keep_highest(modules_with(*values), kept, group=(n, m)).values())
    assert sum(int(mask.sum()) for mask in masks) == round(kept * sum(value.numel() for value in values))
    gone, stayed = [], []
    for value, mask in zip(values, masks, strict=True):
        for row, alive in zip(value.abs().view(-1, m), mask.view(-1, m), strict=True):
            highest = torch.zeros(m, dtype=torch.bool).scatter(0, row.topk(n).indices, True)
            assert (alive | ~highest).all()  # the n highest of every group are spared
            gone.append(row[~alive])
            stayed.append(row[alive & ~highest])
    gone_, stayed_ = torch.cat(gone), torch.cat(stayed)
    assert not len(gone_) or not len(stayed_) or gone_.max() <= stayed_.min()
    if over == 0:
        assert all((mask.view(-1, m).sum(1) == n).all() for mask in masks)


def test_groups_lie_along_the_inputs_whatever_the_family_stores():
    linear, conv = nn.Linear(8, 6), Conv1D(6, 8)  # both 8 inputs, 6 outputs
    conv.weight.data = linear.weight.data.T.clone()
    masks = keep_highest({"a": linear, "b": conv}, 0.5, group=(2, 4))
    assert torch.equal(masks["a"], masks["b"].T) and (masks["a"].view(6, 2, 4).sum(-1) == 2).all()
    with pytest.raises(PartError, match=r"groups of 5 do not divide the 8 inputs of x; groups of these sizes do: \[2, 4, 8\]"):
        highest_of_group(torch.zeros(6, 8), 2, 5, axis=1, name="x", part="p")
    with pytest.raises(PartError, match="cannot be kept"):
        keep_highest({"a": linear}, 0.3, group=(2, 4))


def test_patterns_are_read_or_refused():
    assert group_of("unstructured") is None and group_of("2:4") == (2, 4) and group_of("1:16") == (1, 16)
    for wrong in ("4:2", "0:4", "2-4", "2:4:8", "half"):
        with pytest.raises(ValueError, match="no pattern"):
            group_of(wrong)


def test_random_scores_depend_on_seed_and_name_and_nothing_else():
    model, other = build("llama"), build("llama", seed=7)
    one = keep_highest(linears(model), 0.3, score="random", seed=1)
    for wrong, equal in ((keep_highest(linears(other), 0.3, score="random", seed=1), True), (keep_highest(linears(model), 0.3), False)):
        assert all(torch.equal(one[name], wrong[name]) for name in one) == equal
    fewer = keep_highest(linears(model), 0.1, score="random", seed=1)
    assert all((one[name] | ~fewer[name]).all() for name in one)  # what is left of less was left of more


# The ramp -----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.95), st.floats(0, 1), st.floats(0, 1), st.integers(2, 80))
def test_shares_of_compute_are_what_was_asked_for(sparsity, one, other, events):
    begin, end = sorted((one, other))
    part = ramp(sparsity=sparsity, begin=begin, end=end, events=events)
    schedule = part.schedule()
    times = [0.0, *(time for time, _ in schedule), 1.0]
    kept = [1.0, *(share for _, share in schedule)]
    spent = np.concatenate([[0.0], np.cumsum(np.array(kept) * np.diff(times))])  # density times time, at every event and the end
    assert times == sorted(times) and spent[-1] > 0
    assert spent[1] / spent[-1] == pytest.approx(begin, abs=1e-9)
    assert spent[-2] / spent[-1] == pytest.approx(end, abs=1e-9)
    ratios = np.array(kept[1:]) / kept[:-1]
    assert ratios == pytest.approx((1 - sparsity) ** (1 / events)) and kept[-1] == pytest.approx(1 - sparsity)
    assert np.diff(times[1:-1]) == pytest.approx((times[-2] - times[1]) / (events - 1), abs=1e-12)


@pytest.mark.parametrize(
    ("sparsity", "steps", "first", "last", "average"),
    [(0.2, 11200, 2500, 8100, 0.8919), (0.4, 13050, 2500, 8875, 0.7651), (0.5, 72200, 12500, 47200, None)],
)
def test_the_authors_published_settings_follow_from_a_quarter_and_three_quarters(sparsity, steps, first, last, average):
    """Steps and average densities of the model cards of sparsellm-1b-20p and -40p, and of the llama2-1b configuration."""
    part = ramp(sparsity=sparsity)
    assert part.schedule()[0][0] * steps == pytest.approx(first, abs=10)
    assert part.schedule()[-1][0] * steps == pytest.approx(last, abs=30)
    if average:
        assert mean_density(part, None) == pytest.approx(average, abs=1.5e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_event_keeps_the_largest_of_what_was_there(family):
    part, model, steps = ramp(sparsity=0.8, begin=0.3, end=0.9, events=3), build(family), 10
    part.apply(model)
    assert mask_of(model).all()
    others = {
        name: value.clone() for name, value in model.named_parameters() if name.rpartition(".")[0] not in linears(model) or "bias" in name
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(steps):
        before = mask_of(model).clone()
        assert float(before.float().mean()) == pytest.approx(part.density(model, step / steps), abs=1e-3)
        loss_of(model).backward()
        optimizer.step()
        updated = (weights_of(model) * before).abs()  # what the event judges
        part.constrain(model, at(step, steps))
        optimizer.zero_grad()
        after = mask_of(model)
        assert (before | ~after).all()  # nothing grows back
        assert int(after.sum()) == round(part.kept((step + 1) / steps) * after.numel())
        assert not (before & ~after).any() or updated[before & ~after].max() <= updated[after].min()
        assert torch.equal(weights_of(model) == 0, ~after | (updated == 0))
    assert float(mask_of(model).float().mean()) == pytest.approx(0.2, abs=1e-3)
    assert not any(torch.equal(value, model.get_parameter(name)) for name, value in others.items())  # the rest trains
    assert set(name for name in model.state_dict() if "mask" in name) == {f"{name}.weight_mask" for name in linears(model)}
    logits = run(model.eval(), *packed()).logits
    part.remove(model)
    assert torch.equal(run(model, *packed()).logits, logits) and set(model.state_dict()) == set(build(family).state_dict())


@pytest.mark.parametrize("knobs", [{}, {"sparsity": 0.75, "pattern": "2:8"}, {"score": "random"}, {"events": 3}])
def test_the_density_that_is_counted_is_the_one_that_trains(knobs):
    part, model = ramp(**{"sparsity": 0.5, **knobs}), build("llama")
    part.apply(model)
    lived = train(part, model, 12)
    assert lived == pytest.approx([part.density(model, step / 12) for step in range(12)], abs=1e-3)
    assert lived[0] == 1 and lived[-1] == pytest.approx(1 - part.sparsity, abs=1e-3)
    if part.pattern != "unstructured":
        assert all((module.weight_mask.unflatten(1, (-1, 8)).sum(-1) == 2).all() for module in linears(model).values())


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_resumed_in_the_middle_is_bitwise_undisturbed(pattern):
    part = ramp(sparsity=0.5, events=5, pattern=pattern)
    whole, steps = build("gpt2"), 9
    part.apply(whole)
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.01)
    train(part, whole, steps, last=5, optimizer=optimizer)
    saved, moments = copy.deepcopy(whole.state_dict()), copy.deepcopy(optimizer.state_dict())
    assert 0.5 < float(mask_of(whole).float().mean()) < 1  # in the middle of the ramp
    train(part, whole, steps, first=5, optimizer=optimizer)
    again = build("gpt2", seed=3)
    part.apply(again)
    optimizer = torch.optim.AdamW(again.parameters(), lr=0.01)
    again.load_state_dict(saved)
    optimizer.load_state_dict(moments)
    train(part, again, steps, first=5, optimizer=optimizer)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_at_once_before_during_or_after():
    for place, steps_dense in ((0.0, 0), (0.5, 2), (1.0, 6)):
        part, model = ramp(sparsity=0.5, begin=place, end=place), build("llama")
        before = weights_of(model).abs()
        part.apply(model)
        if place == 0:  # before the first step, by the weights the phase begins with
            alive = mask_of(model)
            assert before[~alive].max() <= before[alive].min() and (weights_of(model)[~alive] == 0).all()
        lived = train(part, model, 6)
        assert lived == pytest.approx([1.0] * steps_dense + [0.5] * (6 - steps_dense), abs=1e-3)
        assert float(mask_of(model).float().mean()) == pytest.approx(0.5, abs=1e-3)


def test_by_the_clock_no_event_is_missed_and_none_undone():
    """A budget in seconds guesses the number of steps anew at every step."""
    part, model = ramp(sparsity=0.5, events=4), build("llama")
    part.apply(model)
    lived = []
    for step, (steps, done) in enumerate([(10, 0.05), (12, 0.2), (5, 0.45), (9, 0.35), (6, 0.7), (6, 0.85)]):
        part.constrain(model, at(step, steps, done))
        lived.append(float(mask_of(model).float().mean()))
    assert lived == sorted(lived, reverse=True) and lived[-1] == pytest.approx(0.5, abs=1e-3)


def test_no_sparsity_is_plain_training():
    models = [build("llama"), build("llama")]
    part = ramp(sparsity=0.0)
    part.apply(models[1])
    for model in models:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step in range(4):
            loss_of(model).backward()
            optimizer.step()
            optimizer.zero_grad()
            if model is models[1]:
                part.constrain(model, at(step, 4))
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert part.density(models[1], 0.5) == 1


def test_the_head_is_pruned_where_asked_and_not_tied(tmp_path):
    part, model = ramp(sparsity=0.5, begin=0, end=0, head=True), build("llama", tied=False)
    head = anatomy(model).head.module
    head.weight.data *= 0.01  # the smallest of all, so the one threshold takes the head first
    part.apply(model)
    blocks = weights_of(model).numel()
    assert not head.weight_mask.any() and mask_of(model).numel() == blocks + head.weight.numel()
    assert int(mask_of(model).sum()) == round(0.5 * (blocks + head.weight.numel()))
    with pytest.raises(PartError, match="carries a structure"):
        export(model, tmp_path)
    with pytest.raises(PartError, match="tied: false"):
        part.apply(build("llama"))
    untied = build("llama", tied=False)
    ramp(begin=0, end=0).apply(untied)
    assert not hasattr(anatomy(untied).head.module, "weight_mask")


def test_what_the_ramp_refuses():
    for wrong, message in (
        ({"begin": 0.8, "end": 0.2}, "comes after end"),
        ({"events": 1}, "one event cannot both begin and end"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"pattern": "1:4"}, "means sparsity 0.75, not 0.5"),
        ({"pattern": "4:2"}, "no pattern"),
        ({"score": "gradient"}, "magnitude"),
    ):
        with pytest.raises(ValidationError, match=message):
            ramp(**wrong)
    model = build("llama")
    with pytest.raises(PartError, match="do not divide the 32 inputs"):
        ramp(sparsity=0.5, pattern="3:6").apply(model)
    with pytest.raises(PartError, match="no mask is in place"):
        ramp().constrain(build("llama"), at(0, 4))
    model = build("llama")
    make(Structure, "fixed-mask").apply(model)
    with pytest.raises(PartError, match="already has a mask"):
        ramp().apply(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_density_of_a_fixed_mask_is_known_before_it_is_applied(family):
    part, model = make(Structure, {"fixed-mask": {"sparsity": 0.3}}), build(family)
    before = part.density(model, 0.2)
    part.apply(model)
    assert before == part.density(model) == pytest.approx(float(mask_of(model).double().mean()), abs=1e-12)


def test_flown_the_budget_counts_the_ramp_and_the_next_phase_is_dense(tiny, stream, tmp_path):
    budget = 12 * fly(tiny(budget={"steps": 1}), 0, stream, tmp_path / "one")["totals"]["flops"]
    dense = fly(tiny(budget={"effective_flops": budget}), 0, stream, tmp_path / "dense")["totals"]
    structure = {"pruning-ramp": {"sparsity": 0.8, "begin": 0.1, "end": 0.6, "events": 8}}
    record = fly(tiny(budget={"effective_flops": budget}, structure=structure), 0, stream, tmp_path / "sparse")
    assert record["status"] == "finished", record["traceback"]
    sparse = record["totals"]
    one_step = budget / 12
    assert dense["steps"] == 12 and sparse["steps"] > 13 and sparse["flops"] == pytest.approx(sparse["steps"] * one_step)
    assert sparse["effective_flops"] == pytest.approx(budget, abs=1.5 * one_step)  # to the step
    model = load(tmp_path / "sparse" / "model")
    assert float((weights_of(model) == 0).float().mean()) == pytest.approx(0.8, abs=1e-3)
    two = [{"share": 0.5, "structure": structure}, {"share": 0.5}]
    fly(tiny(phases=two, budget={"steps": 12}), 0, stream, tmp_path / "two")
    assert not (weights_of(load(tmp_path / "two" / "model")) == 0).any()


# One-shot pruning as an evaluation ----------------------------------------------------------------------------------------------


def looked_at(stream: Any, objective: str = "next-token", **fields: Any) -> Any:
    fields = {"split": "test", "sequences": 6, "limit_tokens": 640} | fields
    split = fields.pop("split")
    return held_out(
        stream, split, objective=make(Objective, objective), context=32, device="cpu", precision=contextlib.nullcontext, **fields
    )


def model_of(stream: Any, family: str = "llama") -> Any:
    sizes = ModelSettings(family=family, depth=2, layers=2, width=32, heads=2)
    return fresh(config_for(sizes, stream.facts, 32), 0).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sweep_measures_pruned_copies_and_leaves_the_model_as_it_was(family, stream):
    objective = "masked-token" if KINDS[family] == "encoder" else "next-token"
    model, view = model_of(stream, family), looked_at(stream, objective)
    before = copy.deepcopy(model.state_dict())
    part = make(Evaluation, {"pruned": {"sparsities": [0, 0.5, 0.9], "patterns": ["2:4"], "tokens": 10**6}})
    with torch.no_grad():
        numbers = part.evaluate(model, view)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(numbers)[:4] == ["pruned/0%", "pruned/50%", "pruned/90%", "pruned/2:4"]
    for name, sparsity, group in (("0%", 0.0, None), ("50%", 0.5, None), ("90%", 0.9, None), ("2:4", 0.5, (2, 4))):
        twin = copy.deepcopy(model)
        masks = keep_highest(linears(twin), 1 - sparsity, group=group)
        with torch.no_grad():
            for key, module in linears(twin).items():
                module.weight[~masks[key]] = 0
            expected = next(iter(BitsPerByte().evaluate(twin, view).values()))
        assert numbers[f"pruned/{name}"] == expected
    flat = [weight.numpy() for weight in (module.weight.detach() for module in linears(model).values())]
    small = sum((np.abs(w) < 0.1 * np.sqrt((w**2).mean())).sum() for w in flat) / sum(w.size for w in flat)
    assert numbers["near_zero_weights"] == pytest.approx(small, abs=1e-3)
    assert small == pytest.approx(0.08, abs=0.01)  # normal first weights


def test_a_failing_measure_leaves_the_model_as_it_was_too(stream):
    model, view = model_of(stream), looked_at(stream)
    view.batches = lambda source, objective: iter([])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PartError, match="no target"):
        make(Evaluation, {"pruned": {"sparsities": [0.5]}}).evaluate(model, view)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_control_and_tracking_have_names_of_their_own(stream):
    model = model_of(stream)
    random = make(Evaluation, {"pruned": {"score": "random", "sparsities": [0.0, 0.5]}})
    assert list(random.evaluate(model, looked_at(stream))) == ["pruned_random/0%", "pruned_random/50%", "removable_random"]
    tracked = make(Evaluation, {"pruned": {"tracked": [0.5], "patterns": ["1:2"]}})
    assert list(tracked.evaluate(model, looked_at(stream, split="validation"))) == ["pruned/50%", "near_zero_weights"]
    assert len(tracked.evaluate(model, looked_at(stream))) == 10 + 1 + 2
    with pytest.raises(PartError, match="do not divide"):
        make(Evaluation, {"pruned": {"sparsities": [0.5], "patterns": ["2:5"]}}).evaluate(model, looked_at(stream))
    for wrong in ({"sparsities": [0.5, 0.2]}, {"sparsities": [1.0]}, {"sparsities": []}, {"patterns": ["unstructured"]}, {"tracked": [-1]}):
        with pytest.raises(ValidationError):
            make(Evaluation, {"pruned": wrong})


def test_removable_is_where_the_straight_line_crosses_the_tolerance():
    curve = {0.0: 2.0, 0.2: 1.99, 0.4: 2.01, 0.6: 2.05, 0.8: 1.9}
    assert removable_share(curve, 0.01) == pytest.approx(0.4 + 0.2 * (2.02 - 2.01) / 0.04)
    assert removable_share(curve, 0.1) == 0.8 and removable_share({0.0: 1.0, 0.5: 2.0}, 0.01) == pytest.approx(0.005)


def test_what_is_read_does_not_depend_on_the_batch_size(stream):
    found = []
    for sequences in (1, 4, 7):
        view = looked_at(stream, sequences=sequences, limit_tokens=10**6)
        batches = list(limited(view, "code", view.objective, 150))
        labels = torch.cat([batch["labels"] for batch in batches])
        real = (labels != -100).any(dim=1)
        found.append(labels[real])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert 150 <= int((found[0] != -100).sum()) < 150 + 32


def test_flown_the_sweep_is_tracked_and_tested(tiny, stream, tmp_path):
    sweep = {"sparsities": [0.0, 0.5], "tokens": 64}
    recipe = tiny(evaluations=["bits-per-byte", {"pruned": sweep}, {"pruned": {**sweep, "score": "random"}}], structure="pruning-ramp")
    record = fly(recipe, 0, stream, tmp_path / "a")
    assert record["status"] == "finished", record["traceback"]
    for numbers in (record["test"], *(entry["numbers"] for entry in record["validation"])):
        assert {"pruned/0%", "pruned/50%", "pruned_random/50%", "removable_weights", "removable_random", "near_zero_weights"} <= set(
            numbers
        )
    assert record["test"]["pruned/50%"] == record["test"]["pruned/0%"]  # half of the weights are gone already
    plain = fly(tiny(structure="pruning-ramp"), 0, stream, tmp_path / "b")
    assert plain["test"]["bits_per_byte"] == record["test"]["bits_per_byte"]  # looking changed nothing


# The knee -----------------------------------------------------------------------------------------------------------------------

GRID = np.round(np.arange(0, 0.96, 0.05), 2)


def curves(function: Any, seeds: int = 5, noise: float = 0.003) -> dict[int, dict[float, float]]:
    random = np.random.default_rng(1)
    return {seed: dict(zip(GRID.tolist(), function(GRID) + random.normal(0, noise, GRID.size), strict=True)) for seed in range(seeds)}


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda s: 3 + 0.4 * s, "line"),
        (lambda s: 3 + 0.05 * s + 3 * np.maximum(0, s - 0.62), "two_pieces"),
        (lambda s: 3 + 2 * s**2, "quadratic"),
        (lambda s: 3 + 0.01 * np.exp(6 * s), "exponential"),
    ],
)
def test_the_true_shape_is_preferred(function, shape):
    found = knee.knee(curves(function, noise=0.0 if shape == "line" else 0.003))
    assert found["preferred"] == shape and found["seeds"] == 5
    assert found["beats_line"] == (shape != "line")
    assert found["shapes"][shape]["residual"] < 0.003


def test_the_knee_its_slopes_and_its_interval():
    function = lambda s: 3 + 0.05 * s + 3 * np.maximum(0, s - 0.62)  # noqa: E731
    found = knee.knee(curves(function))
    two = found["shapes"]["two_pieces"]
    assert found["knee"]["value"] == two["knee"] == pytest.approx(0.62, abs=0.01)
    assert found["knee"]["low"] <= found["knee"]["value"] <= found["knee"]["high"] and found["knee"]["high"] - found["knee"]["low"] < 0.02
    assert two["before"] == pytest.approx(0.05, abs=0.03) and two["after"] == pytest.approx(3.05, abs=0.1)
    assert set(found["knee"]["by_seed"]) == set(range(5))
    for value in found["knee"]["by_seed"].values():
        assert value == pytest.approx(0.62, abs=0.02)
    # against an independent search
    loss = np.array(found["loss"])
    errors = []
    for place in np.linspace(GRID[1], GRID[-2], 400):
        design = np.stack([np.ones_like(GRID), GRID, np.clip(GRID - place, 0, None)], axis=1)
        errors.append(float(np.linalg.lstsq(design, loss, rcond=None)[1][0]))
    assert two["residual"] == pytest.approx(math.sqrt(min(errors) / GRID.size), rel=1e-6)
    alone = knee.knee({0: curves(function)[0]})
    assert alone["knee"]["low"] is None
    assert knee.knee(curves(function), up_to=0.6)["sparsities"][-1] == 0.6


def sweep_result() -> dict[str, Any]:
    runs = []
    for arm, multiple, place in (("baseline", 1.0, 0.5), ("baseline", 2.0, 0.6), ("other", 1.0, 0.4)):
        for seed, curve in curves(lambda s, place=place: 3 + 4 * np.maximum(0, s - place)).items():
            test = {"bits_per_byte": 3.0, "pruned/2:4": 4.0} | {f"pruned/{100 * share:g}%": value for share, value in curve.items()}
            runs.append({"arm": arm, "multiple": multiple, "seed": seed, "status": "finished", "test": test})
    runs.append({"arm": "baseline", "multiple": 1.0, "seed": 9, "status": "failed", "test": {}})
    return {"format": 2, "arms": {}, "runs": runs}


def test_knees_of_a_result(tmp_path, capsys, law):
    found = knee.knees(sweep_result())
    assert {arm: round(sweeps["pruned"]["knee"]["value"], 2) for arm, sweeps in found.items()} == {
        "baseline": pytest.approx(0.5, abs=0.011),
        "baseline x 2": pytest.approx(0.6, abs=0.011),
        "other": pytest.approx(0.4, abs=0.011),
    }
    twice = sweep_result()
    for each in twice["runs"]:  # "other" is the baseline at twice the budget: the same runs, named once
        each |= {"key": f"{each['arm'] == 'other' or each['multiple'] == 2} {each['seed']}"}
    assert set(knee.knees(twice)) == {"baseline", "other"}
    (tmp_path / "result.json").write_text(json.dumps(sweep_result()), encoding="utf-8")
    assert law("knee", tmp_path) == 0
    assert json.loads(capsys.readouterr().out)["baseline"]["pruned"]["preferred"] == "two_pieces"
    assert law("knee", tmp_path, "--up-to", "0.2") == 2 and "7 sparsities" in capsys.readouterr().err
    assert law("knee", tmp_path / "none.json") == 2 and "none.json: no such file" in capsys.readouterr().err
    with pytest.raises(UserError, match="sweep of 7"):
        knee.knees({"runs": []})
    with pytest.raises(UserError, match="7 sparsities or more, not 3"):
        knee.shapes(GRID[:3], GRID[:3])


# The law in the average -----------------------------------------------------------------------------------------------------------


def counts(family: str = "llama", **sizes: Any) -> tuple[int, int]:
    model = build(family, **sizes)
    return sum(module.weight.numel() for module in linears(model).values()), parameters_count(model)["total"]


@pytest.mark.parametrize("family", FAMILIES)
def test_average_active_counts_what_lives(family, tiny):
    model = {"family": family, "layers": 2, "width": 32, "heads": 4}
    objective = {"encoder": "masked-token", "decoder": "next-token", "encoder-decoder": "span-corruption"}[KINDS[family]]
    structure = {"pruning-ramp": {"sparsity": 0.6, "events": 7}}
    recipe = tiny(model=model, objective=objective, structure=structure, context=24)
    found = average_parameters.average_active(recipe, 160)
    blocks, total = counts(family)
    schedule = [(0.0, 1.0), *ramp(sparsity=0.6, events=7).schedule(), (1.0, 0.4)]
    average = sum(share * (after - time) for (time, share), (after, _) in itertools.pairwise(schedule))
    for kind, density in (("initial", 1.0), ("average", average), ("final", 0.4)):
        assert found[kind]["prunable"] == pytest.approx(density * blocks, rel=1e-3), kind
        assert found[kind]["total"] == pytest.approx(total - (1 - density) * blocks, rel=1e-3), kind


def test_phases_count_by_their_tokens(tiny):
    small, large = ({"layers": layers, "width": 32, "heads": 4} for layers in (1, 3))
    mask = {"fixed-mask": {"sparsity": 0.5}}
    phases = [
        {"share": 0.25, "model": small},
        {"share": 0.75, "model": large, "structure": mask, "start": {"stack": {"factor": 3}}, "batch": 8},
    ]
    n = [counts(layers=1)[0], counts(layers=3)[0]]
    for unit, weights in (("tokens", (1, 3)), ("steps", (1, 6))):
        found = average_parameters.average_active(tiny(phases=phases, budget={unit: 1000}), 160)
        assert found["average"]["prunable"] == pytest.approx((weights[0] * n[0] + weights[1] * n[1] / 2) / sum(weights), rel=1e-6)
    recipe = tiny(phases=phases, budget={"flops": 1e9})
    assert average_parameters.average_active(recipe, 160, tokens=[100, 300])["average"]["prunable"] == pytest.approx(
        (n[0] + 1.5 * n[1]) / 4
    )
    assert found["initial"]["prunable"] == n[0] and found["final"]["prunable"] == pytest.approx(n[1] / 2)
    # the same share of effective FLOPs buys more tokens of a sparse phase than the same share of FLOPs
    both = [average_parameters.average_active(tiny(phases=phases, budget={unit: 1e9}), 160) for unit in ("flops", "effective_flops")]
    assert both[1]["average"]["prunable"] > both[0]["average"]["prunable"]


def test_estimated_tokens_of_phases_are_near_those_flown(tiny, stream, tmp_path):
    phases = [{"share": 0.5, "structure": {"fixed-mask": {"sparsity": 0.75}}}, {"share": 0.5}]
    recipe = tiny(phases=phases, budget={"effective_flops": 2e9})
    record = fly(recipe, 0, stream, tmp_path)
    flown = average_parameters.average_active(recipe, 512, [phase["tokens"] for phase in record["phases"]])
    assert average_parameters.average_active(recipe, 512)["average"]["total"] == pytest.approx(flown["average"]["total"], rel=0.03)


TRUTH = {"E": 1.2, "A": 30.0, "alpha": 0.4, "B": 60.0, "beta": 0.35}


def law_result(tiny: Any, noise: float = 0.0, seeds: int = 3, kind: str = "average") -> dict[str, Any]:
    """A study whose losses follow TRUTH in the ``kind`` of N, on real recipes."""
    random = np.random.default_rng(0)
    recipes = {
        "baseline": tiny(),
        **{f"layers-{n}": tiny(model={"layers": n}) for n in (1, 4, 8)},
        **{
            f"sparse-{b}-{e}": tiny(structure={"pruning-ramp": {"sparsity": 0.8, "begin": b, "end": e}})
            for b, e in ((0, 0.3), (0.25, 0.75), (0.6, 1))
        },
        "fixed": tiny(structure={"fixed-mask": {"sparsity": 0.6}}),
    }
    runs = []
    for number, (arm, recipe) in enumerate(recipes.items()):
        active = average_parameters.average_active(recipe, 512)
        for multiple in (0.5, 1.0, 2.0) if arm == "baseline" else (1.0,):
            tokens = 2e5 * multiple * (1 + 0.3 * (number % 3))
            value = float(CHINCHILLA.predict(TRUTH, {"N": np.array([active[kind]["prunable"]]), "D": np.array([tokens])})[0])
            for seed in range(seeds):
                test = {"bits_per_byte": value * math.exp(random.normal(0, noise))}
                runs.append(
                    {"arm": arm, "multiple": multiple, "seed": seed, "status": "finished", "test": test, "totals": {"tokens": tokens}}
                )
    runs.append({"arm": "baseline", "multiple": 1.0, "seed": 77, "status": "failed", "test": {}, "totals": {}})
    return {
        "stream": {"fingerprint": "x", "vocabulary": 512},
        "study": {"metric": "bits_per_byte"},
        "recipes": {arm: recipe.model_dump(mode="json") for arm, recipe in recipes.items()},
        "format": 2,
        "arms": {},
        "runs": runs,
    }


def test_a_law_without_noise_is_found_again():
    random = np.random.default_rng(0)
    n, d = random.uniform(5e4, 5e5, 30), random.uniform(5e4, 1e6, 30)
    found = average_parameters.fit_law(n, d, CHINCHILLA.predict(TRUTH, {"N": n, "D": d}))
    assert found == pytest.approx(TRUTH, rel=1e-3)


@pytest.mark.parametrize("kind", ["average", "final"])
def test_the_n_that_made_the_losses_predicts_best(kind, tiny):
    found = average_parameters.average_law([law_result(tiny, 0.002, seeds=2, kind=kind)], draws=10)
    errors = found["prunable"]["predictive_error"]
    assert min(errors, key=errors.get) == kind and errors[kind] < 0.02
    assert found["noise"] == pytest.approx(0.002, rel=0.5) and len(found["settings"]) == 10
    law = found["prunable"]["law"]
    assert set(law) == set(TRUTH) and all(entry["low"] <= entry["high"] for entry in law.values())
    if kind == "average":
        assert found["prunable"]["error"] < 0.004
        assert set(found["prunable"]["predictive_error_by_setting"]["average"]) >= {"baseline x 0.5", "sparse-0-0.3 x 1"}


def test_what_the_law_refuses(tiny, tmp_path, capsys, law):
    whole = law_result(tiny)
    few = {**whole, "runs": [run for run in whole["runs"] if run["arm"] in ("baseline", "fixed")]}
    with pytest.raises(UserError, match=r"needs 7 settings .* there are 4"):
        average_parameters.average_law([few])
    one_size = {**whole, "recipes": dict.fromkeys(whole["recipes"], whole["recipes"]["baseline"])}
    with pytest.raises(UserError, match="hardly differ in average parameters"):
        average_parameters.average_law([one_size])
    with pytest.raises(UserError, match="on one text"):
        average_parameters.average_law([whole, {**whole, "stream": {"fingerprint": "y", "vocabulary": 512}}])
    taught = tiny(losses=[])
    data = taught.model_dump(mode="json")
    data["phases"][0]["start"] = {"trained": {"model": {"recipe": tiny(budget={"steps": 1}).model_dump(mode="json")}}}
    settings_, left_out = average_parameters.gather([{**whole, "recipes": {**whole["recipes"], "fixed": data}}])
    assert len(settings_) == 9 and "another recipe" in left_out["fixed"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(few), encoding="utf-8")
    assert law("average-parameters", path) == 2 and "7 settings" in capsys.readouterr().err
    path.write_text("{}", encoding="utf-8")
    assert law("average-parameters", path) == 2 and "not a result" in capsys.readouterr().err


def test_two_results_are_read_together(tiny):
    whole = law_result(tiny)
    settings_, _ = average_parameters.gather([whole, whole])
    assert len(settings_) == 20 and {s["arm"] for s in settings_} >= {"baseline (1)", "baseline (2)"}
    compact = {**whole, "runs": [{**run, "tokens": run["totals"].get("tokens"), "totals": None} for run in whole["runs"]]}
    assert average_parameters.gather([compact])[0] == average_parameters.gather([whole])[0]  # a paper's result holds tokens beside the test
