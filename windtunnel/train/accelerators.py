"""What is known of accelerators from their makers' data sheets."""

from __future__ import annotations

import re
from typing import NamedTuple

from windtunnel.core.errors import UserError, nearest


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
        Device("h100-pcie", 756e12, 80e9, "NVIDIA H100 PCIe data sheet, half of the figure with sparsity"),
        Device("h200", 989e12, 141e9, "NVIDIA H200 SXM data sheet, half of the figure with sparsity"),
        Device("mi300x", 1307e12, 192e9, "AMD Instinct MI300X data sheet"),
    )
}


def device_of(name: str) -> Device:
    """The accelerator called ``name``. Raises UserError for one that is not in the table."""
    if name not in DEVICES:
        raise UserError(f"--device {name}: no such accelerator in the table; {nearest(name, DEVICES)}")
    return DEVICES[name]


def named_by_driver(name: str) -> Device | None:
    """The accelerator that a driver calls ``name``, such as "NVIDIA A100-SXM4-40GB"; None for one that is not in the table.

    A slice of one ("MIG 1g.5gb") and another board of the same chip ("H100 NVL") have other peaks, which are not in the table.
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & {"mig", "nvl"}:
        return None
    found = [device for device in DEVICES.values() if words.issuperset(device.name.split("-"))]
    return max(found, key=lambda device: device.name.count("-"), default=None)
