"""What is in the folder of a model, told from its files alone: their content as a hash, and what is wrong with them, without torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from windtunnel.core.errors import PartError
from windtunnel.core.files import is_lfs_pointer

WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
FLOATS = ("F64", "F32", "F16", "BF16")
# The files of a tokenizer, which are handed on as they are.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
READING_FILES = ("preprocessor_config.json", "steps.json")  # how a model reads what is no text: images, episodes
BLOCK = 1 << 24  # hashed by one thread

_known: dict[tuple[Any, ...], str] = {}  # hashes by what the file system says of the files, so that one process reads them once


def weight_files(folder: Path) -> list[Path]:
    """The files that the weights of ``folder`` are read from, in order: safetensors before pickles, whole ones before shards.

    Raises:
        PartError: naming the missing shard, a damaged index, a file that Git has not fetched, or what was looked for.
    """
    for whole, index in zip(WHOLE, (folder / name for name in INDEX), strict=True):
        if (folder / whole).is_file():
            return [_fetched(folder / whole)]
        if not index.is_file():
            continue
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise PartError(f"{index}: not an index of shards: {error}") from error
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise PartError(f"{folder}: shard {missing[0]} is missing ({len(missing)} of {len(shards)} are)")
        return [_fetched(folder / shard) for shard in shards]
    raise PartError(f"{folder}: holds no weights; looked for {', '.join(WHOLE + INDEX)}")


def _fetched(file: Path) -> Path:
    """``file`` itself. Raises PartError where Git has left a pointer in its place."""
    if is_lfs_pointer(file):
        raise PartError(f"{file}: is not the file but a pointer of Git LFS to it; git lfs pull brings the file")
    return file


def fingerprint(folder: Path) -> str:
    """A hash of the configuration and the weights in ``folder``: what a run that begins there depends on, wherever it lies."""
    return digest_of([folder / "config.json", *weight_files(folder)])


def digest_of(files: Iterable[Path]) -> str:
    """A hash of the names and the content of ``files``. In one process, files that did not change are read once."""
    files = list(files)
    states = [path.stat() for path in files]
    key = tuple((str(path.resolve()), s.st_size, s.st_mtime_ns, s.st_ino) for path, s in zip(files, states, strict=True))
    if key not in _known:
        digest = hashlib.blake2b(digest_size=10)
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing leaves the interpreter free
            for path, state in zip(files, states, strict=True):
                digest.update(f"{path.name}\0{state.st_size}\0".encode())
                for block in threads.map(lambda begin, path=path: _block(path, begin), range(0, state.st_size, BLOCK)):
                    digest.update(block)
        _known[key] = digest.hexdigest()
    return _known[key]


def _block(path: Path, begin: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        return hashlib.blake2b(file.read(BLOCK)).digest()


def headers(files: Iterable[Path]) -> Iterator[tuple[Path, str, str]]:
    """File, name and dtype of every tensor in the safetensors among ``files``.

    Raises:
        PartError: naming the file whose header is damaged or that is shorter than its header says.
    """
    for path in files:
        if path.suffix != ".safetensors":
            continue
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise PartError(f"{path}: damaged: it has no header of safetensors")
            try:
                header = json.loads(file.read(length))
                tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
                end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
                kinds = {name: str(entry["dtype"]) for name, entry in tensors.items()}
            except (ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
                raise PartError(f"{path}: damaged: its header is not that of safetensors ({error})") from error
        if size != 8 + length + end:
            raise PartError(f"{path}: damaged: {size} bytes, its header says {8 + length + end}; it was cut off, fetch it again")
        for name, kind in kinds.items():
            yield path, name, kind


def copy_tokenizer(here: Path, there: Path) -> None:
    """Copy the files of the tokenizer in ``here``, byte for byte."""
    there.mkdir(parents=True, exist_ok=True)
    for path in (*(here / name for name in TOKENIZER_FILES), *here.glob("chat_templates/*.jinja")):
        if path.is_file():
            target = there / path.relative_to(here)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def copy_beside(here: Path, there: Path) -> None:
    """Copy what lies beside the model in ``here`` and says how it reads documents: the files of a tokenizer, and :data:`READING_FILES`."""
    copy_tokenizer(here, there)
    for name in READING_FILES:
        if (here / name).is_file():
            shutil.copyfile(here / name, there / name)
