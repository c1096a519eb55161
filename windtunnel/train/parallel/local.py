"""What cannot act where each rank holds a part of the weights."""

from __future__ import annotations

from collections.abc import Iterator

from windtunnel.core.errors import UserError
from windtunnel.recipe import Phase, Recipe
from windtunnel.recipe.phase import parts_of
from windtunnel.train.parallel.mesh import Mesh


def refuse_unfit(recipe: Recipe, mesh: Mesh) -> None:
    """Raise UserError where ``mesh`` takes more or fewer ranks than there are, or a part of ``recipe`` needs weights that are whole."""
    from windtunnel.train import ranks

    if mesh.ranks != ranks.count():
        raise UserError(f"--mesh {mesh} takes {mesh.ranks} ranks, and {ranks.count()} train here")
    if mesh.parts > 1:
        refuse_local(recipe, mesh)


def refuse_local(recipe: Recipe, mesh: Mesh) -> None:
    """Raise UserError where ``mesh`` does not divide a batch of ``recipe``, or a part of it needs weights that are whole."""
    for number, phase in enumerate(recipe.phases):
        where = f"phases.{number}." if len(recipe.phases) > 1 else ""
        if phase.batch % mesh.readers:
            fit = [ranks for ranks in range(1, phase.batch + 1) if phase.batch % ranks == 0]
            raise UserError(
                f"{where}batch: {phase.batch} sequences cannot be shared out evenly to the {mesh.readers} ranks of {mesh}; "
                f"take {' or '.join(map(str, fit))}"
            )
        if mesh.tensor > 1:
            refuse_uncut(phase, mesh.tensor, where)
    if recipe.compile == "yes" and mesh.tensor > 1:
        raise UserError(f"compile: yes cannot be had on the mesh {mesh}: layers that are cut are not compiled; leave it out")
    for what, reason in needs_whole(recipe) if mesh.parts > 1 else ():
        raise UserError(f"{what} cannot be trained on the mesh {mesh}: {reason}; use data={mesh.ranks}, which shards nothing")


def refuse_uncut(phase: Phase, ranks: int, where: str) -> None:
    """Raise UserError where so many ``ranks`` cannot compute a layer of ``phase`` between them; ``where`` it stands in its recipe."""
    family, sizes = phase.model.family, phase.model.sizes()
    if family.uncut:
        raise UserError(f"{where}model: tensor={ranks} cuts layers, which {family.name} cannot: {family.uncut}; use shard={ranks}")
    for key, size in {"heads": sizes.heads, "key_value_heads": sizes.key_value_heads, "intermediate": sizes.intermediate}.items():
        if size % ranks:
            fit = " or ".join(str(each) for each in range(1, size + 1) if size % each == 0)
            raise UserError(f"{where}model.{key}: {size} cannot be cut evenly for tensor={ranks}; take tensor={fit}")
    if phase.objective.together:
        raise UserError(
            f"{where}objective: {phase.objective.name} compares the sequences of a step with each other, and ranks that compute a layer "
            f"between them hold the same ones; use shard={ranks}"
        )
    if sizes.dropout:
        raise UserError(f"{where}model.dropout: ranks that compute a layer between them would drop the same units; use shard={ranks}")


def needs_whole(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What in ``recipe`` needs whole weights, by place and name, each with the reason."""
    for number, phase in enumerate(recipe.phases):
        prefix = f"phases.{number}." if len(recipe.phases) > 1 else ""
        if phase.model.family.local:
            yield f"{prefix}model: {phase.model.family.name}", phase.model.family.local
        for key, part in parts_of(phase).items():
            if part.local and (key != "start" or number):  # the first start makes the model that is then sharded
                yield f"{prefix}{key}: {part.name}", part.local
        before = recipe.phases[number - 1] if number and phase.start is None else phase
        if (before.model, before.context) != (phase.model, phase.context):
            yield f"{prefix}model", "the phase before has another model or context, and its weights are copied whole"
    for number, evaluation in enumerate(recipe.evaluations):
        if reason := evaluation.local or getattr(getattr(evaluation, "inside", None), "local", ""):
            yield f"evaluations.{number}: {evaluation.name}", reason
