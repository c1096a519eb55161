"""An experiment with arms and seeds: read, done, and compared as a study is, without training anything."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pydantic import Field, ValidationError, field_validator, model_validator

from windtunnel.core.errors import PartError, UserError, several
from windtunnel.core.files import write_json
from windtunnel.core.keys import differing, hashed
from windtunnel.core.settings import Settings, plain, unit
from windtunnel.core.typed import Failure
from windtunnel.recipe.yaml import Document
from windtunnel.slots import Experiment
from windtunnel.study.assemble import finite
from windtunnel.study.launch.watch import duration
from windtunnel.study.result import BASELINE, StudyResult

KEY = "experiment"  # what tells such a scale from a study


class ExperimentFile(Settings):
    """A scale of a paper that trains nothing."""

    description: str = Field("", description="what it is about", examples=["Sampling from a product"])
    experiment: Experiment = Field(description="what is measured; its knobs are the baseline", examples=[{"diffusion": {"steps": 100}}])
    arms: dict[str, dict[str, Any]] = Field(
        min_length=1, description="other settings of its knobs, by name", examples=[{"corrected": {"correct": True}}]
    )
    seeds: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4), min_length=2, description="seeds, or how many (0, 1, 2, ...)", examples=[10], json_schema_extra=unit("seeds")
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="with which all intervals hold together", json_schema_extra=unit("share"))
    margin: float = Field(0.005, ge=0, description="a change too small to matter", json_schema_extra=unit("share of the baseline's mean"))

    @field_validator("seeds", mode="before", json_schema_input_type=int | tuple[int, ...])
    @classmethod
    def _number_of_seeds(cls, value: Any) -> Any:
        return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _no_arm_is_the_baseline(self) -> ExperimentFile:
        if BASELINE in self.arms:
            raise ValueError(f"an arm may not be called {BASELINE!r}: that is the experiment as it is written")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands here twice")
        return self

    def about(self) -> dict[str, Any]:
        """What doing it takes, for ``windtunnel check``."""
        return {KEY: self.experiment.name, "arms": [BASELINE, *self.arms], "seeds": len(self.seeds), "trains": False}

    def summary(self) -> str:
        """:meth:`about` in a line."""
        arms, seeds = len(self.arms) + 1, len(self.seeds)
        return f"the experiment {self.experiment.name}, {arms} settings with {seeds} seeds each: nothing is trained"

    def settings(self) -> dict[str, Experiment]:
        """The experiment of the baseline and of each arm.

        Raises:
            ValidationError: for a knob that it does not have, or a value that cannot be.
        """
        own = plain(self.experiment)[self.experiment.name]
        return {BASELINE: self.experiment} | {
            arm: type(self.experiment).model_validate({**own, **difference}) for arm, difference in self.arms.items()
        }


def experiment_from(raw: Mapping[str, Any], *, document: Document | None, prefix: tuple[Any, ...]) -> ExperimentFile:
    """The experiment that a plain mapping describes. ``document`` and ``prefix`` say where it stands, for messages.

    Raises:
        UserError: with file, line and key of what is wrong.
    """

    def told(error: ValidationError, *more: str) -> UserError:
        return document.errors(error, (*prefix, *more)) if document is not None else UserError(str(error))

    try:
        found = ExperimentFile.model_validate(raw)
    except ValidationError as error:
        raise told(error) from error
    for arm, difference in found.arms.items():
        try:
            found.model_copy(update={"arms": {arm: difference}}).settings()
        except ValidationError as error:
            raise told(error, "arms", arm) from error
    return found


def do(file: ExperimentFile, name: str, kept: Path | None = None, lines: TextIO | None = None) -> StudyResult:
    """Measure every arm with every seed, one after the other, and compare them. A measurement that fails is told and counts as none.

    Those that succeed are kept in the folder ``kept`` and are not made again while neither their settings nor the code of Windtunnel
    changes. ``lines`` is where a line is written when one has been made, with the time that is left.
    """

    def tell(line: str) -> None:
        if lines is not None:
            print(line, file=lines, flush=True)

    settings, runs = file.settings(), []
    each = [(arm, part, seed) for seed in file.seeds for arm, part in settings.items()]
    files = {(arm, seed): kept / f"{_key(part, seed)}.json" for arm, part, seed in each} if kept is not None else {}
    before = sum(place.exists() for place in files.values())
    tell(f"{name}: {several(len(each) - before, 'measurement')} to make" + (f", {before} made before" if before else ""))
    spent = list[float]()
    for arm, part, seed in each:
        place = files.get((arm, seed))
        if place is not None and place.exists():
            found = json.loads(place.read_text(encoding="utf-8"))
        else:
            found = _measured(part, seed)
            spent.append(found["totals"]["seconds"])
            if place is not None and found["status"] == "finished":
                write_json(place, found)
            left = (len(each) - before - len(spent)) * sum(spent) / len(spent)
            said = next((f"{metric} {value:.4g}" for metric, value in found.get("test", {}).items()), f"failed: {found.get('error')}")
            more = f" (about {duration(left)} left)" if left else ""
            tell(f"[{before + len(spent)}/{len(each)}] {arm} seed {seed}: {said} in {duration(spent[-1])}{more}")
        runs.append({"arm": arm, "seed": seed, "folder": f"{arm}/{seed}", **found})
    return StudyResult.model_validate(finite(compared(file, name, settings, runs)))


def _key(part: Experiment, seed: int) -> str:
    from windtunnel.train.parallel.same import code

    return hashed({"experiment": differing(part), "seed": seed, "code": code()})


def _measured(part: Experiment, seed: int) -> dict[str, Any]:
    began, spent = time.perf_counter(), time.process_time()
    try:
        numbers = {key: float(value) for key, value in part.measure(seed).items()}
        if not numbers:
            raise PartError(f"{part.name}: measures nothing; its first number is what arms are compared by")
        found: dict[str, Any] = {"status": "finished", "test": numbers}
    except Exception as error:
        failure = Failure.of(error)
        found = {"status": "failed", "failure": failure.plain(), "error": failure.message, "traceback": failure.story}
    found["totals"] = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - spent}
    return found


def compared(file: ExperimentFile, name: str, settings: Mapping[str, Experiment], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The result as a study's, from what every run measured."""
    import torch

    from windtunnel.study.statistics.compare import compare
    from windtunnel.train.machine import hardware, versions

    done = [run for run in runs if run["status"] == "finished"]
    metric = next(iter(done[0]["test"])) if done else ""
    values = {arm: {run["seed"]: run["test"][metric] for run in done if run["arm"] == arm and metric in run["test"]} for arm in settings}
    better, others = file.experiment.better, {arm: found for arm, found in values.items() if arm != BASELINE}
    found = compare({1.0: values[BASELINE]}, others, confidence=file.confidence, margin=file.margin, better=better)
    costs = {arm: _costs([run["totals"] for run in runs if run["arm"] == arm]) for arm in settings}
    failed = [run["failure"] for run in runs if run["status"] == "failed" and run["arm"] == BASELINE]
    failure = failed[0] if failed and not values[BASELINE] else None
    return {
        "study": {
            "name": name,
            "description": file.description,
            "metric": metric,
            "unit": file.experiment.unit,
            "better": better,
            "seeds": len(file.seeds),
            "seed_list": list(file.seeds),
            "curve": [1.0],
            "confidence": file.confidence,
            "confidence_of_each": found["confidence"],
            "margin": found["margin"],
            "margin_share": file.margin,
        },
        "baseline": {**costs[BASELINE], "seeds": found["baseline"]["seeds"], "test": _some(found["baseline"], "mean", "low", "high")},
        "arms": {
            arm: {
                **costs[arm],
                **_some(one, "seeds", "verdict", "required_seeds"),
                "test": _some(one, "mean", "low", "high", "difference"),
            }
            for arm, one in found["arms"].items()
        },
        "runs": runs,
        "progress": {"runs": len(runs), "finished": len(done), "failed": len(runs) - len(done)},
        "recipes": {arm: {KEY: plain(part)} for arm, part in settings.items()},
        "versions": versions(),
        "hardware": hardware(torch.device("cpu")),
        "finished": True,
        "failure": failure,
        "error": failure["message"] if failure else None,
    }


def _costs(totals: list[dict[str, float]]) -> dict[str, float]:
    return {key: sum(one[key] for one in totals) / len(totals) for key in ("seconds", "cpu_seconds")}


def _some(block: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: block[name] for name in names}
