"""Few labels: passages are of their package, answers stay apart from what is judged, and a teacher's answers teach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.kits.text.passages import Passages, passages
from windtunnel.parts.experiment import few_labels
from windtunnel.parts.experiment.few_labels import PACKAGES, FewLabels, PassageLearner


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


ROUTES = {
    "labels": "fresh, tuned on labels",
    "pretrained": "pretrained x 1, tuned on labels",
    "longer": "pretrained x 2, tuned on labels",
    "mixed": "pretrained x 1, tuned on labels and own",
    "pseudo": "pretrained x 1, tuned on own, tuned on labels",
    "distilled": "fresh, tuned on teacher",
    "pretrained-distilled": "pretrained x 1, tuned on teacher",
    "pretrained-distilled-tuned": "pretrained x 1, tuned on teacher, tuned on labels",
    "teacher": "wide pretrained x 1, tuned on labels",
}


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_is_gone_in_order(route):
    """A learner that writes down what a network went through, in the place of one that learns."""
    labelled, unlabelled, gold = np.arange(3), np.arange(3, 8), np.eye(PACKAGES, dtype=np.float32)[:3]

    class Written:
        def fresh(self, width):
            return "wide fresh" if width > 8 else "fresh"

        def pretrained(self, width, times=1):
            return f"{'wide ' if width > 8 else ''}pretrained x {times}"

        def tuned(self, network, rows, answers):
            soft = (answers.max(axis=1) < 1).all()
            what = {3: "labels", 5: "teacher" if soft else "own", 8: "labels and own"}[len(rows)]
            return f"{network}, tuned on {what}"

        def answers(self, network, rows):
            assert "tuned on labels" in network and ("wide" in network) == ("distilled" in route)
            return np.full((len(rows), PACKAGES), 1 / PACKAGES, np.float32)

    assert FewLabels(route=route)._taught(Written(), labelled, gold, unlabelled) == ROUTES[route]


def test_more_passages_than_there_are_are_refused(monkeypatch):
    some = Passages(np.ones((1200, 3), np.float32), np.arange(1200) % PACKAGES, tuple("abcdefgh"))
    monkeypatch.setattr(few_labels, "documented", lambda part: some)
    with pytest.raises(PartError, match="200 passages are fewer than 100 with a label"):
        FewLabels(unlabelled=150).measure(0)
