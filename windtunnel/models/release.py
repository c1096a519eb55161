"""What changed between two releases of a model, which version that asks for, and what the new one fails to say.

Ajibode et al. 2025, arXiv:2409.10472: of 52,227 language models on a hub, two fifths of the changes to weights show neither in a name nor
in documentation. So what is compared is content: weights tensor by tensor, whatever files they lie in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from windtunnel.core.card import MADE
from windtunnel.core.errors import UserError
from windtunnel.models.content import TOKENIZER_FILES, digest_of, weight_files

Bump = Literal["major", "minor", "patch", "none"]
BUMPS: tuple[Bump, ...] = ("none", "patch", "minor", "major")
ASKS: dict[str, Bump] = {"weights": "major", "tokenizer": "major", "config": "minor", "generation": "minor", "card": "patch"}
WRITTEN_BY = ("transformers_version", "_name_or_path")  # of a config: who wrote it, which changes nothing
VERSION = re.compile(r"(?<![0-9.])v?(\d+)\.(\d+)(?:\.(\d+))?(?![0-9.])")
SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)  # 135M or 7b in a name


class Release(NamedTuple):
    """What is new in a release."""

    changed: tuple[str, ...]  # weights, tokenizer, config, generation, card
    asks: Bump  # the version step that these ask for
    made: Bump | None  # the step that was made; None where a release has no version
    findings: tuple[str, ...]  # a sentence each: what the new release fails to say


def compared(old: Path, new: Path) -> Release:
    """The release in folder ``new`` against that in ``old``, both in the form in which transformers writes a model.

    Weights or tokenizer changed ask for a major step of the version, a configuration alone for a minor one, the card alone for a patch. The
    version is ``version:`` at the head of the card (README.md), else one in the name of the folder (``model-v1.2``).

    Raises:
        UserError: where a folder holds no model, or its files are damaged.
    """
    before, after = contents(old), contents(new)
    changed = tuple(part for part in ASKS if before[part] != after[part])
    asks: Bump = max((ASKS[part] for part in changed), key=BUMPS.index, default="none")
    was, now = version_of(old), version_of(new)
    made = step(was, now) if was and now else None
    return Release(changed, asks, made, tuple(_findings(new, after, changed, asks, made, was, now)))


def contents(folder: Path) -> dict[str, str]:
    """A hash of each part of a release: of the values, not of the files that they are spread over."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a model, with config.json and its weights")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no config.json, so it is no model in the form of transformers")
    generation, card = folder / "generation_config.json", folder / "README.md"
    return {
        "weights": _weights(folder),
        "tokenizer": digest_of(path for name in TOKENIZER_FILES if (path := folder / name).is_file()),
        "config": _settings(folder / "config.json"),
        "generation": _settings(generation) if generation.is_file() else "",
        "card": digest_of([card]) if card.is_file() else "",
    }


def version_of(folder: Path) -> tuple[int, int, int] | None:
    """The version that the card in ``folder`` says, or the folder's name."""
    said = VERSION.search(str(head_of(folder).get("version", ""))) or VERSION.search(folder.resolve().name)
    return (int(said[1]), int(said[2]), int(said[3] or 0)) if said else None


def head_of(folder: Path) -> dict[str, Any]:
    """What stands at the head of the card between two lines of dashes; nothing where there is none."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    parts = re.split(r"^---[ \t]*$", text, maxsplit=2, flags=re.MULTILINE)
    try:
        found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except yaml.YAMLError as error:
        raise UserError(f"{card}: its head is not valid YAML: {error}") from error
    return found if isinstance(found, dict) else {}


def step(was: tuple[int, int, int], now: tuple[int, int, int]) -> Bump:
    """The largest part of the version that was raised; none where nothing was, or it went back."""
    if now <= was:
        return "none"
    return "major" if now[0] > was[0] else "minor" if now[1] > was[1] else "patch"


def _findings(
    new: Path,
    after: dict[str, str],
    changed: tuple[str, ...],
    asks: Bump,
    made: Bump | None,
    was: tuple[int, int, int] | None,
    now: tuple[int, int, int] | None,
) -> Iterator[str]:
    what = " and ".join(changed)
    if changed and made is None and asks != "patch":
        who = "the former release has" if now else "this release has" if was else "both releases have"
        yield f"{what} changed, and {who} no version; write version: at the head of README.md"
    elif made is not None and BUMPS.index(made) < BUMPS.index(asks):
        shown = ".".join(map(str, now or ()))
        yield f"{what} changed, which asks for a {asks} step, and the version says {shown} ({'no' if made == 'none' else f'a {made}'} step)"
    if "weights" in changed and "card" not in changed:
        yield "the weights changed and the card is word for word the former one"
    if not after["card"]:
        yield "there is no README.md, so nobody learns what it was made from"
    elif not {"base_model", "datasets"} & head_of(new).keys() and "began from" not in (text := _card(new)) and MADE not in text:
        yield "the card names neither the model that it began from (base_model:) nor what it was trained on (datasets:)"
    yield from _size(new)


def _size(folder: Path) -> Iterator[str]:
    said = SIZE.search(folder.resolve().name)
    if said and all(path.suffix == ".safetensors" for path in weight_files(folder)):
        count = sum(_elements(shape) for _, shape, _ in _tensors(folder))
        named = float(said[1]) * {"m": 1e6, "b": 1e9}[said[2].lower()]
        if not 0.7 < count / named < 1.5:  # names round, and some leave embeddings out
            yield f"its name says {said[0]}, and it has {count:,} parameters"


def _card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8", errors="replace")


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _settings(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    kept = {key: value for key, value in found.items() if key not in WRITTEN_BY} if isinstance(found, dict) else found
    return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=10).hexdigest()


def _weights(folder: Path) -> str:
    """A hash over the tensors by name: the same for one file and for shards of it."""
    digest = hashlib.blake2b(digest_size=10)
    for name, shape, data in sorted(_tensors(folder, read=True), key=lambda one: one[0]):
        digest.update(f"{name}\0{shape}\0{data}\0".encode())
    return digest.hexdigest()


def _tensors(folder: Path, read: bool = False) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape, and with ``read`` type and hash of every tensor. Pickles are hashed whole, under the name of their file."""
    from safetensors import SafetensorError, safe_open

    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            yield path.name, (), digest_of([path]) if read else ""
            continue
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 (it is no mapping)
                    shape = tuple(file.get_slice(name).get_shape())
                    yield name, shape, _hash(file.get_tensor(name)) if read else ""
        except SafetensorError as error:
            raise UserError(f"{path}: damaged: {error}") from error


def _hash(tensor: Any) -> str:
    import torch

    found = hashlib.blake2b(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"", digest_size=10)
    return f"{tensor.dtype} {found.hexdigest()}"
