"""Two processes of a benchmark as the ranks of one run; a small recipe for them, and whether two runs of it are the same."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {
    "corpus": {"prose": "builtin:docstrings"},
    "tokenizer": {"vocabulary": 512},
    "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2},
    "batch": 4,
    "context": 32,
    "precision": "float32",
    "compile": "no",
    "evaluate_every": 1.0,
    "evaluation_tokens": 512,
    "test_tokens": 512,
}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def one_of_two(rank: int, port: int) -> Iterator[None]:
    """This process as ``rank`` of two that meet at ``port``, with a thread."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch

    from windtunnel.train.ranks import joined

    torch.set_num_threads(1)
    with joined("cpu"):
        yield


def as_flown(one: Path, other: Path) -> dict[str, bool]:
    """Whether two runs, in these folders, came to the same weights, and by the same losses and gradient norms, to the last bit."""
    import torch
    from safetensors.torch import load_file

    mine, theirs = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    lines = [
        [(line["step"], line["loss"], line["gradient_norm"]) for line in map(json.loads, (run / "log.jsonl").read_text().splitlines())]
        for run in (one, other)
    ]
    return {
        "weights": mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine),
        "every_loss_and_gradient_norm": lines[0] == lines[1],
    }
