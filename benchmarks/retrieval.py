"""CPU seconds of the search of a retrieval evaluation: 10,000 queries over 100,000 passages, exactly, by vectors and by BM25.

Vectors are drawn, of as many numbers as a small encoder has; words are drawn as often as those of real text are (Zipf), and a query is ten
words of its passage. What texts take to become vectors is the model's and not counted. A tenth of the ranks is checked against plain
products, in float64. ``python benchmarks/retrieval.py [QUERIES PASSAGES WIDTH]`` prints JSON; one process, one thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
import torch

from windtunnel.kits.text.search import bm25_ranks, ranks, reciprocal
from windtunnel.kits.vectors import unit

WORDS, VOCABULARY, ASKED = 60, 50_000, 10  # of a passage, of all, and of a query
TARGET = 60.0


def taken(search: Any, *given: Any) -> tuple[Any, float]:
    """What ``search`` gives, and its CPU seconds."""
    begin = time.process_time()
    found = search(*given)
    return found, time.process_time() - begin


def main(queries: int = 10_000, passages: int = 100_000, width: int = 384) -> None:
    """Print the seconds of both searches."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    known = unit(random.standard_normal((passages, width))).astype(np.float32)
    asked = unit(known[:queries] + 5.0 * unit(random.standard_normal((queries, width)))).astype(np.float32)
    places, by_vectors = taken(ranks, asked, known)
    for place in range(0, queries, 10):
        scores = known.astype(np.float64) @ asked[place].astype(np.float64)
        assert abs(places[place] - ((scores >= scores[place] - 1e-9).sum() - 1)) <= 1, "a rank that is off by more than rounding"
    drawn = np.minimum(random.zipf(1.3, (passages, WORDS)), VOCABULARY)
    text = [[str(word) for word in row] for row in drawn.tolist()]
    questions = [random.choice(text[place], ASKED).tolist() for place in range(queries)]
    plain, by_words = taken(bm25_ranks, questions, text)
    found = {
        "queries": queries,
        "passages": passages,
        "width": width,
        "load": os.getloadavg()[0],
        "seconds": {"vectors": by_vectors, "bm25": by_words},
    }
    found["seconds"]["both"] = by_vectors + by_words
    found |= {"target": TARGET, "reciprocal": {"vectors": reciprocal(places), "bm25": reciprocal(plain)}}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
