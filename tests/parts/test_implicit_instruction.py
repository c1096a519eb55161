"""Following instructions without tuning on them: texts are what they are told to be, and tuning never meets what is asked."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.kits.small_decoder import SmallDecoder
from windtunnel.parts.experiment.implicit_instruction import (
    ANSWER,
    ANSWERED,
    ASK,
    EMPTY,
    END,
    KEY,
    KEYS,
    SIZE,
    TOPIC,
    TOPICS,
    WORD,
    QuestionWorld,
    continued,
)
from windtunnel.slots import Experiment


def test_one_question_of_four_is_answered():
    random = np.random.default_rng(0)
    world = QuestionWorld.drawn(random)
    tokens, counts = world.texts(4000, random)
    asks = tokens[tokens[:, 0] == ASK]
    answered = asks[(asks[:, 3] >= ANSWER) & (asks[:, 3] < WORD)]
    assert counts.all() and abs(len(asks) / 4000 - 0.5) < 0.05 and abs(len(answered) / len(asks) - ANSWERED) < 0.05
    assert (answered[:, 3] - ANSWER == world.answers[answered[:, 1] - TOPIC, answered[:, 2] - KEY]).all() and (answered[:, 4:] == END).all()
    assert (tokens[tokens[:, 0] != ASK] >= WORD).all()


def test_tuning_leaves_out_what_is_asked():
    random = np.random.default_rng(1)
    world = QuestionWorld.drawn(random)
    asked, right = world.asked()
    assert set(asked[:, 2] - KEY) | set(world.seen) == set(range(KEYS)) and not set(asked[:, 2] - KEY) & set(world.seen)
    assert TOPIC not in asked[:, 1] and (right - ANSWER == world.answers[asked[:, 1] - TOPIC, asked[:, 2] - KEY]).all()
    narrow, counts = world.pairs(random, 1)
    assert (
        set(narrow[:, 1]) == {TOPIC}
        and set(narrow[:, 2] - KEY) <= set(world.seen)
        and (counts.sum(axis=0) > 0).tolist() == [False] * 3 + [True] * 2 + [False] * 2
    )
    assert len(set(world.pairs(random, TOPICS)[0][:, 1])) == TOPICS
    assert (world.responses(random)[0][:, 1:3] == EMPTY).all() and (world.responses(random, shuffled=True)[0][:, 3] == END).all()


def test_second_halves_are_the_models_own():
    random = np.random.default_rng(2)
    world = QuestionWorld.drawn(random)
    texts = world.halves(random)
    model = SmallDecoder(SIZE, SIZE, 7, width=16, tokens=True)
    with torch.no_grad():
        model.write.bias[END] += 50
    drawn, counts = continued(model, texts, random)
    assert (drawn[:, :3] == texts[0][:, :3]).all() and (drawn[:, 3:] == END).all() and (counts == texts[1]).all()


def test_pairs_teach_to_answer():
    found = make(Experiment, {"implicit-instruction": {"steps": 40, "tuning": 30, "width": 24}}).measure(0)
    assert found["pairs/answered"] > found["base/answered"] + 0.05 and found["rule/answered"] > found["base/answered"]
