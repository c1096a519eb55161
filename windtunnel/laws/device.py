"""What a run takes on a named accelerator: hours at a share of its peak, and whether its state and activations fit in the memory."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.typed import JsonBlock
from windtunnel.recipe import Recipe
from windtunnel.train.estimate import USABLE, estimate, footprint


class Device(NamedTuple):
    """An accelerator as its maker's data sheet has it: dense bfloat16 FLOPs a second with float32 sums, and bytes of memory."""

    name: str
    peak: float
    memory: float
    source: str


DEVICES = {
    one.name: one
    for one in (
        Device("a10", 125e12, 24e9, "NVIDIA A10 data sheet"),
        Device("a40", 149.7e12, 48e9, "NVIDIA A40 data sheet"),
        Device("a100-40gb", 312e12, 40e9, "NVIDIA A100 data sheet"),
        Device("a100", 312e12, 80e9, "NVIDIA A100 80 GB data sheet"),
        Device("l4", 121e12, 24e9, "NVIDIA L4 data sheet, half of the figure with sparsity"),
        Device("l40s", 362e12, 48e9, "NVIDIA L40S data sheet"),
        Device("h100", 989e12, 80e9, "NVIDIA H100 SXM data sheet, half of the figure with sparsity"),
        Device("h200", 989e12, 141e9, "NVIDIA H200 SXM data sheet, half of the figure with sparsity"),
        Device("mi300x", 1307e12, 192e9, "AMD Instinct MI300X data sheet"),
    )
}


class OnDevice(JsonBlock):
    """What one run takes on devices of a kind."""

    gpus: int = Field(description="devices that share the run")
    flops: float
    days: float = Field(description="at the share of the peak that was asked for")
    device_hours: float
    memory: float = Field(description="bytes a device, with `micro_batch` sequences at a time, or with one where none fit")
    micro_batch: int = Field(description="sequences at a time that fit, at most those of a step; 0: not even one does")
    least_gpus: int | None = Field(description="devices that hold it in shards; null: activations of one sequence are too many for any")


def device_of(name: str) -> Device:
    """The accelerator called ``name``. Raises UserError for one that is not in the table."""
    if name not in DEVICES:
        raise UserError(f"--device {name}: no such accelerator in the table; {nearest(name, DEVICES)}")
    return DEVICES[name]


def refuse_no_share(mfu: float) -> None:
    """Raise UserError for an ``mfu`` that is no share of a peak."""
    if not 0 < mfu <= 1:
        raise UserError(f"--mfu {mfu:g}: a share of the peak between 0 and 1; 0.4 is usual")


def on_device(recipe: Recipe, device: Device, gpus: int = 1, mfu: float = 0.4) -> OnDevice:
    """What one run of ``recipe`` takes on ``gpus`` devices at the share ``mfu`` of their peak.

    Raises:
        UserError: for a share that is none, and for more devices than a step has sequences.
    """
    refuse_no_share(mfu)
    flops, found = estimate(recipe)["flops"], footprint(recipe)
    whole = max(phase.batch for phase in recipe.phases)
    if gpus > whole:
        raise UserError(
            f"--gpus {gpus}: a step has {whole} sequences, so no more than {whole} devices can share it; raise batch or take fewer"
        )
    batch = -(-whole // gpus)
    most = min(batch, found.most(device.memory, gpus))
    room = USABLE * device.memory - found.sequence
    days = flops / (gpus * device.peak * mfu * 86400)
    return OnDevice(
        gpus=gpus,
        flops=flops,
        days=days,
        device_hours=days * 24 * gpus,
        memory=found.bytes(max(1, most), gpus),
        micro_batch=most,
        least_gpus=max(1, math.ceil(found.state / room)) if room > 0 else None,
    )


def sentence(found: OnDevice, device: Device) -> str:
    """What ``found`` says, for the terminal."""
    time = (
        f"{found.days:.1f} days"
        if found.days >= 2
        else f"{24 * found.days:.3g} hours"
        if found.days > 0.02
        else f"{86400 * found.days:.3g} s"
    )
    memory = f"{found.memory / 1e9:.3g} of {device.memory / 1e9:.0f} GB"
    if found.micro_batch:
        return f"{time} ({found.device_hours:.3g} device hours); fits: {memory}, {found.micro_batch} sequences at a time"
    more = f"{found.least_gpus} devices would hold it in shards" if found.least_gpus else "one sequence alone is too long for such a device"
    return f"{time} ({found.device_hours:.3g} device hours); does not fit: {memory} with one sequence at a time; {more}"
