"""Labels said by words or by a new head."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.reviews import BAD, GOOD, feelings, guesser, reviews, vocabulary
from windtunnel.parts.experiment.verbalised_labels import VerbalisedLabels, attacked


def test_words_answer_with_the_logits_of_the_verdicts():
    weights = guesser(vocabulary(4), 8, 0)
    words = torch.from_numpy(reviews(np.random.default_rng(0), 3, np.array([0, 1]), shared=0.1, told=0.0))
    before = VerbalisedLabels().answers(weights, words)
    weights["bias"][GOOD] += 2
    assert torch.allclose(VerbalisedLabels().answers(weights, words) - before, torch.tensor([0.0, 2.0]).expand(2, 2), atol=1e-5)
    weights["bias"][BAD] += 1
    assert torch.allclose(VerbalisedLabels().answers(weights, words)[:, 0] - before[:, 0], torch.ones(2), atol=1e-5)


def test_attacks_exchange_one_word_for_one_of_the_same_feeling():
    labels = np.array([0, 1, 1])
    words = torch.from_numpy(reviews(np.random.default_rng(0), 3, labels, shared=0.0, told=0.0))
    found = attacked(words, labels, 3)
    assert len(found) == 40
    for other in found:
        changed = other != words
        assert (changed.sum(dim=1) <= 1).all() and not changed[:, 4:].any()
        for row, label in enumerate(labels):
            assert np.isin(other[row][changed[row]].numpy(), feelings(3)[label]).all()


def test_words_that_are_known_need_fewer_labels():
    knobs = {"training": 200, "tuning": 30, "shots": 2, "rates": (3e-3, 1e-2)}
    words, fresh = (VerbalisedLabels(answer=answer, **knobs).measure(80)["accuracy"] for answer in ("words", "fresh"))
    assert words > fresh


def test_whatever_comes_before_takes_as_many_steps(monkeypatch):
    from windtunnel.kits.image import tiny

    spent, own = [], tiny.trained

    def counted(weights, loss, rows, steps, rate, random, **more):
        spent.append((steps, more.get("batch", 32)))
        return own(weights, loss, rows, steps, rate, random, **more)

    monkeypatch.setattr(tiny, "trained", counted)
    knobs = {"training": 2, "steps": 3, "tuning": 2, "texts": 20, "rates": (1e-2,), "width": 8}
    for before in ("filled", "shuffled", "guesses"):
        VerbalisedLabels(before=before, **knobs).measure(80)
    third = len(spent) // 3
    assert sorted(spent[:third]) == sorted(spent[third : 2 * third]) == sorted(spent[2 * third :])
