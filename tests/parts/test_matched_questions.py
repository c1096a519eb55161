"""Questions of one intent: pairs of one subject, wordings that answers do not share, and a first task that teaches."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.matched_questions import COMMON, EACH, FORMS, INTENTS, NOTIONS, WORDS, MatchedQuestions, said, sentences


def notions(row: np.ndarray) -> list[int]:
    return sorted(int(word) // FORMS % NOTIONS for word in row if word < WORDS - COMMON)


def test_sentences_speak_of_their_intent_and_subject():
    rows = said(np.array([7, 33]), np.random.default_rng(161))
    assert notions(rows[0]) == [7, 7, 7, INTENTS + 7 // EACH] and notions(rows[1]) == [33, 33, 33, INTENTS + 33 // EACH]
    answer = said(np.array([7]), np.random.default_rng(162), answers=True)[0]
    assert notions(answer) == notions(rows[0]) and min(answer) >= NOTIONS * FORMS > min(rows[0])


def test_pairs_are_of_one_subject_and_half_of_them_match():
    one, two, match = sentences(np.arange(INTENTS), 400, np.random.default_rng(163))
    intents = np.array([[notions(row)[0] for row in part] for part in (one, two)])
    assert ((intents[0] == intents[1]) == match).all() and (intents[0] // EACH == intents[1] // EACH).all()
    assert 0.4 < match.mean() < 0.6


def test_matching_answers_teaches_matching_questions():
    knobs = {"steps": 400, "tuning": 40, "rate": 0.02}
    answers, shuffled = (MatchedQuestions(first=first, **knobs).measure(164) for first in ("answers", "shuffled"))
    assert answers["accuracy"] > shuffled["accuracy"] + 0.1
