"""The memory of a step that computes nothing is that of one that does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from windtunnel.core.errors import UserError
from windtunnel.recipe import recipe_from
from windtunnel.slots import Structure
from windtunnel.train.estimate import dry_batch
from windtunnel.train.parallel.mesh import Mesh
from windtunnel.train.parallel.shard import shard
from windtunnel.train.traced import Held, made_up, one_step, peak, repeated, traced, untrained

TINY = {
    "model": {"family": "llama", "width": 32, "heads": 2, "layers": 2},
    "context": 32,
    "batch": 4,
    "tokenizer": {"vocabulary": 512, "sentinels": 16},
}


def recipe_of(**fields: Any) -> Any:
    return recipe_from({"corpus": {"notes": "/nowhere"}, "budget": {"steps": 2}, **TINY, **fields})


MASKED = {"structure": {"fixed-mask": {"sparsity": 0.5}}}


@pytest.mark.parametrize("fields", [{}, {"optimizer": "muon"}, MASKED], ids=["plain", "muon", "masked"])
def test_it_is_what_a_real_step_holds(fields: dict[str, Any]) -> None:
    recipe = recipe_of(**fields)
    found, (phase,) = traced(recipe, bfloat16=False), recipe.phases
    assert found is not None
    model = untrained(phase, recipe.encoding)
    optimizer = phase.optimizer.build(model, 0.01)
    with Held() as held:
        for value in (*model.parameters(), *model.buffers()):
            held.hold(value.data)
        for _ in range(2):
            one_step(model, optimizer, phase, repeated(dry_batch(phase, recipe.encoding), 4), False)
        assert found.bytes(4, 1) == pytest.approx(held.peak, rel=0.02)
        held.peak = held.now
        for _ in range(2):
            phase.objective.loss(model, repeated(dry_batch(phase, recipe.encoding), 4), frozenset()).values.sum().backward()
    assert found.gradients == sum(value.nbytes for value in model.parameters())
    assert held.peak <= 1.02 * found.accumulating().bytes(4, 1)


def test_in_shards_it_is_what_a_rank_holds_with_real_tensors() -> None:
    """Which real ranks hold too: benchmarks/mesh_memory.py."""
    recipe, mesh = recipe_of(), Mesh(shard=2)
    (phase,) = recipe.phases
    foretold, _ = peak(phase, recipe.encoding, 2, False, mesh)
    with made_up(mesh) as laid, Held() as held:
        model = untrained(phase, recipe.encoding)
        for value in (*model.parameters(), *model.buffers()):
            held.hold(value.data)
        del value
        whole = held.now
        shard(model, laid)
        assert 0.5 * whole <= held.now < 0.6 * whole
        held.peak = held.now
        optimizer = phase.optimizer.build(model, 0.01)
        for _ in range(2):
            one_step(model, optimizer, phase, repeated(dry_batch(phase, recipe.encoding), 2), False)
    assert foretold == pytest.approx(held.peak, rel=0.02)


def test_of_several_phases_the_most_of_each() -> None:
    wide, long = {"share": 0.5, "model": {"width": 128}, "context": 8}, {"share": 0.5, "model": {"width": 16}, "context": 128}
    one, two, both = (
        traced(recipe_of(phases=phases, batch=2), bfloat16=False)
        for phases in ([{**wide, "share": 1}], [{**long, "share": 1}], [wide, long])
    )
    assert one and two and both
    assert both == tuple(map(max, one, two))


def test_half_the_activations_in_bfloat16_and_no_second_moment_of_muon() -> None:
    full, half = (traced(recipe_of(batch=2), bfloat16=narrow) for narrow in (False, True))
    muon = traced(recipe_of(optimizer="muon", batch=2), bfloat16=False)
    assert full and half and muon
    assert half.sequence < full.sequence and muon.state < full.state


def test_memory_is_counted_once_and_given_back() -> None:
    with Held() as held:
        one = torch.zeros(256, 4)
        view = one.view(4, 256)[:2]
        assert held.now == 4096
        del one
        assert held.now == 4096, "the view keeps it"
        del view
        assert held.now == 0 and held.peak == 4096


def test_what_looks_at_values_cannot_be_traced(spare_part: Any) -> None:
    @spare_part
    class Looks(Structure, name="test-looks"):
        def apply(self, model: Any) -> None:
            if float(next(model.parameters()).sum()) > 0:
                raise UserError("no such thing")

        def remove(self, *given: Any) -> Any:
            raise AssertionError

    assert traced(recipe_of(structure="test-looks"), bfloat16=False) is None


def test_one_sequence_takes_at_least_what_the_update_does() -> None:
    recipe = recipe_of(model={"family": "t5", "width": 64, "heads": 2, "layers": 1}, objective="span-corruption")
    found, (phase,) = traced(recipe, bfloat16=False), recipe.phases
    assert found is not None and found.state + found.sequence < found.least
    assert found.bytes(1, 1) == peak(phase, recipe.encoding, 1, False)[0]
    assert found.most(found.least / 2, 1) == 0
