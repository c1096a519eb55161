"""One run from recipe to record: prepare the stream, fly the recipe with one seed, write down everything that came of it."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.part import UserError, Vocabulary
from windtunnel.recipe import FORMAT, Phase, Recipe
from windtunnel.train.checkpoint import write_json

if TYPE_CHECKING:
    from windtunnel.stream.stream import Stream


def prepare(recipe: Recipe, cache: Path, progress: Callable[[str], None] | None = None) -> Stream:
    """Read, split and clean the corpus of ``recipe`` and tokenise it, under ``cache``; what is already there is used again."""
    from windtunnel.corpus.prepare import prepare_corpus
    from windtunnel.stream.prepare import prepare_stream

    split, tokenizer = recipe.split, recipe.tokenizer
    corpus = prepare_corpus(
        recipe.corpus,
        validation=split.validation,
        test=split.test,
        near_duplicates=split.near_duplicates,
        curators=recipe.curators,
        cache=cache / "corpora",
        progress=progress,
    )
    return prepare_stream(
        corpus,
        folder=tokenizer.folder,
        vocabulary=tokenizer.vocabulary,
        sentinels=tokenizer.sentinels,
        cache=cache / "streams",
        progress=progress,
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
) -> dict[str, Any]:
    """Fly ``recipe`` with ``seed`` in ``folder`` and return its record, which is also written to ``folder/record.json``.

    A finished run is not flown again; an interrupted one goes on from its newest whole checkpoint. ``report`` is told the
    progress (step, done, loss, flops, seconds); when ``stop`` returns True the run writes a checkpoint and returns with status
    "interrupted". A run that breaks returns with status "failed" and its traceback.

    Raises:
        UserError: when the folder holds a run of another recipe or cannot be written.
    """
    import torch
    from transformers.utils import logging

    from windtunnel.train import loop, machine
    from windtunnel.train.log import Diverged, Surroundings
    from windtunnel.train.loggers import make_logger

    logging.disable_progress_bar()  # saving a model would draw over the study's table
    folder = Path(folder)
    key = recipe.key(seed)
    record = read_record(folder)
    if record is not None and (record["key"], record.get("stream")) != (key, stream.fingerprint):
        raise UserError(f"{folder} holds a run of another recipe, seed or text; choose another folder")
    if record is not None and record["status"] == "finished":
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a kill may have come between the record and this
        return record
    if threads:
        torch.set_num_threads(threads)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    plan: dict[str, Any] = {"precision": recipe.precision, "compiled": recipe.compile == "yes", "threads": torch.get_num_threads()}
    if "auto" in (recipe.precision, recipe.compile):
        rates = machine.measured(place, stream.folder.parent, torch.get_num_threads())
    if recipe.precision == "auto":
        plan["precision"] = rates["precision"]
    if recipe.compile == "auto":
        # A third of the matmul rate is what small models reach; a longer run repays the time that compiling takes.
        plan["compiled"] = estimate(recipe)["flops"] / (rates[plan["precision"]] / 3) > machine.COMPILE_REPAYS
    record = {
        "format": FORMAT,
        "key": key,
        "seed": seed,
        "recipe": recipe.model_dump(mode="json"),
        "stream": stream.fingerprint,
        "threads": torch.get_num_threads(),
        "device": str(place),
        "versions": machine.versions(),
        "hardware": machine.hardware(place),
        "traceback": None,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plan = machine.decided_once(folder / "plan.json", lambda: plan | {"key": key, "stream": stream.fingerprint})
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    if (plan["key"], plan["stream"]) != (key, stream.fingerprint):
        raise UserError(f"{folder} holds an unfinished run of another recipe, seed or text; choose another folder or delete it")
    warn = warn or (lambda message: print(message, flush=True))
    if plan.get("threads", threads) not in (threads, None) and threads:
        warn(f"this run began with {plan['threads']} thread(s) and goes on with {threads}: not bitwise what it would have been undisturbed")
    opened = tuple(make_logger(kind, folder, folder.name) for kind in loggers)
    memory = machine.PeakMemory(place)
    around = Surroundings(
        folder=folder,
        device=place,
        precision=machine.precision_context(place, plan["precision"]),
        compiled=plan["compiled"],
        report=report or (lambda _: None),
        stop=stop or (lambda: False),
        warn=warn,
        loggers=opened,
        checkpoint_seconds=checkpoint_seconds,
    )
    try:
        model, flight, finished = loop.train(recipe, seed, stream, around)
        record |= {
            "status": "finished" if finished else "interrupted",
            "precision": plan["precision"],
            "compiled": plan["compiled"],
            "phases": flight.phases,
            "validation": flight.validation,
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
        if finished:
            record |= conclude(recipe, model, stream, around)
    except Exception as error:
        text = str(error) if isinstance(error, (UserError, Diverged)) else traceback.format_exc()
        record |= {"status": "failed", "traceback": text, "error": f"{type(error).__name__}: {error}"}
    finally:
        for logger in opened:
            logger.close()
    write_json(folder / "record.json", record)
    if record["status"] == "finished":
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return record


def conclude(recipe: Recipe, model: Any, stream: Stream, around: Any) -> dict[str, Any]:
    """Evaluate the finished model on test, let it write samples, and save it as a folder that transformers loads."""
    from windtunnel.evaluate.samples import samples
    from windtunnel.models.checkpoint import export
    from windtunnel.train.loop import evaluate, judges

    judge = judges(recipe, recipe.phases[-1], stream, "test", around)
    numbers = evaluate(recipe, model, judge)
    primary = recipe.evaluations[0]
    written = samples(model, judge)
    export(model, around.folder / "model", tokenizer=stream.tokenizer)
    return {"test": numbers, "primary": next(iter(numbers)), "unit": primary.unit, "better": primary.better, "samples": written}


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a run's folder, or None where there is none yet.

    Raises:
        UserError: when the record is damaged.
    """
    path = Path(folder) / "record.json"
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["key"], record["status"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and the run goes on from its checkpoints") from error
    return record


def estimate(recipe: Recipe, stream: Stream | None = None) -> dict[str, float]:
    """What a run will cost, from sizes alone: FLOPs, steps, tokens, parameters of the last phase; epochs if ``stream`` is given.

    The run itself counts its FLOPs on the real step; this estimate takes 6 FLOPs a token for each weight of a matrix and
    12 layers x width x context for attention, and is meant for planning. For an encoder-decoder it asks the objective how many
    columns each half sees.
    """
    vocabulary = stream.vocabulary.size if stream is not None else recipe.tokenizer.vocabulary
    totals = {"flops": 0.0, "steps": 0.0, "tokens": 0.0}
    parameters = 0.0
    for phase in recipe.phases:
        sizes = phase.model.sizes()
        width, inner = sizes.width or 0, sizes.intermediate or 0
        narrow = width * (sizes.key_value_heads or 1) / (sizes.heads or 1)
        matrices = 3 if sizes.family in ("llama", "qwen2", "qwen3", "modernbert", "t5") else 2
        block = 2 * width * width + 2 * width * narrow + matrices * width * inner
        layers = sizes.layers or 1
        if sizes.kind == "encoder-decoder":
            reads, writes = columns(phase, recipe.tokenizer.vocabulary)
            across = 2 * width * width  # half of the decoder's attention over the encoder; its keys and values are made of what is read
            parameters = 2 * layers * (block + across) + vocabulary * width
            sequence = 6 * ((reads + writes) * layers * (block + across) + writes * vocabulary * width)
            sequence += 12 * layers * width * (reads * reads + writes * writes + reads * writes)
            per_token = sequence / phase.context
        else:
            parameters = layers * block + vocabulary * width * (1 if sizes.tied else 2)
            per_token = 6 * (layers * block + vocabulary * width) + 12 * layers * width * phase.context
        step_tokens = phase.batch * phase.context
        amount = recipe.budget.amount * phase.share
        steps = {
            "flops": amount / (per_token * step_tokens),
            "tokens": amount / step_tokens,
            "steps": amount,
            "seconds": amount * 3e10 / (per_token * step_tokens),
        }[recipe.budget.unit]
        totals["steps"] += steps
        totals["tokens"] += steps * step_tokens
        totals["flops"] += steps * step_tokens * per_token
    if stream is not None:
        totals["epochs"] = totals["tokens"] / max(1, sum(stream.sizes("train").values()))
    return totals | {"parameters": parameters}


def columns(phase: Phase, vocabulary: int) -> tuple[int, int]:
    """How many columns of a sequence the encoder and the decoder see, by what the objective makes of a row that stands for any."""
    import numpy as np

    size = np.ones(vocabulary, np.int32)
    known = Vocabulary(vocabulary, 0, 1, 2, tuple(range(3, vocabulary)), dict.fromkeys("RSX", 0), size, size.astype(bool))
    row = np.zeros((1, phase.context + 1), np.int64)
    rows = {"tokens": row + vocabulary - 1, "documents": row, "positions": np.arange(phase.context + 1)[None], "sources": row[0, :1]}
    batch = phase.objective.prepare(rows, known, np.random.default_rng(0))
    return batch["encoder_columns"].shape[1], batch["decoder_columns"].shape[1]
