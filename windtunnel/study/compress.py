"""A trained model made smaller in several ways, without training: each a folder that transformers loads, measured beside the model.

What is written holds the changed weights as ordinary numbers, so every program loads it with equal logits. How small a file could be that
packs them is reckoned, not written.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.core.errors import UserError
from windtunnel.slots import Source
from windtunnel.study.evaluate import BATCH

BITS = 16  # of every number that is not compressed, in the sizes that are reckoned


@dataclass(frozen=True)
class Rounding:
    """``4bit`` or ``4bit-64``: round to so many bits, in groups of 32 or so many inputs; the part `quantize-weights`."""

    form: ClassVar[str] = r"([2-8])bit(?:-(\d+))?"
    bits: int
    group: int = 32

    def apply(self, model: Any) -> None:
        """Change the weights in place. Raises PartError where groups do not divide the inputs of a matrix."""
        from windtunnel.core import registry
        from windtunnel.slots import Structure

        part = registry.make(Structure, {"quantize-weights": {"bits": self.bits, "group": self.group}})
        part.apply(model)
        part.remove(model)

    def bits_of(self, out: int, inside: int) -> float:
        """How many bits a matrix [out, in] takes."""
        return out * inside * (self.bits + BITS / self.group)


@dataclass(frozen=True)
class Pattern:
    """``2:4``: of every 4 consecutive inputs of an output keep the 2 of the largest magnitude."""

    form: ClassVar[str] = r"(\d+):(\d+)"
    kept: int
    size: int

    def apply(self, model: Any) -> None:
        """Change the weights in place. Raises PartError where groups do not divide the inputs of a matrix."""
        import torch

        from windtunnel.kits.weights.masks import keep_highest
        from windtunnel.models.anatomy import linears

        modules: dict[str, Any] = linears(model)
        masks = keep_highest(modules, self.kept / self.size, group=(self.kept, self.size), part=f"{self.kept}:{self.size}")
        with torch.no_grad():
            for name, module in modules.items():
                module.weight.mul_(masks[name])

    def bits_of(self, out: int, inside: int) -> float:
        """How many bits a matrix [out, in] takes: what is kept, and its place within its group."""
        return out * inside * self.kept / self.size * (BITS + math.ceil(math.log2(self.size)))


@dataclass(frozen=True)
class Factorisation:
    """``svd-50%``: the best two thin factors (Eckart and Young) that have so many percent of a matrix's numbers together."""

    form: ClassVar[str] = r"svd-(\d+)%"
    percent: int

    def rank(self, out: int, inside: int) -> int:
        """The inner size of the factors of a matrix [out, in], 1 at the least."""
        return max(1, int(self.percent / 100 * out * inside / (out + inside)))

    def apply(self, model: Any) -> None:
        """Change the weights in place, to the product of the factors."""
        import torch

        from windtunnel.kits.weights.factors import truncated
        from windtunnel.models.anatomy import linears, transposed

        found: dict[str, Any] = linears(model)
        with torch.no_grad():
            for module in found.values():
                weight = module.weight.T if transposed(module) else module.weight
                left, right = truncated(weight.detach(), self.rank(*weight.shape), 1.0)
                weight.copy_(left @ right)

    def bits_of(self, out: int, inside: int) -> float:
        """How many bits the factors of a matrix [out, in] take."""
        return BITS * self.rank(out, inside) * (out + inside)


WAYS = (Rounding, Pattern, Factorisation)
Way = Rounding | Pattern | Factorisation


def ways_of(text: str) -> dict[str, Way]:
    """``4bit,2:4,svd-50%`` as ways by their names.

    Raises:
        UserError: for what is no way or cannot be, and for one that stands there twice.
    """
    found: dict[str, Way] = {}
    for name in (part.strip() for part in text.split(",")):
        if name in found:
            raise UserError(f"--to {text}: {name} stands there twice")
        match, kind = next(((match, kind) for kind in WAYS if (match := re.fullmatch(kind.form, name))), (None, None))
        if match is None or kind is None:
            raise UserError(f"--to {name}: write 4bit (2 to 8, in groups of 32; 4bit-64: of 64), 2:4 (2 of every 4 are kept) or svd-50%")
        numbers = [int(number) for number in match.groups() if number is not None]
        if 0 in numbers or (kind is Pattern and numbers[0] >= numbers[1]) or (kind is Factorisation and numbers[0] >= 100):
            raise UserError(f"--to {name}: leaves nothing, or takes nothing away")
        found[name] = kind(*numbers)
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
    rest = BITS * (sum(weight.numel() for weight in loaded.parameters()) - sum(out * inside for out, inside in shapes))
    whole = rest + sum(BITS * out * inside for out, inside in shapes)
    rows: list[dict[str, Any]] = [{"way": "none", "folder": model, "megabytes": whole / 8e6, "share": 1.0, "changed": 0.0, "seconds": 0.0}]
    try:
        for name, way in ways.items():
            bits = rest + sum(way.bits_of(out, inside) for out, inside in shapes)
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
