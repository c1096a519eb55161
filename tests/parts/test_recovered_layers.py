"""Networks that recover, and bodies that go back."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.image.tiny import begun, said
from windtunnel.parts.experiment import recovered_layers
from windtunnel.parts.experiment.recovered_layers import RecoveredLayers, distance, joined
from windtunnel.parts.experiment.reverted_body import RevertedBody


def test_what_is_cut_is_cut():
    weights = begun((64, 20, 20, 10), 0)
    free, masks = RecoveredLayers(cut="entries", share=0.75)._cut(weights)
    made = joined(free, masks)
    assert float((made["1.weight"] == 0).float().mean()) == pytest.approx(0.75, abs=0.01)
    assert float(made["1.weight"].abs()[made["1.weight"] != 0].min()) >= float(weights["1.weight"].abs().quantile(0.75)) - 1e-4
    free, masks = RecoveredLayers(cut="rank", share=0.5)._cut(weights)
    made = joined(free, masks)
    assert not masks and torch.linalg.matrix_rank(made["1.weight"]) == 5
    left, values, right = torch.linalg.svd(weights["1.weight"])
    assert torch.allclose(made["1.weight"], left[:, :5] * values[:5] @ right[:5], atol=1e-5)
    assert said(made, torch.rand(2, 64)).shape == (2, 10)


def test_distances_are_shares_of_the_mean_square():
    other = torch.full((3, 4), 2.0)
    assert float(distance(other + 1, other)) == pytest.approx(0.25, abs=1e-5) and float(distance(other, other)) == 0


def test_recovering_helps():
    found = RecoveredLayers(by="layers", training=150, steps=50, rates=(3e-3,), width=48).measure(80)
    assert found["before"] < found["accuracy"] <= found["whole"] + 0.05


def test_the_way_back_ends_where_it_began():
    part = RevertedBody(after=0.2, until=0.6)
    assert [part._way(done) for done in (0.1, 0.2, 0.4, 0.6, 0.9)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert RevertedBody(body="swapped-early", until=0.6)._way(0.5) == 0 and RevertedBody(body="tuned")._way(1.0) == 0
    knobs = {"before": 40, "steps": 30, "rates": (3e-3,)}
    found = {body: RevertedBody(body=body, **knobs).measure(80) for body in ("reverted", "tuned", "frozen")}
    assert found["tuned"]["alike"] > found["reverted"]["alike"] and found["frozen"] != found["tuned"]


def test_new_weights_have_the_mask_of_those_that_were_learned(monkeypatch):
    seen = []

    def judged(held, masks):
        seen.append({name: mask.clone() for name, mask in masks.items()})
        return joined(held, masks)

    monkeypatch.setattr(recovered_layers, "joined", judged)
    for by in ("labels", "fresh"):
        RecoveredLayers(by=by, training=5, steps=0, width=8, share=0.5).measure(80)
    assert len(seen) > 2 and all(torch.equal(one["1.weight"], seen[0]["1.weight"]) for one in seen)


def test_a_way_back_without_a_length_is_refused():
    with pytest.raises(ValidationError, match="a way back cannot begin at"):
        RevertedBody(after=0.8)
