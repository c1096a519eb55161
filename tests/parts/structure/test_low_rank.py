"""Factorised training: the same function and gradients as the dense matrix, without keeping it; rebalancing, resets and GaLore."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_models import FAMILIES, build, packed, random_tokens, run
from torch import nn

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.optim.projected import Projected
from windtunnel.kits.weights.factors import Factors, SparseFactors, SparsePlusLowRank, balanced, composed, factorised, support_of, truncated
from windtunnel.models.anatomy import anatomy, linears
from windtunnel.models.flops import counter
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.parts.optimizer.adamw import adamw
from windtunnel.slots import AfterStep, Optimizer, Progress, Structure
from windtunnel.train.run import fly

KINDS = ["low-rank", "sparse-low-rank"]


def structure(kind: str, **knobs: Any) -> Any:
    return make(Structure, {kind: {"rank": 4} | ({"nonzero": 0.1} if kind.startswith("sparse") else {}) | knobs})


def imposed(kind: str, family: str = "llama", seed: int = 0, **knobs: Any) -> Any:
    """A model with the structure, begun as the loop begins it."""
    model = build(family)
    torch.manual_seed(seed)
    structure(kind, **knobs).apply(model)
    return model


def moved(model: Any) -> Any:
    """The model with every weight changed, as training would."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())).to(weight) * 0.1)
    return model


def loss_of(model: Any) -> torch.Tensor:
    tokens, documents = packed()
    return nn.functional.cross_entropy(run(model, tokens, documents).logits.flatten(0, 1), tokens.flatten())


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return run(model, random_tokens(2, 12)).logits


def at(step: int, steps: int = 100) -> Progress:
    return Progress(step, steps, 0, 1, 1, step / steps, step / steps, 0)


# The function ------------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 4), st.floats(0.05, 1.0), st.integers(0, 99))
def test_output_and_every_gradient_are_those_of_the_dense_matrix(out, inside, rank, share, seed):
    draw = torch.Generator().manual_seed(seed)
    support = support_of((out, inside), max(1, int(share * out * inside)), seed, "w")
    shapes = ((2, 3, inside), (out, rank), (rank, inside), (len(support),))
    ours = [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    x, left, right, values = theirs
    weight = 1.7 * left @ right
    rows, columns = support // inside, support % inside
    weight = weight + torch.zeros_like(weight).index_put((rows.long(), columns.long()), values)
    expected = x @ weight.T
    found = SparsePlusLowRank.apply(*ours, support, 1.7)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(expected.shape, generator=draw, dtype=torch.float64)
    for one, other in zip(torch.autograd.grad(found, ours, upstream), torch.autograd.grad(expected, theirs, upstream), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    inner = Factors(left.detach(), right.detach(), 1.7)
    torch.testing.assert_close(inner(x), 1.7 * x @ (left @ right).T, rtol=1e-11, atol=1e-11)


def test_the_dense_matrix_is_not_kept_for_the_backward_pass():
    layer = SparseFactors(torch.randn(40, 4), torch.randn(4, 50), 1.0, torch.randn(60), support_of((40, 50), 60, 0, "w"))
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(torch.randn(3, 50, requires_grad=True)).sum().backward()
    assert sorted(tensor.numel() for tensor in kept) == sorted([3 * 50, 40 * 4, 4 * 50, 60, 60])


@pytest.mark.parametrize("kind", KINDS)
def test_flops_are_those_of_the_products_that_are_made(kind):
    def counted(model: Any) -> int:
        with counter() as counts:
            run(model, random_tokens(2, 24)).logits.sum().backward()
        return counts.get_total_flops()

    plain = counted(build("llama"))
    model = imposed(kind)
    sizes = [module.weight.shape for module in factorised(model, "").values()]
    if kind == "low-rank":
        extra = sum(6 * 48 * (4 * (out + inside) - out * inside) for out, inside in sizes)
    else:
        extra = sum(8 * 4 * out * inside for out, inside in sizes)  # B A forward and backward, and the gradients of A and B
    assert counted(model) - plain == extra


def test_works_under_autocast_and_in_micro_batches():
    model = moved(imposed("sparse-low-rank", family="qwen2"))
    dense = copy.deepcopy(model)
    structure("sparse-low-rank").remove(dense)
    with torch.autocast("cpu", torch.bfloat16):
        one, other = run(model, random_tokens(4, 12)).logits, run(dense, random_tokens(4, 12)).logits
    assert one.dtype == other.dtype
    assert float((one - other).detach().norm() / other.detach().norm()) < 0.03
    one.float().square().mean().backward()
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in model.parameters())

    model = model.double()
    model.zero_grad()
    run(model, random_tokens(4, 12)).logits.sum().backward()
    whole = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    for part in random_tokens(4, 12).split(2):
        run(model, part).logits.sum().backward()
    for gradient, weight in zip(whole, model.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-5, atol=1e-6)  # RMSNorm computes in float32


def test_survives_the_compiler():
    layers = [SparseFactors(torch.randn(8, 2), torch.randn(2, 8), 1.0, torch.randn(9), support_of((8, 8), 9, 0, "w")) for _ in range(2)]
    net = nn.Sequential(*layers, nn.GELU(), Factors(torch.randn(8, 2), torch.randn(2, 8), 1.0))
    x, results = torch.randn(3, 8), []
    for function in (net, torch.compile(net, backend="aot_eager")):
        net.zero_grad()
        y = function(x)
        y.sum().backward()
        results.append([y.detach(), *(weight.grad.clone() for weight in net.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


# In a model --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_trains_in_every_family_and_folds_to_the_same_function(kind, family, tmp_path):
    plain = build(family)
    names = list(linears(plain))
    model = imposed(kind, family)
    assert list(factorised(model, "")) == names and not linears(model)
    assert anatomy(model).blocks[0].attention.o.shape == anatomy(plain).blocks[0].attention.o.shape
    optimizer = adamw(list(model.parameters()), 3e-3, weight_decay=0.0)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert all(weight.grad is not None for name, weight in model.named_parameters() if "position_embeddings" not in name)
    moved(model).double()
    before = logits_of(model)
    structure(kind).remove(model)
    torch.testing.assert_close(logits_of(model), before, rtol=1e-6, atol=1e-6)  # norms of some families compute in float32
    assert {name: value.shape for name, value in model.state_dict().items()} == {n: v.shape for n, v in plain.state_dict().items()}
    assert {name: type(module) for name, module in linears(model).items()} == {n: type(m) for n, m in linears(plain).items()}
    model.float()
    again = load(export(model, tmp_path / "model"))
    assert torch.equal(logits_of(again), logits_of(model))


@pytest.mark.parametrize("kind", KINDS)
def test_folding_is_exact_in_float64(kind):
    for module in factorised(moved(imposed(kind, "gpt2")).double(), "").values():
        x = torch.randn(5, module.right.shape[1], dtype=torch.float64)
        bias = module.bias if module.bias is not None else 0
        torch.testing.assert_close(module(x), x @ module.dense().T + bias, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_small_and_enough_to_go_on(kind):
    model = moved(imposed(kind))
    dense = sum(module.weight.numel() for module in linears(build("llama")).values())
    state = model.state_dict()
    assert not [name for name in state if "support" in name or name.endswith("proj.weight")]
    assert sum(value.numel() for name, value in state.items() if "proj" in name) < 0.6 * dense
    other = imposed(kind, seed=9)
    assert not torch.equal(logits_of(other), logits_of(model))
    other.load_state_dict(state)
    assert torch.equal(logits_of(other), logits_of(model))
    assert torch.equal(logits_of(copy.deepcopy(model)), logits_of(model))


def test_first_weights_follow_the_authors_and_arms_share_draws():
    plain, sparse = imposed("low-rank", alpha=2.0), imposed("sparse-low-rank", nonzero=0.2)
    for name, module in factorised(plain, "").items():
        other = sparse.get_submodule(name)
        out, inside = module.weight.shape
        assert module.scale == 0.5 and other.scale == 4.0
        for weight, bound in ((module.right, inside**-0.5), (module.left, 4**-0.5), (other.values, inside**-0.5)):
            assert 0.9 * bound < float(weight.detach().abs().max()) <= bound
            assert abs(float(weight.detach().mean())) < 4 * bound / math.sqrt(3 * weight.numel())
        assert torch.equal(module.right, other.right) and not other.left.any()
        assert len(other.values) == math.floor(0.2 * out * inside)
        nonzero = other.dense().flatten().nonzero().flatten()
        assert torch.equal(nonzero, other.support.long())
    again, later = imposed("low-rank", alpha=2.0), imposed("low-rank", alpha=2.0, seed=1)
    assert torch.equal(logits_of(plain), logits_of(again)) and not torch.equal(logits_of(plain), logits_of(later))


def test_the_support_is_uniform_and_depends_on_its_seed_and_name_alone():
    one = support_of((30, 40), 300, 0, "a")
    assert one.dtype == torch.int32 and len(one.unique()) == 300 and bool((one.diff() > 0).all()) and one[0] >= 0 and one[-1] < 1200
    assert torch.equal(one, support_of((30, 40), 300, 0, "a"))
    assert not torch.equal(one, support_of((30, 40), 300, 1, "a")) and not torch.equal(one, support_of((30, 40), 300, 0, "b"))
    hits = torch.zeros(1200)
    for seed in range(200):
        hits[support_of((30, 40), 300, seed, "a").long()] += 1
    assert 0.8 < float(hits.var()) / (200 * 0.25 * 0.75) < 1.25  # binomial
    models = [imposed("sparse-low-rank", seed=seed) for seed in (0, 1)]
    assert all(torch.equal(a.support, b.support) for a, b in zip(*(factorised(model, "").values() for model in models), strict=True))
    shared = [entry.support for name, entry in factorised(models[0], "").items() if name.endswith(("q_proj", "o_proj"))]
    assert len({tuple(entry.tolist()) for entry in shared}) == len(shared)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_factorising_goes_on_from_the_weights(family):
    plain = moved(build(family)).double()
    weights = {name: (m.weight.T if family == "gpt2" else m.weight).detach().clone() for name, m in linears(plain).items()}
    for kind in KINDS:
        model = copy.deepcopy(plain)
        structure(kind, begin="factorise", alpha=12.0).apply(model)
        for name, module in factorised(model, "").items():
            tail = torch.linalg.svdvals(weights[name])[4:]
            error = weights[name] - module.dense()
            if kind == "low-rank":
                torch.testing.assert_close(error.norm(), tail.norm())
                torch.testing.assert_close(module.left.T @ module.left, module.right @ module.right.T, atol=1e-10, rtol=0)
            else:
                assert float(error.flatten()[module.support.long()].abs().max()) < 1e-12  # the best values there are
                assert float(error.norm()) < float(tail.norm())
    for module in linears(plain).values():  # a weight of that rank is met exactly
        left, right = truncated(module.weight.detach(), 4, 1.0)
        module.weight.data = left @ right
    before = logits_of(plain)
    for kind in KINDS:
        model = copy.deepcopy(plain)
        structure(kind, begin="factorise").apply(model)
        torch.testing.assert_close(logits_of(model), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_matrices_stay_shared_and_others_are_refused(kind):
    model = build("llama")
    first, second = model.model.layers
    second.self_attn.q_proj.weight = first.self_attn.q_proj.weight  # one weight, two modules
    second.mlp.up_proj = first.mlp.up_proj  # one module, two places
    structure(kind).apply(model)
    assert second.self_attn.q_proj.left is first.self_attn.q_proj.left and second.mlp.up_proj.right is first.mlp.up_proj.right
    loss_of(moved(model)).backward()
    before = logits_of(model)
    structure(kind).remove(model)
    assert second.self_attn.q_proj.weight is first.self_attn.q_proj.weight and second.mlp.up_proj.weight is first.mlp.up_proj.weight
    torch.testing.assert_close(logits_of(model), before, rtol=1e-3, atol=1e-4)

    model = build("llama", intermediate=32, width=160, heads=4)  # as wide as its vocabulary
    model.model.layers[0].self_attn.q_proj.weight = model.lm_head.weight
    with pytest.raises(PartError, match=r"q_proj\.weight is also used outside"):
        structure(kind).apply(model)


@pytest.mark.parametrize("kind", KINDS)
def test_structures_refuse_what_they_cannot_do(kind):
    grouped = build("llama", key_value_heads=1)  # keys and values are 8 wide
    with pytest.raises(PartError, match=r"rank 8 is not smaller than both sides of .*k_proj \(8, 32\); a rank of at most 7"):
        structure(kind, rank=8).apply(grouped)
    structure(kind, rank=7).apply(grouped)
    with pytest.raises(PartError, match="factorised already"):
        structure(kind).apply(grouped)
    with pytest.raises(PartError, match="no matrix of this model is factorised"):
        structure(kind).remove(build("llama"))
    if kind.startswith("sparse"):
        with pytest.raises(PartError, match=r"none of the 1024 positions of .*q_proj; use low-rank"):
            structure(kind, nonzero=0.0009).apply(build("llama"))


# Refactorise -------------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 12), st.integers(4, 12), st.integers(1, 4), st.integers(0, 99))
def test_balancing_keeps_the_product(out, inside, rank, seed):
    draw = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((out, rank), (rank, inside)))
    one, other = balanced(left, right)
    torch.testing.assert_close(one @ other, left @ right, rtol=1e-11, atol=1e-11)
    singular = torch.linalg.svdvals(left @ right)[:rank]
    torch.testing.assert_close(one.T @ one, singular.diag(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(other @ other.T, singular.diag(), rtol=1e-10, atol=1e-10)
    for odd in (torch.zeros_like(left), torch.full_like(left, math.nan)):
        assert balanced(odd, right)[1] is right


@pytest.mark.parametrize(("factors", "reset"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_refactorise_acts_when_it_should_and_on_what_it_should(kind, factors, reset):
    rule = make(AfterStep, {"refactorise": {"every": 3, "recovery": 2, "factors": factors, "reset": reset}})
    model = moved(imposed(kind)).double()
    optimizer = adamw(list(model.parameters()), 1e-3, weight_decay=0.0)
    state = rule.state(model)
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
        before, logits = copy.deepcopy(model.state_dict()), logits_of(model)
        rule.after_step(model, optimizer, at(step), state)
        due = step in (2, 5)
        assert (len(optimizer.state) == 0) == (due and reset)
        changed = {name.rpartition(".")[2] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == ({"left", "right"} if due and factors else set())
        torch.testing.assert_close(logits_of(model), logits, rtol=1e-5, atol=1e-6)
    for module in factorised(model, "").values():
        left, right = module.left.detach(), module.right.detach()
        assert (float((left.T @ left - right @ right.T).abs().max()) < 1e-12) == factors


def test_the_rate_recovers_after_each_reset():
    rule = make(AfterStep, {"refactorise": {"every": 20}})
    rates = [rule.rate(at(step)) for step in range(45)]
    assert rates[:20] == [1.0] * 20  # the warm-up of the schedule is left alone
    rise = [0.001 + 0.999 * step / 9 for step in range(10)]
    assert rates[20:30] == pytest.approx(rise) and rates[29:40] == [1.0] * 11 and rates[40:45] == pytest.approx(rise[:5])
    assert make(AfterStep, {"refactorise": {"every": 20, "reset": False}}).rate(at(20)) == 1.0
    assert make(AfterStep, {"refactorise": {"every": 20, "recovery": 1}}).rate(at(20)) == 0.001
    assert make(AfterStep, {"refactorise": {"every": 20, "recovery": 0}}).rate(at(20)) == 1.0


def test_refactorise_refuses_what_makes_no_sense():
    rule = make(AfterStep, "refactorise")
    with pytest.raises(PartError, match="no matrix of this model is factorised; it acts where the structure is"):
        rule.state(build("llama"))
    with pytest.raises(ValidationError, match="leave the part out"):
        make(AfterStep, {"refactorise": {"factors": False, "reset": False}})
    with pytest.raises(ValidationError, match="never recover: recovery 10 is not below every 5"):
        make(AfterStep, {"refactorise": {"every": 5}})


# GaLore ------------------------------------------------------------------------------------------------------------------------


def reference(weight: torch.Tensor, gradients: list[torch.Tensor], *, rank: int, every: int, scale: float, rate: float, decay: float):
    """The algorithm as the paper states it, with Adam written out: moments as sums over all gradients of the projected kind."""
    rows, columns = weight.shape
    projections: list[torch.Tensor] = []
    for step, gradient in enumerate(gradients):
        if step % every == 0:
            u, _, v = torch.linalg.svd(gradient, full_matrices=False)  # the same call: signs are arbitrary, and matter
            basis = u[:, :rank] if rows < columns else v[:rank].T
        projections.append(basis.T @ gradient if rows < columns else gradient @ basis)
        weights = [(0.1 * 0.9 ** (step - i), 0.05 * 0.95 ** (step - i)) for i in range(step + 1)]
        first = sum(w * p for (w, _), p in zip(weights, projections, strict=True)) / (1 - 0.9 ** (step + 1))
        second = sum(w * p * p for (_, w), p in zip(weights, projections, strict=True)) / (1 - 0.95 ** (step + 1))
        update = first / second.sqrt()
        back = basis @ update if rows < columns else update @ basis.T
        weight = weight * (1 - rate * decay) - rate * scale * back
    return weight


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7)])
@pytest.mark.parametrize("transposed", [False, True])
def test_galore_is_adam_in_the_subspace_of_the_gradient(shape, transposed):
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=draw, dtype=torch.float64)
    gradients = [torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(7)]
    knobs = {"rank": 3, "every": 3, "scale": 0.25}
    expected = reference(start, gradients, **knobs, rate=0.01, decay=0.1)
    weight = nn.Parameter(start.T.contiguous() if transposed else start.clone())
    group = {"params": [weight], "transposed": transposed}
    optimizer = Projected([group], lr=0.01, betas=(0.9, 0.95), eps=1e-30, weight_decay=0.1, **knobs)
    for step, gradient in enumerate(gradients):
        weight.grad = gradient.T.contiguous() if transposed else gradient
        optimizer.step()
        if step == 3:  # save, load into a new one, go on
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
            optimizer = Projected([group], lr=0.01, betas=(0.9, 0.95), eps=1e-30, weight_decay=0.1, **knobs)
            optimizer.load_state_dict(state)
            assert all(isinstance(value, torch.Tensor) for entry in state["state"].values() for value in entry.values())
    torch.testing.assert_close(weight.detach().T if transposed else weight.detach(), expected, rtol=1e-10, atol=1e-12)
    assert optimizer.state[weight]["exp_avg"].numel() == 3 * max(shape)


def test_galore_projects_the_blocks_and_leaves_the_rest_to_adamw():
    for family in ("gpt2", "gpt-neox"):
        model, other = build(family), build(family)
        optimizer = make(Optimizer, {"galore": {"rank": 4, "every": 2}}).build(model, 1e-3)
        named = {id(weight): name for name, weight in model.named_parameters()}
        projected = {named[id(w)] for group in optimizer.param_groups if group["name"] == "projected" for w in group["params"]}
        assert projected == {f"{name}.weight" for name in linears(model)}
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]
        plain = adamw(list(other.parameters()), 1e-3, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8)
        for net, rule in ((model, optimizer), (other, plain)):
            loss_of(net).backward()
            rule.step()
        for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two) == (name not in projected), name
        held = [sum(value.numel() for value in rule.state_dict()["state"][0].values()) for rule in (optimizer, plain)]
        assert held[0] < held[1]


def test_galore_refuses_what_it_cannot_do():
    galore = make(Optimizer, {"galore": {"rank": 8}})
    with pytest.raises(PartError, match=r"rank 8 is not below the smaller side of .*k_proj \(8\); set rank to at most 7"):
        galore.build(build("llama", key_value_heads=1), 1e-3)
    with pytest.raises(PartError, match="no trainable weight matrix"):
        galore.build(imposed("low-rank"), 1e-3)
    weight = nn.Parameter(torch.ones(4, 5))
    weight.grad = torch.full((4, 5), math.nan)
    Projected(
        [{"params": [weight], "transposed": False}], lr=1.0, rank=2, every=1, scale=1.0, betas=(0.9, 0.9), eps=0.1, weight_decay=0.0
    ).step()
    assert weight.isnan().all()  # which the loop reports; LAPACK would raise


# Flown -------------------------------------------------------------------------------------------------------------------------


def test_sparse_low_rank_after_growth_flies_resumes_and_is_refused_beside_galore(tiny, stream, tmp_path):
    second = {
        "share": 0.5,
        "model": {"layers": 4},
        "start": {"stack": {"factor": 2}},
        "structure": {"sparse-low-rank": {"rank": 8, "begin": "factorise"}},
        "after_step": {"refactorise": {"every": 2, "recovery": 1}},
    }
    recipe = tiny(phases=[{"share": 0.5}, second], budget={"steps": 12})
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole["status"] == "finished", whole["traceback"]
    for _ in range(16):
        calls = iter([False, True])
        cut = fly(recipe, 0, stream, tmp_path / "cut", stop=lambda calls=calls: next(calls, True))
        if cut["status"] != "interrupted":
            break
    one, other = (load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert cut["status"] == "finished" and all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValidationError, match="galore projects the gradients of whole weight matrices"):
        tiny(structure={"low-rank": {"rank": 4}}, optimizer="galore")
    with pytest.raises(ValidationError, match="it looks for the whole weight matrices of the blocks"):
        tiny(structure={"low-rank": {"rank": 4}}, optimizer="muon")


def test_composed_is_computed_in_the_type_it_is_asked_for():
    left, right, values = torch.randn(6, 2), torch.randn(2, 5), torch.randn(7)
    support = support_of((6, 5), 7, 0, "w")
    exact = composed(left, right, values, support, 0.5, torch.float64)
    rough = composed(left, right, values, support, 0.5, torch.bfloat16)
    assert exact.dtype == torch.float64 and rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.double(), exact, rtol=0.03, atol=0.03)
