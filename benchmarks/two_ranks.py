"""Two processes of a benchmark as the ranks of one run."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator


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
