"""The commands ``windtunnel train`` and ``windtunnel export``: one model from a recipe, and what is done with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from windtunnel.commands.console import console, following, print_json, stop_with, stopping
from windtunnel.commands.ending import writing_checkpoints
from windtunnel.commands.options import (
    OUT,
    AddressOption,
    BudgetOption,
    CorpusOption,
    Engine,
    EngineOption,
    JsonOption,
    LoggerOption,
    MeshOption,
    RanksOption,
    RecomputeOption,
    SetOption,
    ThreadsOption,
    changed,
    check_device,
    check_engine,
    sources,
)
from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import claim, locked

if TYPE_CHECKING:
    from windtunnel.laws.decision import ForecastResult
    from windtunnel.recipe import Recipe
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.record import RunRecord

AUTO = "auto"  # a mesh that is chosen by memory


@dataclass(frozen=True)
class Callbacks:
    """What a process at work reports to, asks whether to stop, and says things with. Of several ranks only the first is heard."""

    follow: Callable[[dict[str, Any]], None] | None
    stop: Callable[[], bool]
    say: Callable[[str], None]


@contextlib.contextmanager
def at_work(out: Path, processes: int, device: str | None, words: Sequence[str]) -> Iterator[Callbacks]:
    """Hold the folder ``out`` and show progress, as one process or as one of the ranks that share its work.

    Where ``processes`` are asked for and torchrun has not started them, they are started with ``words`` and waited for instead. Ranks
    that do not speak leave the command at the end.

    Raises:
        UserError: where another process holds the folder, or this machine has no such device.
    """
    from windtunnel.train import ranks

    check_device(device)
    if processes > 1 and "WORLD_SIZE" not in os.environ:  # which torchrun sets for those it starts
        with writing_checkpoints():
            raise typer.Exit(ranks.torchrun(processes, ["-m", "windtunnel.commands.main", *words]))
    with ranks.joined(device):
        speaking = not ranks.rank()
        with (
            locked(out / ".lock") if speaking else contextlib.nullcontext(True) as mine,
            stopping(speaking) as stop,
            following(out) if speaking else contextlib.nullcontext() as follow,
        ):
            if not mine:
                raise UserError(f"{out}: another process is working on it; wait for it, or choose another --out")
            claim(out)

            def say(message: str) -> None:
                if speaking:
                    console().print(escape(message), soft_wrap=True)

            yield Callbacks(follow, stop, say)
    if not speaking:
        raise typer.Exit


def train(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a recipe with its corpus and budget (YAML)")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder of the run")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="what differs between repetitions")] = 0,
    corpus: CorpusOption = None,
    settings: SetOption = None,
    budget: BudgetOption = None,
    cache: Annotated[Path, typer.Option("--cache", metavar="DIR", help="where prepared text is kept; studies share theirs")] = OUT
    / "cache",
    threads: ThreadsOption = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)")] = None,
    logger: LoggerOption = None,
    processes: RanksOption = 1,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="of a study: train this arm at --flops")] = None,
    flops: Annotated[float | None, typer.Option("--flops", metavar="F", help="with --arm: as `windtunnel plan` would")] = None,
    forecast: Annotated[
        Path | None,
        typer.Option("--forecast", metavar="FILE", help="forecast.json: say when the run leaves it, and where it ends"),
    ] = None,
    stop_above: Annotated[
        bool, typer.Option("--stop-above", help="with --forecast: stop where two evaluations in a row lie above it; go on without this")
    ] = False,
    mesh: MeshOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    recompute: RecomputeOption = False,
    offload: Annotated[
        bool, typer.Option("--offload", help="with --mesh: weights and moments wait in the machine's memory, and are updated there")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model from a recipe. Given again, it goes on where it was. With --corpus, a source is replaced or added.

    With --arm and --flops, FILE is a study, and its arm is trained at its real size: shape, batch and rate as `windtunnel plan` has them.
    With --ranks or --mesh, processes on this machine share the work; on several machines, let torchrun start
    `-m windtunnel.commands.main train ...`.

    Example: windtunnel train recipe.yaml --out runs/mine
    """
    from windtunnel.recipe import Document, load_recipe
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train import ranks
    from windtunnel.train.on_ray import train_on_ray
    from windtunnel.train.parallel.local import refuse_local
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.prepare import prepare, prepare_needed
    from windtunnel.train.run import fly

    check_engine(engine, address)
    if stop_above and engine is Engine.ray:
        raise UserError("--stop-above watches a run of this machine; leave it out with --engine ray, and the run is compared at its end")
    if arm is not None or flops is not None:
        recipe = arm_at(file, arm, flops, corpus, changed(settings, budget))
    else:
        document = Document(file, changed(settings, budget))
        recipe = resolve(load_recipe(document, sources(corpus)), document)
    laid = mesh_of(mesh, processes, recipe, device, recompute)
    if laid is not None and laid.parts > 1:
        refuse_local(recipe, laid)  # once, before there are processes that would each say so
    if offload and (laid is None or laid.parts == 1):
        raise UserError("--offload is for a model in shards; add --mesh shard=N")
    if stop_above and forecast is None:
        raise UserError("--stop-above needs --forecast: the file that says what the run is expected to reach")
    foretold = read_forecast(forecast, arm or "baseline") if forecast is not None else None
    how: dict[str, Any] = {"threads": threads, "device": device, "recompute": recompute, "offload": offload}
    how["loggers"] = [kind.value for kind in logger or ()]
    if engine is Engine.ray:
        check_device(device)
        say = partial(console().print, markup=False, soft_wrap=True)
        record = train_on_ray(recipe, seed, out, cache, laid or Mesh(data=processes), address=address, say=say, **how)
        finish(record, out, as_json, foretold, arm)
        return
    with at_work(out, laid.ranks if laid else processes, device, context.obj) as callbacks:
        with ranks.rank_0_first():
            stream, others = prepare(recipe, cache, callbacks.say), prepare_needed(recipe, cache, callbacks.say)
        if mesh == AUTO and laid:
            callbacks.say(f"--mesh auto: {laid}")
        how["mesh"] = laid
        if foretold is not None:
            callbacks = watched(callbacks, foretold, arm or "baseline", recipe, stop_above)
        record = fly(recipe, seed, stream, out, report=callbacks.follow, stop=callbacks.stop, warn=callbacks.say, streams=others, **how)
    finish(record, out, as_json, foretold, arm)


def finish(record: RunRecord, out: Path, as_json: bool, foretold: ForecastResult | None, arm: str | None) -> None:
    """Say how the run in ``out`` ended; an interrupted or failed one ends the command."""
    if as_json:
        print_json(record.plain())
    if record.status == "interrupted":
        raise KeyboardInterrupt
    if record.failure is not None:
        stop_with(record.failure)
    if not as_json:
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in record.test.items())
        print(f"{out}: finished, on test {numbers}\nexport it: windtunnel export {out} FOLDER")
    if foretold is not None:
        console().print(escape(against_band(foretold, arm or "baseline", record.test)), soft_wrap=True)


def arm_at(file: Path, arm: str | None, flops: float | None, corpus: Sequence[str] | None, changes: Sequence[str]) -> Recipe:
    """The recipe of an arm of the study in ``file``, carried over to ``flops``.

    Raises:
        UserError: where one of arm and FLOPs is missing, the study has no such arm, or it cannot be planned.
    """
    from windtunnel.core.shipped import shipped
    from windtunnel.laws.plan import plan
    from windtunnel.recipe import recipe_from
    from windtunnel.study.file import load_study

    if arm is None or flops is None:
        raise UserError("--arm and --flops go together: which arm of a study is trained, and with how many FLOPs")
    recipes = load_study(shipped(file), sources(corpus), changes).resolved
    if arm not in recipes:
        raise UserError(f"{file}: no arm {arm!r}; {nearest(arm, recipes)}")
    found = plan(recipes[arm], arm=arm, flops=flops)
    for warning in found.warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)
    return recipe_from(found.recipe)


def read_forecast(file: Path, arm: str) -> ForecastResult:
    """The forecast in ``file``, which has a band of ``arm`` at its target.

    Raises:
        UserError: where it is none, or has no such band.
    """
    import json

    from pydantic import ValidationError

    from windtunnel.laws.decision import ForecastResult, expected

    try:
        found = ForecastResult.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise UserError(f"{file}: no forecast; make one with: windtunnel forecast RESULT ... --flops F --out DIR") from error
    if arm not in found.bands:
        raise UserError(f"{file}: forecasts no arm {arm!r}; {nearest(arm, found.bands)}")
    if expected(found, arm) is None:
        raise UserError(f"{file}: holds no band of {arm!r} at {found.target:.3g} FLOPs; {' '.join(found.warnings) or 'fly more scales'}")
    return found


def watched(callbacks: Callbacks, found: ForecastResult, arm: str, recipe: Recipe, stops: bool) -> Callbacks:
    """``callbacks`` that also compare the run with its forecast at each evaluation, and with ``stops`` end it where it leaves the band."""
    from windtunnel.laws.decision import expected
    from windtunnel.laws.under_way import UnderWay
    from windtunnel.recipe import needed

    final, way, follow = expected(found, arm), found.bands[arm].way, callbacks.follow
    if follow is None or final is None:
        return callbacks
    if not way or needed(recipe):
        why = "models that it needs may be flown first" if way else "the studies of the forecast hold no evaluations of it"
        callbacks.say(f"compared with its forecast at the end alone: {why}")
        return callbacks
    watch = UnderWay(found.metric, final, way, callbacks.say, stops)

    def both(told: dict[str, Any]) -> None:
        follow(told)
        watch.see(told)

    return Callbacks(both, lambda: callbacks.stop() or watch.left, callbacks.say)


def against_band(found: ForecastResult, arm: str, test: Mapping[str, float | None]) -> str:
    """Whether what was measured lies in the band that the forecast has of ``arm`` at its target."""
    from windtunnel.laws.decision import expected

    band, value = expected(found, arm), test.get(found.metric)
    if band is None or value is None:
        return f"the run was not measured by {found.metric}, which the forecast is of"
    place = "within" if band.low <= value <= band.high else "above" if value > band.high else "below"
    return f"{found.metric} {value:.4f} lies {place} the forecast band of 80 percent, {band.low:.4f} to {band.high:.4f}"


def mesh_of(text: str | None, processes: int, recipe: Recipe, device: str | None = None, recompute: bool = False) -> Mesh | None:
    """What --mesh says, if it is given; ``auto`` lays out the processes there are, or one for each accelerator, by their memory.

    Raises:
        UserError: where --ranks says something else, and where nothing fits.
    """
    from windtunnel.train.parallel.mesh import Mesh

    if text == AUTO:
        import torch

        from windtunnel.train.fit import device_memory, fitting

        present = torch.cuda.device_count() if device != "cpu" else 0
        ranks = int(os.environ.get("WORLD_SIZE", 0)) or (processes if processes > 1 else max(1, present))
        return fitting(recipe, ranks, device_memory(device, ranks), recompute=recompute)
    mesh = Mesh.read(text) if text else None
    if mesh and processes not in (1, mesh.ranks):
        raise UserError(f"--ranks {processes}: the mesh {mesh} takes {mesh.ranks} ranks; leave --ranks out")
    return mesh


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a finished run")],
    to: Annotated[Path | None, typer.Argument(metavar="OUT", help="a new or empty folder")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="OUT", help="the same")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 (what runs train in), bfloat16 or float16")] = "float32",
    adapter_of: Annotated[
        str | None,
        typer.Option("--adapter-of", metavar="MODEL", help="the model it began from: write what has changed, for peft"),
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="rank of that adapter (default: the least that holds it)")] = None,
) -> None:
    """Write a finished run as a folder that AutoModel and AutoTokenizer load, and load it once to be sure; or as an adapter for peft.

    Example: windtunnel export runs/mine exported
    """
    from windtunnel.train.export import export_adapter, export_run

    target = out or to
    if target is None or (out and to):
        raise UserError(f"say once where it goes: windtunnel export {run} --out FOLDER")
    if adapter_of is not None:
        made = export_adapter(run, target, adapter_of, rank)
        print(f"{target}: an adapter of rank {made['rank']} for {made['matrices']} matrices of {made['base']}, for peft")
        return
    found = export_run(run, target, dtype)
    size = f"{found['parameters']:,} parameters in {found['dtype']}"
    print(f"{target}: {found['architecture']}, {size}, loaded with {' and '.join([found['loads_with'], *found['beside']])}")
