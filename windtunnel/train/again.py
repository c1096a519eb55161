"""Blocks whose activations are not kept for the backward pass but computed again there (activation checkpointing).

Chen et al. 2016, arXiv:1604.06174. A step then holds what enters each block and the activations of one, and takes about a third more time.
Its numbers stay the same to the last bit, and so do its FLOPs, which are those of the model: what is computed again is not counted.
"""

from __future__ import annotations

import contextlib
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.models.flops import uncounted


def recompute(model: Any) -> None:
    """Let the blocks of ``model`` compute their activations again. Raises UserError where its class knows no such thing."""
    if not model.supports_gradient_checkpointing:
        raise UserError(f"--recompute: {type(model).__name__} cannot compute the activations of its blocks again; leave it out")
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # as older releases call it
    enable({"use_reentrant": False, "context_fn": lambda: (contextlib.nullcontext(), uncounted())})
