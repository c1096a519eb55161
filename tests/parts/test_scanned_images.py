"""Recurrences against explicit sums, orders of scans, and who sees whom."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.mixing import DiagonalMixer, made
from windtunnel.kits.text.linear_attention import additive
from windtunnel.parts.experiment.scanned_images import LENGTH, PLACES, SIDE, WORDS, ScannedImages, orders, patched


def test_an_additive_recurrence_place_by_place():
    query, key, value = torch.randn(3, 2, 3, 9, 4, generator=torch.Generator().manual_seed(299))
    total, state, found = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, 4), []
    for place in range(9):
        before, total = total, total + key[:, :, place].exp()
        added = (key[:, :, place].exp() / total)[..., None] * value[:, :, place, None]
        state = (before / total)[..., None] * state + added
        found.append((query[:, :, place, None] @ state)[:, :, 0])
    assert torch.allclose(additive(query, key, value), torch.stack(found, dim=2), atol=1e-5)
    assert torch.allclose(additive(query, key, value, both_ways=True)[:, :, -1], found[-1], atol=1e-5)
    order = torch.randperm(9)
    turned = additive(query[:, :, order], key[:, :, order], value[:, :, order], both_ways=True)
    assert torch.allclose(turned, additive(query, key, value, both_ways=True)[:, :, order], atol=1e-5)


def test_a_diagonal_model_is_its_recurrence():
    torch.manual_seed(298)
    layer, rows = DiagonalMixer(3), torch.randn(2, 7, 3)
    modes = torch.complex(-layer.fall.exp(), layer.turn)
    kept = (layer.step.exp()[:, None] * modes).exp()
    state, found = torch.zeros(2, *modes.shape, dtype=torch.complex64), []
    for place in range(7):
        state = kept * state + (kept - 1) / modes * rows[:, place, :, None]
        found.append(2 * (torch.view_as_complex(layer.out) * state).real.sum(dim=2))
    seen = torch.nn.functional.gelu(torch.stack(found, dim=1) + layer.straight * rows)
    assert torch.allclose(layer(rows), torch.nn.functional.glu(layer.write(seen), dim=-1), atol=1e-4)


def test_four_orders_see_all_neighbours_from_both_sides():
    found = orders(4)
    assert [int(order[1]) for order in found] == [1, PLACES - 2, SIDE, PLACES - 1 - SIDE]
    assert all(sorted(order.tolist()) == list(range(PLACES)) for order in found)


@pytest.mark.parametrize(("recurrence", "scans", "blind"), [("additive", 1, False), ("gated", 1, True), ("gated", 2, False)])
def test_one_scan_of_a_decay_sees_only_what_came_before(recurrence, scans, blind):
    model = ScannedImages(recurrence=recurrence, scans=scans).network(300)
    rows = torch.rand(1, PLACES, 4)
    first = model.states(rows)
    rows[0, 9] += 1
    moved = (model.states(rows) - first).abs().sum(dim=2)[0]
    assert moved[14] > 1e-6 and (moved[3] < 1e-6) == blind


@pytest.mark.parametrize("kind", ["attention", "additive", "gated", "diagonal"])
def test_texts_are_read_forward_whatever_the_mixer(kind):
    model = made(301, kind, 16, LENGTH, WORDS, {"next": WORDS}, tokens=True)
    rows = torch.randint(WORDS, (1, LENGTH))
    first = model(rows, "next")
    rows[0, 20] = (rows[0, 20] + 1) % WORDS
    moved = (model(rows, "next") - first).abs().sum(dim=2)[0]
    assert moved[:20].max() < 1e-3 < moved[25]


def test_scans_are_of_a_decay_on_images():
    for wrong in ({"scans": 2}, {"scans": 4, "recurrence": "gated", "text": True}):
        with pytest.raises(ValidationError, match="set scans to 1"):
            ScannedImages(**wrong)


def test_patches_are_blocks_of_pixels():
    image = torch.arange(64.0)[None]
    assert patched(image)[0, 0].tolist() == [0, 1, 8, 9] and patched(image)[0, SIDE + 1].tolist() == [18, 19, 26, 27]
