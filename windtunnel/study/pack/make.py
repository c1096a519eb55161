"""Making a pack: streams are prepared here, where the corpus and its libraries are, and everything that fits is written to one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.core import outside
from windtunnel.core.errors import UserError
from windtunnel.core.files import naming, publish, temporary_folder, write_text
from windtunnel.core.keys import Variant
from windtunnel.core.part import Part
from windtunnel.data.cut import write_cut
from windtunnel.models.content import copy_beside, fingerprint, weight_files
from windtunnel.models.locate import locate
from windtunnel.recipe import Phase, Recipe, data_key, needed, times
from windtunnel.study.file import StudyFile
from windtunnel.study.pack import entry
from windtunnel.study.pack.manifest import CODE, FORMATS, MODELS, STREAMS, Manifest, Model, Packed, files_below, version, write
from windtunnel.study.pack.queue import by_value, queue
from windtunnel.study.pilots import Means, Pilots
from windtunnel.study.plan import refuse_what_cannot_fly, run_of
from windtunnel.study.result import BASELINE
from windtunnel.study.tune import Tune
from windtunnel.train.machine import versions
from windtunnel.train.step import loader_of

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream

NEW = ".new"  # in a pack that is being made: what a study adds, until it is known to fit
SLOT = ENTRY = 220  # bytes of a run, and of a file, in the manifest
MARGIN = 1.25  # times the units that a run is estimated to read, which are kept of a source
PACKAGE = Path(__file__).resolve().parents[2]


class Made(NamedTuple):
    """What a pack was made of."""

    manifest: Manifest
    bytes: int

    def summary(self) -> dict[str, Any]:
        """Bytes, runs, and by study its arms, seeds, runs and estimated FLOPs, in order of value; what was left out, a sentence each."""
        queue = self.manifest.queue
        studies = {
            study.name: {
                "arms": len(study.recipes) - 1,
                "seeds": len(study.seeds),
                "runs": sum(slot.study == study.name for slot in queue),
                "flops": sum(slot.flops for slot in queue if slot.study == study.name),
            }
            for study in self.manifest.studies
        }
        return {"bytes": self.bytes, "runs": len(queue), "studies": studies, "left_out": self.manifest.left_out}


def pack_studies(
    studies: Sequence[StudyFile],
    folder: Path,
    *,
    out: Path,
    most: int | None = None,
    decided: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Made:
    """Write ``studies`` to ``folder`` as a pack; text is prepared under ``out``, where studies keep it.

    Args:
        most: bytes that the pack may have; studies that do not fit any more are left out, the least valuable first.
        decided: names of the studies that have a verdict already, which come last.
        say: told what is being done, a line at a time.

    Raises:
        UserError: where ``folder`` is not empty, nothing fits, or a study cannot be flown anywhere else.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; choose another folder for the pack, or delete it")
    names = [study.name for study in studies]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two studies are called {name!r}; give one of them another name: in its file")
    found: dict[str, Packed] = {}
    streams: dict[str, Stream] = {}
    for study in studies:
        say(f"preparing {study.name}")
        found[study.name] = _packed(study, out, streams, study.name in decided, say)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with naming(folder), temporary_folder(folder.parent, f".{folder.name}-") as made:
        _write_code(made)
        manifest = _fill(made, by_value(list(found.values())), streams, most, say)
        if folder.exists():
            folder.rmdir()
        publish(made, folder)
    return Made(manifest, _bytes(folder))


def _packed(study: StudyFile, out: Path, streams: dict[str, Stream], decided: bool, say: Callable[[str], None]) -> Packed:
    """``study`` as the pack holds it; its streams are prepared and added to ``streams``."""
    from windtunnel.train.estimate import estimate

    recipes = study.resolved
    if lacking := outside.without_source(recipes):
        raise UserError(f"{study.name}: the source of {', '.join(lacking)} is not known; put it into a file and name that under `parts:`")
    refuse_what_cannot_fly([run_of(arm, 1.0, 0, recipe, "", Variant()) for arm, recipe in recipes.items()])
    own, others = _prepared(study, out, say)
    streams |= {stream.fingerprint: stream for stream in (*own.values(), *others.values())}
    return Packed(
        name=study.name,
        recipes={arm: recipe.model_dump(mode="json") for arm, recipe in recipes.items()},
        seeds=list(study.seed_list),
        least=study.race.least if study.race else len(study.seed_list),
        curve=list(study.curve),
        curve_seeds=study.curve_seeds,
        rates=list(study.rates.multiples) if study.rates else [],
        rate_seeds=list(study.rate_seeds) if study.rates else [],
        tune=study.tune.model_dump(mode="json") if study.tune else None,
        primary=study.primary,
        streams={arm: stream.fingerprint for arm, stream in own.items()},
        others={key: stream.fingerprint for key, stream in others.items()},
        sources=[(source.name, source.text) for source in outside.sources_of(recipes)],
        decided=decided,
        flops={arm: float(estimate(recipe)["flops"]) for arm, recipe in recipes.items()},
    )


def _prepared(study: StudyFile, out: Path, say: Callable[[str], None]) -> tuple[dict[str, Stream], dict[str, Stream]]:
    """The streams of the arms of ``study``, and those of models that they need; models that curators hold are flown for it."""

    def heard(told: dict[str, Any]) -> None:
        if told["event"] == "preparing":
            say(str(told["message"]))

    pilots = Pilots(study.name, Means(out, on_event=heard))
    pilots.prepare(study.resolved)
    for arm, failure in pilots.broken.items():
        raise UserError(f"study {study.name}, arm {arm}: its corpus cannot be prepared: {failure.message}")
    return pilots.streams, pilots.others


def _fill(folder: Path, studies: Sequence[Packed], streams: Mapping[str, Stream], most: int | None, say: Callable[[str], None]) -> Manifest:
    """Write what fits of ``studies``, the most valuable first, and the manifest."""
    chosen: list[Packed] = []
    models: dict[str, Model] = {}
    left_out: list[str] = []
    kept: dict[str, dict[str, np.ndarray]] = {}  # documents of the streams as they are written, by fingerprint
    size = _with_entries(folder)
    for study in studies:
        say(f"packing {study.name}")
        wanted = {name: documents_read(streams[name], study, kept.get(name)) for name in sorted(study.fingerprints())}
        wanted = {name: masks for name, masks in wanted.items() if name not in kept or _differ(masks, kept[name])}
        new = {name: write_cut(streams[name], folder / NEW / STREAMS / name, masks) for name, masks in wanted.items()}
        more = _models_of(folder / NEW, study, models)
        replaced = sum(_with_entries(folder / STREAMS / name) for name in new)
        with_it = size - replaced + _with_entries(folder / NEW) + len(json.dumps(study.plain(), indent=1)) + SLOT * len(queue([study]))
        if most is not None and with_it > most:
            left_out.append(_too_large(study, new, more, folder / NEW, with_it, most))
            say(left_out[-1])
        else:
            for place in (STREAMS, MODELS):
                for path in sorted((folder / NEW / place).glob("*")):
                    shutil.rmtree(folder / place / path.name, ignore_errors=True)
                    (folder / place).mkdir(exist_ok=True)
                    path.rename(folder / place / path.name)
            chosen, models, kept, size = [*chosen, study], models | more, kept | wanted, with_it
        shutil.rmtree(folder / NEW, ignore_errors=True)
    if not chosen:
        raise UserError("nothing fits: " + "; ".join(left_out) + "; raise --max-size, or lower the budgets or the corpus")
    manifest = Manifest(
        formats=FORMATS,
        version=version(),
        versions=versions(),
        studies=chosen,
        queue=queue(chosen),
        models=models,
        left_out=left_out,
        files=files_below(folder, "lock"),
    )
    return write(manifest, folder)


def _differ(masks: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bool:
    return any(not np.array_equal(mask, others[source]) for source, mask in masks.items())


def _too_large(study: Packed, new: Mapping[str, int], models: Mapping[str, Model], folder: Path, size: int, most: int) -> str:
    parts = [f"stream {name} {_mega(bytes_)}" for name, bytes_ in new.items()]
    parts += [f"checkpoint {name} {_mega(_bytes(folder / one.folder))}" for name, one in models.items()]
    return f"study {study.name} does not fit into {_mega(most)}: with it ({', '.join(parts)}) the pack would have {_mega(size)}"


def _mega(size: float) -> str:
    return f"{size / 1e6:.3g} MB"


def _with_entries(folder: Path) -> int:
    """Bytes of what is below ``folder``, and of what the manifest says of it."""
    return _bytes(folder) + ENTRY * sum(path.is_file() for path in folder.rglob("*"))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# Streams --------------------------------------------------------------------------------------------------------------------------


def documents_read(stream: Stream, study: Packed, before: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Which training documents of ``stream`` the runs of ``study`` may read, by source, and those that were known ``before``.

    Each run is allowed :data:`MARGIN` times what it is estimated to read, of every source, whatever its mixture does. Where a part may
    read otherwise than step by step, all documents are kept.
    """
    kept = {source: np.zeros(len(stream.lengths("train", source)), dtype=bool) for source in stream.sources}
    for source, mask in (before or {}).items():
        kept[source] |= mask
    for arm, data in study.recipes.items():
        for recipe in _on(stream, study, arm, Recipe.model_validate(data)):
            largest = times(recipe, max(study.curve)) if arm == BASELINE else recipe
            for seed in {*study.seeds, *([Tune.model_validate(study.tune).seed(study.seeds)] if study.tune else [])}:
                _mark(kept, stream, largest, seed)
    return kept


def _on(stream: Stream, study: Packed, arm: str, recipe: Recipe) -> list[Recipe]:
    """``recipe`` and those that it needs, as far as they are trained on ``stream``."""
    inner = [
        one for one in needed(recipe, curators=False).values() if study.others.get(data_key(one), study.streams[arm]) == stream.fingerprint
    ]
    return [*inner, *([recipe] if study.streams[arm] == stream.fingerprint else [])]


def _mark(kept: dict[str, np.ndarray], stream: Stream, recipe: Recipe, seed: int) -> None:
    from windtunnel.train.estimate import estimate

    if all(mask.all() for mask in kept.values()):
        return
    if reads_otherwise(recipe):
        for mask in kept.values():
            mask[:] = True
        return
    tokens = estimate(recipe)["own_tokens"]
    for phase in recipe.phases:
        loader = loader_of(recipe, phase, stream, seed, {})
        units = int(MARGIN * tokens * phase.context / phase.positions(stream.facts)) + phase.batch * (phase.context + 1)
        for source in loader.sources:
            if not kept[source].all():
                kept[source] |= loader.read_until(source, units)


def reads_otherwise(recipe: Recipe) -> bool:
    """Whether runs of ``recipe`` may read training documents that their steps do not: a part looks ahead, scores, begins from a model."""
    evaluations = len(recipe.evaluations) > 1 or not recipe.evaluations[0].by_objective
    return evaluations or recipe.budget.unit == "seconds" or any(map(_phase_reads_otherwise, recipe.phases))


def _phase_reads_otherwise(phase: Phase) -> bool:
    looks = any(type(part).look is not Part.look for part in phase.parts())
    return looks or phase.selection is not None or phase.start is not None


# Checkpoints and the package ------------------------------------------------------------------------------------------------------


def _models_of(folder: Path, study: Packed, known: Mapping[str, Model]) -> dict[str, Model]:
    """Copy the checkpoints that recipes of ``study`` begin from, as far as their content is not ``known``, to ``folder``; all by name."""
    found: dict[str, Model] = {}
    present = {one.fingerprint for one in known.values()}
    for name, _ in (each for data in study.recipes.values() for each in Recipe.model_validate(data).checkpoints()):
        if name in known or name in found:
            continue
        place = locate(name)
        content = fingerprint(place)
        target = folder / MODELS / content
        if content not in present and not target.exists():
            target.mkdir(parents=True)
            for path in (place / "config.json", place / "generation_config.json", *weight_files(place), *place.glob("*.index.json")):
                if path.is_file():
                    shutil.copyfile(path, target / path.name)
            copy_beside(place, target)
        found[name] = Model(folder=f"{MODELS}/{content}", fingerprint=content)
    return found


def _write_code(folder: Path) -> None:
    """The package itself, so that a machine without it can fly, with its version, and what starts it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "library")
    shutil.copytree(PACKAGE, folder / CODE / PACKAGE.name, ignore=ignored)
    information = folder / CODE / f"windtunnel-{version()}.dist-info" / "METADATA"
    write_text(information, f"Metadata-Version: 2.1\nName: windtunnel\nVersion: {version()}\n")
    shutil.copyfile(Path(entry.__file__), folder / "fly.py")
