"""Likenesses that are kept."""

from __future__ import annotations

import pytest
import torch

from windtunnel.parts.experiment.kept_topology import SHARP, KeptTopology, apart, contrast


def test_likenesses_that_stay_cost_nothing_and_others_their_divergence():
    generator = torch.Generator().manual_seed(0)
    image, text, other = (torch.nn.functional.normalize(torch.randn(5, 4, generator=generator), dim=1) for _ in range(3))
    assert float(apart([image, text], [image, text])) == pytest.approx(0, abs=1e-6)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    assert float(apart([image @ turn, text @ turn], [image, text])) == pytest.approx(0, abs=1e-4), (
        "towers that turn together keep likenesses"
    )
    found = float(apart([image, text], [image, other]))
    wanted = 0.0
    for now, old in ((image @ text.T, image @ other.T), (text @ image.T, other @ image.T)):
        share = (SHARP * old).softmax(dim=1)
        wanted += float((share * (share.log() - (SHARP * now).log_softmax(dim=1))).sum(dim=1).mean()) / 2
    within = [one @ one.T - 1e5 * torch.eye(5) for one in (text, other)]
    share = (SHARP * within[1]).softmax(dim=1)
    wanted += float((torch.xlogy(share, share) - share * (SHARP * within[0]).log_softmax(dim=1)).nan_to_num().sum(dim=1).mean()) / 2
    assert found == pytest.approx(wanted, rel=1e-3)


def test_pairs_alone_are_told_apart():
    assert float(contrast(torch.eye(3), torch.eye(3))) < 0.01 < float(contrast(torch.eye(3), torch.eye(3).roll(1, 0)))


def test_training_on_forgets_and_all_at_once_does_not():
    knobs = {"steps": 40, "fields": 3, "pairs": 100}
    alone, joint = (KeptTopology(keeps=keeps, **knobs).measure(80) for keeps in ("nothing", "joint"))
    assert joint["first"] > alone["first"] and alone["last"] > alone["first"]
