"""Ways of adapting a trained model side by side: all weights, or a few beside frozen ones, each at its best learning rate.

``windtunnel adapt MODEL --with lora,svd-core,full`` calls :func:`compare_ways`. It writes a study, which ``windtunnel study`` understands
too, flies it, and leaves the model of the way that gained most among those that kept enough.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import write_json
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import Structure
from windtunnel.study.adapt import write_own
from windtunnel.study.adapt_request import GENTLE, OWN, AdaptRequest, model_of_text, settings
from windtunnel.study.check import check_study
from windtunnel.study.file import StudyFile, load_study
from windtunnel.study.fly import fly_study
from windtunnel.study.launch.watch import duration
from windtunnel.study.result import BASELINE, StudyResult

FULL = "full"  # all weights train
GRID = (0.1, 0.32, 1.0, 3.2, 10.0)  # multiples of what is usual for a way
WIDEN = 2  # more values on either side, where the best lies at an end
TRIAL = 0.5  # of the budget of a run
SEEDS = 3
ROUGHLY = 40  # steps of the study whose cost is estimated first
LEAST = 8  # steps of a run
FILE, NAME = "ways.yaml", "ways"
EXPORTED = "exported.json"  # which way, by which run, in the folder of the comparison
SURE = 0.85  # of the hours are planned: widening is not foreseen


def ways_of(text: str) -> list[str]:
    """``lora,svd-core,full`` as names. Raises UserError for one that is no structure, or stands there twice."""
    ways = [way.strip() for way in text.split(",") if way.strip()]
    for place, way in enumerate(ways):
        if way != FULL and registry.find(Structure, way) is None:
            raise UserError(f"--with {way}: no such structure; {nearest(way, {FULL, *registry.known(Structure)})}")
        if way in ways[:place]:
            raise UserError(f"--with {text}: {way} stands there twice")
    return ways


def study_of(request: AdaptRequest, ways: Sequence[str], seeds: int = SEEDS) -> dict[str, Any]:
    """The study that compares ``ways``, as a file would write it. The baseline is ``full`` where that is among them, else the first.

    Every way gets the same budget in FLOPs, and the same grid of learning rates round what is usual for it.
    """
    raw = settings(dataclasses.replace(request, structure=None))
    kept = [name for name in raw["corpus"] if name not in request.corpus]
    scratch = ModelSettings(width=model_of_text(request.checkpoint).model["width"]).learning_rate()
    first = FULL if FULL in ways else ways[0]

    def way_of(way: str) -> dict[str, Any]:
        part = registry.find(Structure, way)
        usual = GENTLE if part is None else part.usual_rate  # type: ignore[attr-defined]
        found: dict[str, Any] = {"optimizer": {"adamw": {"learning_rate": request.rate or float(f"{usual * scratch:.2g}")}}}
        return found if way == FULL else {"structure": way, **found}

    shared = {key: value for key, value in raw.items() if key not in ("corpus", "budget", "limits", "optimizer")}
    return {
        "name": NAME,
        "description": f"Ways of adapting {Path(request.checkpoint).name}, at equal FLOPs; the baseline is {first}",
        "corpus": raw["corpus"],
        "kept": kept,
        "budget": raw["budget"],
        "seeds": seeds,
        "curve": [1],
        "tune": {"rate_multiple": list(GRID), "widen": WIDEN, "share": TRIAL},
        "baseline": {**shared, **way_of(first)},
        "arms": {way: way_of(way) for way in ways if way != first},
    }


def compare_ways(
    request: AdaptRequest,
    ways: Sequence[str],
    out: Path,
    *,
    hours: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    warn: Callable[[str], None] = print,
) -> tuple[StudyResult, str | None]:
    """Fly the study of ``ways`` in the folder ``out``, or go on with it; the result, and the name of the way whose model is exported.

    In ``out``: ``ways.yaml``, ``studies/ways/`` with result and report, ``runs/``, and ``model/``, with ``adapter/`` beside it where
    what the way changed is an adapter that peft loads. Every way spends the FLOPs that
    the baseline takes for its budget, or with ``hours`` as many as fill them.

    Raises:
        UserError: for what the user can mend.
    """
    raw, file = study_of(request, ways), out / FILE
    asked = f"{hours:g} hours in all" if hours is not None else " ".join(f"{amount:g} {unit}" for unit, amount in raw["budget"].items())
    raw["description"] += f"; asked for: {asked}"
    own = out / raw["corpus"].get(OWN, "")
    if OWN in raw["corpus"]:
        raw["corpus"][OWN] = str(own.resolve())
    out.mkdir(parents=True, exist_ok=True)
    present = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    if present is not None and present != {**raw, "budget": present["budget"]}:  # it was sized when the study was begun
        raise UserError(f"{file}: holds other ways or settings; choose another folder with --out")
    if OWN in raw["corpus"] and not own.exists():
        write_own(request, own, seed, threads, device, warn)
    if present is None:
        raw["budget"] = _sized(raw, file, out, hours, workers, threads, device, warn)
        _write(raw, file)
    result = fly_study(load_study(file), out, workers=workers, threads=threads, device=device)
    arm = best_way(result, request.tolerance)
    if arm is None:
        return result, None
    way = arm if arm != BASELINE else FULL if FULL in ways else ways[0]
    allowed, side = _allowed(result, request.tolerance), result.transfer.axes.arms[arm]  # type: ignore[union-attr]
    if allowed is not None and (side.kept.mean or 0.0) < allowed:
        warn(f"no way kept what --max-forgetting asks for; {way} kept most")
    return result, way if _export(result, arm, way, request.checkpoint, out, warn) else None


def _write(raw: Mapping[str, Any], file: Path) -> None:
    file.write_text(yaml.safe_dump(dict(raw), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _sized(
    raw: Mapping[str, Any],
    file: Path,
    out: Path,
    hours: float | None,
    workers: int | None,
    threads: int | None,
    device: str | None,
    warn: Callable[[str], None],
) -> dict[str, float]:
    """The budget of every way in FLOPs: those that the baseline spends in the budget of ``raw``, or where all runs end in ``hours``."""
    from windtunnel.train.estimate import estimate

    if hours is None and set(raw["budget"]) == {"flops"}:
        return dict(raw["budget"])
    rough = file.with_name("rough.yaml")

    def checked(budget: Mapping[str, float]) -> tuple[StudyFile, dict[str, Any]]:
        _write({**raw, "budget": dict(budget)}, rough)
        try:
            study = load_study(rough)
            return study, check_study(study, out, workers=workers, threads=threads, device=device)
        finally:
            rough.unlink()

    study, found = checked(raw["budget"] if hours is None else {"steps": ROUGHLY})
    reckoned = estimate(study.resolved[BASELINE])
    steps = found["arms"][BASELINE]["steps"]
    if hours is not None:
        steps = _steps(found, lambda steps: checked({"steps": steps})[1]["seconds"], hours, warn)
    return {"flops": float(f"{steps * reckoned['flops'] / reckoned['steps']:.4g}")}


def _steps(found: Mapping[str, Any], seconds: Callable[[int], float], hours: float, warn: Callable[[str], None]) -> int:
    """How many steps of the baseline a run may take, so that all runs and trials end in ``hours``.

    ``found`` is what :data:`ROUGHLY` steps take, ``seconds`` tells what another number does: much of a run, its start and its evaluations,
    does not grow with its steps, so that one number says little of another.
    """
    wanted, preparing = SURE * 3600 * hours, found["preparing"]
    each = (found["seconds"] - preparing) / ROUGHLY
    steps = int((wanted - preparing) / each)
    if steps < LEAST:
        needed = (preparing + LEAST * each) / SURE / 3600
        raise UserError(f"--hours {hours:g}: runs of {LEAST} steps take about {needed:.2g} hours; give these or fewer ways")
    took = found["seconds"]
    if steps != ROUGHLY:
        took = seconds(steps)
        one = (took - found["seconds"]) / (steps - ROUGHLY)
        if one > 0:
            more = max(LEAST, steps + int((wanted - took) / one)) - steps
            steps, took = steps + more, took + more * one
    runs = f"{found['runs']} runs, {found['trials']} of them trials of learning rates"
    warn(f"{hours:g} hours: {runs}; {steps:,} steps of the baseline a run, about {duration(took)}")
    return steps


def best_way(result: StudyResult, tolerance: float | None) -> str | None:
    """The way that gained most of those that kept enough on average; where none did, the one that kept most. None where none finished.

    ``tolerance`` is the largest share by which what is kept may get worse, of its level before; None: any.
    """
    block = result.transfer
    if block is None or block.axes is None:
        return None
    sides = {name: side for name, side in block.axes.arms.items() if side.kept.mean is not None and side.gained.mean is not None}
    allowed = _allowed(result, tolerance)
    enough = [name for name, side in sides.items() if allowed is None or (side.kept.mean or 0.0) >= allowed]
    if enough:
        return max(enough, key=lambda name: sides[name].gained.mean or 0.0)
    return max(sides, key=lambda name: sides[name].kept.mean or 0.0, default=None)


def _allowed(result: StudyResult, tolerance: float | None) -> float | None:
    """How far what is kept may change at the least, a number below zero; None where it may as it likes."""
    block = result.transfer
    if block is None or tolerance is None:
        return None
    before = next((arm.matrix[0] for arm in block.arms.values() if arm.matrix), {})
    known = [value for source in block.kept if (value := before.get(source)) is not None]
    return -tolerance * sum(known) / len(known) if known else None


def _export(result: StudyResult, arm: str, way: str, checkpoint: str, out: Path, warn: Callable[[str], None]) -> bool:
    """The model of the first finished run of ``arm``, and what it changed as an adapter where it is one; whether there is such a run.

    What was exported before stays where it is the same; it is known by a file that is written last.
    """
    from windtunnel.core.errors import PartError
    from windtunnel.train.export import export_adapter, export_run

    run = next((run for run in result.runs if run.arm == arm and run.multiple == 1.0 and run.finished), None)
    if run is None:
        return False
    done, what = out / EXPORTED, {"way": way, "run": run.folder}
    if done.exists() and json.loads(done.read_text(encoding="utf-8")) == what:
        return True
    done.unlink(missing_ok=True)
    for folder in ("model", "adapter"):
        shutil.rmtree(out / folder, ignore_errors=True)
    export_run(out / run.folder, out / "model")
    if way != FULL:
        try:
            export_adapter(out / run.folder, out / "adapter", checkpoint)
        except PartError as error:
            shutil.rmtree(out / "adapter", ignore_errors=True)
            warn(f"{way} is no adapter that peft knows, so the merged model alone is written: {error}")
    write_json(done, what)
    return True
