"""Unlearning by a datamodel: the model of the data finds planted effects, divergence is that of normals, and matching forgets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.matched_unlearning import MatchedUnlearning, datamodel, divergence, first_weights, margins, outputs


def test_planted_effects_of_examples_are_found():
    random = np.random.default_rng(97)
    subsets = (random.random((240, 12)) < 0.5).astype(float)
    effects = random.standard_normal((12, 3, 10))
    found = np.einsum("me,eio->mio", subsets, effects) + 0.05 * random.standard_normal((240, 3, 10))
    beta, correlation = datamodel(subsets, found, 200)
    assert np.corrcoef(beta.ravel(), effects.ravel())[0, 1] > 0.99 and correlation > 0.98
    _, none = datamodel(subsets, random.standard_normal(found.shape), 200)
    assert abs(none) < 0.2


def test_divergence_is_that_of_normal_distributions():
    random = np.random.default_rng(98)
    ours, theirs = random.normal(0, 1, (400, 1)), random.normal(0.7, 2, (400, 1))
    one, two = (norm(part.mean(), np.sqrt(part.var() + 1e-3)) for part in (ours, theirs))
    area, _ = quad(lambda x: one.pdf(x) * (one.logpdf(x) - two.logpdf(x)), -12, 12)
    assert divergence(ours, theirs)[0] == pytest.approx(area, rel=1e-4)
    assert divergence(ours, ours)[0] == 0


def test_margins_are_logits_against_all_others():
    random = np.random.default_rng(99)
    part = MatchedUnlearning(examples=20, forgotten=3)
    data, weights = part._data(random), first_weights(2, random)
    found, label = outputs(weights, data.pixels)[1, 4].numpy(), int(data.labels[4])
    others = np.delete(found, label)
    assert margins(weights, data)[1, 4] == pytest.approx(found[label] - np.log(np.exp(others).sum()), rel=1e-5)
    label, own = data.labels[data.forget[0]], data.labels[:20]
    assert int((data.labels[torch.from_numpy(data.forget)] == label).sum()) == min(3, int((own == label).sum()))


def test_matching_forgets_better_than_nothing():
    knobs = {"examples": 40, "forgotten": 5, "retrains": 120, "steps": 50, "unlearning": 40}
    matched, nothing = (MatchedUnlearning(how=how, **knobs).measure(100) for how in ("matching", "nothing"))
    assert matched["divergence/forget"] < nothing["divergence/forget"]
    with pytest.raises(PartError, match="forgotten 20"):
        MatchedUnlearning(examples=20, forgotten=20).measure(0)
