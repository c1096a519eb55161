"""Commands and what they ask for: every combination, and a lone verb that stays alone in training."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.composed_commands import (
    ARROW,
    BLANK,
    END,
    LEFT,
    LONGEST,
    RIGHT,
    THRICE,
    TWICE,
    WORDS,
    ComposedCommands,
    commands,
)


def test_commands_say_what_is_to_be_done():
    rows = commands(2).tolist()
    assert len(rows) == 18 and all(len(row) == LONGEST for row in rows)
    verb, action = WORDS + 1, WORDS + 3
    told = {tuple(row[:4]): [token for token in row[4:] if token != BLANK] for row in rows}
    assert told[verb, BLANK, BLANK, ARROW] == [action, END]
    assert told[verb, RIGHT, TWICE, ARROW] == [RIGHT, action, RIGHT, action, END]
    assert told[WORDS, LEFT, THRICE, ARROW] == [LEFT, WORDS + 2] * 3 + [END]


def test_known_commands_are_learned():
    found = ComposedCommands(verbs=1, steps=90, rate=0.01).measure(165)
    assert found["known"] > 0.4 and found["repeated"] == pytest.approx(90 * 64 * 7 / 8 / 9)


def test_the_lone_verb_stays_alone_and_the_others_come_alike():
    every = commands(6)
    rows = ComposedCommands(verbs=5, examples=12)._rows(every, np.random.default_rng(166))
    alone = rows[:, 0] == WORDS
    assert alone.mean() == pytest.approx(1 / 8, abs=0.02) and (rows[alone] == every[0]).all()
    kinds = np.unique(rows[~alone], axis=0)
    assert len(kinds) == 12 and sorted(np.bincount(kinds[:, 0])[WORDS + 1 :].tolist()) == [2, 2, 2, 3, 3]
    simple = ComposedCommands(verbs=5, simple=1.0)._rows(every, np.random.default_rng(167))
    assert ((simple[:, 1] == BLANK) | (simple[:, 2] == BLANK)).all()
    with pytest.raises(PartError, match="examples 46: 5 verbs have 45"):
        ComposedCommands(verbs=5, examples=46)._rows(every, np.random.default_rng(0))
