"""A trained model made smaller in several ways, without training: each a folder that transformers loads, measured beside the model.

What is written holds the changed weights as ordinary numbers, so every program loads it with equal logits. How small a file could be that
packs them is reckoned, not written.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.kits.weights.smaller import Way, bits_of, way_of
from windtunnel.slots import Source
from windtunnel.study.evaluate import BATCH


def ways_of(text: str) -> dict[str, Way]:
    """``4bit,2:4,svd-50%`` as ways by their names.

    Raises:
        UserError: for what is no way or cannot be, and for one that stands there twice.
    """
    found: dict[str, Way] = {}
    for name in (part.strip() for part in text.split(",")):
        if name in found:
            raise UserError(f"--to {text}: {name} stands there twice")
        try:
            found[name] = way_of(name)
        except ValueError as error:
            raise UserError(f"--to {error}") from error
    return found


def folder_of(name: str) -> str:
    """What the folder of a way is called."""
    return name.replace(":", "-of-").replace("%", "")


def compress(
    model: str,
    ways: Mapping[str, Way],
    out: Path,
    corpus: Mapping[str, Source] | None = None,
    cache: Path | None = None,
    *,
    tasks: Sequence[str] = (),
    context: int | None = None,
    most_bytes: int | None = None,
    batch: int = BATCH,
    threads: int | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write ``model``, made smaller in each of ``ways``, to a folder in ``out`` of its own; measure all on ``corpus`` and ``tasks``.

    Where one fails, nothing of any stays.

    Returns:
        ``rows``: for the model itself and each way ``way``, ``folder``, ``megabytes`` that a file would take in which every number that is
        not compressed has 16 bits, ``share`` of the model's own, ``changed`` (the distance of the blocks' matrices over their norm)
        and ``seconds``; ``evaluation``: what :func:`windtunnel.study.evaluate.evaluate` found, its first model the one given, or None.

    Raises:
        UserError: for a model or source that cannot be read, a folder that is not empty, and a way that does not fit the model.
    """
    import torch

    from windtunnel.models.load import load
    from windtunnel.study.evaluate import evaluate

    folders = {name: out / folder_of(name) for name in ways}
    for folder in folders.values():
        if folder.exists():
            raise UserError(f"{folder} exists; choose another folder")
    if threads:
        torch.set_num_threads(threads)
    loaded: Any = load(model)
    before = _matrices(loaded)
    if not before:
        raise UserError(f"{model}: its blocks hold no weight matrix, so there is nothing to compress")
    shapes = [tuple(weight.shape) for weight in before.values()]
    whole = bits_of(loaded, shapes, None)
    rows: list[dict[str, Any]] = [{"way": "none", "folder": model, "megabytes": whole / 8e6, "share": 1.0, "changed": 0.0, "seconds": 0.0}]
    try:
        for name, way in ways.items():
            bits = bits_of(loaded, shapes, way)
            row = {"way": name, "folder": str(folders[name]), "megabytes": bits / 8e6, "share": bits / whole}
            rows.append(row | _written(model, name, way, before, folders[name], say))
        found = None
        if corpus or tasks:
            how: dict[str, Any] = {"tasks": tasks, "context": context, "most_bytes": most_bytes, "batch": batch, "device": device}
            found = evaluate([row["folder"] for row in rows], corpus or {}, cache or out / "cache", say=say, **how).data
    except BaseException:  # all of them or none, so that the same command can be given again
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return {"rows": rows, "evaluation": found}


def _written(model: str, name: str, way: Way, before: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Write ``model``, made smaller in ``way``, to ``folder``; how far that is from the matrices ``before``, and how long it took."""
    from windtunnel.models.load import load

    say(f"{name}: compressing {model}")
    begun = time.perf_counter()
    smaller: Any = load(model)
    way.apply(smaller)
    seconds, changed = time.perf_counter() - begun, _distance(before, _matrices(smaller))
    if not changed:
        say(f"{name}: changes nothing; the weights of {model} lie on this grid already")
    _write(smaller, model, name, folder)
    return {"changed": changed, "seconds": seconds}


def _matrices(model: Any) -> dict[str, Any]:
    """The weight matrices of the blocks [out, in] by name."""
    from windtunnel.models.anatomy import linears, transposed

    found: dict[str, Any] = linears(model)
    return {name: module.weight.detach().T if transposed(module) else module.weight.detach() for name, module in found.items()}


def _distance(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """The norm of what changed over that of what was."""
    apart = sum(float((after[name] - weight).double().square().sum()) for name, weight in before.items())
    return math.sqrt(apart / sum(float(weight.double().square().sum()) for weight in before.values()))


def _write(smaller: Any, model: str, name: str, folder: Path) -> None:
    """The model to ``folder``, with the tokenizer of the one it was made from."""
    from windtunnel.models.locate import locate
    from windtunnel.models.save import export

    source = locate(model)
    card = {"title": f"{source.name}, {name}", "text": "Compressed without training; the weights are stored as ordinary numbers."}
    export(smaller, folder, tokenizer=source, card=card)
