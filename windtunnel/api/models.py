"""Models: one trained from a recipe, one adapted to a corpus, several compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.api.given import OUT, Where, expanded, in_words


def train(
    recipe: Where | Mapping[str, Any],
    out: Where,
    *,
    seed: int = 0,
    corpus: Mapping[str, Any] | None = None,
    cache: Where = f"{OUT}/cache",
    threads: int | None = None,
    device: str | None = None,
    loggers: Sequence[str] = (),
) -> Any:
    """Train one model from a recipe (a YAML file, or a mapping of what it says) in the folder ``out``; returns its record.

    Called again, it goes on where it was. The model lies in ``out/model``, which ``AutoModel`` loads.

    Args:
        recipe: with its corpus and budget.
        out: the folder of the run.
        seed: what differs between repetitions.
        corpus: sources that are replaced or added.
        cache: where prepared text is kept; studies share theirs.
        threads: of this run (default: torch's own choice).
        device: cpu, cuda, cuda:1 ... (default: a GPU if there is one).
        loggers: tensorboard, wandb, mlflow, trackio.

    Raises:
        UserError: for what the caller can put right.
        RuntimeError: where training failed; the message ends with the traceback.
    """
    from windtunnel.recipe import Document, load_recipe, merge, recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train.machine import refuse_device
    from windtunnel.train.prepare import prepare, prepare_needed
    from windtunnel.train.run import fly

    more = expanded(corpus or {})
    if isinstance(recipe, Mapping):
        with in_words("recipe"):
            found = resolve(recipe_from(merge(recipe, {"corpus": more} if more else {})))
    else:
        document = Document(recipe)
        found = resolve(load_recipe(document, more), document)
    refuse_device(device)
    stream, others = prepare(found, Path(cache)), prepare_needed(found, Path(cache))
    record = fly(found, seed, stream, Path(out), threads=threads, device=device, loggers=loggers, streams=others)
    return _finished(record)


def adapt(
    model: str,
    corpus: Mapping[str, Any],
    out: Where,
    *,
    keep: Mapping[str, Any] | None = None,
    budget: str = "30m",
    max_forgetting: str | float | None = "1%",
    replay: float = 0.25,
    rate: float | None = None,
    context: int = 256,
    batch: int = 4,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
) -> Any:
    """Go on training ``model`` on ``corpus``, and keep what it knew; returns the result, before and after, by source.

    As ``windtunnel adapt``. The model lies in ``out/model``, the page in ``out/report.html``. Called again, it goes on where it was.

    Args:
        model: a folder, a file of weights or a hub name.
        corpus: what to adapt to, sources by name.
        out: where all goes.
        keep: sources that stand for what must be kept (default: the model writes its own).
        budget: "30m", "2h", "500 steps", "2e6 tokens", "1e15 flops".
        max_forgetting: by how large a share bits per byte of what is kept may rise; None: by any.
        replay: the share of training documents that come from what is kept.
        rate: the peak learning rate (default: a fifth of that of training from scratch).
        context: tokens of a sequence.
        batch: sequences of a step.
        seed: what differs between repetitions.
        threads: of this process (default: all cores).
        device: cpu, cuda ... (default: a GPU if there is one).

    Raises:
        UserError: for what the caller can put right.
        RuntimeError: where training failed.
    """
    from windtunnel.report.adaptation import page
    from windtunnel.study.adapt import adapt as fly
    from windtunnel.study.adapt_request import AdaptRequest, budget_of, share_of
    from windtunnel.train.machine import refuse_device

    refuse_device(device)
    request = AdaptRequest(
        checkpoint=model,
        corpus=expanded(corpus),
        keep=expanded(keep or {}),
        budget=budget_of(budget),
        tolerance=share_of(max_forgetting) if isinstance(max_forgetting, str) or max_forgetting is None else max_forgetting,
        replay=replay,
        context=context,
        batch=batch,
        rate=rate,
    )
    result = _finished(fly(request, Path(out), seed=seed, threads=threads, device=device))
    page(result, Path(out))
    return result


def evaluate(
    models: str | Sequence[str],
    corpus: Mapping[str, Any] | None = None,
    *,
    tasks: str | Sequence[str] = (),
    weights: bool = False,
    context: int | None = None,
    most_bytes: int | None = None,
    batch: int = 4,
    precision: str = "float32",
    cache: Where = f"{OUT}/cache",
    threads: int | None = None,
    device: str | None = None,
) -> Any:
    """Measure trained models on ``corpus`` and ``tasks`` side by side, with intervals over documents and questions. Nothing is trained.

    As ``windtunnel evaluate``. Returns a :class:`windtunnel.study.evaluate.SideBySide`, with ``.table()``, ``.tasks()`` and ``.data``.

    Args:
        models: folders of models or runs, files of weights, hub names; others are compared with the first.
        corpus: sources by name.
        tasks: files of questions (JSON lines), and tasks of lm_eval by file (.yaml) or name.
        weights: look for dead, collapsed and untrained layers: ``.weights()``.
        context: tokens of a window (default: what all models have room for, at most 1024).
        most_bytes: most bytes of each source that are read, in whole documents (default: all).
        batch: windows that go through a model at once.
        precision: float32 or bfloat16.
        cache: where prepared text is kept.
        threads: of this process (default: torch's own choice).
        device: cpu, cuda ... (default: a GPU if there is one).

    Raises:
        UserError: for what the caller can put right.
    """
    from windtunnel.recipe import sources_from
    from windtunnel.study.evaluate import evaluate as measure

    asked = [tasks] if isinstance(tasks, str) else list(tasks)
    how: dict[str, Any] = {"tasks": asked, "weights": weights, "context": context, "most_bytes": most_bytes}
    how |= {"batch": batch, "precision": precision}
    named = [models] if isinstance(models, str) else list(models)
    return measure(named, sources_from(expanded(corpus or {})), Path(cache), **how, threads=threads, device=device)


def forensics(tokenizer: str, corpus: Mapping[str, Any], *, merges: int = 1000, most_bytes: int = 5_000_000) -> Any:
    """The shares of the sources ``corpus`` in the text that a BPE tokenizer was trained on, told from its merges.

    As ``windtunnel forensics``. Returns a :class:`windtunnel.study.forensics.TokenizerShares`, with ``.table()`` and ``.data``.

    Args:
        tokenizer: its tokenizer.json, or a folder that holds one.
        corpus: two sources or more, by name.
        merges: how many of its merges are looked at, the first ones.
        most_bytes: bytes of each source in which pairs are counted.

    Raises:
        UserError: for what the caller can put right.
    """
    from windtunnel.recipe import sources_from
    from windtunnel.study.forensics import forensics as tell

    return tell(tokenizer, sources_from(expanded(corpus)), merges=merges, sample=most_bytes)


def sample(model: str, prompt: str = "", *, tokens: int = 100, temperature: float = 0.8, count: int = 1, seed: int = 0) -> list[str]:
    """What ``model`` (the folder of a run, or any model as of :func:`evaluate`) writes after ``prompt``, ``count`` times.

    Raises:
        UserError: for what the caller can put right.
    """
    from windtunnel.study.evaluate import sample as write

    return write(model, prompt, tokens=tokens, temperature=temperature, count=count, seed=seed)


def _finished(record: Any) -> Any:
    """``record`` of a run or an adaptation, or what kept it from finishing, raised."""
    facts = record if isinstance(record, Mapping) else record.model_dump()
    if facts["status"] == "interrupted":
        raise KeyboardInterrupt
    if facts["status"] != "finished":
        failure = facts.get("failure") or {}
        raise RuntimeError(failure.get("traceback") or facts.get("traceback") or failure.get("message") or facts.get("error"))
    return record
