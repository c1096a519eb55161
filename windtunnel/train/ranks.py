"""Training on several processes (ranks), each with its own device: who is who, and what they tell each other.

Every rank draws the same batch, which seed and step alone decide, and computes the gradient of its share of the rows. The gradients are
added up, and every rank makes the same update; so what is trained does not depend on the number of ranks, save for rounding and for
dropout, which is drawn for each rank by itself. Weights and moments are held whole on every rank (data parallelism), so the model must
fit on one device. Clocks, signals and measurements differ between processes, and every decision that hangs on one is rank 0's. With a
single rank nothing here does anything.

The ranks must see the same files: the folder of the run and the cache of prepared text.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from windtunnel.core.asked import StopAsked
from windtunnel.core.errors import UserError

BUCKET = 1 << 25  # bytes of gradients that travel together: fewer messages, for little memory besides the gradients
SILENT = 10.0  # seconds that other ranks leave to rank 0 to say what is wrong
LEFT = "a rank has left: its process or its machine was stopped; give the same command again, and it goes on from the newest checkpoint"
PATIENCE = datetime.timedelta(hours=12)  # rank 0 evaluates and prepares text while the others wait


def torchrun(ranks: int, words: Sequence[str]) -> int:
    """Start ``ranks`` processes of Python with ``words`` on this machine by torchrun, and wait; returns the exit code.

    A signal is handed on to them, and they get half a minute to write a checkpoint. One more, later, ends them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    logging.disable()  # what went wrong, rank 0 says
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    asked = StopAsked()

    def hand_on(number: int, frame: Any) -> None:
        if asked.hear():
            raise SignalException(f"signal {number}", sigval=signal.Signals(number))

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:  # torchrun's own handler would let a second signal end it while it waits for the checkpoint
        main(["--standalone", f"--nproc-per-node={ranks}", "--signals-to-handle=SIGHUP,SIGQUIT", *words])
    except ChildFailedError as error:
        first = error.failures.get(0) or min(error.failures.values(), key=lambda failure: failure.timestamp)
        return first.exitcode if first.exitcode > 0 else 1
    except (SignalException, KeyboardInterrupt):
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        logging.disable(logging.NOTSET)
    return 0


@contextlib.contextmanager
def joined(device: str | None = None) -> Iterator[None]:
    """Be one of the ranks that torchrun or Ray Train started, if one did.

    Raises:
        UserError: for ``device`` with a number, for more ranks than there are accelerators on this machine, and where the ranks cannot
            meet.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():  # Ray Train has let them meet
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available() and device != "cpu":
        local, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device not in (None, "cuda"):
            raise UserError(f"--device {device}: each of several ranks takes an accelerator of its own; leave the number out")
        if local >= present:
            raise UserError(f"--ranks: this machine has {present} accelerator(s), so no more than {present} rank(s) can train on it")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    try:
        begin(backend)
    except dist.DistNetworkError as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        why = "the port is in use; choose another" if "EADDRINUSE" in str(error) else str(error).splitlines()[0]
        raise UserError(f"the ranks cannot meet at {place}: {why}") from error
    try:
        yield
    except UserError as error:
        if rank():  # rank 0 is likely to be refused the same, and to say so; then this process is ended with it
            time.sleep(SILENT)
            print(f"windtunnel: rank {rank()}: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        raise
    dist.destroy_process_group()


def begin(backend: str) -> None:
    """Let the ranks meet.

    Where torchrun has begun them anew after one was lost, what those before have left at the meeting place is still there (PyTorch issue
    135712): gloo and NCCL would look for processes that are gone. So ranks meet under a name that only those of this attempt know.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend, timeout=PATIENCE)
        return
    place, own, ranks = os.environ["MASTER_ADDR"], int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.TCPStore(place, int(os.environ["MASTER_PORT"]), ranks, is_master=False, timeout=PATIENCE)
    named = dist.PrefixStore(attempt(store, own, ranks), store)
    dist.init_process_group(backend, store=named, rank=own, world_size=ranks, timeout=PATIENCE)


def attempt(store: dist.Store, own: int, ranks: int) -> str:
    """A name that rank ``own`` and the others of so many ``ranks`` agree on at ``store``, where ranks that are gone have done so before.

    Every rank leaves a word that nobody knew before; rank 0 answers each with the name, until it has heard that each got it.
    """
    word = uuid.uuid4().hex
    if own:
        store.set(f"here/{own}", word)
        name = store.get(f"answer/{word}").decode()
        store.set(f"heard/{name}/{own}", "")
        return name
    missing = set(range(1, ranks))
    while missing:
        missing -= {rank for rank in missing if store.check([f"heard/{word}/{rank}"])}
        for rank in missing:
            if store.check([f"here/{rank}"]):
                store.set(f"answer/{store.get(f'here/{rank}').decode()}", word)
        time.sleep(0.02)
    return word


def count() -> int:
    """How many ranks train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this process is. Rank 0 is the one that writes and tells."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast(value: Any) -> Any:
    """What rank 0 gives here, on every rank."""
    if count() == 1:
        return value
    held = [value]
    with _not_without_rank_0():
        dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
    return held[0]


def left(error: BaseException) -> bool:
    """Whether ``error`` says that another rank has gone: its process was killed, or its machine."""
    said = str(error)
    return count() > 1 and (isinstance(error, dist.DistBackendError) or "gloo/transport" in said or "Connection closed by peer" in said)


def of_every(value: Any, group: Any = None) -> list[Any]:
    """The ``value`` of every rank, in their order, on every rank; it travels in ``group``, which is all of them.

    Raises:
        RuntimeError: in a group of its own, where a rank has gone.
    """
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    with _not_without_rank_0() if group is None else contextlib.nullcontext():
        dist.all_gather_object(found, value, group=group)
    return found


@contextlib.contextmanager
def _not_without_rank_0() -> Iterator[None]:
    """End this process quietly where rank 0 has gone: it has said why."""
    try:
        yield
    except RuntimeError:
        if rank():
            raise SystemExit(1) from None
        raise


@contextlib.contextmanager
def rank_0_first() -> Iterator[None]:
    """Let rank 0 do what follows before the others, who find it done."""
    if rank():
        broadcast(None)
    yield
    if not rank():
        broadcast(None)


def share(batch: Mapping[str, Any], beside: int = 1) -> dict[str, Any]:
    """This rank's rows of ``batch``: as many as every other rank's, and next to each other; ``beside`` ranks read the same.

    Raises:
        UserError: when the rows cannot be shared out evenly.
    """
    ranks, rows = count() // beside, len(batch["labels"])
    if rows % ranks:
        fit = [number for number in range(1, rows + 1) if rows % number == 0]
        raise UserError(f"batch: {rows} sequences cannot be shared out evenly to {ranks} ranks; use --ranks {' or '.join(map(str, fit))}")
    own, place = rows // ranks, rank() // beside
    return {key: value[place * own : (place + 1) * own] for key, value in batch.items()}


def all_reduce(tensors: Sequence[torch.Tensor]) -> None:
    """Add up each of ``tensors`` over the ranks, in place. They are the same on every rank afterwards, to the last bit."""
    if count() == 1:
        return
    for bucket in buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _not_without_rank_0():
            dist.all_reduce(flat)
        for tensor, total in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(total.view_as(tensor))


def buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """``tensors`` in their order, in groups of one dtype of about :data:`BUCKET` bytes."""
    group: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if group and (tensor.dtype != group[0].dtype or size + tensor.nbytes > BUCKET):
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.nbytes
    if group:
        yield group


def all_gather(values: torch.Tensor, beside: int = 1) -> torch.Tensor:
    """The ``values`` of every rank, one after another, on the processor; of rank 0's length on each. ``beside`` ranks have the same."""
    if count() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(count())]
    dist.all_gather(parts, values)
    return torch.cat(parts[::beside])


def same_weights(model: torch.nn.Module) -> None:
    """Give every rank rank 0's weights and buffers: whatever made them may have been rounded otherwise elsewhere."""
    if count() > 1:
        with torch.no_grad():
            for value in model.state_dict().values():
                dist.broadcast(value, src=0)


def differs(state: Mapping[str, Any]) -> bool:
    """Whether any rank holds another ``state`` (tensors, numbers, text and dictionaries and lists of them) than rank 0."""
    stored = io.BytesIO()
    torch.save(state, stored)
    own = hashlib.sha256(stored.getvalue()).hexdigest()
    found = torch.tensor(float(own != broadcast(own)))
    dist.all_reduce(found)
    return bool(found)
