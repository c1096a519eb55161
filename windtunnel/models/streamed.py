"""Writing weights that are at hand one at a time, as the files that transformers would write of all of them at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import torch

from windtunnel.models.content import INDEX, WHOLE

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
ALIGNED = 8  # bytes: the header of a file is padded to a multiple


def plan(model: Any, dtype: torch.dtype, largest: str) -> dict[str, dict[str, Any]]:
    """What the files of ``model`` hold, by their names: each weight's shape, by its name; of those tied to one, the first.

    Of ``model`` only shapes are asked. A file holds at most ``largest`` ("5GB"), or one weight.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    state = {
        name: torch.empty(value.shape, dtype=dtype, device="meta")
        for name, value in model.state_dict().items()
        if name not in model.all_tied_weights_keys
    }
    found = split_torch_state_dict_into_shards(
        state, filename_pattern=WHOLE[0].replace(".safetensors", "{suffix}.safetensors"), max_shard_size=largest
    )
    return {file: {name: tuple(state[name].shape) for name in sorted(names)} for file, names in found.filename_to_tensors.items()}


def write(folder: Path, files: Mapping[str, Mapping[str, Any]], values: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype) -> None:
    """Write ``values``, in whatever order they come, as ``dtype`` to the ``files`` that :func:`plan` found, and the list of these.

    Not more than one of the values is held at a time. Those that no file holds are passed over.

    Raises:
        OSError: from the disk.
        KeyError: where a value never came.
    """
    size = torch.empty((), dtype=dtype).element_size()
    with ExitStack() as stack:
        places: dict[str, tuple[IO[bytes], int]] = {}
        for name, shapes in files.items():
            file: IO[bytes] = stack.enter_context(open(folder / name, "wb"))
            header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
            offset = 0
            for weight, shape in shapes.items():
                end = offset + size * torch.Size(shape).numel()
                header[weight] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
                offset = end
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            text += b" " * (-len(text) % ALIGNED)
            file.write(len(text).to_bytes(8, "little") + text)
            places |= {weight: (file, 8 + len(text) + header[weight]["data_offsets"][0]) for weight in shapes}
        for weight, value in values:
            if weight in places:
                file, place = places.pop(weight)
                file.seek(place)
                file.write(value.detach().to("cpu", dtype).contiguous().reshape(-1).view(torch.uint8).numpy().data)
        if places:
            raise KeyError(next(iter(places)))
    if len(files) > 1:
        bytes_in_all = sum(size * torch.Size(shape).numel() for shapes in files.values() for shape in shapes.values())
        parameters = sum(torch.Size(shape).numel() for shapes in files.values() for shape in shapes.values())
        about = {
            "metadata": {"total_parameters": parameters, "total_size": bytes_in_all},
            "weight_map": {weight: name for name, shapes in files.items() for weight in shapes},
        }
        (folder / INDEX[0]).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")
