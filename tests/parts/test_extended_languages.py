"""Made languages: one meaning, other words and orders; gaps; and pairs that are learned."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.extended_languages import (
    BLANK,
    COMMON,
    END,
    FIRST,
    GAP,
    LANGUAGES,
    LONGEST,
    ROW,
    VOCABULARY,
    WORDS,
    ExtendedLanguages,
    MadeLanguages,
    behind,
)


def test_languages_share_some_words_and_no_order():
    world = MadeLanguages(np.random.default_rng(0))
    assert len(np.unique(world.tokens)) == VOCABULARY - FIRST and all(len(set(row)) == WORDS for row in world.tokens.tolist())
    assert ((world.tokens == world.tokens[0]).all(axis=0)).sum() == COMMON
    assert len({tuple(order) for order in world.orders}) == LANGUAGES and all(sorted(order) == list(range(6)) for order in world.orders)
    meaning = world.meanings(1, np.random.default_rng(1))[0]
    for language in range(LANGUAGES):
        back = {int(token): word for word, token in enumerate(world.tokens[language])}
        assert sorted(back[token] for token in world.said(language, meaning)) == sorted(word for word in meaning.tolist() if word >= 0)


def test_rows_hold_a_sentence_and_its_translation_or_a_gap_and_the_whole():
    world = MadeLanguages(np.random.default_rng(2))
    meanings = world.meanings(20, np.random.default_rng(3))
    rows = world.pairs(3, 0, meanings)
    assert rows.shape == (20, ROW) and (rows[:, 0] == 6).all() and (rows[:, 1 + LONGEST] == 3).all()
    counted = behind(rows)
    for row, mine, meaning in zip(rows, counted, meanings, strict=True):
        assert row[mine].tolist() == [*world.said(0, meaning), END]
    gaps = world.restored((1, 2), 30, np.random.default_rng(4))
    assert ((gaps == GAP).sum(axis=1) == 1).all() and set(np.unique(gaps[:, 0])) == {4, 5} and (gaps[:, 0] == gaps[:, 1 + LONGEST]).all()
    for row in gaps:
        given, whole = [token for token in row[1 : 1 + LONGEST] if token != BLANK], row[2 + LONGEST :].tolist()
        before, after = given[: given.index(GAP)], given[given.index(GAP) + 1 :]
        whole = whole[: whole.index(END)]
        assert (
            whole[: len(before)] == before and whole[len(whole) - len(after) :] == after and 1 <= len(whole) - len(before) - len(after) <= 3
        )


def test_translation_is_learned():
    knobs = {"before": "nothing", "steps": 120, "many": 300, "few": 50, "judged": 20, "rates": (6e-3,)}
    assert ExtendedLanguages(**knobs).measure(60)["old"] > 0.02, "of which chance has nothing"
