"""The bootstrap over documents: planted truths are inside as often as stated, and nothing depends on how documents are told."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.slots import ByDocument
from windtunnel.study.statistics import bootstrap
from windtunnel.study.statistics.bootstrap import over_documents

DIFFERENCE = -0.02


def documents(random: np.random.Generator, count: int, seeds: int = 2, sigma: float = 0.8) -> tuple[list[ByDocument], list[ByDocument]]:
    """Arm and baseline: texts differ much, of which both share all, and seeds add a noise of their own to both."""
    size = np.rint(random.lognormal(6, sigma, count))
    rate = 2.2 + 0.3 * random.standard_normal(count)
    own = DIFFERENCE + 0.08 * random.standard_normal(count)
    unit = np.arange(count) * 7
    arm = [ByDocument(unit, (rate + own + seed) * size, size) for seed in 0.001 * random.standard_normal(seeds)]
    return arm, [ByDocument(unit, (rate + seed) * size, size) for seed in 0.001 * random.standard_normal(seeds)]


def ratio(one: ByDocument) -> float:
    return float(one.above.sum() / one.below.sum())


@pytest.mark.parametrize(("count", "confidence"), [(40, 0.95), (150, 0.9)])
def test_the_interval_holds_the_truth_as_often_as_stated(count, confidence, monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 400)
    bootstrap._kept.cache_clear()
    random = np.random.default_rng(3)
    found = [over_documents(*documents(random, count), confidence) for _ in range(400)]
    bootstrap._kept.cache_clear()
    share = np.mean([one.low <= DIFFERENCE <= one.high for one in found])
    assert confidence - 0.05 < share < confidence + 0.03
    narrow = np.mean([one.high - one.low for one in found])
    assert narrow < 8 * 0.08 / np.sqrt(count), "what arm and baseline share has widened it"


def test_the_mean_is_that_over_seeds_of_the_difference():
    arm, baseline = documents(np.random.default_rng(0), 30, seeds=3)
    found = over_documents(arm, baseline, 0.95)
    assert found.mean == pytest.approx(np.mean([ratio(one) - ratio(other) for one, other in zip(arm, baseline, strict=True)]))
    assert found.low < found.mean < found.high and found.n == 30


def test_neither_the_order_of_documents_nor_the_unit_of_bits_matters():
    random = np.random.default_rng(1)
    arm, baseline = documents(random, 50)
    order = random.permutation(50)
    shuffled = [[ByDocument(*(column[order] for column in one)) for one in side] for side in (arm, baseline)]
    found = over_documents(arm, baseline, 0.95)
    assert over_documents(*shuffled, 0.95) == pytest.approx(found)
    nats = [[one._replace(above=one.above * np.log(2)) for one in side] for side in (arm, baseline)]
    assert over_documents(*nats, 0.95)[:3] == pytest.approx([number * np.log(2) for number in found[:3]])
    assert over_documents(arm, baseline, 0.95) == found


def test_documents_of_one_group_are_drawn_together():
    """Copies in one group add nothing that is not known; as documents of their own they would seem to."""
    arm, baseline = documents(np.random.default_rng(2), 25)
    alone = over_documents(arm, baseline, 0.95)

    def copied(one: ByDocument, apart: int) -> ByDocument:
        return ByDocument.of(np.concatenate([one.unit + apart * copy for copy in range(4)]), np.tile(one.above, 4), np.tile(one.below, 4))

    grouped = over_documents(*([copied(one, 0) for one in side] for side in (arm, baseline)), 0.95)
    assert grouped == pytest.approx(alone)
    apart = over_documents(*([copied(one, 1) for one in side] for side in (arm, baseline)), 0.95)
    assert apart.n == 100 and (apart.high - apart.low) < 0.6 * (alone.high - alone.low)


def test_other_tokens_may_make_other_bytes_and_documents():
    """An arm with a tokenizer of its own reads other windows of the same documents."""
    arm, baseline = documents(np.random.default_rng(4), 60)
    fewer = [ByDocument(one.unit[3:], one.above[3:], one.below[3:]) for one in arm]
    found = over_documents(fewer, baseline, 0.95)
    assert found.n == 60 and found.mean == pytest.approx(np.mean([ratio(one) for one in fewer]) - np.mean([ratio(one) for one in baseline]))


def test_few_documents_and_an_arm_like_the_baseline_have_no_interval():
    arm, baseline = documents(np.random.default_rng(5), 7)
    assert over_documents(arm, baseline, 0.95) is None
    _, baseline = documents(np.random.default_rng(5), 30)
    assert over_documents(baseline, baseline, 0.95) is None


def test_many_documents_are_drawn_in_blocks(monkeypatch):
    arm, baseline = documents(np.random.default_rng(6), 300)
    whole = over_documents(arm, baseline, 0.95)
    monkeypatch.setattr(bootstrap, "ROOM", 300 * 170)
    assert over_documents(arm, baseline, 0.95) == pytest.approx(whole)
