"""One run from recipe to record: fly the recipe with one seed on its stream, write down everything that came of it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from windtunnel.core import outside
from windtunnel.core.errors import UserError
from windtunnel.core.files import decided_once, naming
from windtunnel.core.keys import Variant
from windtunnel.core.typed import Failure
from windtunnel.recipe import Recipe
from windtunnel.train.needed import Others, charged, curated, others_of
from windtunnel.train.parallel.local import refuse_unfit
from windtunnel.train.parallel.mesh import Mesh, laid_out
from windtunnel.train.parallel.same import refuse_different
from windtunnel.train.record import RunRecord, read_record, write_record
from windtunnel.train.spikes import spikes_in
from windtunnel.train.variant import choose, refuse_unable

if TYPE_CHECKING:
    import torch

    from windtunnel.data.stream import Stream
    from windtunnel.train.log import RunContext, RunState
    from windtunnel.train.machine import PeakMemory
    from windtunnel.train.phase import PhaseRun


class Options(TypedDict, total=False):
    """What a run tells and asks on its way. None of it changes what is computed.

    ``report`` is told the progress (step, done, loss, flops, seconds), ``warn`` what the user should know, in sentences (default: they are
    printed). When ``stop`` returns True the run writes a checkpoint and ends. ``loggers`` are names of kinds of loggers, which call the
    run ``name`` (default: as its folder);
    ``checkpoint_seconds`` lie between two checkpoints. With ``recompute`` the activations of blocks are computed again, not kept; with
    ``offload`` the parts of a model in shards wait in the machine's memory.
    ``shorter`` are runs with smaller budgets, by folder, that this one hands its
    beginning; see :mod:`windtunnel.train.branch`.
    """

    report: Callable[[dict[str, Any]], None] | None
    stop: Callable[[], bool] | None
    warn: Callable[[str], None] | None
    loggers: Sequence[str]
    name: str
    checkpoint_seconds: float
    recompute: bool
    offload: bool
    shorter: Mapping[Path, Recipe]


def fly(
    recipe: Recipe,
    seed: int,
    stream: Stream,
    folder: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    needed_in: Path | None = None,
    streams: Mapping[str, Stream | str] | None = None,
    variant: Variant | None = None,
    mesh: Mesh | None = None,
    **options: Unpack[Options],
) -> RunRecord:
    """Fly ``recipe`` with ``seed`` in ``folder`` and return its record, which is also written to ``folder/record.json``.

    A finished run is not flown again; an interrupted one goes on from its newest whole checkpoint. A run that is asked to stop returns
    with status "interrupted", one that breaks with status "failed" and its failure.

    Models that the recipe needs are looked for among the runs in ``needed_in``; without it they are flown first, in ``folder/needed``.
    ``streams`` holds the streams (or their folders) of those that are not trained on ``stream``, as ``prepare_needed`` makes them.
    ``variant`` is that of the study; by default it is chosen when the folder is begun, and kept. ``mesh`` is how the ranks are laid out.

    Raises:
        UserError: when the folder holds another run or cannot be written, ``mesh`` does not suit ranks or recipe, or ranks differ in these.
    """
    folder, place, mesh = Path(folder), device_of(device, threads), mesh or Mesh.whole()
    refuse_unfit(recipe, mesh)
    plan, chosen = planned(recipe, seed, stream, folder, place, variant, mesh)
    if (done := finished(folder, recipe.key(seed, chosen), stream, plan)) is not None:
        return done
    refuse_unable(recipe.variant(chosen), place, str(folder))
    record, runs = begun(recipe, seed, stream, place, chosen, mesh), needed_in or folder / "needed"
    told = heard(options, record["warnings"]) | {"mesh": mesh}
    for message in changed(plan, threads, mesh):
        told["warn"](message)

    def missing(one: Recipe, own: Stream, place: Path, streams: Mapping[str, Stream | str]) -> RunRecord:
        how: Any = {key: told.get(key) for key in ("report", "stop", "recompute", "offload")}
        return fly(one, seed, own, place, threads=threads, device=device, needed_in=runs, streams=streams, variant=chosen, mesh=mesh, **how)

    try:
        others = others_of(recipe, seed, chosen, stream, runs, streams or {}, None if needed_in else missing)
    except UserError as error:
        return stored(folder, RunRecord(**record, status="failed", failure=Failure.of(error)))
    if others is None:
        return stored(folder, RunRecord(**record, status="interrupted"))
    record |= costs(stream, others)
    run_context = context_of(folder, place, recipe.variant(chosen), stream, Others(others, chosen), told | {"charged": record["charged"]})
    return stored(folder, RunRecord(**record, **outcome(recipe, seed, stream, run_context)))


def device_of(device: str | None, threads: int | None) -> torch.device:
    """Where a run is computed (default: an accelerator if there is one), once torch has been told the number of ``threads``."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def heard(options: Options, warnings: list[str]) -> dict[str, Any]:
    """Those of ``options`` that are set; what is said is also noted in ``warnings``. Of several ranks, rank 0 alone tells anything."""
    from windtunnel.train import ranks

    given = {key: value for key, value in options.items() if value is not None}
    if ranks.rank():
        given = {key: value for key, value in given.items() if key not in ("report", "loggers")} | {"warn": lambda message: None}
    tell: Any = given.get("warn", lambda message: print(message, flush=True))

    def noted(message: str) -> None:
        warnings.append(message)
        tell(message)

    return given | {"warn": noted}


def costs(stream: Stream, others: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the record of a run on ``stream`` says of ``others``, whose models it needs, and of what is paid for them."""
    curation = curated(stream, others)
    return {"needed": others, "curation": curation, "charged": charged({**curation, **others})}


def planned(
    recipe: Recipe, seed: int, stream: Stream, folder: Path, place: torch.device, variant: Variant | None, mesh: Mesh
) -> tuple[Mapping[str, Any], Variant]:
    """What the run in ``folder`` was begun with (key, stream, threads, ranks, mesh), now if it was not, and the variant of its study.

    Raises:
        UserError: where ranks differ in what they would train, and for a folder that cannot be written.
    """
    import torch

    from windtunnel.train import ranks

    refuse_different(recipe, stream, mesh)

    def decide() -> dict[str, Any]:
        chosen = variant or choose(recipe, stream, place)
        if mesh.tensor > 1:  # layers that are cut are not compiled
            chosen = chosen.model_copy(update={"compiled": False})
        how = {"variant": chosen.model_dump(), "threads": torch.get_num_threads(), "ranks": ranks.count(), "mesh": str(mesh)}
        return {"key": recipe.key(seed, chosen), "stream": stream.fingerprint, **how}

    with naming(folder), ranks.rank_0_first():
        folder.mkdir(parents=True, exist_ok=True)
        outside.store(recipe, folder)
        plan = decided_once(folder / "plan.json", decide)
    return plan, variant or Variant.model_validate(plan.get("variant") or {})


def changed(plan: Mapping[str, Any], threads: int | None, mesh: Mesh) -> Iterator[str]:
    """What is no longer as it was when the run was begun, a sentence each."""
    from windtunnel.train import ranks

    for what, now in {"thread(s)": threads, "rank(s)": ranks.count()}.items():
        began = plan.get(what.removesuffix("(s)") + "s", now)
        if now and began != now:
            yield f"this run began with {began} {what} and goes on with {now}: not bitwise what it would have been undisturbed"
    began = plan.get("mesh", str(mesh))
    if began != str(mesh) and plan["ranks"] == ranks.count():
        yield f"this run began on the mesh {began} and goes on on {mesh}: not bitwise what it would have been undisturbed"


def stored(folder: Path, record: RunRecord) -> RunRecord:
    """The record of a run as rank 0 has it, which writes it to ``folder``.

    What is refused or has diverged is so on every rank; with any other failure a rank leaves, because the rest will not come here.
    """
    from windtunnel.train import ranks

    if not ranks.rank():
        write_record(folder, record)
        if record.finished:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    elif record.failure and record.failure.kind in ("fault", "lost"):
        print(f"rank {ranks.rank()}: {record.failure.story}", file=sys.stderr)
        raise SystemExit(1)
    return record if record.failure else ranks.broadcast(record)


def finished(folder: Path, key: str, stream: Stream, plan: Mapping[str, Any]) -> RunRecord | None:
    """The record in ``folder`` if that run is finished. Raises UserError where it is of another recipe, seed or text."""
    record = read_record(folder)
    if (plan["key"], plan["stream"]) != (key, stream.fingerprint) or (record is not None and record.key != key):
        state = "a" if record is not None and record.finished else "an unfinished"
        raise UserError(f"{folder} holds {state} run of another recipe, seed or text; choose another folder or delete it")
    if record is None or not record.finished:
        return None
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a kill may have come between the record and this
    return record


def begun(recipe: Recipe, seed: int, stream: Stream, place: torch.device, variant: Variant, mesh: Mesh) -> dict[str, Any]:
    """What the record of a run says before anything is flown."""
    import torch

    from windtunnel.train import machine, ranks

    return {
        "key": recipe.key(seed, variant),
        "seed": seed,
        "recipe": recipe.model_dump(mode="json"),
        "stream": stream.fingerprint,
        "variant": recipe.variant(variant),
        "threads": torch.get_num_threads(),
        "ranks": ranks.count(),
        "mesh": str(mesh),
        "device": str(place),
        "versions": machine.versions(),
        "hardware": machine.hardware(place),
        "warnings": [],
    }


def outcome(recipe: Recipe, seed: int, stream: Stream, run_context: RunContext) -> dict[str, Any]:
    """Train, test and export; what the record of the run says of that. What breaks on the way is in it as a failure."""
    from transformers.utils import logging

    from windtunnel.train import loop, machine, ranks

    logging.disable_progress_bar()  # saving a model would draw over the study's table
    machine.keep_freed_memory()
    memory, found = machine.PeakMemory(run_context.device), dict[str, Any]()
    began = time.process_time() - spent_before(run_context.folder)
    try:
        with machine.repeatable():
            phase_run, whole = loop.train(recipe, seed, stream, run_context)
        found |= training(phase_run.run_state, stream, memory, run_context.folder / "log.jsonl")
        found["status"] = "finished" if whole else "interrupted"
        if whole:
            found |= test_and_export(phase_run)
    except Exception as error:
        failure = Failure(kind="lost", message=ranks.LEFT) if ranks.left(error) else Failure.of(error)
        found |= {"status": "failed", "failure": failure}
    finally:
        for logger in run_context.loggers:
            logger.close()
        found["cpu_seconds"] = time.process_time() - began
    return found


def spent_before(folder: Path) -> float:
    """CPU seconds that an interrupted run in ``folder`` took so far, as its record has them."""
    record = read_record(folder)
    return (record.cpu_seconds or 0.0) if record is not None and record.status == "interrupted" else 0.0


def training(run_state: RunState, stream: Stream, memory: PeakMemory, log: Path) -> dict[str, Any]:
    """What the record of a run says of its training."""
    sizes = {source: size for source, size in stream.sizes("train").items() if source in run_state.cursors}
    return {
        "phases": run_state.phases,
        "validation": run_state.validation,
        "cursors": run_state.cursors,
        "stopped": run_state.stopped,
        "totals": {
            "steps": run_state.steps,
            "tokens": run_state.tokens,
            "targets": run_state.targets,
            "flops": run_state.flops,
            "effective_flops": run_state.effective_flops,
            "seconds": run_state.seconds,
            "cpu_seconds": run_state.cpu_seconds if memory.device.type == "cpu" else None,
            "peak_memory_bytes": memory.bytes(max((phase.get("memory", 0) for phase in run_state.phases), default=0)),
            "epochs": {source: run_state.cursors[source] / size for source, size in sizes.items()},
            "spikes": spikes_in(log),
        },
    }


def context_of(folder: Path, place: torch.device, variant: Variant, stream: Stream, others: Others, told: Mapping[str, Any]) -> RunContext:
    """What a run on ``stream`` in ``folder`` is flown with, where it needs ``others``.

    ``told`` are further fields, with the names of kinds of loggers, which are opened, and the mesh, which is laid out.
    """
    from windtunnel.models.load import load
    from windtunnel.models.locate import locate
    from windtunnel.train import machine
    from windtunnel.train.log import RunContext
    from windtunnel.train.loggers import make_logger

    name = told.get("name", folder.name)
    loggers = tuple(make_logger(kind, folder, name) for kind in told.get("loggers", ()))
    told = {key: value for key, value in told.items() if key != "name"}
    return RunContext(
        folder=folder,
        device=place,
        precision=machine.precision_context(place, variant.precision),
        attention=variant.attention,
        compiled=variant.compiled,
        bfloat16=variant.precision == "bfloat16",
        cursors_of=others.cursors,
        model_of=lambda trained, seed: load(others.folder(trained, seed), trained.fingerprint),
        processor_of=lambda trained, seed: stream.encoding.processor_in(locate(others.folder(trained, seed))),
        **{**told, "loggers": loggers, "mesh": laid_out(told["mesh"], place)},
    )


def test_and_export(phase_run: PhaseRun) -> dict[str, Any]:
    """Evaluate the finished model of the last phase on test, let it write samples, and save it as a folder that transformers loads.

    All ranks measure it, and rank 0 saves it: of a model in shards one tensor after another.
    """
    from windtunnel.kits.gather import alone
    from windtunnel.models.save import export
    from windtunnel.train import documents, ranks
    from windtunnel.train.parallel.shard import one_by_one, outline, sharded
    from windtunnel.train.phase import evaluate, judges

    recipe, stream, run_context, evaluations = phase_run.recipe, phase_run.stream, phase_run.run_context, phase_run.evaluations
    model, _ = phase_run.release()
    judge = judges(recipe, recipe.phases[-1], stream, "test", run_context)
    judge.epochs = phase_run.loader.epochs
    numbers = evaluate(evaluations, model, judge)
    if ranks.rank() and not sharded(model):
        return {}
    primary = recipe.evaluations[0]
    with alone():
        written = stream.encoding.samples(model, judge)
    special = recipe.special()
    values = one_by_one(model) if sharded(model) else None
    try:
        if not ranks.rank():
            documents.write(run_context.folder, numbers.by_document)
            shown = outline(model) if values else model
            export(shown, run_context.folder / "model", tokenizer=stream.encoding.processor(stream, special), values=values)
    finally:
        for _ in values or ():  # what rank 0 has not looked at, because the disk is full, the others put together all the same
            pass
    known = {"unit": primary.unit, "better": primary.better, "tokens_added": stream.encoding.added(stream, special)}
    return {"test": dict(numbers), "primary": next(iter(numbers)), "samples": written, **known}
