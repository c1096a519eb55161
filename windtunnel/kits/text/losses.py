"""Held-out loss of the targets that stand for text, and how many bytes these are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from windtunnel.data.held_out import entered
from windtunnel.kits.text.encoded import vocabulary_of
from windtunnel.slots import HeldOut, Objective


def text_loss(model: Any, held_out: HeldOut, source: str, objective: Objective) -> tuple[float, int, int]:
    """Nats of all targets of ``source`` that stand for text, how many these are, and their UTF-8 bytes."""
    nats, targets, amount = window_losses(model, held_out, source, objective).sum(dim=0).tolist()
    return nats, int(targets), int(amount)


def window_losses(model: Any, held_out: HeldOut, source: str, objective: Objective) -> torch.Tensor:
    """The same for each window that holds such a target: float64 [windows, 3], on the device.

    Separators, sentinels and other special tokens stand for no text and are left out. Sums are kept on the device and read once, so that
    nothing waits between batches.
    """
    sizes = torch.as_tensor(np.asarray(vocabulary_of(held_out, "bits per byte").token_bytes), dtype=torch.int64, device=held_out.device)
    found = [torch.zeros(0, 3, dtype=torch.float64, device=held_out.device)]
    with torch.no_grad():
        for batch in held_out.batches(source, objective):
            with entered(held_out.precision):
                loss = objective.loss(model, batch)
            size = torch.where(loss.counts, sizes[batch["labels"].clamp(min=0)], 0)
            nats = torch.where(size > 0, loss.values, 0.0)
            columns = (nats, size > 0, size)
            found.append(torch.stack([column.reshape(len(size), -1).sum(dim=1, dtype=torch.float64) for column in columns], dim=1))
    every = torch.cat(found)
    return every[every[:, 1] > 0]
