"""FLOPs, counted while they are computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_PAUSES: list[None] = []  # one for each block within which nothing is counted


class _Counter(FlopCounterMode):
    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        return out if _PAUSES else super()._count_flops(func_packet, out, args, kwargs)


def counter() -> FlopCounterMode:
    """A FLOP counter that also knows the attention kernels of the CPU, which torch's own table leaves out."""

    def forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(grad_out: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_backward_flop_count(grad_out, query, key, value)

    mapping: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: forward,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return _Counter(display=False, custom_mapping=mapping)


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """Count nothing inside the block: what is computed there is computed a second time."""
    _PAUSES.append(None)
    try:
        yield
    finally:
        _PAUSES.pop()


def counting() -> bool:
    """Whether what is computed now counts."""
    return not _PAUSES
