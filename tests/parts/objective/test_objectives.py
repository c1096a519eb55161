"""Objectives: what is hidden comes back, counts and shapes hold, and nothing is seen that must not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import SIZE, SPECIAL, TOKEN_BYTES, VOCABULARY, generator, make_rows, tensors

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.kits.text.corrupt import cut, noise_counts, raw_length, share_out, span_noise, suffix_noise
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.objective.causal_spans import CausalSpans
from windtunnel.parts.objective.masked_token import MaskedToken
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.parts.objective.permuted_order import PermutedOrder
from windtunnel.parts.objective.prefix_lm import PrefixLM
from windtunnel.parts.objective.span_corruption import SpanCorruption
from windtunnel.parts.objective.ul2 import UL2, Denoiser
from windtunnel.slots import Objective

MODES = tuple(VOCABULARY.modes.values())
ARRANGED = ["prefix-lm", {"prefix-lm": {"mode": "S"}}, "span-corruption", {"span-corruption": {"rate": 0.5, "mode": "X"}}, "ul2"]
ALL = [
    "next-token",
    {"next-token": {"mode": "S"}},
    *ARRANGED,
    "masked-token",
    {"masked-token": {"unit": "word"}},
    {"masked-token": {"unit": "span"}},
    "causal-spans",
    "permuted-order",
    {"permuted-order": {"share": 1.0, "order": "left-to-right"}},
]


ROWS = st.builds(
    make_rows,
    seed=st.integers(0, 10**6),
    sequences=st.integers(1, 5),
    context=st.sampled_from([12, 32, 64]),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    padding=st.sampled_from([0.0, 0.5]),
)


def model_of(family: str, context: int = 32) -> Any:
    sizes = ModelSettings(family=family, depth=2, layers=2, width=64, heads=2)
    return fresh(config_for(sizes, VOCABULARY, context), 0).eval()


@pytest.mark.parametrize("written", ALL, ids=str)
@settings(max_examples=25, deadline=None)
@given(one=ROWS, seed=st.integers(0, 99))
def test_shapes_are_fixed_and_the_generator_decides(written, one, seed):
    objective = make(Objective, written)
    count, context = one["tokens"].shape[0], one["tokens"].shape[1] - 1
    batch = objective.prepare(one, VOCABULARY, generator(seed))
    again = objective.prepare(one, VOCABULARY, generator(seed))
    other = objective.prepare(make_rows(seed, count, context, 0.2, 0.3), VOCABULARY, generator(seed + 1))
    plain = objective == NextToken()  # leaves documents and positions out where every sequence is one document
    assert batch.keys() == other.keys() or (plain and {*batch} ^ {*other} == {"documents", "positions"})
    for key, value in batch.items():
        assert key not in other or (value.shape == other[key].shape and value.dtype == other[key].dtype)
        assert value.dtype == (np.bool_ if key == "prefix" else np.int64)
        assert np.array_equal(value, again[key])
    labelled = batch["labels"] != -100
    assert not np.isin(batch["labels"], [VOCABULARY.pad, VOCABULARY.mask, *MODES]).any()
    if "documents" not in batch:
        assert plain and not one["documents"][:, :-1].any()
        return
    assert (batch["documents"][labelled] >= 0).all(), "a label on padding"
    assert (batch["positions"] >= 0).all() and (batch["positions"] <= context).all()
    assert (batch["tokens"][batch["documents"] < 0] == VOCABULARY.pad).all()


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, mode=st.sampled_from([None, "S"]))
def test_next_token_predicts_every_token_of_a_document_and_its_end(rows, mode):
    tokens, documents = rows["tokens"], rows["documents"]
    batch = NextToken(mode=mode).prepare(rows, VOCABULARY, generator())
    for row, (text, pieces) in enumerate(zip(tokens, documents, strict=True)):
        if mode is not None and pieces.max() >= 16:
            continue
        found = batch["labels"][row][batch["labels"][row] != -100]
        assert np.array_equal(found, text[1:][pieces[1:] >= 0])


def test_next_token_does_not_predict_a_piece_from_another_document():
    rows = make_rows(0, 1, 8, 0.0)
    rows["documents"][0, 4:] = 1  # a packing that puts the middle of a document behind another
    labels = NextToken().prepare(rows, VOCABULARY, generator())["labels"][0]
    assert labels[3] == -100 and (labels[[0, 1, 2, 4, 5, 6, 7]] != -100).all()


@settings(max_examples=60, deadline=None)
@given(
    total=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    sizes=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=5), min_size=6, max_size=6),
    seed=st.integers(0, 999),
)
def test_sharing_out_keeps_totals_and_quotas(total, sizes, seed):
    sizes = sizes[: len(total)]
    row = np.repeat(np.arange(len(total)), [len(each) for each in sizes])
    flat = np.concatenate([np.array(each) for each in sizes])
    shares = share_out(np.array(total), flat, row, generator(seed))
    for index, amount in enumerate(total):
        mine, weights = shares[row == index], flat[row == index]
        assert mine.sum() == (amount if weights.sum() else 0)
        if weights.sum():
            assert (np.abs(mine - amount * weights / weights.sum()) < 1 + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.integers(0, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_cutting_gives_as_many_segments_as_asked(pairs, seed):
    total, parts = (np.array(column) for column in zip(*pairs, strict=True))
    lengths = cut(total, parts, generator(seed))
    for length, amount, count in zip(lengths, total, parts, strict=True):
        assert (length > 0).sum() == count and (length[:count] > 0).all()
        assert length.sum() == (amount if count else 0)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, rate=st.sampled_from([0.15, 0.3, 0.5]), mean=st.sampled_from([1.0, 3.0, 8.0]), seed=st.integers(0, 99))
def test_noise_has_the_stated_counts_and_spares_the_first_token(rows, rate, mean, seed):
    documents = rows["documents"]
    count = len(documents)
    noise = span_noise(documents, np.full(count, rate), np.full(count, mean), generator(seed))
    begins = np.ones(documents.shape, bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    assert not (noise & begins).any() and not (noise & (documents < 0)).any()
    wanted, spans = noise_counts((documents >= 0).sum(axis=1), np.full(count, rate), np.full(count, mean))
    starts = noise.copy()
    starts[:, 1:] &= ~noise[:, :-1]
    single = (documents <= 0).all(axis=1)  # one document: the counts are exact; several may be too short for their share
    assert (noise.sum(axis=1)[single] == wanted[single]).all() and (starts.sum(axis=1)[single] == spans[single]).all()
    assert (noise.sum(axis=1) <= wanted).all() and (starts.sum(axis=1) <= spans).all()


def test_noise_falls_everywhere_and_has_the_stated_mean_span():
    documents = np.zeros((4000, 41), np.int64)
    noise = span_noise(documents, np.full(4000, 0.15), np.full(4000, 3.0), generator())
    where = noise.mean(axis=0)
    assert where[0] == 0 and where[5:-3].min() > 0.1 and where[-3:].min() > 0.05 and where.max() < 0.25
    starts = noise.copy()
    starts[:, 1:] &= ~noise[:, :-1]
    assert noise.sum() / starts.sum() == pytest.approx(3.0)


def test_packed_documents_keep_the_rate():
    rows = make_rows(3, 200, 128, 0.05)
    noise = span_noise(rows["documents"], np.full(200, 0.15), np.full(200, 3.0), generator())
    assert noise.mean() == pytest.approx(0.15, abs=0.012)


def test_pivots_are_uniform_and_short_pieces_causal():
    documents = np.repeat([[0] * 30 + [1] * 5], 6000, axis=0)
    noise = suffix_noise(documents, 0.0, 1.0, 8, generator())
    pivot = 30 - noise[:, :30].sum(axis=1)
    share = np.bincount(pivot, minlength=31)[1:30] / 6000
    assert share.min() > 0.02 and share.max() < 0.05 and pivot.min() == 1 and pivot.max() == 29
    assert (noise[:, 30:] == [False, True, True, True, True]).all()
    fixed = suffix_noise(documents, 0.5, 0.5, 8, generator())
    assert (fixed[:, :30].sum(axis=1) == 15).all()


def invert(batch: dict[str, np.ndarray], row: int, piece: int) -> list[int]:
    """The text of a piece from its input and targets."""
    columns = np.flatnonzero(batch["documents"][row] == piece)
    tokens = [int(token) for token in batch["tokens"][row, columns]]
    shown = [token for token, seen in zip(tokens, batch["prefix"][row, columns], strict=True) if seen and token not in MODES]
    targets = [int(label) for label in batch["labels"][row, columns] if label != -100]
    if not any(token in VOCABULARY.spans for token in shown):
        return shown + [token for token in targets if token != VOCABULARY.document]
    spans: dict[int, list[int]] = {}
    for token in targets:
        if token in VOCABULARY.spans:
            spans[token] = []
            latest = spans[token]
        else:
            latest.append(token)
    used = [token for token in shown if token in VOCABULARY.spans]
    assert used == list(VOCABULARY.spans[: len(used)]), "sentinels are numbered from zero in every document"
    assert list(spans) == list(VOCABULARY.spans[: len(used) + 1]) or targets[-1] not in VOCABULARY.spans
    return [back for token in shown for back in (spans.get(token, []) if token in VOCABULARY.spans else [token])]


@pytest.mark.parametrize("written", [*ARRANGED, {"ul2": {"mode_tokens": False}}], ids=str)
@settings(max_examples=25, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_input_and_targets_give_the_text_back(written, rows, seed):
    objective: Any = make(Objective, written)
    batch = objective.prepare(rows, VOCABULARY, generator(seed))
    for row in range(len(rows["tokens"])):
        for piece in np.unique(batch["documents"][row][batch["documents"][row] >= 0]):
            text = rows["tokens"][row][rows["documents"][row] == piece].tolist()
            back = invert(batch, row, piece)
            # A stretch of the document: the corrupted form of a longer one would not fit the context.
            assert any(text[at : at + len(back)] == back for at in range(len(text) - len(back) + 1))
            leads = np.isin(batch["tokens"][row][batch["documents"][row] == piece], MODES)
            with_mode = getattr(objective, "mode", None) is not None or getattr(objective, "mode_tokens", False)
            assert leads.sum() == (1 if with_mode and (piece < 16 or written == "ul2" or "span" in str(written)) else 0)
            assert not leads[1:].any()


@pytest.mark.parametrize("written", ["span-corruption", {"span-corruption": {"rate": 0.5}}, "ul2"], ids=str)
def test_one_document_fills_the_context(written):
    rows = make_rows(1, 32, 128, 0.0)
    wide = VOCABULARY.spans + tuple(range(SPECIAL, 80))
    vocabulary = Vocabulary(**{**vars(VOCABULARY), "spans": wide})
    batch = make(Objective, written).prepare(rows, vocabulary, generator())
    assert ((batch["documents"] >= 0).sum(axis=1) >= 125).all()
    if written == "span-corruption":
        length, noise, spans = raw_length(128, 0.15, 3.0)
        assert length >= 112
        assert ((batch["labels"] != -100).sum(axis=1) == noise + spans + 1).all()


def test_mode_tokens_do_not_change_what_is_hidden():
    rows = make_rows(5, 8, 64, 0.05)
    plain = UL2(mode_tokens=False).prepare(rows, VOCABULARY, generator())
    moded = UL2().prepare(rows, VOCABULARY, generator())
    for one, other in zip(plain["labels"], moded["labels"], strict=True):
        assert np.array_equal(one[one != -100], other[other != -100])
    one = SpanCorruption().prepare(rows, VOCABULARY, generator())["labels"]
    other = SpanCorruption(mode="R").prepare(rows, VOCABULARY, generator())["labels"]
    assert np.array_equal(one[one != -100], other[other != -100])


def test_ul2_draws_every_denoiser_as_often_as_its_weight_says():
    rows = make_rows(2, 3000, 12, 0.0)
    weighted = UL2(
        denoisers=(
            Denoiser(mode="R", mean_span=3, rate=0.15, weight=1),
            Denoiser(mode="S", weight=2),
            Denoiser(mode="X", mean_span=3, rate=0.5),
        )
    )
    first = weighted.prepare(rows, VOCABULARY, generator())["tokens"][:, 0]
    shares = [np.mean(first == VOCABULARY.modes[mode]) for mode in "RSX"]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_ul2_long_spans_shrink_with_the_context_and_short_ones_do_not():
    objective = UL2()
    assert [objective.mean_span(denoiser, 128) for denoiser in objective.denoisers] == [3, 8, 1, 3, 8, 16, 16]
    assert objective.mean_span(objective.denoisers[-1], 32) == 12
    assert objective.mean_span(objective.denoisers[-1], 2048) == 64
    assert UL2(scale_spans=False).mean_span(objective.denoisers[-1], 128) == 64


@pytest.mark.parametrize("unit", ["token", "word", "span"])
@settings(max_examples=30, deadline=None)
@given(rows=ROWS, rate=st.sampled_from([0.15, 0.4]), seed=st.integers(0, 99))
def test_masks_are_whole_units_as_many_as_asked(unit, rows, rate, seed):
    objective = MaskedToken(unit=unit, rate=rate, mask_share=1, random_share=0)
    batch = objective.prepare(rows, VOCABULARY, generator(seed))
    tokens, documents = rows["tokens"][:, :-1], rows["documents"][:, :-1]
    chosen = batch["labels"] != -100
    maskable = (documents >= 0) & (tokens != VOCABULARY.document)
    assert not (chosen & ~maskable).any()
    assert np.array_equal(batch["labels"][chosen], tokens[chosen])
    assert np.array_equal(np.where(chosen, VOCABULARY.mask, tokens), batch["tokens"])
    wanted = np.where(maskable.any(axis=1), np.maximum(np.rint(maskable.sum(axis=1) * rate), 1), 0)
    if unit == "token":
        assert (chosen.sum(axis=1) == wanted).all()
        return
    inner = maskable[:, 1:] & maskable[:, :-1] & (documents[:, 1:] == documents[:, :-1]) & ~VOCABULARY.word_starts[tokens[:, 1:]]
    assert not (inner & (chosen[:, 1:] != chosen[:, :-1])).any(), "a word is masked whole or not at all"


def test_masking_counts_are_near_and_replacements_as_bert():
    rows = make_rows(7, 400, 128, 0.02)
    for unit in ("token", "word", "span"):
        batch = MaskedToken(unit=unit).prepare(rows, VOCABULARY, generator())
        chosen = batch["labels"] != -100
        assert chosen.mean() == pytest.approx(0.147, abs=0.015)
        became = batch["tokens"][chosen]
        assert np.mean(became == VOCABULARY.mask) == pytest.approx(0.8, abs=0.03)
        assert np.mean(became == batch["labels"][chosen]) == pytest.approx(0.1, abs=0.02)
        assert (TOKEN_BYTES[became[became != VOCABULARY.mask]] > 0).all()
        runs = chosen.copy()
        runs[:, 1:] &= ~chosen[:, :-1]
        mean = chosen.sum() / runs.sum()
        assert {"token": mean < 1.4, "word": 1.4 < mean < 5, "span": mean > 5}[unit]


@settings(max_examples=15, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_causal_spans_predict_all_that_is_read_and_give_the_text_back(rows, seed):
    batch = CausalSpans(share=1).prepare(rows, VOCABULARY, generator(seed))
    narrow = CausalSpans(share=1, context=False).prepare(rows, VOCABULARY, generator(seed))
    inner = (batch["documents"][:, 1:] == batch["documents"][:, :-1]) & (batch["documents"][:, 1:] >= 0)
    assert np.array_equal(batch["labels"][:, :-1][inner], batch["tokens"][:, 1:][inner]), "each token is predicted at the one before it"
    spans = narrow["labels"] != -100
    assert np.array_equal(narrow["labels"][spans], batch["labels"][spans]) and np.array_equal(narrow["tokens"], batch["tokens"])
    prefix = np.ones_like(batch["tokens"], bool)  # what is read before a document's spans: up to the first of its targets
    for row, labels in enumerate(narrow["labels"]):
        for piece in np.unique(narrow["documents"][row][narrow["documents"][row] >= 0]):
            columns = np.flatnonzero(narrow["documents"][row] == piece)
            first = columns[labels[columns] != -100]
            prefix[row, columns[columns > first[0]] if len(first) else columns[:0]] = False
            text = rows["tokens"][row][rows["documents"][row] == piece].tolist()
            back = invert({**narrow, "prefix": prefix}, row, piece)
            assert any(text[at : at + len(back)] == back for at in range(len(text) - len(back) + 1))


def test_causal_spans_rewrite_their_share_and_leave_the_others_as_they_are():
    rows = make_rows(3, 400, 32, 0.0)
    batch = CausalSpans(share=0.25, lowest=0.1, highest=0.4).prepare(rows, VOCABULARY, generator())
    rewritten = np.isin(batch["tokens"], VOCABULARY.spans).any(axis=1)
    assert rewritten.mean() == pytest.approx(0.25, abs=0.05)
    plain = NextToken().prepare(rows, VOCABULARY, generator())
    assert np.array_equal(batch["tokens"][~rewritten], plain["tokens"][~rewritten])
    assert np.array_equal(batch["labels"][~rewritten], plain["labels"][~rewritten])
    hidden = CausalSpans(share=1, lowest=0.1, highest=0.4, context=False).prepare(rows, VOCABULARY, generator())["labels"]
    counts = ((hidden != -100) & ~np.isin(hidden, VOCABULARY.spans)).sum(axis=1)
    assert counts.min() <= 4 and counts.max() >= 8
    with pytest.raises(ValueError, match="lowest"):
        CausalSpans(lowest=0.5, highest=0.4)


CASES = [("llama", written) for written in ALL] + [
    ("gpt2", {"next-token": {"mode": "S"}}),
    ("t5", "prefix-lm"),
    ("t5", "span-corruption"),
    ("t5", "ul2"),
    ("bert", "masked-token"),
]


@pytest.mark.parametrize(("family", "written"), CASES, ids=str)
def test_no_document_sees_another(family, written):
    model = model_of(family)
    objective: Any = make(Objective, written)
    rows = make_rows(11, 12, 32, 0.0)
    rows["tokens"][:, [8, 24]] = VOCABULARY.document  # three documents in every row, the middle one is changed
    begins = rows["tokens"] == VOCABULARY.document
    begins[:, 0] = True
    rows["documents"] = np.cumsum(begins, axis=1) - 1
    column = np.broadcast_to(np.arange(33), begins.shape)
    rows["positions"] = column - np.maximum.accumulate(np.where(begins, column, 0), axis=1)
    changed = {key: value.copy() for key, value in rows.items()}
    # Same word structure (multiples of three begin words), other tokens.
    target = (rows["documents"] == 1) & (rows["tokens"] >= SPECIAL)
    changed["tokens"][target] = SPECIAL + (rows["tokens"][target] - SPECIAL + 93) % (SIZE - SPECIAL)
    one, other = (tensors(objective.prepare(each, VOCABULARY, generator(4))) for each in (rows, changed))
    assert torch.equal(one["documents"], other["documents"]) and torch.equal(one["labels"] == -100, other["labels"] == -100)
    with torch.no_grad():
        before, after = objective.loss(model, one), objective.loss(model, other)
    mine = (one["documents"] == 1) & before.counts
    assert (before.counts & ~mine).any() and mine.any()
    assert torch.allclose(before.values[~mine], after.values[~mine], atol=1e-5)
    assert not torch.allclose(before.values[mine], after.values[mine], atol=1e-3)
    assert before.values.shape == one["labels"].shape and (before.values[~before.counts] == 0).all()


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("written", ARRANGED, ids=str)
def test_no_target_sees_itself_or_what_follows_but_all_see_the_input(family, written):
    model = model_of(family)
    objective: Any = make(Objective, written)
    rows = make_rows(12, 4, 32, 0.0)
    batch = tensors(objective.prepare(rows, VOCABULARY, generator(9)))
    with torch.no_grad():
        before = objective.loss(model, batch)
    for row in range(4):
        where = torch.nonzero(before.counts[row]).flatten()
        middle = int(where[len(where) // 2])
        changed = {key: value.clone() for key, value in batch.items()}
        last = int((batch["documents"][row] >= 0).sum())
        changed["tokens"][row, middle + 1 : last] = 77  # the targets of columns from ``middle`` on, as later columns read them
        with torch.no_grad():
            after = objective.loss(model, changed)
        assert torch.allclose(before.values[row, : middle + 1], after.values[row, : middle + 1], atol=1e-5)
        shown = torch.nonzero(batch["prefix"][row]).flatten()
        changed = {key: value.clone() for key, value in batch.items()}
        changed["tokens"][row, shown[len(shown) // 2]] = 77
        with torch.no_grad():
            after = objective.loss(model, changed)
        assert not torch.allclose(before.values[row, where], after.values[row, where], atol=1e-4)


@pytest.mark.parametrize("written", [{"share": 0.5}, {"share": 1.0, "order": "left-to-right"}], ids=str)
def test_a_target_sees_what_comes_before_it_in_the_order_and_nothing_else(written):
    model, objective = model_of("llama"), PermutedOrder(**written)
    rows = make_rows(14, 1, 32, 0.05)
    batch = tensors(objective.prepare(rows, VOCABULARY, generator(3)))
    with torch.no_grad():
        before = objective.loss(model, batch)
    text = (batch["labels"][0] == -100) & (batch["documents"][0] >= 0)
    first, reached = torch.nonzero(text).flatten(), batch["reach"][0]
    for column in first[::3].tolist():
        changed = {**batch, "tokens": batch["tokens"].clone()}
        changed["tokens"][0, column] = 77 + (changed["tokens"][0, column] == 77)
        with torch.no_grad():
            after = objective.loss(model, changed)
        moved = (after.values - before.values)[0].abs() > 1e-5
        sees = (batch["order"][0, column] <= reached) & (batch["documents"][0] == batch["documents"][0, column]) & before.counts[0]
        assert torch.equal(moved, sees)
    assert before.counts.sum() > 5


def test_a_permuted_order_keeps_text_and_positions_and_asks_for_the_share():
    rows = make_rows(15, 300, 71, 0.0)
    batch = PermutedOrder().prepare(rows, VOCABULARY, generator())
    asked = batch["labels"] != -100
    assert (asked.sum(axis=1) == 10).all() and (batch["tokens"][asked] == VOCABULARY.mask).all()
    text, places = batch["tokens"][:, :60], batch["positions"]
    for row in range(300):
        begin = int(places[row, 0])
        assert np.array_equal(text[row], rows["tokens"][row, begin : begin + 60])
        assert np.array_equal(batch["labels"][row, 60:70], text[row, places[row, 60:70] - begin])
    where = np.bincount((places[:, 60:70] - places[:, :1]).ravel(), minlength=60)
    assert where[0] == 0 and where[1:].min() > 20, "every token but the first is asked for"
    scored = PermutedOrder().measured_by().prepare(rows, VOCABULARY, generator())
    assert np.array_equal(scored["labels"][:, 36:70], scored["tokens"][:, 1:35]) and scored["labels"][0, 35] == -100


def test_causal_input_is_an_option():
    model = model_of("llama")
    rows = make_rows(12, 4, 32, 0.0)
    prefix, causal = PrefixLM(lowest=0.5, highest=0.5), PrefixLM(lowest=0.5, highest=0.5, bidirectional=False)
    batch = tensors(prefix.prepare(rows, VOCABULARY, generator()))
    plain = NextToken()
    following = tensors(plain.prepare(rows, VOCABULARY, generator()))
    with torch.no_grad():
        one, two = prefix.loss(model, batch), causal.loss(model, batch)
        reference = plain.loss(model, following)
    assert torch.allclose(two.values[two.counts], reference.values[two.counts], atol=1e-5)
    assert not torch.allclose(one.values[one.counts], two.values[two.counts], atol=1e-3)


def test_losses_agree_with_transformers():
    rows = make_rows(21, 2, 32, 0.0)
    batch = tensors(NextToken().prepare(rows, VOCABULARY, generator()))
    llama, t5 = model_of("llama"), model_of("t5")
    objective = SpanCorruption()
    spans = tensors(objective.prepare(rows, VOCABULARY, generator()))
    with torch.no_grad():
        ours = NextToken().loss(llama, batch)
        tokens = torch.from_numpy(rows["tokens"])
        assert ours.values.mean().item() == pytest.approx(llama(input_ids=tokens, labels=tokens).loss.item(), rel=1e-5)
        ours = objective.loss(t5, spans)
        total, targets = 0.0, 0
        for row in range(2):
            used = spans["documents"][row] >= 0
            read = spans["tokens"][row][spans["prefix"][row] & used]
            labels = spans["labels"][row][spans["labels"][row] != -100]
            total += t5(input_ids=read[None], labels=labels[None]).loss.item() * len(labels)
            targets += len(labels)
    assert ours.counts.sum().item() == targets
    assert (ours.values * ours.counts).sum().item() == pytest.approx(total, rel=1e-4)


def test_gradients_reach_the_whole_model():
    for family, written in (("llama", "ul2"), ("t5", "ul2"), ("bert", "masked-token")):
        model = model_of(family)
        objective: Any = make(Objective, written)
        loss = objective.loss(model, tensors(objective.prepare(make_rows(1, 8), VOCABULARY, generator())))
        ((loss.values * loss.counts).sum() / loss.counts.sum()).backward()
        untouched = [
            name for name, parameter in model.named_parameters() if parameter.grad is None or not torch.isfinite(parameter.grad).all()
        ]
        assert [name for name in untouched if "token_type" not in name and "pooler" not in name] == []


def test_user_mistakes_are_named():
    few = Vocabulary(**{**vars(VOCABULARY), "spans": VOCABULARY.spans[:3]})
    for objective in (SpanCorruption(rate=0.5), UL2()):
        with pytest.raises(UserError, match=r"tokenizer\.sentinels to at least"):
            objective.prepare(make_rows(0, 2, 64), few, generator())
    for wrong in (
        {"prefix-lm": {"lowest": 0.7, "highest": 0.2}},
        {"masked-token": {"mask_share": 0.9, "random_share": 0.2}},
        {"ul2": {"denoisers": []}},
        {"ul2": {"denoisers": [{"mode": "R", "mean_span": 3}]}},
        {"ul2": {"denoisers": [{"mode": "S", "weight": 0}]}},
        {"span-corruption": {"mean_spam": 3}},
    ):
        with pytest.raises(ValueError):
            make(Objective, wrong)


def test_what_scores_held_out_text():
    assert NextToken().measured_by() == NextToken()
    assert UL2().measured_by() == NextToken(mode="S") and UL2(mode_tokens=False).measured_by() == NextToken()
    assert PrefixLM().measured_by() == NextToken() == SpanCorruption().measured_by()
    assert MaskedToken().measured_by() == MaskedToken()
