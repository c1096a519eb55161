"""The memory of a step, from a step of the recipe itself that computes nothing: its tensors have shapes and no content.

A model of any size can be traced so, on any machine, in seconds (``torch._subclasses.FakeTensorMode``), and in shards too, on ranks that
are made up: what one of them holds is what torch's own ``fully_shard`` does with such tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from windtunnel.recipe import Phase, Recipe
from windtunnel.slots import Encoding
from windtunnel.train.again import recompute
from windtunnel.train.estimate import Footprint, dry_batch
from windtunnel.train.held import Held
from windtunnel.train.parallel.mesh import Mesh, laid_out
from windtunnel.train.parallel.shard import shard

STEPS = 2  # the first makes the moments, which the peak of any later one includes


def traced(recipe: Recipe, *, bfloat16: bool, mesh: Mesh | None = None, again: bool = False) -> Footprint | None:
    """What a step holds, in float32 or under autocast to bfloat16: of the phase of ``recipe`` that takes most of each.

    On a ``mesh``, it is what a rank holds, whose sequences are its own. With ``again`` blocks compute their activations again.

    Weights, gradients, moments and activations are those of the real modules, objective, structure and optimizer; models that parts hold
    beside it and evaluation are left out. It is exact at the micro-batch, at half of it and at one sequence, and a line elsewhere. None
    where a part looks at values, which are not there.
    """
    state = sequence = gradients = least = 0.0
    for phase in recipe.phases:
        rows = recipe.micro_batch or max(1, phase.batch // (mesh.readers if mesh else 1))
        low, high = (rows // 2, rows) if rows > 1 else (1, 2)
        try:
            found = {count: peak(phase, recipe.encoding, count, bfloat16, mesh, again) for count in {1, low, high}}
        except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, AssertionError):
            return None
        (less, _), (more, kept) = found[low], found[high]
        each = (more - less) / (high - low)
        state, sequence = max(state, more - high * each), max(sequence, each)
        gradients, least = max(gradients, float(kept)), max(least, float(found[1][0]))
    return Footprint(state, sequence, gradients, least)


def peak(phase: Phase, encoding: Encoding, rows: int, bfloat16: bool, mesh: Mesh | None = None, again: bool = False) -> tuple[int, int]:
    """The most bytes that a step of ``phase`` with ``rows`` sequences holds, and the bytes of its gradients."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with made_up(mesh) as ranks, FakeTensorMode(allow_non_fake_inputs=True), Held() as held:
        model = untrained(phase, encoding)
        for value in (*model.parameters(), *model.buffers()):
            held.hold(value.data)
        gradients = sum(value.nbytes for value in model.parameters() if value.requires_grad)
        del value
        shard(model, ranks, bfloat16=bfloat16)
        if again:
            recompute(model)
        held.peak = held.now
        optimizer = phase.optimizer.build(model, phase.model.learning_rate())
        for _ in range(STEPS):
            one_step(model, optimizer, phase, repeated(dry_batch(phase, encoding), rows), bfloat16)
        return held.peak, gradients


@contextlib.contextmanager
def made_up(mesh: Mesh | None) -> Iterator[DeviceMesh | None]:
    """The ranks of ``mesh``, of which this process is the first and the others answer with nothing; None where a model stays whole."""
    if mesh is None or mesh.parts == 1:
        yield None
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=mesh.ranks)  # type: ignore[no-untyped-call]
    try:
        yield laid_out(mesh, torch.device("cpu"))
    finally:
        dist.destroy_process_group()


def untrained(phase: Phase, encoding: Encoding) -> Any:
    """A model of ``phase`` with its structure, whose weights are whatever its family draws."""
    from windtunnel.models.init import config_for, family_of

    config = config_for(phase.model, encoding.reckoned(), phase.context)
    architecture = family_of(config).model_class()
    config._attn_implementation = "sdpa" if architecture._supports_sdpa else "eager"
    model = architecture(config).train()
    if phase.structure is not None:
        phase.structure.apply(model)
    return model


def one_step(model: Any, optimizer: torch.optim.Optimizer, phase: Phase, batch: dict[str, torch.Tensor], bfloat16: bool) -> None:
    """Loss, gradient and update, as the loop makes them."""
    with torch.autocast("cpu", dtype=torch.bfloat16) if bfloat16 else contextlib.nullcontext():
        loss = phase.objective.loss(model, batch, frozenset())
        value = (loss.counts.to(loss.values.dtype) * loss.values).sum()
    del loss
    value.backward()  # type: ignore[no-untyped-call]
    del value
    optimizer.step()
    model.zero_grad(set_to_none=True)


def repeated(batch: dict[str, Any], rows: int) -> dict[str, torch.Tensor]:
    """``batch`` of one row, ``rows`` times."""
    return {name: torch.as_tensor(value).repeat(rows, *[1] * (torch.as_tensor(value).dim() - 1)) for name, value in batch.items()}
