"""The models that a recipe needs: flown first, each on its own stream, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.core.part import Trained
from windtunnel.recipe import Recipe, data_key, held_by, needed, run_name
from windtunnel.train.record import RunRecord, forget, has_weights, read_record

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream


class Others(NamedTuple):
    """The runs whose models a recipe needs, by key, and the variant of the study."""

    runs: Mapping[str, Mapping[str, Any]]
    variant: Variant

    def of(self, trained: Trained, seed: int) -> Mapping[str, Any]:
        """The run that trains ``trained``."""
        assert trained.recipe is not None, "a model in a folder is not flown"
        return self.runs[trained.recipe.key(seed, self.variant)]

    def folder(self, trained: Trained, seed: int) -> str:
        """Where the model ``trained`` lies."""
        return trained.folder or str(self.of(trained, seed)["folder"])

    def cursors(self, trained: Trained, seed: int) -> Mapping[str, int]:
        """How far its run has read each source."""
        return {} if trained.folder else self.of(trained, seed)["cursors"]


def others_of(
    recipe: Recipe,
    seed: int,
    variant: Variant,
    stream: Stream,
    folder: Path,
    streams: Mapping[str, Stream | str],
    fly: Callable[[Recipe, Stream, Path, Mapping[str, Stream | str]], RunRecord] | None,
) -> dict[str, dict[str, Any]] | None:
    """The runs whose models ``recipe`` needs, by key: their folder, and what each cost by itself. None if asked to stop on the way.

    They lie in ``folder``; what is missing there, a record or the weights that are needed, is flown by ``fly`` (None: it must not be).
    Where a run's stream is another one, its cursors are left out: they count other tokens.

    Raises:
        UserError: when one may have been trained on held-out text, has tokens that the part holding it cannot do with, has failed, or is
            missing.
    """
    from windtunnel.train import ranks

    found: dict[str, dict[str, Any]] = {}
    theirs: dict[str, Stream] = {}
    every = needed(recipe, curators=False)
    for name, one in every.items():
        refuse_other_documents(one, recipe)
        theirs[name] = stream_of(one, recipe, stream, streams)
    refuse_other_tokens(recipe, stream, theirs)
    places = {name: folder / run_name(one.key(seed, variant), theirs[name].fingerprint) for name, one in every.items()}
    missing = ranks.broadcast(None if ranks.rank() else lacking(recipe, places, forgotten=fly is not None))
    for name, one in every.items():
        key, place = one.key(seed, variant), places[name]
        record = read_record(place)
        if name in missing and fly is not None:
            # Looked up from the other side, this recipe's stream is one of those that are not its own.
            record = fly(one, theirs[name], place, {**streams, data_key(recipe): stream})
            if record.status == "interrupted":
                return None
        elif name in missing and record is not None and record.finished:
            raise UserError(f"the run {key}, whose model this recipe needs, has lost its weights: {place} holds no model; fly it again")
        if record is None or record.totals is None or not record.finished:
            reason = "has not been flown" if record is None else f"has {record.status}: {record.error}"
            raise UserError(f"the run {key}, whose model this recipe needs, {reason}")
        totals, before = record.totals, record.charged
        own = {unit: totals[unit] - before.get(unit, 0) for unit in ("tokens", "flops", "effective_flops", "seconds")}
        # A record from before CPU seconds were counted has only the others.
        own["cpu_seconds"] = own["seconds"] if totals.cpu_seconds is None else totals.cpu_seconds - before.get("cpu_seconds", 0)
        cursors = record.cursors if theirs[name].fingerprint == stream.fingerprint else {}
        found[key] = {"folder": str(place), "steps": totals.steps, "cursors": cursors, **own}
        if record.curation:
            found[key]["curation"] = record.curation
    return found


def lacking(recipe: Recipe, places: Mapping[str, Path], *, forgotten: bool) -> set[str]:
    """The identities of the recipes that ``recipe`` needs and whose runs, which lie in ``places``, have to be flown (again).

    A run needs the weights of the models that its own parts hold; of those that these hold it needs the record, because their cost is
    charged to it. The record of a run without the weights that are needed is ``forgotten``, or it would count as flown.
    """
    wanted = {one.identity() for one in held_by(recipe, curators=False)}
    missing: set[str] = set()
    for name, one in reversed(needed(recipe, curators=False).items()):
        record = read_record(places[name])
        if record is None or not record.finished or (name in wanted and not has_weights(places[name])):
            if forgotten and record is not None and record.finished:
                forget(places[name])
            missing.add(name)
            wanted |= {inner.identity() for inner in held_by(one, curators=False)}
    return missing


def stream_of(one: Recipe, recipe: Recipe, stream: Stream, streams: Mapping[str, Stream | str]) -> Stream:
    """The stream of ``one``, which ``recipe`` on ``stream`` needs. Raises UserError where ``streams`` lacks it."""
    key = data_key(one)
    found = stream if key == data_key(recipe) else streams.get(key)
    if found is None:
        raise UserError(
            "a model that this recipe needs has a corpus, curation or tokenizer of its own, and its stream is not among `streams`; "
            "prepare it with prepare_needed, or let them agree"
        )
    if isinstance(found, str):
        from windtunnel.data.stream import Stream

        found = Stream.open(found)
    return found


def refuse_other_documents(one: Recipe, recipe: Recipe) -> None:
    """Raise UserError unless every document that ``recipe`` holds out is held out by ``one`` too, which it needs.

    Which documents are held out depends on their text and the shares alone, and their near-copies are removed from every source of a
    corpus. So what has to agree are the shares, and the corpus of ``one`` has to hold every source of ``recipe``, trained on or not.
    """
    if one.split != recipe.split:
        raise UserError("a recipe that this one needs has another split, so it may be trained on what this one is tested on: give both one")
    for name, source in recipe.sources.items():
        there = one.corpus if name in recipe.corpus else one.held_out
        if there.get(name) != source:
            what = "lacks" if name not in there else "has another"
            raise UserError(
                f"a recipe that this one needs {what} source {name!r}, so documents that this one is tested on, or copies of them, may be "
                "among its own; give both the same corpus, and say with `sources` what each trains on"
            )


def refuse_other_tokens(recipe: Recipe, stream: Stream, theirs: Mapping[str, Stream]) -> None:
    """Raise UserError where a part holds a model of other tokens and cannot do with one.

    ``theirs`` are the streams of the models, by the identity of their recipe.
    """
    acting = (*recipe.evaluations, *(part for phase in recipe.phases for part in phase.parts()))
    for part in (part for part in acting if not part.other_tokens):
        for field, trained in part.trained().items():
            if trained.recipe is not None and not stream.encoding.same_numbers(theirs[trained.recipe.identity()], stream):
                raise UserError(
                    f"{part.name}.{field}: this model is trained with another tokenizer, so its tokens mean something else here; give "
                    "both recipes one tokenizer (`tokenizer: {recipe: NAME}` takes that of another), or carry weights over with the start "
                    "`transplant`"
                )


def curated(stream: Stream, others: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What it has cost to curate the corpora of ``stream`` and of ``others``, whose models a run on it needs, by what was paid for."""
    found = dict(stream.curation)
    for one in others.values():
        found |= one.get("curation") or {}
    return found


def charged(others: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What ``others`` cost together, by unit."""
    found = {unit: sum(one[unit] for one in others.values()) for unit in ("steps", "tokens", "flops", "effective_flops", "seconds")}
    return found | {"cpu_seconds": sum(one.get("cpu_seconds", one["seconds"]) for one in others.values())}
