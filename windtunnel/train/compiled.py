"""The compiled form of a model, which torch keeps in a field that it does not document, and its code on disk."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from windtunnel.models.init import family_of
from windtunnel.train.parallel.shard import sharded

AT_REST = 3.0  # seconds: a file that nobody has written to for so long is not being written
KEPT = 16  # graphs that a process keeps for the models that follow: every call looks through those of its function


class Blocks(list[tuple[torch.nn.Module, Any]]):
    """The compiled form of a model in shards: blocks, each with its compiled forward pass. What puts weights together lies outside."""


def set_compiled(model: Any, form: Any) -> Any:
    """Let ``model`` run in the compiled ``form`` (None: as it is written); returns the form it had before."""
    before = model.__dict__.get("compiled_blocks") or getattr(model, "_compiled_call_impl", None)
    for block, _ in before if isinstance(before, Blocks) else ():
        block.__dict__.pop("forward", None)
    for block, passed in form if isinstance(form, Blocks) else ():
        block.forward = passed
    model.__dict__["compiled_blocks"] = form if isinstance(form, Blocks) else None
    model._compiled_call_impl = None if isinstance(form, Blocks) else form
    return before


def compile_model(model: Any) -> None:
    """Let ``model`` be compiled at its next call, where compiled code that an earlier process left unfinished is not in the way.

    A model of the same shapes as one that was compiled before in this process takes over its code. A model in shards is compiled block by
    block.
    """
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    forget_unfinished(Path(cache_dir()))
    # Past this limit of torch's, 8 by default, a function would silently run as it is written.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 4 * KEPT)  # type: ignore[attr-defined]
    if sharded(model):
        blocks = family_of(model.config).sharded(model)
        set_compiled(model, Blocks((block, torch.compile(block.forward, dynamic=False)) for block in blocks))
    else:
        model.compile(dynamic=False)


def forget_many() -> None:
    """Forget the compiled graphs of this process once there are more than :data:`KEPT`; fewer serve the models that follow."""
    if "torch._dynamo" not in sys.modules:
        return
    from torch._dynamo.utils import counters

    if counters["stats"]["unique_graphs"] > KEPT:
        torch._dynamo.reset()
        counters.clear()


def forget_unfinished(folder: Path) -> None:
    """Delete libraries and objects in ``folder`` that the compiler was killed over.

    Torch takes a file that is there for a whole one: every process that came to it would fail, for as long as the folder stays. What was
    written to within the last :data:`AT_REST` seconds is left to whoever writes it.
    """
    for suffix in ("*.so", "*.o"):
        for file in folder.rglob(suffix):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > AT_REST and not whole(file):
                    file.unlink()


def whole(file: Path) -> bool:
    """Whether a library or object is as long as its header says; one that is not in the ELF format, whether it holds anything at all."""
    with file.open("rb") as opened:
        header = opened.read(64)
        length = os.fstat(opened.fileno()).st_size
    if len(header) < 64 or header[:5] != b"\x7fELF\x02":
        return length > 0 and header[:4] != b"\x7fELF"
    place, size, count = (int.from_bytes(header[slice(*at)], "little") for at in ((40, 48), (58, 60), (60, 62)))
    return place > 0 and length >= place + size * count  # the table of its sections comes last
