"""Held-out loss of the targets that stand for text, and how many bytes these are: of a source, of its windows, of its documents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from windtunnel.data.held_out import entered
from windtunnel.kits.text.encoded import vocabulary_of
from windtunnel.slots import ByDocument, HeldOut, Objective


def text_loss(model: Any, held_out: HeldOut, source: str, objective: Objective) -> tuple[float, int, int]:
    """Nats of all targets of ``source`` that stand for text, how many these are, and their UTF-8 bytes."""
    return _total(window_losses(model, held_out, source, objective))


def window_losses(model: Any, held_out: HeldOut, source: str, objective: Objective) -> torch.Tensor:
    """The same for each window that holds such a target: float64 [windows, 3], on the device.

    Separators, sentinels and other special tokens stand for no text and are left out. Sums are kept on the device and read once, so that
    nothing waits between batches.
    """
    scored = _scored(model, held_out, source, objective)
    return _with_text([_by_window(nats, size) for nats, size, *_, counts in scored if counts], held_out)


def document_losses(model: Any, held_out: HeldOut, source: str, objective: Objective) -> tuple[tuple[float, int, int], ByDocument | None]:
    """What :func:`text_loss` gives, to the last digit, and the bits and bytes of each document, in one pass.

    None in the place of these where the held-out text does not say which document a target is of. Each batch is waited for.
    """
    windows, documents = [], []
    begins = held_out.begins(source) if held_out.begins is not None else None
    for nats, size, batch, row, counts in _scored(model, held_out, source, objective):
        if not counts:
            continue
        windows.append(_by_window(nats, size))
        if begins is None or "documents" not in batch:
            continue
        first = np.zeros(len(size), np.int64)  # rows behind the last sequence have no targets
        first[: max(0, len(begins) - row)] = begins[row : row + len(size)]
        text = (size > 0).cpu().numpy()
        place = (first[:, None] + batch["documents"].cpu().numpy())[text]
        documents.append(ByDocument.of(place, nats.double().cpu().numpy()[text] / math.log(2), size.cpu().numpy()[text]))
    total = _total(_with_text(windows, held_out))
    documents = held_out.among.in_order(documents)
    if not documents:
        return total, None
    unit = held_out.stream.units(held_out.split, source)
    return total, ByDocument.together(each._replace(unit=unit[each.unit]) for each in documents)


def _scored(
    model: Any, held_out: HeldOut, source: str, objective: Objective
) -> Iterator[tuple[torch.Tensor, torch.Tensor, Any, int, bool]]:
    """Nats and bytes of each label of a batch, both 0 where it stands for no text; the batch, the rows before it, and whether it counts."""
    sizes = torch.as_tensor(np.asarray(vocabulary_of(held_out, "bits per byte").token_bytes), dtype=torch.int64, device=held_out.device)
    with torch.no_grad():
        for row, batch, counts in held_out.among.own(held_out.batches(source, objective)):
            with entered(held_out.precision):
                loss = objective.loss(model, batch)
            size = torch.where(loss.counts, sizes[batch["labels"].clamp(min=0)], 0)
            yield torch.where(size > 0, loss.values, 0.0), size, batch, row, counts


def _by_window(nats: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    columns = (nats, size > 0, size)
    return torch.stack([column.reshape(len(size), -1).sum(dim=1, dtype=torch.float64) for column in columns], dim=1)


def _with_text(windows: list[torch.Tensor], held_out: HeldOut) -> torch.Tensor:
    if held_out.among.ranks > 1:
        windows = [each.to(held_out.device) for each in held_out.among.in_order([each.cpu() for each in windows])]
    every = torch.cat([torch.zeros(0, 3, dtype=torch.float64, device=held_out.device), *windows])
    return every[every[:, 1] > 0]


def _total(windows: torch.Tensor) -> tuple[float, int, int]:
    nats, targets, amount = windows.sum(dim=0).tolist()
    return nats, int(targets), int(amount)
