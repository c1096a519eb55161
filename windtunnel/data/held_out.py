"""Batches of a held-out split, the same for every model that is measured on it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from windtunnel.core.errors import UserError
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream
from windtunnel.slots import HeldOut, Objective

CHUNK = 16  # sequences prepared with one generator, so that masks and spans do not depend on the batch size


def held_out(
    stream: Stream,
    split: str,
    *,
    objective: Objective,
    context: int,
    sequences: int,
    limit_tokens: int,
    device: Any,
    precision: Any,
) -> HeldOut:
    """What evaluations look at.

    ``batches(source, objective)`` of the result reads the documents of ``source`` in stored order, in windows of ``context`` units
    in which each unit is a label once, at most ``limit_tokens`` of them, and lets ``objective`` prepare them with a generator that
    only the source and the place decide: two models that are measured with one objective see the same masks and spans, whatever
    their batch size. Every batch holds ``sequences`` rows; the last is filled up with rows without labels. Sources of which the
    split holds no documents are left out.

    Args:
        stream: the prepared stream.
        split: validation or test.
        objective: the one that the model was trained with.
        context: units a model sees.
        sequences: rows in a batch.
        limit_tokens: most labels of each source.
        device: where batches are put.
        precision: a context manager, or a function that makes one; it is entered around forward passes.

    Raises:
        UserError: where the split holds no documents at all.
    """
    sizes = stream.sizes(split)
    sources = tuple(source for source in stream.sources if sizes[source] > stream.encoding.ahead)
    if not sources:
        raise UserError(f"{stream.folder}: the {split} split holds no documents; give it a larger share under split, or a larger corpus")

    def batches(source: str, objective: Objective) -> Iterator[dict[str, torch.Tensor]]:
        kept: dict[str, np.ndarray] = {}
        loader = Loader(stream, split=split, context=context, sequences=CHUNK)
        for index, rows in enumerate(loader.fixed(source, limit_tokens)):
            random = np.random.default_rng([zlib.crc32(source.encode()), index])
            prepared = objective.whole(objective.batch(rows, stream.facts, random))
            kept = {key: np.concatenate([kept[key], value]) if kept else value for key, value in prepared.items()}
            while len(kept["labels"]) >= sequences:
                yield {key: torch.from_numpy(np.ascontiguousarray(value[:sequences])).to(device) for key, value in kept.items()}
                kept = {key: value[sequences:] for key, value in kept.items()}
        if kept and len(kept["labels"]):
            missing = sequences - len(kept["labels"])
            kept = {key: np.concatenate([value, np.repeat(value[-1:], missing, axis=0)]) for key, value in kept.items()}
            kept["labels"][sequences - missing :] = -100
            yield {key: torch.from_numpy(value).to(device) for key, value in kept.items()}

    def begins(source: str) -> np.ndarray:
        return Loader(stream, split=split, context=context, sequences=CHUNK).fixed_documents(source, limit_tokens)

    return HeldOut(
        sources=sources,
        batches=batches,
        begins=begins,
        stream=stream,
        facts=stream.facts,
        objective=objective,
        device=torch.device(device),
        precision=precision,
        split=split,
        context=context,
    )


def choices(model: torch.nn.Module, held_out: HeldOut, objective: Objective) -> dict[str, tuple[float, int, int]]:
    """How ``model`` chooses among classes, wherever a held-out batch has a label: nats, how many are right and how many there are.

    By source, without those that have no label.
    """
    found: dict[str, tuple[float, int, int]] = {}
    for source in held_out.sources:
        nats, right, count = 0.0, 0, 0
        for batch in held_out.batches(source, objective):
            with torch.no_grad(), entered(held_out.precision):
                loss = objective.loss(model, batch)
            named = loss.outputs.logits.argmax(dim=-1).view_as(batch["labels"])
            nats += float(loss.values[loss.counts].double().sum())
            right += int((named == batch["labels"])[loss.counts].sum())
            count += int(loss.counts.sum())
        if count:
            found[source] = (nats, right, count)
    return found


def entered(precision: Any) -> AbstractContextManager[Any]:
    """``precision`` as a context manager to enter, whether it is one or a function that makes one."""
    manager: AbstractContextManager[Any] = precision if hasattr(type(precision), "__enter__") else precision()
    return manager
