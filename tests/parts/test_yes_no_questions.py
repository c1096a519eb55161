"""Questions about topics of texts, and how answers are scored."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.yes_no_questions import (
    ABOUT,
    NAME,
    OWN,
    STYLE,
    STYLED,
    STYLES,
    TEXT,
    Texts,
    YesNoQuestions,
    area,
    embedded,
    questions,
    written,
)


def test_texts_are_about_two_topics_in_one_style():
    texts = written(500, np.random.default_rng(180), tied=1.0)
    assert (texts.topics[:, 0] != texts.topics[:, 1]).all()
    assert (np.sort(texts.words[:, :ABOUT] // OWN, axis=1) == np.sort(np.repeat(texts.topics, ABOUT // 2, axis=1), axis=1)).all()
    styles = (texts.words[:, ABOUT:] - STYLE) // STYLED
    assert (styles == texts.topics[:, :1] % STYLES).all() and texts.words.max() < NAME


def test_questions_have_right_answers_and_ask_of_nothing_else():
    random = np.random.default_rng(181)
    for topics in (np.array([3, 8, 21, 30]), np.array([7])):
        texts, asked, answers = questions(written(3000, random), topics, 200, random)
        assert len(texts.words) == len(asked) == len(answers) and np.isin(asked, topics).all()
        assert ((texts.topics == asked[:, None]).any(axis=1) == (answers == 1)).all() and answers.mean() == pytest.approx(0.5, abs=0.02)


def test_names_are_near_the_words_of_their_topic():
    vectors = embedded(written(1500, np.random.default_rng(182)), 40, np.random.default_rng(183))
    near = vectors[NAME + 4] @ vectors[:NAME].T
    assert near[4 * OWN : 5 * OWN].mean() > 0.3 > np.delete(near, np.arange(4 * OWN, 5 * OWN)).mean() + 0.2


def test_areas_are_means_over_topics():
    texts = Texts(np.zeros((4, TEXT), int), np.array([(0, 1), (0, 2), (1, 2), (3, 4)]))
    scores = np.array([(2.0, 0.0), (1.0, 0.0), (0.0, 0.0), (-1.0, 0.0)])
    assert area(scores, texts, np.array([0, 1])) == pytest.approx((1 + 0.5) / 2)


def test_tuning_teaches_the_topics_asked_about_and_no_style_says_nothing():
    found = YesNoQuestions(questions=600, topics=5, read=1500, judged=200).measure(184)
    assert (
        found["known"] > 0.95 > found["before"]
        and YesNoQuestions(tied=0.0, read=1500, questions=20).measure(184)["before"] > found["before"]
    )
