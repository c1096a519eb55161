"""Pixels as tokens, what is foretold, and that copies and not the network itself learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.image.tiny import dealt
from windtunnel.kits.mixing import made
from windtunnel.parts.experiment.pretrained_inputs import CLASSES, LEVELS, PLACES, PretrainedInputs, foretold, pixels


def test_pixels_come_back():
    data = dealt("pretrained-inputs", np.random.default_rng(310))
    rows = pixels(data, data.held[:20])
    assert rows.min() == 0 and rows.max() == LEVELS - 1 and torch.allclose(rows / 16, data.images[data.held[:20]])


def test_foretelling_is_the_likelihood_of_the_next_pixel():
    model, rows = (
        made(311, "diagonal", 8, PLACES, LEVELS, {"class": CLASSES, "next": LEVELS}, tokens=True),
        torch.randint(LEVELS, (3, PLACES)),
    )
    with torch.no_grad():
        odds = torch.log_softmax(model(rows, "next"), dim=-1)
    places = [-odds[row, place - 1, rows[row, place]] for row in range(3) for place in range(1, PLACES)]
    assert float(foretold(model, rows).detach()) == pytest.approx(float(torch.stack(places).mean()), rel=1e-4)


@pytest.mark.parametrize("kind", ["attention", "diagonal"])
def test_foretelling_learns_and_leaves_its_start_alone(kind):
    part = PretrainedInputs(first=12, steps=1, rates=(0.01,), labelled=40, width=16)
    data = dealt(part.name, np.random.default_rng(312))
    begun = made(312, kind, 16, PLACES, LEVELS, {"class": CLASSES, "next": LEVELS}, tokens=True)
    before, rows = [weight.clone() for weight in begun.parameters()], pixels(data, data.held[:50])
    learned = part._foretelling(begun, data, 0)
    with torch.no_grad():
        assert float(foretold(learned, rows)) < float(foretold(begun, rows)) - 0.3
    assert all(torch.equal(one, other) for one, other in zip(before, begun.parameters(), strict=True))
