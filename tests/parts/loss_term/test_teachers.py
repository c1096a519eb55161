"""Teachers: soft labels, hidden states, the choice of examples, and the pull to the start."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import VOCABULARY, generator, make_rows, tensors
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.forward import forward, logits_of_targets
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.after_step.pull_to_start import PullToStart
from windtunnel.parts.loss_term.distillation import Distillation
from windtunnel.parts.loss_term.hidden_distillation import HiddenDistillation
from windtunnel.parts.selection.learnable import Learnable
from windtunnel.slots import BatchContext, Objective, Progress
from windtunnel.train.run import fly

AT = Progress(step=0, steps=1, tokens=0, step_tokens=1, sequences=1, done=0.0, overall=0.0, phase=0)
LATER = dataclasses.replace(AT, step=1, steps=2, done=0.5, overall=0.5)
OTHER = {"folder": "not read here"}
DECODERS = ["llama", "qwen2", "qwen3", "gpt2", "gpt-neox"]
PAIRS = [
    *((family, "next-token") for family in DECODERS),
    ("llama", "prefix-lm"),
    ("bert", "masked-token"),
    ("modernbert", "masked-token"),
    ("llama", "masked-token"),
    ("t5", "span-corruption"),
    ("t5", "ul2"),
]


def network(family: str, seed: int = 0, vocabulary: Vocabulary = VOCABULARY, **sizes: Any) -> Any:
    """A tiny network in float64, with weights large enough that its predictions are not all alike."""
    chosen = {"depth": 2, "layers": 2, "width": 32, "heads": 2} | sizes
    model = fresh(config_for(ModelSettings(family=family, **chosen), vocabulary, 32), seed).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.05)
    return model


def batch_of(objective: Any, seed: int = 0, **rows: Any) -> dict[str, torch.Tensor]:
    return tensors(objective.prepare(make_rows(seed, **rows), VOCABULARY, generator(seed)))


def total(objective: Any, part: Any, model: Any, batch: dict[str, torch.Tensor], teacher: Any, targets: int | None = None) -> torch.Tensor:
    """The loss of a (micro-)batch as the loop combines it."""
    loss = objective.loss(model, batch, part.needs)
    targets = targets or int(loss.counts.sum())
    term = part.term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": teacher}))
    return (loss.counts * loss.values).sum() / targets + term * (loss.counts.sum() / targets)


def gradient(model: Any, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    value.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], **tolerance: float) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], **tolerance) for key in one)


EXACT = {"rtol": 1e-9, "atol": 1e-12}


# Soft labels ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "written"), PAIRS)
def test_logits_of_targets_are_those_that_the_loss_was_made_of(family, written):
    objective, model = make(Objective, written), network(family)
    batch = batch_of(objective, 3, padding=0.5)
    loss = objective.loss(model, batch)
    rows = logits_of_targets(model, batch, loss.counts, loss.outputs.logits)
    assert rows.dtype == torch.float64 and len(rows) == loss.counts.sum() > 0
    found = cross_entropy(rows.float(), batch["labels"][loss.counts], reduction="none")
    assert torch.allclose(found, loss.values[loss.counts].float(), atol=1e-6)


@pytest.mark.parametrize(("family", "written"), PAIRS)
@pytest.mark.parametrize(
    ("weight", "temperature", "soften"), [(1.0, 1.0, "teacher"), (0.6, 2.5, "teacher"), (1.0, 0.5, "both"), (0.3, 3.0, "both")]
)
def test_the_loss_is_the_written_formula(family, written, weight, temperature, soften):
    """Against probabilities, multiplied out label by label; the gradient of the divergence is that of the cross entropy."""
    objective, model = make(Objective, written), network(family)
    teacher = network(family, 1, layers=1)
    batch = batch_of(objective, 5)
    part = Distillation(teacher=OTHER, weight=weight, temperature=temperature, soften=soften)
    found = gradient(model, total(objective, part, model, batch, teacher))

    loss, seen = objective.loss(model, batch), objective.loss(teacher, batch)
    own, goal = (logits_of_targets(network, batch, one.counts, one.outputs.logits) for network, one in ((model, loss), (teacher, seen)))
    labels = batch["labels"][loss.counts]
    p = (goal / temperature).exp() / (goal / temperature).exp().sum(-1, keepdim=True)
    scaled = own / temperature if soften == "both" else own
    log_q = scaled - scaled.exp().sum(-1, keepdim=True).log()
    soft = -(p.detach() * log_q).sum(-1) * (temperature**2 if soften == "both" else 1)
    expected = gradient(model, ((1 - weight) * cross_entropy(own, labels, reduction="none") + weight * soft).mean())
    # The objective's own loss is taken in float32. At weight 1 it is added and taken back, and what remains of it is rounding.
    assert same(found, expected, **({"rtol": 1e-9, "atol": 1e-7} if weight == 1 else {"rtol": 1e-4, "atol": 1e-6}))


@pytest.mark.parametrize(("family", "written"), PAIRS)
def test_weight_zero_is_plain_training_to_the_bit(family, written):
    objective, model = make(Objective, written), network(family).float()
    teacher, batch = network(family, 1).float(), batch_of(objective)
    plain = objective.loss(model, batch)
    expected = gradient(model, (plain.counts * plain.values).sum() / int(plain.counts.sum()))
    for part in (Distillation(teacher=OTHER, weight=0.0, temperature=2.0), HiddenDistillation(teacher=OTHER, weight=0.0)):
        found = gradient(model, total(objective, part, model, batch, teacher))
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert all(not found[key].any() for key in found.keys() - expected.keys())


def test_a_teacher_like_the_student_leaves_nothing_to_learn():
    objective, model = make(Objective, "next-token"), network("llama")
    batch = batch_of(objective)
    value = total(objective, Distillation(teacher=OTHER, weight=1.0), model, batch, copy.deepcopy(model))
    assert abs(value) < 1e-6
    assert all(entry.abs().max() < 1e-6 for entry in gradient(model, value).values())
    loss = objective.loss(model, batch, HiddenDistillation.needs)
    assert (
        HiddenDistillation(teacher=OTHER).term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": copy.deepcopy(model)})) == 0
    )


@pytest.mark.parametrize("part", [Distillation(teacher=OTHER), HiddenDistillation(teacher=OTHER)], ids=lambda part: part.name)
@pytest.mark.parametrize(("family", "written"), [("llama", "next-token"), ("bert", "masked-token"), ("t5", "span-corruption")])
def test_the_teacher_gets_no_gradient_and_keeps_its_weights(part, family, written):
    objective, model, teacher = make(Objective, written), network(family), network(family, 1)
    before = copy.deepcopy(teacher.state_dict())
    found = gradient(model, total(objective, part, model, batch_of(objective), teacher))
    assert found and all(weight.grad is None for weight in teacher.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


CUTS = [
    Distillation(teacher=OTHER, weight=1.0, temperature=2.0),
    *(HiddenDistillation(teacher=OTHER, weight=0.3, pool=pool, as_width=768) for pool in ("mean", "positions", "first")),
]


@pytest.mark.parametrize("part", CUTS, ids=lambda part: f"{part.name}-{getattr(part, 'pool', '')}")
@pytest.mark.parametrize(("family", "written"), [("llama", "next-token"), ("bert", "masked-token"), ("t5", "span-corruption")])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 4), padding=st.sampled_from([0.0, 0.6]))
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(part, family, written, seed, size, padding):
    if getattr(part, "pool", "") == "first" and written == "next-token":
        return
    objective = make(Objective, written)
    model, teacher = network(family, layers=1), network(family, 1, layers=1)
    batch = batch_of(objective, seed, sequences=5, context=16, padding=padding)
    targets = int((batch["labels"] != -100).sum())
    if not targets:
        return
    whole = gradient(model, total(objective, part, model, batch, teacher, targets))
    model.zero_grad(set_to_none=True)
    for first in range(0, 5, size):
        cut = {key: value[first : first + size] for key, value in batch.items()}
        total(objective, part, model, cut, teacher, targets).backward()
    pieces = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    largest = max(float(entry.abs().max()) for entry in whole.values())
    assert same(pieces, whole, rtol=1e-4, atol=1e-5 * largest)  # the objective's own loss and some norms are float32


def test_a_batch_without_targets_adds_nothing():
    objective, model = make(Objective, "next-token"), network("llama")
    batch = batch_of(objective)
    batch["labels"] = torch.full_like(batch["labels"], -100)
    for part in (Distillation(teacher=OTHER), HiddenDistillation(teacher=OTHER)):
        loss = objective.loss(model, batch, part.needs)
        assert part.term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": network("llama", 1)})) == 0


def refusal(part: Any, model: Any, teacher: Any, written: str = "next-token") -> str:
    objective = make(Objective, written)
    with pytest.raises(PartError) as caught:
        total(objective, part, model, batch_of(objective), teacher)
    return str(caught.value)


def test_what_cannot_be_taught_is_refused():
    wider = dataclasses.replace(VOCABULARY, size=300)
    student = network("llama")
    assert "300" in (said := refusal(Distillation(teacher=OTHER), student, network("llama", vocabulary=wider))) and "256" in said
    assert "64" in (said := refusal(HiddenDistillation(teacher=OTHER), student, network("llama", width=64))) and "32" in said
    assert "sees nothing but itself" in refusal(HiddenDistillation(teacher=OTHER, pool="first"), student, network("llama", 1))
    assert "encoder-decoder" in refusal(HiddenDistillation(teacher=OTHER), student, network("t5"))
    objective = make(Objective, "next-token")
    with pytest.raises(PartError, match="raise top"):
        Learnable(scorer=OTHER, top=2).score(student, batch_of(objective), BatchContext(objective, AT, {"scorer": network("llama", 1)}))
    with pytest.raises(PartError, match="300"):
        Learnable(scorer=OTHER).score(
            student, batch_of(objective), BatchContext(objective, AT, {"scorer": network("llama", vocabulary=wider)})
        )


# Hidden states ----------------------------------------------------------------------------------------------------------------


def states_of(family: str, model: Any, batch: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """What the head reads (bert: what its transform reads), caught at the body of the network."""
    causal = family not in ("bert", "modernbert")
    return forward(model.base_model, tokens, batch.get("documents"), batch.get("positions"), causal=causal).last_hidden_state


@pytest.mark.parametrize("pool", ["mean", "positions", "first"])
@pytest.mark.parametrize(
    ("family", "written"), [*((family, "next-token") for family in DECODERS), ("bert", "masked-token"), ("modernbert", "masked-token")]
)
def test_hidden_distance_is_that_of_whole_documents(family, written, pool):
    """Document by document, on the text without masks, with states taken from the body of each network."""
    if pool == "first" and written == "next-token":
        return
    objective, model, teacher = make(Objective, written), network(family), network(family, 1)
    rows = make_rows(7, sequences=3, density=0.1, padding=0.5)
    batch = tensors(objective.prepare(rows, VOCABULARY, generator(2)))
    original = torch.from_numpy(rows["tokens"][:, :-1])
    part = HiddenDistillation(teacher=OTHER, weight=0.5, pool=pool, as_width=96)
    loss = objective.loss(model, batch, part.needs)
    found = part.term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": teacher}))

    if written == "masked-token":
        assert not torch.equal(batch["tokens"], original), "nothing was masked"
    apart = states_of(family, model, batch, original) - states_of(family, teacher, batch, original)
    expected, documents = torch.zeros((), dtype=torch.float64), torch.from_numpy(rows["documents"][:, :-1])
    for row in range(3):
        for document in range(int(documents[row].max()) + 1):
            inside = documents[row] == document
            piece = apart[row][inside]
            distance = {
                "mean": piece.mean(0).square().sum(),
                "positions": piece.square().sum(-1).mean(),
                "first": piece[0].square().sum(),
            }[pool]
            expected += loss.counts[row][inside].sum() * distance
    expected *= 0.5 * (96 / 32) / int(loss.counts.sum())
    assert torch.allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("family", "written"), [("gpt2", "next-token"), ("bert", "masked-token")])
def test_all_layers_are_compared_each_at_the_scale_of_the_teacher(family, written):
    """States are caught at the blocks themselves; padding does not count, and the last are those that the head reads."""
    from windtunnel.models.anatomy import anatomy

    objective, model, teacher = make(Objective, written), network(family), network(family, 1)
    rows = make_rows(7, sequences=3, density=0.1, padding=0.5)
    batch = tensors(objective.prepare(rows, VOCABULARY, generator(2)))
    original, there = torch.from_numpy(rows["tokens"][:, :-1]), (batch["documents"] >= 0)[..., None]

    def states(one: Any) -> list[torch.Tensor]:
        caught: list[torch.Tensor] = []
        hooks = [
            block.module.register_forward_hook(lambda module, given, out: caught.append(out if isinstance(out, torch.Tensor) else out[0]))
            for block in anatomy(one).blocks
        ]
        last = states_of(family, one, batch, original)
        for hook in hooks:
            hook.remove()
        return [*caught[:-1], last]

    part = HiddenDistillation(teacher=OTHER, weight=0.5, layers="all")
    loss = objective.loss(model, batch, part.needs)
    found = part.term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": teacher}))
    pairs = list(zip(states(model), states(teacher), strict=True))
    expected = 0.5 * sum(((mine - its).square() * there).sum() / (its.square() * there).sum() for mine, its in pairs)
    assert len(pairs) == 2 and torch.allclose(found, expected, rtol=1e-9)
    with pytest.raises(PartError, match="as many"):
        part.term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": network(family, 1, layers=3)}))
    with pytest.raises(ValueError, match="leave out pool"):
        HiddenDistillation(teacher=OTHER, layers="all", pool="positions")


def test_an_encoder_decoder_compares_its_encoders():
    objective, model, teacher = make(Objective, "span-corruption"), network("t5"), network("t5", 1)
    batch = batch_of(objective, 4, sequences=2, density=0.0)
    part = HiddenDistillation(teacher=OTHER, pool="positions")
    loss = objective.loss(model, batch, part.needs)
    found = part.term(model, batch, loss, {}, BatchContext(objective, AT, {"teacher": teacher}))
    seen = objective.loss(teacher, batch).outputs.encoder_last_hidden_state
    distances = (loss.outputs.encoder_last_hidden_state - seen).square().sum(-1)
    used = batch["encoder_columns"] >= 0
    each = (distances * used).sum(1) / used.sum(1)
    assert torch.allclose(found, (each * loss.counts.sum(1)).sum() / loss.counts.sum(), rtol=1e-9)
    found.backward()
    assert all(weight.grad is None for name, weight in model.named_parameters() if name.startswith("decoder."))


# The choice of examples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "written"), PAIRS)
@pytest.mark.parametrize("top", [1, 40, 256])
def test_score_is_the_median_of_losses_of_what_can_be_learned(family, written, top):
    objective, scorer = make(Objective, written), network(family, 1)
    batch = batch_of(objective, 11, sequences=6)
    batch["labels"][2] = -100
    scores = Learnable(scorer=OTHER, top=top).score(network(family), batch, BatchContext(objective, LATER, {"scorer": scorer}))
    assert scores.shape == (6,) and not scores.requires_grad
    with torch.no_grad():
        loss = objective.loss(scorer, batch)
    rows = iter(logits_of_targets(scorer, batch, loss.counts, loss.outputs.logits).tolist())
    for sequence in range(6):
        losses = []
        for column in loss.counts[sequence].nonzero().flatten().tolist():
            label, logits = int(batch["labels"][sequence, column]), next(rows)
            likeliest = sorted(range(len(logits)), key=lambda token: -logits[token])[:top]
            losses.append(float(loss.values[sequence, column]) if label in likeliest else 0.0)
        losses.sort()
        middle = len(losses) // 2
        if not losses:
            assert sequence == 2 or not loss.counts[sequence].any()
            assert torch.isnan(scores[sequence])
            continue
        median = losses[middle] if len(losses) % 2 else (losses[middle - 1] + losses[middle]) / 2
        assert float(scores[sequence]) == pytest.approx(median, rel=1e-5, abs=1e-7)


def test_scores_do_not_depend_on_how_candidates_are_cut():
    objective, scorer = make(Objective, "next-token"), network("llama", 1)
    batch, context = batch_of(objective, 2, sequences=6), BatchContext(objective, AT, {"scorer": scorer})
    part, model = Learnable(scorer=OTHER, top=200), network("llama")
    whole = part.score(model, batch, context)
    cut = torch.cat([part.score(model, {key: value[i : i + 4] for key, value in batch.items()}, context) for i in (0, 4)])
    assert whole.unique().numel() > 1 and torch.allclose(whole, cut)


# The pull to the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt-neox", "bert", "modernbert", "t5"])
def test_pull_shrinks_the_distance_by_rate_times_strength(family):
    model, part = network(family), PullToStart(strength=4.0)
    state = part.state(model)
    start = copy.deepcopy(state)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    moved = {name: weight.detach() - start["start"][name] for name, weight in model.named_parameters()}
    first, *rest = model.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": rest, "lr": 0.02}])
    part.after_step(model, optimizer, AT, state)
    for name, weight in model.named_parameters():
        share = 0.4 if weight is first else 0.08
        assert torch.allclose(weight - start["start"][name], moved[name] * (1 - share), **EXACT)
        assert torch.equal(state["start"][name], start["start"][name]), "the start has moved"
    with pytest.raises(PartError, match="at most"):
        PullToStart(strength=20.0).after_step(model, optimizer, AT, state)
    before = copy.deepcopy(model.state_dict())
    PullToStart(strength=0.0).after_step(model, optimizer, AT, state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# Flown ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(tiny, stream, tmp_path_factory) -> str:
    """The folder of a trained model to learn from."""
    folder = tmp_path_factory.mktemp("teacher")
    assert fly(tiny(), 3, stream, folder)["status"] == "finished"
    return str(folder / "model")


def test_teacher_and_selection_fly_together_and_their_forwards_are_counted(tiny, stream, taught, tmp_path):
    other = {"folder": taught}
    plain = fly(tiny(), 0, stream, tmp_path / "plain")
    first = {
        "share": 0.5,
        "losses": [{"distillation": {"teacher": other, "weight": 0.7}}, {"hidden-distillation": {"teacher": other}}],
        "selection": {"learnable": {"scorer": other, "candidates": 2, "top": 256}},
    }
    recipe = tiny(phases=[first, {"share": 0.5, "after_step": [{"pull-to-start": {"strength": 1.0}}]}], micro_batch=3)
    record = fly(recipe, 0, stream, tmp_path / "taught")
    assert record["status"] == "finished", record["traceback"]
    step, (early, late) = plain["phases"][0]["flops_per_step"], (phase["flops_per_step"] for phase in record["phases"])
    # A third of a step is a forward of a model this size: two teachers read the batch, the scorer twice as much.
    assert early == pytest.approx(step * (1 + 4 / 3), rel=0.02) and late == pytest.approx(step, rel=0.02)
    one, other_weights = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("plain", "taught"))
    assert any(not torch.equal(one[key], other_weights[key]) for key in one)
