"""Gates between towers: shut they change nothing, and boxes hold what they are of."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.gated_towers import PATCH, GatedTowers, coarse_loss
from windtunnel.kits.image.scenes import COLOURS, SHAPES
from windtunnel.parts.experiment.coarse_to_fine import OBJECTS, SIZE, CoarseToFine, drawn, pointed


def tower() -> GatedTowers:
    torch.manual_seed(0)
    return GatedTowers(SIZE, len(COLOURS) + len(SHAPES), 2 * OBJECTS)


def test_shut_gates_are_two_towers_bit_for_bit():
    network, given = tower(), drawn(np.random.default_rng(0), 4)
    apart, together = (network._through(given.images, given.words, crossed=crossed) for crossed in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(apart, together, strict=True))
    loss = network.grounded(given.images, given.words, crossed=True).square().mean()
    loss.backward()
    upper = network.images[-1]
    assert upper.alpha.grad.abs() > 0 and upper.cross.in_proj_weight.grad.abs().max() == 0, "the gate moves first"
    assert network.images[0].cross is None
    with torch.no_grad():
        upper.alpha.fill_(0.5)
    assert not torch.equal(network.together(given.images, given.words)[0], apart[0])


def test_the_first_stage_moves_what_looks_across_only_where_it_may():
    given = drawn(np.random.default_rng(0), 8)
    for crossed in (False, True):
        network = tower()
        coarse_loss(network, given.images, given.words, torch.Generator().manual_seed(0), crossed=crossed).backward()
        assert (network.images[-1].alpha.grad is not None) is crossed and (network.fill.weight.grad is not None) is crossed


def test_boxes_are_those_of_the_objects():
    given = drawn(np.random.default_rng(0), 100)
    kinds = given.words.unflatten(1, (OBJECTS, 2))
    assert all(len({tuple(kind) for kind in scene}) == OBJECTS for scene in kinds.tolist())
    assert given.inside.any(dim=2).all() and (given.inside.sum(dim=1) <= 1).float().mean() > 0.9
    paint = torch.tensor(list(COLOURS.values())) / 127.5 - 1
    middle = PATCH // 2
    pixels = given.images[:, :, middle::PATCH, middle::PATCH].flatten(2)  # one of each patch
    near = (pixels[:, None] - paint[kinds[..., 0]][..., None]).square().mean(dim=2)
    inside = given.inside
    assert near[inside].mean() < 0.5 * near[~inside].mean()
    assert pointed(type("Knows", (), {"grounded": lambda self, *a, crossed: inside.float()})(), given, fused=True) == 1


def test_a_second_stage_begins_with_the_first():
    knobs = CoarseToFine(stages="both", scenes=40, pairs=2, boxes=1)
    given = drawn(np.random.default_rng(0), 40)
    start = knobs._coarse(given, 0)
    before = {name: weight.clone() for name, weight in start.state_dict().items()}
    after = knobs._fine(start, given, 1, 1e-9, 0).state_dict()
    assert all(torch.allclose(after[name], weight, atol=1e-6) for name, weight in before.items())
    fresh = knobs.model_copy(update={"stages": "fine"})._coarse(given, 0).state_dict()
    assert any(not torch.equal(fresh[name], weight) for name, weight in before.items())
