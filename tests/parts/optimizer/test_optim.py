"""Optimizers against torch's own and bitwise resume; schedules against their papers' formulas, by hand and by property."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from families import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from windtunnel.core import registry
from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.optim.curves import fall
from windtunnel.kits.optim.joined import Joined
from windtunnel.kits.optim.orthogonal import BatchedMuon
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.anatomy import linears
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.optimizer.adamw import adamw
from windtunnel.slots import Optimizer, Progress, Schedule, Structure

VOCABULARY = Vocabulary(
    size=64,
    document=0,
    pad=1,
    mask=2,
    spans=(3, 4),
    modes={"R": 5, "S": 6, "X": 7},
    token_bytes=np.ones(64, dtype=np.int32),
    word_starts=np.ones(64, dtype=bool),
)
OPTIMIZERS = sorted(registry.names(Optimizer))
SCHEDULES = sorted(registry.names(Schedule))


def model_of(family="llama"):
    sizes = ModelSettings(family=family, depth=2, layers=2, width=32, heads=2)
    return fresh(config_for(sizes, VOCABULARY, 16), seed=0)


def give_gradients(model, seed):
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random) if parameter.requires_grad else None


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Optimizers ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(KINDS))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainable_parameter_is_held_once_and_moves(name, family):
    model = model_of(family)
    model.get_input_embeddings().weight.requires_grad_(False)
    optimizer = make(Optimizer, name).build(model, 0.01)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert len(held) == len(set(held)) and set(held) == trainable
    assert isinstance(optimizer, torch.optim.Optimizer)
    before = weights(model)
    give_gradients(model, 0)
    optimizer.step()
    for parameter_name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[parameter_name]) != parameter.requires_grad, parameter_name
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_dimensional_parameters_do_not_decay(name):
    model = model_of("gpt2")
    optimizer = make(Optimizer, {name: {"weight_decay": 0.5}}).build(model, 0.01)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] > 0) == (parameter.ndim >= 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_of_zero_changes_nothing(name):
    model = model_of()
    optimizer = make(Optimizer, name).build(model, 0.01)
    before = weights(model)
    for group in optimizer.param_groups:
        assert group["lr"] > 0
        group["lr"] = 0.0
    give_gradients(model, 0)
    optimizer.step()
    assert equal(weights(model), before)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_state_continues_bitwise(name, family, tmp_path):
    whole, part_one = model_of(family), model_of(family)
    one, other = (make(Optimizer, name).build(model, 0.01) for model in (whole, part_one))
    for step in range(3):
        for model, optimizer in ((whole, one), (part_one, other)):
            give_gradients(model, step)
            optimizer.step()
    torch.save({"model": part_one.state_dict(), "optimizer": other.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = model_of(family)
    resumed.load_state_dict(saved["model"])
    again = make(Optimizer, name).build(resumed, 0.5)  # another rate: the state brings its own
    again.load_state_dict(saved["optimizer"])
    assert [group["lr"] for group in again.param_groups] == [group["lr"] for group in one.param_groups]
    for step in range(3, 6):
        for model, optimizer in ((whole, one), (resumed, again)):
            for group in optimizer.param_groups:
                group["lr"] *= 0.9
            give_gradients(model, step)
            optimizer.step()
    assert equal(weights(whole), weights(resumed))
    forgetful = model_of(family)
    forgetful.load_state_dict(saved["model"])
    fresh_moments = make(Optimizer, name).build(forgetful, 0.01)
    for step in range(3, 6):
        for group in fresh_moments.param_groups:
            group["lr"] *= 0.9
        give_gradients(forgetful, step)
        fresh_moments.step()
    assert not equal(weights(whole), weights(forgetful))  # the state is what made the difference


def test_adamw_is_torchs():
    model, twin = model_of(), model_of()
    ours = make(Optimizer, {"adamw": {"learning_rate": 0.02, "betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 0.0}}).build(model, 9.0)
    torchs = torch.optim.AdamW(twin.parameters(), lr=0.02, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.0)
    for step in range(3):
        for network, optimizer in ((model, ours), (twin, torchs)):
            give_gradients(network, step)
            optimizer.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert all(group["fused"] for group in ours.param_groups)


def test_adamw_does_without_its_fused_kernel_where_there_is_none():
    optimizer = adamw([torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))], 0.01, weight_decay=0.0)
    assert not optimizer.param_groups[0]["fused"]


def test_muon_takes_the_matrices_inside_blocks():
    model = model_of()
    optimizer = make(Optimizer, "muon").build(model, 0.003)
    inside = {id(module.weight) for module in linears(model).values()}
    for group in optimizer.param_groups:
        assert all((id(parameter) in inside) == (group["name"] == "matrices") for parameter in group["params"])
    matrices, decayed = optimizer.param_groups[0], optimizer.param_groups[1]
    assert (matrices["lr"], decayed["lr"]) == (0.02, 0.003)
    assert matrices["lr"] * matrices["weight_decay"] == pytest.approx(decayed["lr"] * decayed["weight_decay"])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "structure", [{"quantize-weights": {"bits": 4, "group": 16, "when": "training"}}, {"low-rank": {"rank": 4}}, {"lora": {"rank": 2}}]
)
def test_muon_takes_what_stands_in_the_place_of_matrices(family, structure):
    model = model_of(family)
    plain = {id(module.weight) for module in linears(model).values()}
    rounded = [module.weight.shape for module in linears(model).values()]
    make(Structure, structure).apply(model)
    optimizer = make(Optimizer, "muon").build(model, 0.003)
    taken = [weight for group in optimizer.param_groups if group.get("name") == "matrices" for weight in group["params"]]
    if "quantize-weights" in structure:
        assert {id(weight) for weight in taken} == plain and sorted(weight.shape for weight in taken) == sorted(rounded)
    else:
        assert len(taken) == 2 * len(plain) and not {id(weight) for weight in taken} & plain
    scales = {group["lr"] for group in optimizer.param_groups if group.get("name") == "matrices"}
    assert (len(scales) > 1) == (family == "gpt2" and "quantize-weights" in structure), (
        "rates of matrices stored as [in, out] are corrected"
    )


def test_muons_update_is_orthogonal_and_scaled_by_shape():
    model = model_of()
    name, module = next((name, module) for name, module in linears(model).items() if module.weight.shape[0] > module.weight.shape[1])
    knobs = {"matrix_learning_rate": 1.0, "matrix_weight_decay": 0.0}
    optimizer = make(Optimizer, {"muon": knobs}).build(model, 0.003)
    before = module.weight.detach().clone()
    give_gradients(model, 0)
    optimizer.step()
    values = torch.linalg.svdvals(module.weight.detach() - before) / math.sqrt(module.weight.shape[0] / module.weight.shape[1])
    assert values.min() > 0.5 and values.max() < 1.4, name  # Newton-Schulz in five iterations: roughly one, all of them

    model = model_of()
    module = linears(model)[name]
    optimizer = make(Optimizer, {"muon": {**knobs, "adjust": "match-rms"}}).build(model, 0.003)
    before = module.weight.detach().clone()
    give_gradients(model, 0)
    optimizer.step()
    assert (module.weight.detach() - before).square().mean().sqrt() == pytest.approx(0.2, rel=0.25)
    assert make(Optimizer, {"muon": {"adjust": "match-rms"}}).build(model, 0.003).param_groups[0]["lr"] == 0.003


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_matrices_of_one_shape_move_together_as_torch_moves_each(nesterov, adjust, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("windtunnel.kits.optim.orthogonal.MOST", 2 * 24 * 16)  # three matrices of one shape take two turns
    ours, torchs = ([torch.nn.Parameter(torch.ones(shape)) for shape in ((24, 16),) * 3 + ((16, 24), (16, 16))] for _ in range(2))
    settings = {"lr": 0.1, "weight_decay": 0.5, "nesterov": nesterov, "adjust_lr_fn": adjust}
    optimizers = BatchedMuon(ours, **settings), torch.optim.Muon(torchs, **settings)
    for _ in range(3):
        for one, other in zip(ours, torchs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, torchs, strict=True):  # torch rounds to three digits on the way
        assert (one - other).norm() < 0.02 * (other - 1).norm()


def test_muon_reads_gpt2s_transposed_matrices_the_right_way_round():
    """A Conv1D [in, out] with the transposed gradient moves as the Linear [out, in] would, decay included."""
    model = model_of("gpt2")
    name, module = next((name, module) for name, module in linears(model).items() if module.weight.shape[0] < module.weight.shape[1])
    assert type(module).__name__ == "Conv1D"
    knobs = {"matrix_learning_rate": 0.1, "matrix_weight_decay": 0.5}
    optimizer = make(Optimizer, {"muon": knobs}).build(model, 0.003)
    straight = torch.nn.Parameter(module.weight.detach().T.contiguous())
    plain = torch.optim.Muon([straight], lr=0.1, weight_decay=0.5)
    give_gradients(model, 0)
    straight.grad = module.weight.grad.T.contiguous()
    optimizer.step()
    plain.step()
    torch.testing.assert_close(module.weight.T, straight, rtol=0, atol=2e-3), name  # bfloat16 iterations, on the transposed


def test_a_joined_optimizer_copies_pickles_and_refuses_what_it_cannot_place():
    model = model_of()
    optimizer = make(Optimizer, "muon").build(model, 0.003)
    give_gradients(model, 0)
    assert optimizer.step(lambda: torch.tensor(3.0)) == 3.0
    parameter = next(iter(linears(model).values())).weight
    assert "momentum_buffer" in optimizer.state[parameter]
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert isinstance(twin, Joined)
        assert twin.members[0].param_groups[0] is twin.param_groups[0]
        assert twin.members[1].state is twin.state
    with pytest.raises(RuntimeError, match="no further parameter group"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2, 2))]})


def test_nothing_to_train_is_an_error():
    model = model_of().requires_grad_(False)
    with pytest.raises(PartError, match="no trainable parameter"):
        make(Optimizer, "adamw").build(model, 0.01)
    model.get_input_embeddings().weight.requires_grad_(True)
    with pytest.raises(PartError, match="no trainable weight matrix inside"):
        make(Optimizer, "muon").build(model, 0.01)


def test_muon_with_nothing_but_matrices():
    model = model_of().requires_grad_(False)
    for module in linears(model).values():
        module.weight.requires_grad_(True)
    optimizer = make(Optimizer, "muon").build(model, 0.01)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("knobs", [{"betas": [0.9, 1.0]}, {"learning_rate": 0}, {"weight_decay": -1}, {"learning_rat": 1}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_impossible_knobs_are_refused(name, knobs):
    with pytest.raises(ValidationError):
        make(Optimizer, {name: knobs})


# Schedules ----------------------------------------------------------------------------------------------------------------------


def at(step, steps=100, step_tokens=4096):
    return Progress(step, steps, step * step_tokens, step_tokens, step_tokens // 128, step / steps, step / steps, 0)


def factors(schedule, steps=100, peak=0.01, step_tokens=4096):
    return [schedule.factor(at(step, steps, step_tokens), peak) for step in range(steps)]


SHARES = st.one_of(st.just(0.0), st.floats(0.03, 0.45))  # no rise or fall within a handful of steps: those are steep by right
FLOORS = st.floats(0.01, 0.5)
ANY = st.one_of(
    st.builds(lambda w, f: {"cosine": {"warmup": w, "floor": f}}, SHARES, FLOORS),
    st.builds(lambda w, f: {"linear": {"warmup": w, "floor": f}}, SHARES, FLOORS),
    st.builds(lambda w: {"constant": {"warmup": w}}, SHARES),
    st.builds(
        lambda w, d, s, f: {"wsd": {"warmup": w, "decay": d, "shape": s, "floor": f}},
        SHARES,
        SHARES,
        st.sampled_from(["linear", "sqrt", "exponential", "cosine"]),
        FLOORS,
    ),
    st.builds(lambda w: {"inverse-sqrt": {"warmup": w + 0.03}}, SHARES),
    st.builds(
        lambda w, c, a, f, s: {"infinite": {"warmup": w / 2, "cooldown": c, "anneal": a / 2, "floor": f, "shape": s}},
        SHARES,
        SHARES,
        SHARES,
        FLOORS,
        st.sampled_from(["cosine", "inverse-sqrt"]),
    ),
    st.builds(lambda w, d, a, f: {"power": {"warmup": w, "decay": d, "a": a, "floor": f}}, SHARES, SHARES, st.floats(0.1, 10), FLOORS),
)


@given(ANY, st.integers(1, 400), st.sampled_from([512, 4096, 65536]))
@settings(max_examples=150, deadline=None)
def test_every_factor_is_above_zero_and_at_most_one(knobs, steps, step_tokens):
    values = factors(make(Schedule, knobs), steps, step_tokens=step_tokens)
    assert all(0 < value <= 1 + 1e-12 for value in values)


@given(ANY)
@settings(max_examples=40, deadline=None)
def test_schedules_are_continuous(knobs):
    """Ten times the steps make the largest change from one step to the next shrink: there is no jump that steps cannot resolve."""
    schedule = make(Schedule, knobs)
    (fields,) = knobs.values()

    def largest(steps):
        # The same run in finer steps: the batch shrinks, so that tokens and everything that depends on them stay.
        values = np.array(factors(schedule, steps, step_tokens=4_096_000 // steps, peak=0.01 * 1000 / steps))
        # The curve of power is vertical where the phase begins; without a warm-up it is judged a little later.
        first = math.ceil(0.03 * steps) if "power" in knobs and not fields["warmup"] else 0
        return np.abs(np.diff(values[first:])).max(initial=0)

    # A square root falls vertically at its beginning, so its largest change shrinks only with the root of the step.
    assert largest(10_000) <= 0.45 * largest(1000) + 1e-9


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_of_a_warm_up_is_one_over_its_steps_and_the_last_the_whole(name):
    schedule = make(Schedule, {name: {"warmup": 0.1}})
    values = factors(schedule, 100, peak=1e-9)  # so low a peak that the power curve lies above it
    top = values[9]
    assert top == pytest.approx(1)
    assert values[:10] == pytest.approx([top * (step + 1) / 10 for step in range(10)])
    assert values[10] == pytest.approx(1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_step_is_enough(name):
    (value,) = factors(make(Schedule, name), 1)
    assert 0 < value <= 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_depend_on_nothing_but_the_step(name):
    """A run that is resumed asks for the factor of step 57 without having asked for those before."""
    assert make(Schedule, name).factor(at(57), 0.01) == factors(make(Schedule, name))[57]


def test_cosine_and_linear_by_hand():
    values = factors(make(Schedule, {"cosine": {"warmup": 0.2, "floor": 0.1}}))
    assert values[60] == pytest.approx(0.55)
    assert values[40] == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert values[99] == pytest.approx(0.1, abs=1e-3)
    values = factors(make(Schedule, {"linear": {"warmup": 0.2}}))
    assert values[20] == pytest.approx(1) and values[60] == pytest.approx(0.5) and values[99] == pytest.approx(1 / 80)
    assert factors(make(Schedule, {"constant": {"warmup": 0.0}})) == [1.0] * 100


def test_wsd_by_hand():
    assert factors(make(Schedule, {"wsd": {"warmup": 0.1, "decay": 0.2}}))[10:81] == pytest.approx([1.0] * 71)
    for shape, middle in (("linear", 0.505), ("sqrt", 0.01 + 0.99 * (1 - math.sqrt(0.5))), ("exponential", 0.1), ("cosine", 0.505)):
        values = factors(make(Schedule, {"wsd": {"decay": 0.2, "shape": shape, "floor": 0.01}}))
        assert values[90] == pytest.approx(middle), shape
        assert fall(shape, 1.0, 1.0, 0.01) == pytest.approx(0.01)
    assert factors(make(Schedule, {"wsd": {"decay": 0}}))[-1] == 1.0


def test_inverse_square_root_is_vaswanis():
    """Their rate, step ** -0.5 against step * warmup ** -1.5, relative to its peak; a step counts from 1 there."""
    values = factors(make(Schedule, {"inverse-sqrt": {"warmup": 0.25}}))
    for step in range(25):
        assert values[step] == pytest.approx((step + 1) * 25**-1.5 / 25**-0.5)
    for step in range(25, 100):
        assert values[step] == pytest.approx(step**-0.5 / 25**-0.5)


def test_infinite_is_ibrahims():
    knobs = {"warmup": 0.05, "cooldown": 0.5, "anneal": 0.2, "constant_rate": 0.4, "floor": 0.1}
    values = factors(make(Schedule, {"infinite": knobs}))
    for s in range(51):
        assert values[5 + s] == pytest.approx(0.4 + 0.3 * (1 + math.cos(math.pi * s / 50)))
    assert values[55:81] == pytest.approx([0.4] * 26)
    for u in range(20):
        assert values[80 + u] == pytest.approx(0.4 * (0.1 / 0.4) ** (u / 20))
    values = factors(make(Schedule, {"infinite": {**knobs, "shape": "inverse-sqrt", "timescale": 3.0}}))

    def h(u):
        return 1 / math.sqrt(1 + 3 * u) - 1

    for s in range(51):
        assert values[5 + s] == pytest.approx(1 + (0.4 - 1) * h(s / 50) / h(1))


def test_infinite_is_resumed_without_a_jump():
    before = factors(make(Schedule, {"infinite": {"anneal": 0}}))
    after = factors(make(Schedule, {"infinite": {"warmup": 0, "cooldown": 0}}))
    assert before[-1] == pytest.approx(0.55) and after[0] == pytest.approx(0.55)
    assert after[-1] == pytest.approx(0.1, rel=0.2)
    rewarmed = factors(make(Schedule, {"infinite": {"warmup": 0.1, "cooldown": 0}}))
    assert max(rewarmed) == pytest.approx(0.55)


def test_power_is_shens():
    # The paper's own example of its law: batch 1024 of 4096 tokens after 10^13 tokens, a = 4.6: 0.0011.
    example = Progress(10**6, 2 * 10**6, 10**13, 1024 * 4096, 1024, 0.5, 0.5, 0)
    assert 0.02 * make(Schedule, {"power": {"a": 4.6}}).factor(example, 0.02) == pytest.approx(0.0011, abs=5e-5)
    # Batches of 32 sequences of 128 tokens are one sequence of the paper's.
    peak, steps = 0.02, 1000
    schedule = make(Schedule, {"power": {"warmup": 0.05, "decay": 0.1}})
    values = factors(schedule, steps, peak)

    def eta(tokens):
        return min(peak, 4 * tokens**-0.51)

    assert values[24] * peak == pytest.approx(0.5 * eta(50 * 4096))  # halfway up to the curve, not to the peak
    for step in (50, 100, 500, 900):
        assert values[step] * peak == pytest.approx(eta(step * 4096))
    assert values[950] * peak == pytest.approx(eta(900 * 4096) * (math.exp(-0.5) - math.exp(-1)) / (1 - math.exp(-1)))
    # What was seen before counts, and twice the batch has twice the rate at the same tokens.
    later = make(Schedule, {"power": {"tokens_before": 400 * 4096}})
    assert later.factor(at(100, steps), peak) == pytest.approx(values[500])
    assert make(Schedule, "power").factor(at(250, 500, 8192), 1.0) == pytest.approx(2 * make(Schedule, "power").factor(at(500, 1000), 1.0))
    # The rate does not depend on how long the run will be.
    assert factors(schedule, 4 * steps, peak)[500] == pytest.approx(values[500])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"wsd": {"warmup": 0.6, "decay": 0.6}}, "1.2 of the phase together"),
        ({"wsd": {"shape": "exponential"}}, "set floor above 0"),
        ({"infinite": {"cooldown": 0.9}}, "more than all of it"),
        ({"infinite": {"floor": 0.7}}, "above the constant_rate"),
        ({"power": {"warmup": 0.6, "decay": 0.6}}, "more than all of it"),
        ({"cosine": {"warmpu": 0.1}}, "did you mean 'warmup'"),
        ({"inverse-sqrt": {"warmup": 0}}, "greater than 0"),
    ],
)
def test_impossible_schedules_are_refused(knobs, message):
    with pytest.raises(ValidationError, match=message):
        make(Schedule, knobs)
