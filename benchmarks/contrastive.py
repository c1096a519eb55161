"""CPU seconds of a contrastive step with in-batch negatives against sentence-transformers: same model, same pairs, same loss.

Ours is the objective `inverse-cloze`; theirs `MultipleNegativesRankingLoss` over the same transformers model and the mean of its states.
A step is forward, loss, backward and the same fused AdamW; what makes tokens of texts is in neither. Pairs are given to both as they make
them: ours padded to one length for all steps, theirs to the longest text of the batch. Alternating pairs in one process, one thread. That
both give the same loss is checked. sentence-transformers is no dependency of the project:
``python benchmarks/contrastive.py [PAIRS]`` needs it installed, and prints JSON.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from paired import median_interval

from windtunnel.core.registry import make
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.objective.inverse_cloze import SIDES
from windtunnel.slots import Objective

SIZE, BATCH, CONTEXT, TEMPERATURE = 2048, 32, 96, 0.05
TARGET = 0.9


class Given(torch.nn.Module):
    """The decoder of ours in the place of the module that sentence-transformers makes of a model's name; tokens come ready."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """As their module does: the last hidden states beside what was given."""
        given = {"input_ids": features["input_ids"], "attention_mask": features["attention_mask"]}
        return {**features, "token_embeddings": self.body(**given, use_cache=False).last_hidden_state}


def theirs(model: Any) -> tuple[Any, Any]:
    """Their encoder around the body of ``model``, and their loss."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.models import Pooling

    encoder = SentenceTransformer(modules=[Given(model.model), Pooling(model.config.hidden_size, "mean")], device="cpu")
    return encoder, MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)


def batches(random: np.random.Generator, count: int, long: bool) -> list[dict[str, np.ndarray]]:
    """Of documents that fill a row, or of lengths as those of real ones are."""
    facts = Vocabulary(SIZE, 0, 1, 2, (3, 4), {}, np.ones(SIZE, np.int32), np.ones(SIZE, bool))
    objective = make(Objective, {"inverse-cloze": {"kept": 0.0, "pool": "mean", "temperature": TEMPERATURE}})
    found = []
    for _ in range(count):
        tokens = random.integers(5, SIZE, (BATCH, CONTEXT))
        lengths = np.full(BATCH, CONTEXT) if long else np.clip(random.lognormal(3.5, 0.6, BATCH), 12, CONTEXT).astype(int)
        documents = np.where(np.arange(CONTEXT) < lengths[:, None], 0, -1)
        found.append(objective.prepare({"tokens": tokens, "documents": documents}, facts, random))
    return found


def features(batch: dict[str, np.ndarray]) -> list[dict[str, torch.Tensor]]:
    """Each side as their collator pads it."""
    found = []
    for side, name in enumerate(("queries", "passages")):
        longest = batch["lengths"][:, side].max()
        mask = np.arange(longest) < batch["lengths"][:, side, None]
        found.append({"input_ids": torch.from_numpy(batch[name][:, :longest]), "attention_mask": torch.from_numpy(mask).long()})
    return found


def compared(long: bool, pairs: int) -> dict[str, Any]:
    """Seconds of steps by turns, and the ratio of each pair."""
    random = np.random.default_rng(0)
    facts = Vocabulary(SIZE, 0, 1, 2, (3, 4), {}, np.ones(SIZE, np.int32), np.ones(SIZE, bool))
    ours = fresh(config_for(ModelSettings(family="llama", layers=4, width=128, heads=4), facts, CONTEXT + 2), 0)
    model = copy.deepcopy(ours)
    encoder, loss = theirs(model)
    objective = make(Objective, {"inverse-cloze": {"kept": 0.0, "pool": "mean", "temperature": TEMPERATURE}})
    drawn = batches(random, pairs + 2, long)

    def our_loss(batch: dict[str, np.ndarray]) -> torch.Tensor:
        found = objective.loss(ours, {name: torch.from_numpy(array) for name, array in batch.items()})
        return (found.values * found.counts).sum() / found.counts.sum()

    optimizers = [torch.optim.AdamW(one.parameters(), 1e-4, fused=True) for one in (ours, encoder)]
    ways: list[Callable[[Any], torch.Tensor]] = [our_loss, lambda batch: loss(features(batch), None)]
    seconds: list[list[float]] = [[], []]
    values: list[list[float]] = [[], []]
    for number, batch in enumerate(drawn):
        for turn in (0, 1) if number % 2 else (1, 0):
            begin = time.process_time()
            value = ways[turn](batch)
            optimizers[turn].zero_grad()
            value.backward()
            optimizers[turn].step()
            seconds[turn].append(time.process_time() - begin)
            values[turn].append(float(value.detach()))
    assert np.allclose(values[0], values[1], rtol=1e-3), "the two losses differ"
    ratios = [mine / other for mine, other in zip(*(each[2:] for each in seconds), strict=True)]
    tokens = {"ours": [batch[name].size for batch in drawn for name in SIDES], "real": [int(batch["lengths"].sum()) for batch in drawn]}
    return {
        "ratio": statistics.median(ratios),
        "interval": list(median_interval(ratios)),
        "ours": statistics.median(seconds[0][2:]),
        "theirs": statistics.median(seconds[1][2:]),
        "padding_share_of_ours": 1 - sum(tokens["real"]) / sum(tokens["ours"]),
    }


def main(pairs: int = 20) -> None:
    """Print ratios of ours over theirs."""
    import sentence_transformers

    torch.set_num_threads(1)
    found = {"rows filled": compared(True, pairs), "lengths of documents": compared(False, pairs)}
    print(
        json.dumps(
            {
                "target": TARGET,
                "pairs": pairs,
                "load": os.getloadavg()[0],
                "sentence_transformers": sentence_transformers.__version__,
                **found,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
