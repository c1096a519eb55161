"""Lists on a circle, rows to learn, and two passes of a planted extender."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.circle import chain, circle
from windtunnel.parts.experiment.lengthened_lists import (
    BLANK,
    BRIEF,
    EXTEND,
    FEW,
    ITEMS,
    LONGEST,
    SHORTEST,
    STOP,
    TO,
    WRITE,
    LengthenedLists,
    lessons,
    right,
    thinned,
    write,
)

AFTER = circle(ITEMS, np.random.default_rng(380))


def test_all_items_lie_on_one_circle():
    assert sorted(chain(0, ITEMS, AFTER)) == list(range(ITEMS)) and chain(0, ITEMS + 1, AFTER)[-1] == 0
    assert right(chain(3, 9, AFTER), AFTER) and not right([3, 3], AFTER) and not right([], AFTER) and not right([3, BLANK], AFTER)
    short = chain(3, 30, AFTER)
    assert 10 < len(thinned(short, np.random.default_rng(381))) < 30


def test_lessons_are_no_longer_than_said():
    rows, counted = lessons(AFTER, 400, np.random.default_rng(382))
    for row, learned in zip(rows.tolist(), counted, strict=True):
        text = [token for token in row if token != BLANK]
        told = [token for token, one in zip(row, learned, strict=True) if one]
        assert text[-1] == STOP and told[-1] == STOP and text[-len(told) :] == told
        if text[0] == EXTEND:
            short, longer = text[1 : text.index(TO)], text[text.index(TO) + 1 : -1]
            assert (
                right(longer, AFTER)
                and longer[: len(short)] == short
                and 1 <= len(longer) - len(short) <= 3
                and len(told) == len(longer) + 1
            )
        else:
            whole = text[1:-1]
            assert right(whole, AFTER) and (len(whole) == FEW if text[0] == BRIEF else SHORTEST <= len(whole) <= LONGEST)


class Planted(torch.nn.Module):
    """Goes on round the circle: requests to 6 items, lists that are to be longer to two more than they have."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits = torch.full((*rows.shape, BLANK + 1), -1e9)
        for place, row in enumerate(rows.tolist()):
            text = [token for token in row if token != BLANK]
            if EXTEND in text:
                given, told = text[1 : text.index(TO)], text[text.index(TO) + 1 :]
                following = given[0] if not told or told[-1] >= ITEMS else int(AFTER[told[-1]])
                token = STOP if len(told) >= len(given) + 2 else following
            else:
                token = STOP if len(text) == 7 or text[-1] >= ITEMS else int(AFTER[text[-1]])
            logits[place, -1, token] = 0
        return logits


def test_two_passes_make_a_draft_longer():
    random, model = np.random.default_rng(383), Planted()
    drafts = write(model, [[WRITE, 5], [WRITE, 9]], random)
    assert drafts == [chain(5, 6, AFTER), chain(9, 6, AFTER)]
    pairs, asked = LengthenedLists()._lengthened(model, drafts, AFTER, random)
    assert [long for _, long in pairs] == [chain(5, 8, AFTER), chain(9, 8, AFTER)] and asked == 6
    longest = LengthenedLists(drafts=3)._longest(model, AFTER, 2, random)
    assert len(longest) == 3 and all(one == chain(one[0], 6, AFTER) for one in longest)
