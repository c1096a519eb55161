"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes


def hand_back() -> None:
    """Let the allocator of the C library give freed memory back. Where it has no such call, as on macOS, nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
