"""Commands and what they ask for: every combination, and a lone verb that stays alone in training."""

from __future__ import annotations

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
    assert found["known"] > 0.4 and found["repeated"] == 90 * 64 / 9
