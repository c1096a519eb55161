"""Reviews of a domain without labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from windtunnel.kits.text.reviews import feelings, reviews, vocabulary
from windtunnel.parts.experiment.adapted_reviews import DOMAINS, SOURCE, TARGET, AdaptedReviews, discrepancy, told_by


def test_the_distance_of_kernel_means_is_that_of_two_loops():
    first, second = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    second = second + 1
    both = torch.cat([first, second])
    middle = float(torch.stack([(a - b).square().sum() for a in both for b in both]).median())

    def kernel(one: torch.Tensor, other: torch.Tensor) -> float:
        apart = float((one - other).square().sum())
        return sum(math.exp(-apart / (2 * middle * scale**2)) for scale in (0.5, 1, 2)) / 3

    def mean(some: torch.Tensor, others: torch.Tensor) -> float:
        return float(np.mean([kernel(a, b) for a in some for b in others]))

    wanted = mean(first, first) + mean(second, second) - 2 * mean(first, second)
    assert float(discrepancy(first, second)) == pytest.approx(wanted, abs=1e-6)
    assert float(discrepancy(first, first)) == pytest.approx(0, abs=1e-6)


def test_words_that_tell_are_found_by_labels_of_the_source_alone():
    random, labels = np.random.default_rng(0), np.arange(3000) % 2
    texts = torch.from_numpy(reviews(random, SOURCE, labels, shared=0.3, told=0.0))
    found = told_by(texts, torch.from_numpy(labels), vocabulary(DOMAINS)).nonzero()[:, 0].numpy()
    assert set(found) == set(feelings(SOURCE).flatten()), "60 words of feeling are in reach of the source, its own and those of all"
    assert len(set(found) & set(feelings(TARGET).flatten())) == 20


def test_untelling_words_are_all_others():
    few, labels = torch.zeros(2, 3, dtype=torch.long), torch.tensor([0, 1])
    weights = [AdaptedReviews(masks=masks)._weight(few, labels) for masks in ("telling", "untelling", "any")]
    assert torch.equal(weights[0] + weights[1], weights[2]) and weights[0].sum() == 100
