"""Rows of an image and its caption: each word and vector is foretold from what stands before it alone."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.written import CELL, COLOUR, SHAPE, WORDS, TileAxes, joined, written
from windtunnel.kits.small_decoder import SmallDecoder
from windtunnel.parts.experiment.two_way_pairs import SAID, TILES, VECTOR, TwoWayPairs, draws, losses, nearest, terms, writes


def test_captions_tell_what_is_seen():
    found = written(np.random.default_rng(0), 50, 24, 2)
    cells, colours, shapes = found.captions.unflatten(1, (2, 3)).unbind(2)
    assert (cells[:, 0] < cells[:, 1]).all() and ((colours >= COLOUR) & (colours < SHAPE)).all() and (shapes < WORDS - 2).all()
    for scene in range(50):
        for one in range(2):
            place = found.scenes.cells[scene].tolist().index(int(cells[scene, one]) - CELL)
            assert found.scenes.colours[scene, place] == colours[scene, one] - COLOUR
            assert found.scenes.shapes[scene, place] == shapes[scene, one] - SHAPE


def test_principal_numbers_have_deviation_one_and_no_likeness():
    images = written(np.random.default_rng(0), 200, 24, 2).images
    rows = TileAxes.of(images, 12, 8)(images).flatten(0, 1)
    assert torch.allclose(rows.T @ rows / len(rows), torch.eye(8), atol=1e-2)


def test_what_is_foretold_stands_where_it_is_asked():
    """A network that says, at each place, the next row as it is: its words have no loss and its vectors none."""
    vectors, words = torch.randn(3, TILES, VECTOR), torch.randint(0, WORDS, (3, SAID))

    class Sees:
        def __init__(self, first: bool) -> None:
            rows = joined(vectors, words, image_first=first)
            self.rows = torch.cat([rows[..., :VECTOR], 50 * rows[..., VECTOR:]], dim=2)

        def __call__(self, rows: torch.Tensor) -> torch.Tensor:
            return self.rows[:, 1 : 1 + rows.shape[1]]

    for first in (True, False):
        said, seen = terms(Sees(first), vectors, words, image_first=first)
        assert said < 1e-6 and seen < 1e-6
    assert torch.equal(writes(Sees(True), vectors), words) and torch.equal(draws(Sees(False), words), vectors)
    assert nearest(torch.randn(64, 4, 3), torch.randn(64, 4, 3)) < 0.3


def test_the_caption_cannot_look_ahead():
    decoder = SmallDecoder(VECTOR + WORDS, VECTOR + WORDS, TILES + SAID + 2, width=16, seed=0)
    vectors, words = torch.randn(2, TILES, VECTOR), torch.randint(0, 10, (2, SAID))
    rows = joined(vectors, words, image_first=True)
    changed = rows.clone()
    changed[:, -1] += 1
    assert torch.allclose(decoder(rows)[:, :-1], decoder(changed)[:, :-1], atol=1e-5)


def test_both_ways_are_learned():
    learned = {way: TwoWayPairs(learned=way, pairs=300, steps=30, judged=32)._learned for way in ("captions", "pictures")}
    found = written(np.random.default_rng(0), 300, 24, 1)
    vectors = TileAxes.of(found.images, 12, VECTOR)(found.images)
    (words, _), (_, drawn) = (losses(each(vectors, found.captions, 3e-3, 0), vectors, found.captions) for each in learned.values())
    blank = losses(SmallDecoder(VECTOR + WORDS, VECTOR + WORDS, TILES + SAID + 2, width=48, seed=0), vectors, found.captions)
    assert words < 0.9 * blank[0] and drawn < blank[1]
