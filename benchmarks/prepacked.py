"""CPU seconds of judging 1,000 prompts of very different lengths: prepacked, sorted by length, and padded as they come.

Alternating pairs, one process, one thread; ratios are printed. All three give the same numbers, which is checked. Sorted batches are the
honest baseline. `python benchmarks/prepacked.py [--prompts 1000] [--pairs 3]`
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.kits.text import prepacked
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import HeldOut, Objective

CONTEXT, SIZE = 512, 1024


def padded(model: Any, rows: list[prepacked.Row], objective: Any, held: HeldOut, ordered: bool) -> list[np.ndarray]:
    """As transformers does by itself: batches filled up on the right to their longest row."""
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place][0])) if ordered else range(len(rows))
    found = [np.zeros(0)] * len(rows)
    for begin in range(0, len(rows), prepacked.ROWS):
        places = list(order)[begin : begin + prepacked.ROWS]
        longest = max(len(rows[place][0]) for place in places)
        tokens, there = torch.zeros(len(places), longest, dtype=torch.long), torch.zeros(len(places), longest, dtype=torch.long)
        for number, place in enumerate(places):
            row = torch.tensor(rows[place][0])
            tokens[number, : len(row)], there[number, : len(row)] = row, 1
        with torch.no_grad():
            odds = model(input_ids=tokens, attention_mask=there).logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
        for number, place in enumerate(places):
            length, ending = len(rows[place][0]), rows[place][1]
            found[place] = -odds[number, length - 1 - ending : length - 1].double().numpy()
    return found


def main() -> None:
    """Print the CPU seconds and their ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    facts = Vocabulary(SIZE, 0, 1, 2, (3, 4), {}, np.ones(SIZE, np.int32), np.ones(SIZE, bool))
    model = fresh(config_for(ModelSettings(family="llama", layers=4, width=128, heads=4), facts, CONTEXT), 0).eval()
    lengths = np.clip(random.lognormal(3.5, 1, asked.prompts).astype(int), 4, CONTEXT)
    rows = [([0, *random.integers(5, SIZE, length - 1).tolist()], 2) for length in lengths.tolist()]
    objective = make(Objective, "next-token")
    held = HeldOut((), None, None, facts, objective, torch.device("cpu"), torch.autocast("cpu", enabled=False), "test", CONTEXT)
    ways = {
        "prepacked": lambda: prepacked.ending_nats(model, rows, objective=objective, held_out=held),
        "sorted": lambda: padded(model, rows, objective, held, True),
        "as they come": lambda: padded(model, rows, objective, held, False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers = {}
    for _ in range(asked.pairs):
        for name, way in ways.items():
            begin = time.process_time()
            answers[name] = np.concatenate(way())
            seconds[name].append(time.process_time() - begin)
    for name, answer in answers.items():
        assert np.abs(answer - answers["sorted"]).max() < 1e-3, name
        print(f"{name:14} {statistics.median(seconds[name]):7.2f} CPU seconds")
    mine = statistics.median(seconds["prepacked"])
    print(f"ratio to padded as they come: {mine / statistics.median(seconds['as they come']):.2f} (target 0.4)")
    print(f"ratio to sorted by length:    {mine / statistics.median(seconds['sorted']):.2f}")


if __name__ == "__main__":
    main()
