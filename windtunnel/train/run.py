"""One run from recipe to record: prepare the stream, fly the recipe with one seed, write down everything that came of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core import outside
from windtunnel.core.errors import UserError
from windtunnel.core.files import decided_once, naming
from windtunnel.core.keys import Variant
from windtunnel.core.part import Trained
from windtunnel.core.typed import Failure
from windtunnel.recipe import Recipe, data_key, needed, run_name
from windtunnel.train.record import RunRecord, read_record, write_record
from windtunnel.train.variant import choose, refuse_unable

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream


def prepare(recipe: Recipe, cache: Path, progress: Callable[[str], None] | None = None) -> Stream:
    """Read, split and clean the corpus of ``recipe`` and encode it, under ``cache``; what is already there is used again."""
    from windtunnel.data.corpus.prepare import prepare_corpus

    split, before = recipe.split, None
    if (other := recipe.encoding.before()) is not None:
        refuse_other_documents(other, recipe)
        before = prepare(other, cache, progress)
    corpus = prepare_corpus(
        recipe.corpus,
        validation=split.validation,
        test=split.test,
        near_duplicates=split.near_duplicates,
        curators=recipe.curators,
        cache=cache / "corpora",
        progress=progress,
    )
    stream: Stream = recipe.encoding.prepare(corpus, cache / "streams", before, progress)
    return stream


def prepare_needed(recipe: Recipe, cache: Path, progress: Callable[[str], None] | None = None) -> dict[str, Stream]:
    """The streams of the models that ``recipe`` needs, by :func:`windtunnel.recipe.data_key`, where they are not its own.

    Raises:
        UserError: as :func:`prepare`, and where a needed model could have been trained on what this recipe is tested on.
    """
    found: dict[str, Stream] = {}
    for one in needed(recipe).values():
        key = data_key(one)
        refuse_other_documents(one, recipe)
        if key != data_key(recipe) and key not in found:
            found[key] = prepare(one, cache, progress)
    return found


def refuse_other_documents(one: Recipe, recipe: Recipe) -> None:
    """Raise UserError unless every document that ``recipe`` holds out is held out by ``one`` too, which it needs.

    Which documents are held out depends on their text and the shares alone, and their near-copies are removed from every source of a
    corpus. So what has to agree are the shares, and the corpus of ``one`` has to hold every source of ``recipe``, trained on or not.
    """
    if one.split != recipe.split:
        raise UserError("a recipe that this one needs has another split, so it may be trained on what this one is tested on: give both one")
    for name, source in recipe.corpus.items():
        if one.corpus.get(name) != source:
            what = "lacks" if name not in one.corpus else "has another"
            raise UserError(
                f"a recipe that this one needs {what} source {name!r}, so documents that this one is tested on, or copies of them, may be "
                "among its own; give both the same corpus, and say with `sources` what each trains on"
            )


def fly(
    recipe: Recipe,
    seed: int,
    stream: Stream,
    folder: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    loggers: Sequence[str] = (),
    checkpoint_seconds: float = 60.0,
    warn: Callable[[str], None] | None = None,
    needed_in: Path | None = None,
    streams: Mapping[str, Stream | str] | None = None,
    variant: Variant | None = None,
) -> RunRecord:
    """Fly ``recipe`` with ``seed`` in ``folder`` and return its record, which is also written to ``folder/record.json``.

    A finished run is not flown again; an interrupted one goes on from its newest whole checkpoint. ``report`` is told the
    progress (step, done, loss, flops, seconds); when ``stop`` returns True the run writes a checkpoint and returns with status
    "interrupted". A run that breaks returns with status "failed" and its failure.

    Models that the recipe needs are looked for among the runs in ``needed_in``; without it they are flown first, in ``folder/needed``.
    ``streams`` holds the streams (or their folders) of those that are not trained on ``stream``; see :func:`prepare_needed`.

    ``variant`` is that of the study; by default it is chosen for ``recipe`` when its folder is begun, and kept.

    Raises:
        UserError: when the folder holds a run of another recipe or cannot be written.
    """
    import torch
    from transformers.utils import logging

    from windtunnel.models.checkpoint import load
    from windtunnel.train import loop, machine, ranks
    from windtunnel.train.log import RunContext
    from windtunnel.train.loggers import make_logger

    logging.disable_progress_bar()  # saving a model would draw over the study's table
    folder = Path(folder)
    if threads:
        torch.set_num_threads(threads)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def decide() -> dict[str, Any]:
        chosen = variant or choose(recipe, lambda: machine.measured(place, stream.folder.parent, torch.get_num_threads()), ranks.count())
        how = {"variant": chosen.model_dump(), "threads": torch.get_num_threads(), "ranks": ranks.count()}
        return {"key": recipe.key(seed, chosen), "stream": stream.fingerprint, **how}

    with naming(folder), ranks.rank_0_first():
        folder.mkdir(parents=True, exist_ok=True)
        outside.store(recipe, folder)
        plan = decided_once(folder / "plan.json", decide)
    chosen = variant or Variant.model_validate(plan.get("variant") or {})
    key = recipe.key(seed, chosen)
    present = read_record(folder)
    if (plan["key"], plan["stream"]) != (key, stream.fingerprint) or (present is not None and present.key != key):
        state = "a" if present is not None and present.finished else "an unfinished"
        raise UserError(f"{folder} holds {state} run of another recipe, seed or text; choose another folder or delete it")
    if present is not None and present.finished:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a kill may have come between the record and this
        return present
    own = recipe.variant(chosen)
    refuse_unable(own, place, str(folder))
    record: dict[str, Any] = {
        "key": key,
        "seed": seed,
        "recipe": recipe.model_dump(mode="json"),
        "stream": stream.fingerprint,
        "variant": own,
        "threads": torch.get_num_threads(),
        "ranks": ranks.count(),
        "device": str(place),
        "versions": machine.versions(),
        "hardware": machine.hardware(place),
    }
    tell = warn or (lambda message: print(message, flush=True))
    if ranks.rank():
        tell, report, loggers = (lambda message: None), None, ()
    warnings: list[str] = []

    def noted(message: str) -> None:
        warnings.append(message)
        tell(message)

    record |= {"warnings": warnings}
    for what, now in {"thread(s)": threads, "rank(s)": ranks.count()}.items():
        began = plan.get(what.removesuffix("(s)") + "s", now)
        if now and began != now:
            noted(f"this run began with {began} {what} and goes on with {now}: not bitwise what it would have been undisturbed")
    try:
        how = {"threads": threads, "device": device, "report": report, "stop": stop, "streams": streams, "variant": chosen}
        others = others_of(recipe, seed, stream, folder, needed_in, how)
    except UserError as error:
        return written(folder, RunRecord(**record, status="failed", failure=Failure.of(error)))
    if others is None:
        return written(folder, RunRecord(**record, status="interrupted"))
    record |= {"needed": others, "charged": charged(others)}
    opened = tuple(make_logger(kind, folder, folder.name) for kind in loggers)
    memory = machine.PeakMemory(place)
    around = RunContext(
        folder=folder,
        device=place,
        precision=machine.precision_context(place, own.precision),
        compiled=own.compiled,
        report=report or (lambda _: None),
        stop=stop or (lambda: False),
        warn=noted,
        loggers=opened,
        checkpoint_seconds=checkpoint_seconds,
        charged=record["charged"],
        cursors_of=lambda trained, seed: {} if trained.folder else others[key_of(trained, seed, chosen)]["cursors"],
        model_of=lambda trained, seed: load(model_folder(trained, seed, chosen, others), trained.fingerprint),
        tokenizer_of=lambda trained, seed: tokenizer_in(model_folder(trained, seed, chosen, others)),
    )
    try:
        with machine.repeatable():
            model, flight, finished = loop.train(recipe, seed, stream, around)
        record |= {
            "status": "finished" if finished else "interrupted",
            "phases": flight.phases,
            "validation": flight.validation,
            "cursors": flight.cursors,
            "stopped": flight.stopped,
            "totals": {
                "steps": flight.steps,
                "tokens": flight.tokens,
                "targets": flight.targets,
                "flops": flight.flops,
                "effective_flops": flight.effective_flops,
                "seconds": flight.seconds,
                "peak_memory_bytes": memory.bytes(),
                "epochs": {
                    source: flight.cursors[source] / size for source, size in stream.sizes("train").items() if source in flight.cursors
                },
            },
        }
        if finished and not ranks.rank():
            record |= conclude(recipe, model, stream, around)
    except Exception as error:
        record |= {"status": "failed", "failure": Failure.of(error)}
    finally:
        for logger in opened:
            logger.close()
    return written(folder, RunRecord(**record))


def written(folder: Path, record: RunRecord) -> RunRecord:
    """The record of a run as rank 0 has it, which writes it to ``folder``.

    What is refused or has diverged is so on every rank; with any other failure a rank leaves, because the rest will not come here.
    """
    from windtunnel.train import ranks

    if not ranks.rank():
        write_record(folder, record)
        if record.finished:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    elif record.failure and record.failure.traceback:
        print(f"rank {ranks.rank()}: {record.failure.traceback}", file=sys.stderr)
        raise SystemExit(1)
    return record if record.failure else ranks.broadcast(record)


def others_of(
    recipe: Recipe, seed: int, stream: Stream, folder: Path, needed_in: Path | None, how: dict[str, Any]
) -> dict[str, dict[str, Any]] | None:
    """The runs whose models ``recipe`` needs, by key: their folder, and what each cost by itself. None if asked to stop on the way.

    Where a run's stream is another one, its cursors are left out: they count other tokens.

    Raises:
        UserError: when one may have been trained on held-out text, has tokens that the part holding it cannot do with, has failed, or is
            not in ``needed_in``.
    """
    found: dict[str, dict[str, Any]] = {}
    theirs: dict[str, Stream] = {}
    for one in needed(recipe).values():
        refuse_other_documents(one, recipe)
        theirs[one.identity()] = stream_of(one, recipe, stream, how["streams"] or {})
    refuse_other_tokens(recipe, stream, theirs)
    for one in needed(recipe).values():
        key = one.key(seed, how["variant"])
        own_stream = theirs[one.identity()]
        place = (needed_in or folder / "needed") / run_name(key, own_stream.fingerprint)
        record = read_record(place)
        if needed_in is None and (record is None or not record.finished):
            # Looked up from the other side, this recipe's stream is one of those that are not its own.
            streams = {**(how["streams"] or {}), data_key(recipe): stream}
            record = fly(one, seed, own_stream, place, needed_in=folder / "needed", **how | {"streams": streams})
        if record is not None and record.status == "interrupted" and needed_in is None:
            return None
        if record is None or record.totals is None or not record.finished:
            reason = "has not been flown" if record is None else f"has {record.status}: {record.error}"
            raise UserError(f"the run {key}, whose model this recipe needs, {reason}")
        totals, before = record.totals, record.charged
        own = {unit: totals[unit] - before.get(unit, 0) for unit in ("tokens", "flops", "effective_flops", "seconds")}
        cursors = record.cursors if own_stream.fingerprint == stream.fingerprint else {}
        found[key] = {"folder": str(place), "steps": totals.steps, "cursors": cursors, **own}
    return found


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


def refuse_other_tokens(recipe: Recipe, stream: Stream, theirs: Mapping[str, Stream]) -> None:
    """Raise UserError where a part holds a model of other tokens and cannot do with one.

    ``theirs`` are the streams of the models, by the identity of their recipe.
    """
    for part in (part for phase in recipe.phases for part in phase.parts() if not part.other_tokens):
        for field, trained in part.trained().items():
            if trained.recipe is not None and not theirs[trained.recipe.identity()].same_tokens(stream):
                raise UserError(
                    f"{part.name}.{field}: this model is trained with another tokenizer, so its tokens mean something else here; give "
                    "both recipes one tokenizer (`tokenizer: {recipe: NAME}` takes that of another), or carry weights over with the start "
                    "`transplant`"
                )


def tokenizer_in(name: str) -> Any:
    """The tokenizer beside the model ``name``. Raises UserError where there is none that is fast."""
    from windtunnel.kits.text.tokenizer import load
    from windtunnel.models.locate import locate

    return load(locate(name), sentinels=0)


def charged(others: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What ``others`` cost together, by unit."""
    return {unit: sum(one[unit] for one in others.values()) for unit in ("steps", "tokens", "flops", "effective_flops", "seconds")}


def model_folder(trained: Trained, seed: int, chosen: Variant, others: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the model ``trained`` lies."""
    return trained.folder or others[key_of(trained, seed, chosen)]["folder"]


def key_of(trained: Trained, seed: int, chosen: Variant) -> str:
    """The key of the run that trains it."""
    assert trained.recipe is not None, "a model in a folder is not flown"
    return trained.recipe.key(seed, chosen)


def conclude(recipe: Recipe, model: Any, stream: Stream, around: Any) -> dict[str, Any]:
    """Evaluate the finished model on test, let it write samples, and save it as a folder that transformers loads."""
    from windtunnel.models.checkpoint import export
    from windtunnel.train.loop import evaluate, judges
    from windtunnel.train.samples import samples

    judge = judges(recipe, recipe.phases[-1], stream, "test", around)
    numbers = evaluate(recipe, model, judge)
    primary = recipe.evaluations[0]
    written = samples(model, judge)
    tokenizer = stream.tokenizer_for(recipe.special_tokens())
    export(model, around.folder / "model", tokenizer=tokenizer)
    known = {"unit": primary.unit, "better": primary.better, "tokens_added": added_tokens(stream) if tokenizer is stream.tokenizer else []}
    return {"test": numbers, "primary": next(iter(numbers)), "samples": written, **known}


def added_tokens(stream: Stream) -> list[str]:
    """The special tokens that were added to the tokenizer that the stream was given."""
    if not (stream.folder / "given").is_dir():
        return []
    from transformers import AutoTokenizer

    before = AutoTokenizer.from_pretrained(stream.folder / "given", local_files_only=True).get_vocab()
    return [token for token, _ in sorted(stream.tokenizer.get_vocab().items(), key=lambda item: item[1]) if token not in before]
