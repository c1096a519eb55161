"""Merge models in folders into a new folder, a tensor at a time or less: no model is ever whole in memory."""

from __future__ import annotations

import filecmp
import functools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from windtunnel.core import registry
from windtunnel.core.errors import PartError, UserError, nearest
from windtunnel.core.files import publish, temporary_folder
from windtunnel.core.settings import Settings
from windtunnel.recipe.yaml import Document
from windtunnel.slots import Start

TOKENIZER = "tokenizer.json"
PIECE = 1 << 16  # numbers of a weight that are merged at a time, where each is merged by itself; larger ones are mapped and faulted in anew
FLOATS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


class MergeRecipe(Settings):
    """What ``windtunnel merge`` reads: a start that merges models, all of them in folders, and what is written."""

    merge: Start = Field(description="a start that merges, such as `soup` or `task-arithmetic`, whose models are all in folders")
    dtype: Literal["same", "float32", "bfloat16", "float16"] = Field(
        "same", description="what weights are stored as (same: each as in the model that differences are added to, or the first)"
    )
    seed: int = Field(0, ge=0, description="decides random masks")


def read_merge(path: Path | str) -> MergeRecipe:
    """The recipe in the YAML file ``path``. Raises UserError with file and line for what is wrong with it."""
    document = Document(path)
    _refuse_other_starts(document)
    try:
        recipe = MergeRecipe.model_validate(document.data)
    except ValidationError as error:
        raise document.errors(error) from error
    if getattr(recipe.merge, "choose", "all") != "all":
        raise document.error(("merge",), f"{recipe.merge.name}: choosing needs documents; here all are averaged (choose: all)")
    trained = recipe.merge.trained()
    lacking = [name for name, one in trained.items() if one.folder is None]
    if lacking:
        raise document.error(("merge",), f"{lacking[0]}: here every model is in a folder; a recipe is flown by `windtunnel train`")
    if getattr(recipe.merge, "base", True) is None:
        raise document.error(("merge",), "base: say which model the others were tuned from")
    return recipe


def _refuse_other_starts(document: Document) -> None:
    """Raise UserError where the file names a start that does not merge; those that do are the ones with a method ``merged``."""
    merge = document.data.get("merge")
    name = next(iter(merge), None) if isinstance(merge, Mapping) else merge
    if not isinstance(name, str):
        return  # what else it may be is told by the model of the file
    merging = [known for known, part in registry.names(Start).items() if hasattr(part, "merged")]
    if name not in merging:
        what = "needs more than weights" if registry.find(Start, name) else "is no start"
        raise document.error(("merge",), f"{name!r} {what}; of those that merge, {nearest(name, merging)}")


def merge_models(recipe: MergeRecipe, out: Path) -> dict[str, Any]:
    """Write the merged model to the new or empty folder ``out``; configuration and tokenizer are those of the model it begins from.

    Returns:
        ``weights`` (how many tensors), ``bytes``, ``models`` (how many).

    Raises:
        UserError: naming an adapter in the place of a model, models of other shapes or tokenizers, a weight that is not finite, or a
            damaged file; and for a folder that is not empty.
    """
    from windtunnel.models.content import copy_beside
    from windtunnel.models.locate import locate

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another")
    given = {path: str(one.folder) for path, one in recipe.merge.trained().items()}
    for path, name in given.items():
        refuse_adapter(path, Path(name))
    folders = {path: locate(name) for path, name in given.items()}
    first = next(path for path in ("onto", "base", *folders) if path in folders)
    with ExitStack() as opened:
        models = {path: Weights(folder, opened) for path, folder in folders.items()}
        refuse_other_models(folders, models, first)
        with temporary_folder(out.parent, f"{out.name}.partial-") as partial:
            config = functools.cache(lambda: _config(folders[first]))
            count, size = _write(recipe, models, first, config, partial / "model.safetensors")
            _copy_config(folders[first], partial, recipe.dtype)
            copy_beside(folders[first], partial)
            if out.is_dir():
                out.rmdir()
            publish(partial, out)
    return {"weights": count, "bytes": size, "models": len(folders)}


class Weights:
    """The tensors in the weight files of ``folder``, read when they are asked for."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        from safetensors import safe_open

        from windtunnel.models.content import headers, weight_files

        self.folder, files = folder, weight_files(folder)
        pickles = [path for path in files if path.suffix != ".safetensors"]
        if pickles:
            raise PartError(f"{pickles[0]}: a merge reads safetensors alone; load the model and save it with transformers once")
        self.kinds = {name: kind for _, name, kind in headers(files)}
        places = {path: opened.enter_context(safe_open(path, framework="pt")) for path in files}
        self.places = {name: places[path] for path, name, _ in headers(files)}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from the header."""
        return tuple(self.places[name].get_slice(name).get_shape())

    def read(self, name: str, rows: slice = slice(None)) -> Any:
        """A tensor, or so many rows of it. Raises PartError naming it where it holds NaN or infinity."""
        value = self.places[name].get_slice(name)[rows] if self.shape(name) else self.places[name].get_tensor(name)
        if not _finite(value):
            bad = int((~value.isfinite()).sum())
            raise PartError(f"{self.folder}: weight {name} has {bad} values that are not finite (NaN or infinite)")
        return value


def refuse_adapter(path: str, folder: Path) -> None:
    """Raise PartError where ``folder`` holds an adapter of peft and no model."""
    config = folder.expanduser() / "adapter_config.json"
    if config.is_file() and not (config.parent / "config.json").is_file():
        base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path", "its base")
        raise PartError(
            f"{path}: {folder} is an adapter and no model; merge it into {base} first (peft: merge_and_unload, save_pretrained)"
        )


def refuse_other_models(folders: Mapping[str, Path], models: Mapping[str, Weights], first: str) -> None:
    """Raise PartError where models differ in kind, shapes or tokenizers from the model ``first``; it says what would merge them."""
    kind = _family_name(folders[first])
    for path, folder in folders.items():
        if (other := _family_name(folder)) != kind:
            raise PartError(f"{path}: {folder} is a {other} and {first} a {kind}; weights of two families cannot be added")
        one, two = models[first], models[path]
        names = sorted(one.kinds.keys() | two.kinds.keys())
        differ = [name for name in names if name not in one.kinds or name not in two.kinds or one.shape(name) != two.shape(name)]
        if differ:
            name = differ[0]
            shown = [str(which.shape(name)) if name in which.kinds else "missing" for which in (one, two)]
            advice = (
                "weights add up at one shape alone; `widen`, `deepen` or `select-layers` bring a model to the other's, and training after"
            )
            if all(name.rpartition(".")[0].endswith(("embed_tokens", "lm_head", "wte", "word_embeddings", "shared")) for name in differ):
                advice = "vocabularies differ: `transplant` brings one model to the other's tokenizer, then they can be merged"
            raise PartError(f"{path}: {name} is {shown[1]} in {folder} and {shown[0]} in {first}, {len(differ)} differ in all; {advice}")
        if _other_vocabulary(folder / TOKENIZER, folders[first] / TOKENIZER):
            raise PartError(
                f"{path}: the tokenizer in {folder} gives other numbers to tokens than that of {first}, so embeddings cannot be added; "
                "`transplant` brings one model to the other's tokenizer, then they can be merged"
            )


def _other_vocabulary(one: Path, two: Path) -> bool:
    """Whether two tokenizers that are there give other numbers to tokens. Equal files are not read as JSON, which takes memory and time."""
    if not (one.is_file() and two.is_file()) or filecmp.cmp(one, two, shallow=False):
        return False
    return bool(_vocabulary(one) != _vocabulary(two))


def _vocabulary(tokenizer: Path) -> Any:
    try:
        whole = json.loads(tokenizer.read_text(encoding="utf-8"))
        return whole["model"].get("vocab"), sorted((entry["id"], entry["content"]) for entry in whole.get("added_tokens", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PartError(f"{tokenizer}: damaged: it is no tokenizer: {error}") from error


def _config(folder: Path) -> Any:
    from windtunnel.models.own import config_in

    return config_in(folder)


def _family_name(folder: Path) -> str:
    """The ``model_type`` of the model in ``folder``, read here: what transformers imports for a configuration takes three CPU seconds."""
    file = folder / "config.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PartError(f"{file}: not a configuration that transformers reads: {type(error).__name__}: {error}") from error


def _copy_config(here: Path, there: Path, dtype: str) -> None:
    """Copy the configurations of the model, with the type of numbers that is written."""
    for name in ("config.json", "generation_config.json"):
        if (here / name).is_file():
            shutil.copyfile(here / name, there / name)
    if dtype != "same":
        written = json.loads((there / "config.json").read_text(encoding="utf-8"))
        written = {key: value for key, value in written.items() if key != "torch_dtype"} | {"dtype": dtype}
        (there / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _write(recipe: MergeRecipe, models: Mapping[str, Weights], first: str, config: Callable[[], Any], path: Path) -> tuple[int, int]:
    """Write the merged tensors to ``path`` as safetensors; returns how many there are and how many bytes.

    The header comes first in that format and needs only shapes and types, so tensors follow one by one as they are made.
    """
    import torch

    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
    model, offset = models[first], 0
    header: dict[str, Any] = {}
    for name in sorted(model.kinds):
        kind = model.kinds[name]
        if kind not in sizes:
            raise PartError(f"{model.folder}: weight {name} is stored as {kind}; a merge adds floating point numbers")
        kind = kind if recipe.dtype == "same" else FLOATS[recipe.dtype]
        length = sizes[kind] * int(torch.Size(model.shape(name)).numel())
        header[name] = {"dtype": kind, "shape": list(model.shape(name)), "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in _merged(recipe, models, first, config, header):
            file.write(value.view(torch.uint8).numpy().data)
    return len(header), path.stat().st_size


def _merged(
    recipe: MergeRecipe, models: Mapping[str, Weights], first: str, config: Callable[[], Any], header: Mapping[str, Any]
) -> Iterator[Any]:
    """The merged tensors in the order of ``header``, flat, as they are stored, and where the merge allows it in pieces.

    Raises PartError at the end where none has changed.
    """
    import torch

    kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    merge: Any = recipe.merge
    changed = False
    for name, entry in header.items():
        for rows in _pieces(entry["shape"], merge.each_by_itself()):
            given = {path: model.read(name, rows) for path, model in models.items()}
            value = merge.merged(name, given, config, recipe.seed)
            changed = changed or not torch.equal(value, given[first])
            value = value.to(kinds[entry["dtype"]]).contiguous().flatten()
            if not _finite(value):
                raise PartError(f"the merged weight {name} is not finite as {entry['dtype']}; use dtype: float32, or smaller weights")
            yield value
    if not changed:
        layers = getattr(merge, "layers", None)
        where = f" in the first {layers} layers; its weights are called {', '.join(list(header)[:3])} ..." if layers else ""
        raise PartError(f"{merge.name}: nothing is merged: {models[first].folder} would come out as it is, no weight of it changes{where}")


def _finite(value: Any) -> bool:
    """Whether no number of a tensor is NaN or infinite, by its least and largest: 0.8 ns a number in bfloat16, and 11 asking each."""
    return not (value.is_floating_point() and value.numel()) or all(bool(end.isfinite()) for end in value.aminmax())


def _pieces(shape: list[int], may_be_cut: bool) -> Iterator[slice]:
    """The rows of a tensor in pieces of about :data:`PIECE` numbers, or all at once."""
    if not may_be_cut or not shape:
        yield slice(None)
        return
    rows = max(1, PIECE * shape[0] // max(1, math.prod(shape)))
    for first in range(0, shape[0], rows):
        yield slice(first, first + rows)
