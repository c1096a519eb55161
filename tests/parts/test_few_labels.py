"""Few labels: passages are of their package, answers stay apart from what is judged, and a teacher's answers teach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.kits.text.passages import passages
from windtunnel.parts.experiment.few_labels import PACKAGES, PassageLearner


def test_passages_do_not_name_their_package():
    random = np.random.default_rng(0)
    kept = {
        name: " ".join(random.choice([name, f"{name}s", "the", "of", "seldom"], 900, p=[0.2, 0.2, 0.3, 0.29, 0.01]))
        for name in ("aa", "bb", "cc")
    }
    made = [(text, f"{name}/x.py") for name, text in kept.items()] + [("alone " * 900, "single.py"), ("few " * 30, "dd/x.py")]
    found = passages(made, 3, "few-labels")
    assert found.names == ("aa", "bb", "cc") and found.package.tolist() == [0] * 45 + [1] * 45 + [2] * 45
    words = sorted({word for text in kept.values() for word in text.split()} - set(found.names))
    assert found.counts.shape[1] == len(words), "packages are not named, and what stands alone is left out"
    assert found.counts[0].sum() == sum(word != "aa" for word in kept["aa"].split()[:20])
    with pytest.raises(PartError, match="documents fewer than 5 packages"):
        passages(made, 5, "few-labels")


def test_what_is_learned_is_the_teacher():
    random = np.random.default_rng(0)
    counts = random.poisson(1.0, (300, 12)).astype(np.float32)
    learner = PassageLearner(counts, np.arange(300), random, 30, 150)
    truth = np.eye(PACKAGES, dtype=np.float32)[counts[:, :PACKAGES].argmax(axis=1)]
    start = learner.pretrained(16)
    before = start[0].weight.detach().clone()
    teacher = learner.tuned(start, np.arange(200), truth[:200])
    assert torch.equal(start[0].weight, before), "what is tuned is a copy"
    answers = learner.answers(teacher, np.arange(300))
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    student = learner.tuned(learner.fresh(16), np.arange(200, 300), answers[200:])
    agree = (learner.answers(student, np.arange(200, 300)).argmax(axis=1) == answers[200:].argmax(axis=1)).mean()
    assert agree > 0.7
