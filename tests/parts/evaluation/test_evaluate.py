"""Evaluations: the numbers are the sums they claim to be, the same for every batch size, and what a model writes is repeatable."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from windtunnel.core.errors import PartError, UserError
from windtunnel.data.held_out import entered, held_out
from windtunnel.kits.text.encoded import text_of
from windtunnel.kits.text.losses import text_loss
from windtunnel.kits.text.predict import own_format
from windtunnel.kits.text.samples import samples
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.evaluation.bits_per_byte import BitsPerByte, judge
from windtunnel.parts.evaluation.denoising import Denoising
from windtunnel.parts.objective.masked_token import MaskedToken
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.parts.objective.permuted_order import PermutedOrder
from windtunnel.parts.objective.prefix_lm import PrefixLM
from windtunnel.parts.objective.span_corruption import SpanCorruption
from windtunnel.parts.objective.ul2 import UL2
from windtunnel.slots import Objective

CONTEXT = 32


def looked_at(stream: Any, objective: Objective, *, sequences: int = 6, limit: int = 640, split: str = "test", **others: Any) -> Any:
    fields = {"context": CONTEXT, "device": "cpu", "precision": contextlib.nullcontext} | others
    return held_out(stream, split, objective=objective, sequences=sequences, limit_tokens=limit, **fields)


def model_of(stream: Any, family: str = "llama", seed: int = 0) -> Any:
    sizes = ModelSettings(family=family, depth=2, layers=2, width=64, heads=2)
    return fresh(config_for(sizes, stream.facts, CONTEXT), seed).eval()


@pytest.mark.parametrize(
    "objective", [NextToken(), UL2(), SpanCorruption(), MaskedToken(unit="word")], ids=lambda objective: objective.name
)
def test_batches_do_not_depend_on_the_batch_size(stream, objective):
    for source in stream.sources:
        found = []
        for sequences in (1, 6, 40):
            batches = list(looked_at(stream, objective, sequences=sequences).batches(source, objective))
            assert {tuple(batch["labels"].shape) for batch in batches} == {(sequences, batches[0]["labels"].shape[1])}
            joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
            real = (joined["labels"] != -100).any(dim=1)
            found.append({key: value[real] for key, value in joined.items()})
        for key, value in found[0].items():
            assert torch.equal(value, found[1][key]) and torch.equal(value, found[2][key])


def test_sequences_of_one_document_stand_beside_those_of_several(stream, monkeypatch):
    """Prepared one by one, some without documents as they hold only one, they make the batches they make together."""
    view, several = looked_at(stream, NextToken(), sequences=4), False
    for source in stream.sources:
        together = list(view.batches(source, NextToken()))
        with monkeypatch.context() as patch:
            patch.setattr("windtunnel.data.held_out.CHUNK", 1)
            apart = list(view.batches(source, NextToken()))
        assert all(torch.equal(one[key], other[key]) for one, other in zip(together, apart, strict=True) for key in one)
        alone = torch.cat([batch["documents"].max(dim=1).values == 0 for batch in together])
        several |= bool(alone.any() and not alone.all())
    assert several, "no source has both kinds of sequences: this shows nothing"


def test_each_token_is_a_label_once_and_the_limit_holds(stream):
    for source in stream.sources:
        everything = np.concatenate(
            [stream.read("validation", source, document) for document in range(len(stream.lengths("validation", source)))]
        )
        for objective in (NextToken(), NextToken(mode="S")):
            view = looked_at(stream, objective, limit=10**9, split="validation")
            labels = torch.cat([batch["labels"].flatten() for batch in view.batches(source, objective)])
            assert np.array_equal(labels[labels != -100].numpy(), everything[1:])
        few = looked_at(stream, NextToken(), limit=100, split="validation").batches(source, NextToken())
        assert 0 < sum((batch["labels"] != -100).sum().item() for batch in few) <= 100


def test_bits_per_byte_is_a_likelihood_over_bytes(stream):
    """Against a window-by-window computation without masks, packing or our loss."""
    model, view = model_of(stream), looked_at(stream, NextToken())
    numbers = BitsPerByte().evaluate(model, view)
    total_nats, total_bytes, alone = 0.0, 0, dict[int, float]()
    for source in view.sources:
        nats, amount = 0.0, 0
        lengths = stream.lengths("test", source)
        where = [(document, token) for document in range(len(lengths)) for token in range(lengths[document])]
        text = np.concatenate([stream.read("test", source, document) for document in range(len(lengths))])
        windows = -(-(len(text) - 1) // CONTEXT)
        count = min(windows, 640 // CONTEXT)  # evenly spread over the source
        for begin in (number * windows // count * CONTEXT for number in range(count)):
            end = min(begin + CONTEXT + 1, len(text))
            for document in sorted({where[at][0] for at in range(begin, end)}):
                piece = [at for at in range(begin, end) if where[at][0] == document]
                tokens = torch.from_numpy(text[piece])
                with torch.no_grad():
                    logits = model(input_ids=tokens[None]).logits[0, :-1]
                own = cross_entropy(logits, tokens[1:], reduction="sum").item()
                unit, nats = int(stream.units("test", source)[document]), nats + own
                alone[unit] = alone.get(unit, 0.0) + own / math.log(2)
                amount += int(stream.facts.token_bytes[tokens[1:]].sum())
        assert numbers[f"bits_per_byte/{source}"] == pytest.approx(nats / math.log(2) / amount, rel=1e-5)
        total_nats, total_bytes = total_nats + nats, total_bytes + amount
    assert next(iter(numbers)) == "bits_per_byte"
    assert numbers["bits_per_byte"] == pytest.approx(total_nats / math.log(2) / total_bytes, rel=1e-5)
    documents = numbers.by_document
    expected = {unit: bits for unit, bits in alone.items() if bits}
    assert dict(zip(documents.unit.tolist(), documents.above, strict=True)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("objective", [NextToken(), UL2(), MaskedToken(), SpanCorruption()], ids=lambda objective: objective.name)
def test_the_bits_and_bytes_of_each_document_are_those_of_the_metric(stream, objective):
    family = {"masked-token": "bert", "span-corruption": "t5"}.get(objective.name, "llama")
    model = model_of(stream, family)
    found = BitsPerByte().evaluate(model, looked_at(stream, objective, sequences=3))
    documents = found.by_document
    assert documents.above.sum() / documents.below.sum() == pytest.approx(next(iter(found.values())), rel=1e-9)
    assert np.all(np.diff(documents.unit) > 0) and np.all(documents.below > 0)
    known = np.concatenate([stream.units("test", source) for source in stream.sources])
    assert set(documents.unit) <= set(known) and len(documents.unit) > len(stream.sources)
    assert BitsPerByte().evaluate(model, looked_at(stream, objective, split="validation")).by_document is None


def test_a_uniform_model_needs_the_logarithm_of_the_vocabulary(stream):
    model, view = model_of(stream), looked_at(stream, NextToken())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    tokens = amount = 0
    for source in view.sources:
        for batch in view.batches(source, NextToken()):
            size = stream.facts.token_bytes[batch["labels"][batch["labels"] != -100].numpy()]
            tokens, amount = tokens + int((size > 0).sum()), amount + int(size.sum())
    expected = tokens * math.log2(stream.facts.size) / amount
    assert BitsPerByte().evaluate(model, view)["bits_per_byte"] == pytest.approx(expected, rel=1e-5)


def test_numbers_do_not_depend_on_batch_size_or_order(stream):
    for family, objective in (("llama", UL2()), ("t5", UL2()), ("bert", MaskedToken())):
        model = model_of(stream, family)
        one = BitsPerByte().evaluate(model, looked_at(stream, objective, sequences=3))
        other = BitsPerByte().evaluate(model, looked_at(stream, objective, sequences=16))
        assert one == pytest.approx(other, rel=1e-5)


def test_the_name_says_what_was_measured(stream):
    masked = BitsPerByte().evaluate(model_of(stream, "bert"), looked_at(stream, MaskedToken()))
    assert next(iter(masked)) == "masked_bits_per_byte" and set(masked) == {"masked_bits_per_byte"} | {
        f"masked_bits_per_byte/{s}" for s in stream.sources
    }
    assert judge(model_of(stream, "t5"), UL2()) == PrefixLM(lowest=0.5, highest=0.5, mode="S")
    assert judge(model_of(stream), UL2()) == NextToken(mode="S")
    assert "bits_per_byte" in BitsPerByte().evaluate(model_of(stream, "t5"), looked_at(stream, SpanCorruption()))


def test_ul2_is_scored_on_the_same_tokens_behind_its_mode_token(stream):
    seen = {}
    for objective in (NextToken(), UL2()):
        scored = objective.measured_by()
        view = looked_at(stream, objective)
        batches = [batch for source in view.sources for batch in view.batches(source, scored)]
        labels = torch.cat([batch["labels"].flatten() for batch in batches])
        seen[objective.name] = labels[labels != -100]
        leads = sum((batch["tokens"] == stream.facts.modes["S"]).sum().item() for batch in batches)
        assert (leads > 0) == (objective.name == "ul2")
    assert torch.equal(seen["next-token"], seen["ul2"])


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_denoising_uses_each_models_own_format(stream, family):
    model = model_of(stream, family)
    plain = Denoising().evaluate(model, looked_at(stream, SpanCorruption()))
    assert list(plain)[:2] == ["infill_nats", "continuation_nats"]
    assert plain["infill_nats"] == pytest.approx((plain["infill_regular_nats"] + plain["infill_extreme_nats"]) / 2)
    without = Denoising(mode="none").evaluate(model, looked_at(stream, UL2()))
    assert without == plain, "without mode tokens a ul2 model is asked exactly what any other is"
    wrong = Denoising(mode="wrong").evaluate(model, looked_at(stream, UL2()))
    own = Denoising().evaluate(model, looked_at(stream, UL2()))
    assert {key: wrong[key] for key in own} == own
    for key in own:
        assert wrong[key] != wrong[key.replace("_nats", "_wrong_mode_nats")] and own[key] != plain[key]
    with torch.no_grad():  # a model that gives every mode token one embedding cannot tell them apart
        table = model.get_input_embeddings().weight
        table[list(stream.facts.modes.values())] = table[stream.facts.modes["R"]].clone()
    blind = Denoising(mode="wrong").evaluate(model, looked_at(stream, UL2()))
    assert blind["infill_nats"] == pytest.approx(blind["infill_wrong_mode_nats"], abs=1e-5)


def test_losses_count_only_targets_that_are_text(stream):
    model, objective = model_of(stream), SpanCorruption(rate=0.5)
    view = looked_at(stream, objective)
    nats, targets, amount = text_loss(model, view, "code", objective)
    expected, count, size = 0.0, 0, 0
    special = 0
    for batch in view.batches("code", objective):
        with torch.no_grad():
            values = objective.loss(model, batch).values
        for value, label in zip(values.flatten().tolist(), batch["labels"].flatten().tolist(), strict=True):
            each = int(stream.facts.token_bytes[label]) if label != -100 else 0
            special += label in stream.facts.spans
            if each:
                expected, count, size = expected + value, count + 1, size + each
    assert special > 10 and (targets, amount) == (count, size) and nats == pytest.approx(expected, rel=1e-5)


def test_denoising_refuses_what_it_cannot_measure(stream):
    with pytest.raises(PartError, match="left to right"):
        Denoising().evaluate(model_of(stream, "bert"), looked_at(stream, MaskedToken()))
    with pytest.raises(PartError, match="permuted-order does not"):
        Denoising().evaluate(model_of(stream), looked_at(stream, PermutedOrder()))
    with pytest.raises(PartError, match=r"has none \(use mode: own\)"):
        Denoising(mode="wrong").evaluate(model_of(stream), looked_at(stream, NextToken()))


def test_own_formats():
    assert own_format(NextToken()) == (False, False)
    assert own_format(PrefixLM()) == (False, True) == own_format(SpanCorruption())
    assert own_format(UL2()) == (True, True) and own_format(UL2(mode_tokens=False, bidirectional=False)) == (False, False)


@pytest.mark.parametrize(
    ("family", "objective"),
    [
        ("llama", NextToken()),
        ("gpt2", UL2()),
        ("t5", UL2()),
        ("t5", SpanCorruption()),
        ("llama", PrefixLM()),
        ("llama", PermutedOrder()),
        ("bert", MaskedToken()),
    ],
    ids=lambda case: getattr(case, "name", case),
)
def test_samples_are_repeatable_and_say_where_they_come_from(stream, family, objective):
    model, view = model_of(stream, family).train(), looked_at(stream, objective)
    one = samples(model, view, count=2, prompt_tokens=8, new_tokens=6)
    assert one == samples(model, view, count=2, prompt_tokens=8, new_tokens=6) and model.training
    assert one and all(set(sample) == {"source", "prompt", "continuation", "truth"} for sample in one)
    assert {sample["source"] for sample in one} == set(stream.sources)
    texts = {source: list(text_of(stream, "test").documents(view.split, source)) for source in stream.sources}
    for sample in one:
        if not isinstance(objective, MaskedToken):
            assert any(text.startswith(sample["prompt"] + sample["truth"]) for text in texts[sample["source"]])
        else:
            assert any(sample["truth"][:10] in text for text in texts[sample["source"]]) and "mask" in sample["prompt"].lower()
    drawn = samples(model, view, count=2, prompt_tokens=8, new_tokens=6, temperature=1.0, seed=1)
    assert drawn == samples(model, view, count=2, prompt_tokens=8, new_tokens=6, temperature=1.0, seed=1)
    if not isinstance(objective, MaskedToken):
        assert drawn != samples(model, view, count=2, prompt_tokens=8, new_tokens=6, temperature=1.0, seed=2)


def test_greedy_samples_agree_with_generate(stream):
    model, view = model_of(stream), looked_at(stream, NextToken())
    found = samples(model, view, count=1, prompt_tokens=8, new_tokens=6)[0]
    document = next(d for d in range(99) if text_of(stream, "test").text("test", found["source"], d).startswith(found["prompt"]))
    prompt = torch.from_numpy(stream.read("test", found["source"], document, 0, 8))[None]
    special = [token for token in np.flatnonzero(stream.facts.token_bytes == 0).tolist() if token != stream.facts.document]
    written = model.generate(prompt, max_new_tokens=6, min_new_tokens=6, do_sample=False, suppress_tokens=special, eos_token_id=-1)
    kept = [token for token in written[0, 8:].tolist() if token != stream.facts.document]
    assert text_of(stream, "test").tokenizer.decode(kept) == found["continuation"]


def test_precision_is_entered_anew_or_again():
    for precision in (contextlib.nullcontext, contextlib.nullcontext(), torch.autocast("cpu"), lambda: torch.autocast("cpu")):
        for _ in range(2):
            with entered(precision):
                pass


def test_a_split_without_text_is_named(stream, monkeypatch):
    monkeypatch.setattr(stream, "sizes", lambda split: dict.fromkeys(stream.sources, 0))
    with pytest.raises(UserError, match="the test split holds no documents"):
        looked_at(stream, NextToken())
