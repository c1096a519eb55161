"""The log-likelihood of continuations behind contexts. What contexts have in common is computed once, through the key-value cache.

For a decoder in memory, called as transformers calls it: what a model says here is what any program says of it after export.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from windtunnel.data.held_out import entered

ROWS = 32  # continuations that are scored together
WORTH = 16  # tokens that all contexts begin with are computed apart if there are so many

Pair = tuple[Sequence[int], Sequence[int]]  # the tokens of a context and those of a continuation, at least one of each


class Likelihood(NamedTuple):
    """Of a continuation: its log-likelihood in nats, and whether each of its tokens was the likeliest."""

    nats: float
    greedy: bool


class Group(NamedTuple):
    """Continuations behind one context: ``context`` and for each the place of its pair and its tokens."""

    context: tuple[int, ...]
    places: tuple[int, ...]
    endings: tuple[tuple[int, ...], ...]

    @property
    def first(self) -> tuple[int, ...]:
        """What is read before anything is shared: the context, and of a single continuation all but the last token."""
        return self.context + self.endings[0][:-1] if len(self.endings) == 1 else self.context


def likelihoods(model: Any, pairs: Sequence[Pair], *, device: Any, precision: Any, rows: int = ROWS) -> list[Likelihood]:
    """What ``model`` says of each continuation in ``pairs``, in their order.

    Contexts that several continuations follow are read once, as are the tokens that all contexts begin with. Contexts of like length are
    read together, the longest first. A continuation that begins another is scored by itself. ``precision`` is as of
    :class:`windtunnel.slots.HeldOut`; log-likelihoods are made in float32.
    """
    found: dict[int, Likelihood] = {}
    groups = grouped(pairs)
    begin = 0 if windowed(model.config) else shared_beginning(groups)
    with torch.no_grad(), entered(precision):
        stem = _read(model, [groups[0].first[:begin]], None, 0, device)[1] if begin else None
        for batch in batches(groups, rows):
            found |= _scored(model, batch, stem, begin, device)
    return [found[place] for place in range(len(pairs))]


def grouped(pairs: Sequence[Pair]) -> list[Group]:
    """The pairs by their contexts, those that read most tokens first."""
    by_context: dict[tuple[int, ...], list[int]] = {}
    for place, (context, _) in enumerate(pairs):
        by_context.setdefault(tuple(context), []).append(place)
    groups = [Group(context, tuple(places), tuple(tuple(pairs[p][1]) for p in places)) for context, places in by_context.items()]
    return sorted(groups, key=lambda group: len(group.first), reverse=True)


def windowed(config: Any) -> bool:
    """Whether a layer sees the last tokens alone: transformers counts them by their place in the cache, where padding stands between."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    return "sliding_attention" in kinds if kinds else getattr(text, "sliding_window", None) is not None


def shared_beginning(groups: Sequence[Group]) -> int:
    """How many tokens all ``groups`` begin with, where it is worth to read them apart, else 0. A token of each context is left."""
    ordered = sorted(group.first for group in groups) if len(groups) > 1 else [()]
    low, high = ordered[0], ordered[-1]  # what the first and the last in order share, all share
    count = next((place for place, (one, two) in enumerate(zip(low, high, strict=False)) if one != two), min(len(low), len(high)))
    count = min([count, *(len(group.context) - 1 for group in groups)])
    return count if count >= WORTH else 0


def batches(groups: Sequence[Group], rows: int) -> Iterator[list[Group]]:
    """``groups`` in their order, as many at once as have at most ``rows`` continuations together, at least one."""
    batch: list[Group] = []
    for group in groups:
        if batch and sum(len(one.endings) for one in (*batch, group)) > rows:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _scored(model: Any, batch: Sequence[Group], stem: Any, begin: int, device: Any) -> dict[int, Likelihood]:
    keep = max(len(group.endings[0]) if len(group.endings) == 1 else 1 for group in batch)
    logits, cache, seen = _read(model, [group.first[begin:] for group in batch], stem, begin, device, keep)
    found: dict[int, Likelihood] = {}
    longer: list[tuple[int, int, tuple[int, ...], Tensor]] = []  # place of the group and of the pair, tokens, logits of the first
    for number, group in enumerate(batch):
        if len(group.endings) == 1:
            found[group.places[0]] = _judged(logits[number, -len(group.endings[0]) :], group.endings[0])
            continue
        for place, ending in zip(group.places, group.endings, strict=True):
            if len(ending) == 1:
                found[place] = _judged(logits[number, -1:], ending)
            else:
                longer.append((number, place, ending, logits[number, -1:]))
    if longer:
        owner = torch.tensor([number for number, *_ in longer], device=device)
        cache.batch_select_indices(owner)
        width = max(len(ending) for _, _, ending, _ in longer) - 1
        tokens = torch.zeros(len(longer), width, dtype=torch.long, device=device)
        there = torch.zeros_like(tokens)
        for row, (_, _, ending, _) in enumerate(longer):
            tokens[row, : len(ending) - 1], there[row, : len(ending) - 1] = torch.tensor(ending[:-1], device=device), 1
        mask = torch.cat([seen[owner], there], dim=1)
        positions = seen[owner].sum(dim=1, keepdim=True) + torch.arange(width, device=device)
        more = model(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True).logits
        for row, (_, place, ending, first) in enumerate(longer):
            found[place] = _judged(torch.cat([first, more[row, : len(ending) - 1]]), ending)
    return found


def _read(model: Any, rows: Sequence[Sequence[int]], stem: Any, begin: int, device: Any, keep: int = 1) -> tuple[Tensor, Any, Tensor]:
    """The last ``keep`` logits of ``rows`` behind the ``begin`` tokens in ``stem``, the cache, and which of its positions hold a token.

    Rows are filled up on the left, so that the last of each stands at the end.
    """
    width = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long, device=device)
    there = torch.zeros_like(tokens)
    for number, row in enumerate(rows):
        tokens[number, width - len(row) :], there[number, width - len(row) :] = torch.tensor(row, device=device), 1
    positions = (begin + there.cumsum(dim=1) - 1).clamp(min=0)
    past: dict[str, Any] = {}
    if stem is not None:
        past["past_key_values"] = copy.deepcopy(stem)
        past["past_key_values"].batch_repeat_interleave(len(rows))
        there = torch.cat([there.new_ones(len(rows), begin), there], dim=1)
    found = model(input_ids=tokens, attention_mask=there, position_ids=positions, use_cache=True, logits_to_keep=keep, **past)
    return found.logits, found.past_key_values, there


def _judged(logits: Tensor, ending: Sequence[int]) -> Likelihood:
    """Of the tokens ``ending``, each of which the row of ``logits`` [tokens, vocabulary] at its place predicts."""
    odds = logits.float().log_softmax(dim=-1)
    tokens = torch.tensor(ending, device=logits.device)
    nats = odds.gather(1, tokens[:, None]).sum(dtype=torch.float64)
    return Likelihood(float(nats), bool((odds.argmax(dim=-1) == tokens).all()))
