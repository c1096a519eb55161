"""What is masked, what is to be written, and how a gap moves."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.circle import chain, circle
from windtunnel.parts.experiment.infilled_words import (
    BLANK,
    END,
    GAP,
    GOES,
    ITEMS,
    LONG,
    START,
    STOP,
    corrupted,
    filled,
    sequential,
    share,
    spans,
    text,
)


def whole(given: list[int], wanted: list[int]) -> list[int]:
    """Spans put back where their sentinels stand."""
    put, now = dict[int, list[int]](), list[int]()
    for token in wanted[1:-1]:
        if token >= GAP:
            now = put.setdefault(token, [])
        else:
            now.append(token)
    return [token for each in given for token in (put[each] if each >= GAP else [each])]


def test_gaps_can_be_filled_again():
    random = np.random.default_rng(220)
    after = circle(ITEMS, random)
    masked, longest = [], 0
    for place in range(120):
        items = 2 + place % (LONG - 1)
        tokens = text(items, after, random)
        assert tokens[2] == GOES and tokens[-1] == STOP and [tokens[0], *tokens[3:-1]] == chain(tokens[0], items + 1, after)
        assert tokens[1] == tokens[-2]
        given, wanted = corrupted(tokens, 2, 0.3, random)
        assert whole(given, wanted) == tokens and wanted[0] == START and wanted[-1] == END
        assert sum(spans(wanted)) == sum(token < GAP for token in wanted[1:-1])
        masked.append(sum(spans(wanted)) / len(tokens))
        longest = max(longest, *spans(wanted))
    assert 0.15 < np.mean(masked) <= 0.35 and 2 < longest < LONG


def test_a_fill_ends_at_a_stop_or_a_sentinel():
    assert filled([GAP, 3, 4, GAP + 1, 5]) == [3, 4] and filled([GAP, 3, STOP, 4]) == [3] and filled([GAP, END]) == []
    assert share([[1, 2], [3]], [[1, 2], [3, 4]]) == 0.5


class Echo(torch.nn.Module):
    """Fills the gap with the words before the sign, one after another, and never more than two at a time."""

    def forward(self, given: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*written.shape, GAP + 4)
        for row, (read, told) in enumerate(zip(given.tolist(), written.tolist(), strict=True)):
            read = [token for token in read if token != BLANK]
            sign = read.index(GOES)
            rest = [*read[len(read) - sign - 2 : sign], STOP]
            place = len(told) - 1
            logits[row, -1, GAP if place == 0 else rest[place - 1] if place <= min(2, len(rest)) else END] = 1
        return logits


def test_one_word_at_a_time_goes_on_to_the_end():
    prompts = [[4, 9, 2, 7, GOES], [5, GOES]]
    assert sequential(Echo(), prompts) == [[4, 9, 2, 7], [5]]
