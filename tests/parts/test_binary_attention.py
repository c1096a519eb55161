"""Attention in ones and zeros."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.binary_attention import BinaryAttention, binary


def test_rules_are_what_they_say():
    rows = np.array([[0.6, 0.2, 0.16, 0.04], [0.25, 0.25, 0.25, 0.25]])
    assert binary(rows, "mean").tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert binary(rows, "quarter").tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert binary(rows, "elastic").tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert binary(rows, "best").tolist()[1] == [1, 1, 1, 1]


def test_the_best_threshold_of_a_row_is_never_worse():
    row = {rule: BinaryAttention(rule=rule, scale="row", count=4).measure(80)["error"] for rule in ("mean", "elastic", "quarter", "best")}
    assert row["best"] == min(row.values())
    rows = np.random.default_rng(0).dirichlet(np.full(9, 0.3), 20)
    ones = binary(rows, "best")
    for given, mask in zip(rows, ones, strict=True):
        errors = []
        for least in given:
            kept = given >= least
            errors.append(((given - kept * given[kept].mean()) ** 2).sum())
        assert ((given - mask * given[mask == 1].mean()) ** 2).sum() == pytest.approx(min(errors))


def test_a_product_beside_signs_helps_by_its_rank():
    none, some, many = (BinaryAttention(of="scores", rank=rank, count=16, width=16).measure(80)["error"] for rank in (0, 2, 16))
    assert many < some < none
