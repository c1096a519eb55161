"""What is decided once for a study, when it is begun, and kept in its folder: how steps are computed, and its budget in FLOPs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import UserError
from windtunnel.core.files import decided_once
from windtunnel.core.keys import Variant
from windtunnel.recipe import Recipe
from windtunnel.study.file import StudyFile
from windtunnel.study.pilots import Means
from windtunnel.study.plan import BUDGET, VARIANT, at_one_budget, plan
from windtunnel.study.seeds import Race

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream


def variant_of(name: str, folder: Path, base: Recipe, stream: Stream, work: Callable[[], Work], means: Means) -> Variant:
    """How the steps of all runs are computed: as the study ``name`` in ``folder`` was begun, or what suits its baseline on this machine.

    Args:
        base: the recipe of the baseline, which is flown on ``stream``.
        work: what all runs together take, if nothing was decided yet.
        means: where runs are flown.

    Raises:
        UserError: where this machine cannot compute it.
    """
    import torch

    from windtunnel.train.machine import threads_of
    from windtunnel.train.variant import choose, refuse_unable

    here = means.machine()
    device = torch.device(here.device(0) or "cpu")

    # Compiled code is kept with the study: the system's folder for temporary files, where it would go, is emptied now and then.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((means.out / "cache" / "compiled").absolute()))

    shared = f"variants/{base.key(0, Variant())}-{stream.fingerprint}.json"  # runs count for all that compute them alike

    def decide() -> dict[str, Any]:
        if means.share is not None and (text := means.share.text(shared)):
            with contextlib.suppress(UserError, ValueError):  # what this machine cannot compute, or nobody can read
                refuse_unable(theirs := Variant.model_validate_json(text), device, name)
                return theirs.model_dump()
        taken = work()
        beginnings = min(taken.runs, here.count * taken.compilations)
        means.say("timing the step of the baseline in what ways this machine can compute it")
        with threads_of(here.threads):
            return choose(base, stream, device, flops=taken.flops, runs=taken.runs, beginnings=beginnings).model_dump()

    variant = Variant.model_validate(decided_once(folder / VARIANT, decide))
    refuse_unable(variant, device, f"study {name} in {means.out}")
    if means.share is not None and means.share.text(shared) is None:
        means.share.put_text(shared, variant.model_dump_json())
    return variant


class Work(NamedTuple):
    """What all runs of a study take."""

    flops: float  # estimated
    runs: int
    compilations: int  # of one worker: once for each shape of the steps, and anew where workers are hired anew


def work_of(study: StudyFile) -> Work:
    """What all runs of ``study`` take. Workers are hired anew for the trials of a tuning and for every look of a race."""
    from windtunnel.train.estimate import estimate

    recipes = at_one_budget(study.resolved, lambda base: estimate(base)["own_flops"])
    entries = plan(study, recipes, dict.fromkeys(recipes, ""), Variant())
    hired = bool(study.tune) + (len(study.seeds.looks) if isinstance(study.seeds, Race) else 1)
    flops = sum(estimate(entry.recipe)["own_flops"] for entry in entries)
    return Work(flops, len(entries), shapes_of(entry.recipe for entry in entries) * hired)


def shapes_of(recipes: Iterable[Recipe]) -> int:
    """How many steps of ``recipes`` compile differently."""
    phases = (phase for recipe in recipes for phase in recipe.phases)
    return len({repr((phase.model, phase.structure, phase.objective, phase.batch, phase.context)) for phase in phases})


def flops_of_budget(base: Recipe, folder: Path, stream: Stream, variant: Variant, means: Means) -> float:
    """The FLOPs that the baseline's budget of tokens per parameter takes, counted on its real step, once for the study."""
    import torch

    from windtunnel.train.sizing import counted_budget

    device = torch.device(means.machine().device(0) or "cpu")
    path = folder / BUDGET.format(base.key(0, variant))
    decided = decided_once(path, lambda: counted_budget(base, stream, device, variant).model_dump())
    return float(decided["flops"])
