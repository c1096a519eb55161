"""A stream as it travels: every file compressed, and of the training documents those alone that will be read.

What is left out is zeros in files of the full size, which compress to nothing, so every place in them stays where it was. The manifest
says which documents were kept, and the stream refuses to read another one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.core.files import publish, temporary_folder, whole
from windtunnel.data.stream import BLOCK, Stream, manifest_hash

SUFFIX = ".z"
LEVEL = 6


def write_cut(stream: Stream, folder: Path, kept: Mapping[str, np.ndarray]) -> int:
    """Write ``stream`` to ``folder``, with those training documents alone that ``kept`` says.

    Args:
        stream: what is written. Validation and test are written whole.
        folder: is made; it must be empty.
        kept: by source a boolean for each of its training documents; a source that is not named is written whole.

    Returns:
        The bytes written.

    Raises:
        UserError: where a file of ``stream`` is damaged.
        DiskError: where ``folder`` cannot be written.
    """
    manifest = json.loads((stream.folder / "manifest.json").read_text(encoding="utf-8"))
    masks = {manifest["shards"]["train"][source]["file"]: mask for source, mask in kept.items() if not mask.all()}
    written = 0
    for path in list(manifest["files"]):
        stem, _, name = path.rpartition(".")
        mask = masks.get(stem) if name != "index" else None
        data = stream.bytes_of(path) if mask is None else _without(stream, stem, name, mask)
        written += _write(folder, path, data, manifest["files"])
    for source, mask in kept.items():
        shard = manifest["shards"]["train"][source]
        if shard["file"] in masks:
            shard["kept"] = f"{shard['file']}.kept"
            written += _write(folder, shard["kept"], mask.astype(np.uint8), manifest["files"])
    manifest["hash"] = manifest_hash(manifest)
    with whole(folder / "manifest.json") as file:
        json.dump(manifest, file)
    return written + (folder / "manifest.json").stat().st_size


def _without(stream: Stream, stem: str, field: str, mask: np.ndarray) -> np.ndarray:
    """The bytes of a field with zeros in the place of the documents that are left out."""
    source = next(one for one in stream.sources if stream.stem("train", one) == stem)
    data = np.array(stream.bytes_of(f"{stem}.{field}"))
    ends = stream.ends("train", source, field)
    width = len(data) // int(ends[-1]) if len(ends) and ends[-1] else 0
    lengths = np.diff(ends, prepend=0) * width
    data[np.repeat(~mask, lengths)] = 0
    return data


def _write(folder: Path, path: str, data: np.ndarray, files: dict[str, Any]) -> int:
    """Write ``data``, compressed, and enter its size and checksums under ``path`` in ``files``; returns the bytes written."""
    packer, sums = zlib.compressobj(LEVEL), []
    with whole(folder / f"{path}{SUFFIX}", "wb") as file:
        for begin in range(0, len(data), BLOCK):
            block = data[begin : begin + BLOCK].tobytes()
            sums.append(f"{zlib.crc32(block):08x}")
            file.write(packer.compress(block))
        file.write(packer.flush())
    files[path] = {"bytes": len(data), "blocks": "".join(sums)}
    return (folder / f"{path}{SUFFIX}").stat().st_size


def restore(folder: Path, target: Path) -> Stream:
    """The stream that :func:`write_cut` wrote to ``folder``, in ``target``, unpacked now or found there.

    Raises:
        UserError: naming the file that is missing or damaged.
        DiskError: where ``target`` cannot be written.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target.parent, f"{target.name}.partial-") as made:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            for path in manifest["files"]:
                with whole(made / path, "wb") as file:
                    for block in _unpacked(folder / f"{path}{SUFFIX}"):
                        file.write(block)
            with whole(made / "manifest.json") as file:
                json.dump(manifest, file)
            publish(made, target)
    return Stream.open(target)


def _unpacked(path: Path) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    try:
        with path.open("rb") as file:
            while data := file.read(BLOCK):
                yield unpacker.decompress(data)
        if not unpacker.eof:
            raise UserError(f"{path}: cut off; copy the pack again")
    except (OSError, zlib.error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}; copy the pack again") from error
