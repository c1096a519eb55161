"""Checkpoints of a model in shards: every rank writes its own parts and reads what it needs of all parts (torch.distributed.checkpoint).

What is in no shard (where the run stands, configurations, learning rates) rank 0 writes beside them, with the place of each shard.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path, PosixPath
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

SHARDS = "shards"  # in a stored state: where each tensor in shards belongs, as keys of nested dictionaries, with its name in the files
PATIENCE = timedelta(hours=1)  # how long ranks that have written their parts wait for the slowest


def taken_apart(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, DTensor]]:
    """``state`` without its tensors in shards, which are in dictionaries, and these by name; what shares memory has one name."""
    places: list[tuple[list[Any], str]] = []
    found: dict[str, DTensor] = {}
    names: dict[tuple[int, int], str] = {}  # by the memory and the place in it: an address is 0 on a rank that has no row of a tensor

    def rest(value: Any, path: list[Any]) -> Any:
        if not isinstance(value, Mapping):
            return value
        left = {}
        for key, entry in value.items():
            if isinstance(entry, DTensor):
                own = entry.to_local()
                name = names.setdefault((own.untyped_storage()._cdata, int(own.storage_offset())), "/".join(map(str, [*path, key])))
                places.append(([*path, key], name))
                found[name] = entry
            else:
                left[key] = rest(entry, [*path, key])
        return left

    left = rest(state, [])
    return (left | {SHARDS: places}, found) if found else (dict(state), found)


def copied(shards: Mapping[str, DTensor]) -> dict[str, Any]:
    """This rank's part of each of ``shards`` once more, in the machine's memory."""
    return {name: value.detach().to("cpu", copy=True) for name, value in shards.items()}


def save(shards: Mapping[str, DTensor], folder: Path, group: Any) -> None:
    """Write this rank's part of ``shards`` to ``folder``, and flush it to disk; all ranks of ``group`` together.

    Raises:
        CheckpointException: on every rank, where any has failed; it holds what each says.
    """
    dcp.save(dict(shards), storage_writer=dcp.FileSystemWriter(folder), process_group=group)  # type: ignore[no-untyped-call]


def own_group() -> Any:
    """A group of all ranks for what is written beside training, whose messages must not meet those of the steps."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


class LayoutUnpickler(pickle.Unpickler):
    """Reads what torch writes of a checkpoint's layout and runs nothing else: a checkpoint is data."""

    LAYOUT = ("ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "TensorStorageMetadata")
    KNOWN = frozenset(
        {f"torch.distributed.checkpoint.metadata.{name}" for name in (*LAYOUT, "_MEM_FORMAT_ENCODING")}
        | {"torch.distributed.checkpoint.filesystem._StorageInfo", "torch.serialization._get_layout", "torch.Size"}
    )
    PATHS = ("pathlib", "pathlib._local")  # where Python, and Python 3.13, say that a path comes from

    def find_class(self, module: str, name: str) -> Any:
        """What the file calls ``name`` in ``module``; raises UnpicklingError for all that no layout holds."""
        if module in self.PATHS and name == "PosixPath":
            return PosixPath
        if f"{module}.{name}" in self.KNOWN or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the layout of a checkpoint does not hold {module}.{name}")


class Reader(dcp.FileSystemReader):
    """Reads parts from a folder, as torch's own reader does, and runs no code that lies in it."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The layout: which tensors there are, of what shape, and where each part of them is."""
        with (Path(self.path) / ".metadata").open("rb") as file:
            found: Metadata = LayoutUnpickler(file).load()
        if found.storage_meta is not None:
            found.storage_meta.load_id = self.load_id
        return found


class Waiting(NamedTuple):
    """A tensor of a stored state that is still on the disk, in parts."""

    folder: Path
    name: str
    shape: torch.Size
    dtype: torch.dtype


def waiting(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``state`` as rank 0 has written it to ``folder``, with what stands for each tensor in shards in its place."""
    places = state.pop(SHARDS, [])
    layout = Reader(folder).read_metadata().state_dict_metadata if places else {}
    for path, name in places:
        known = layout[name]
        assert isinstance(known, TensorStorageMetadata)
        inside = state
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = Waiting(folder, name, known.size, known.properties.dtype)
    return state


def put_together(state: Any) -> Any:
    """``state`` with every tensor that waits on the disk read whole."""
    found = dict(_waiting_in(state))
    whole = {name: torch.empty(one.shape, dtype=one.dtype) for name, one in found.items()}
    fill((whole[name], one) for name, one in found.items())

    def read(value: Any) -> Any:
        if isinstance(value, Waiting):
            return whole[value.name]
        return {key: read(entry) for key, entry in value.items()} if isinstance(value, dict) else value

    return read(state)


def fill(pairs: Iterable[tuple[torch.Tensor, Any]]) -> None:
    """Copy into the first of each of ``pairs``, a tensor or this rank's part of one, the second: a whole tensor, or one that waits."""
    reading: dict[Path, dict[str, torch.Tensor]] = {}
    with torch.no_grad():
        for into, value in pairs:
            if isinstance(value, Waiting):
                reading.setdefault(value.folder, {})[value.name] = into.detach()
            elif isinstance(into, DTensor):
                part = distribute_tensor(value.to(into.device), into.device_mesh, into.placements, src_data_rank=None)
                into.to_local().copy_(part.to_local())
            else:
                into.copy_(value)
    for folder, parts in reading.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no other rank takes part: each reads what it needs by itself
            dcp.load(parts, storage_reader=Reader(folder), no_dist=True)  # type: ignore[arg-type]


def _waiting_in(value: Any) -> Iterator[tuple[str, Waiting]]:
    if isinstance(value, Waiting):
        yield value.name, value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _waiting_in(entry)
