"""What a run takes on a named accelerator: hours at a share of its peak, and whether its state and activations fit in the memory."""

from __future__ import annotations

import math

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock
from windtunnel.recipe import Recipe
from windtunnel.train.accelerators import Device
from windtunnel.train.estimate import USABLE, Footprint, estimate, footprint
from windtunnel.train.parallel.mesh import Mesh


class OnDevice(JsonBlock):
    """What one run takes on devices of a kind."""

    gpus: int = Field(description="devices that share the run")
    flops: float
    days: float = Field(description="at the share of the peak that was asked for")
    device_hours: float
    memory: float = Field(description="bytes a device, with `micro_batch` sequences at a time, or with one where none fit")
    micro_batch: int = Field(description="sequences at a time that fit, at most those of a step; 0: not even one does")
    least_gpus: int | None = Field(description="devices that hold it in shards; null: none does, or a mesh was asked for")
    step_seconds: float = Field(description="a step of all devices, at that share; models that the run needs have steps of their own")


def refuse_no_share(mfu: float) -> None:
    """Raise UserError for an ``mfu`` that is no share of a peak."""
    if not 0 < mfu <= 1:
        raise UserError(f"--mfu {mfu:g}: a share of the peak between 0 and 1; 0.4 is usual")


def on_device(
    recipe: Recipe, device: Device, gpus: int = 1, mfu: float = 0.4, step: Footprint | None = None, mesh: Mesh | None = None
) -> OnDevice:
    """What one run of ``recipe`` takes on ``gpus`` devices at the share ``mfu`` of their peak.

    ``step`` is the memory of its step (default: by rule of thumb): the whole, which the devices share, or that of one device of ``mesh``.

    Raises:
        UserError: for a share that is none, and for more devices than a step has sequences.
    """
    refuse_no_share(mfu)
    cost, found = estimate(recipe), step or footprint(recipe)
    flops = cost["flops"]
    holders = gpus if mesh is None else 1 if step else mesh.parts
    whole = max(phase.batch for phase in recipe.phases)
    readers = gpus if mesh is None else mesh.readers
    if readers > whole:
        raise UserError(
            f"--gpus {gpus}: a step has {whole} sequences, so no more than {whole} devices can share it; raise batch or take fewer"
        )
    batch = -(-whole // readers)
    most = min(batch, found.most(device.memory, holders))
    if most < batch:
        found = found.accumulating()
        most = min(most, found.most(device.memory, holders))
    room = USABLE * device.memory - found.sequence
    days = flops / (gpus * device.peak * mfu * 86400)
    return OnDevice(
        gpus=gpus,
        flops=flops,
        days=days,
        device_hours=days * 24 * gpus,
        memory=found.bytes(max(1, most), holders),
        micro_batch=most,
        least_gpus=max(1, math.ceil(found.state / room)) if room > 0 and mesh is None else None,
        step_seconds=cost["own_flops"] / cost["own_steps"] / (gpus * device.peak * mfu),
    )


def sentence(found: OnDevice, device: Device, mesh: Mesh | None = None) -> str:
    """What ``found``, on ``mesh`` where one was asked for, says for the terminal."""
    time = (
        f"{found.days:.1f} days"
        if found.days >= 2
        else f"{24 * found.days:.3g} hours"
        if found.days > 0.02
        else f"{86400 * found.days:.3g} s"
    )
    time += f", {1000 * found.step_seconds:.3g} ms a step" if mesh else ""
    memory = f"{found.memory / 1e9:.3g} of {device.memory / 1e9:.0f} GB"
    if found.micro_batch:
        return f"{time} ({found.device_hours:.3g} device hours); fits: {memory}, {found.micro_batch} sequences at a time"
    more = f"{found.least_gpus} devices would hold it in shards" if found.least_gpus else "one sequence alone is too long for such a device"
    more = "a larger shard would leave fewer weights to each" if mesh else more
    return f"{time} ({found.device_hours:.3g} device hours); does not fit: {memory} with one sequence at a time; {more}"
