"""Near-duplicates against brute force: is what is removed right, and which pairs are proposed?

``python benchmarks/near_duplicates.py`` prints one JSON object. The documents are pieces of real text (docstrings and source of the
standard library) and copies of some with a share of their words replaced, so that there are pairs of every similarity. Brute force takes
the exact Jaccard similarity of all pairs, through a product of sparse matrices of plain tuples of words.

- ``precision``: of the pairs that the curator joins, the share whose exact similarity reaches the threshold; 1 is asked;
- ``recall``: of the pairs at least 0.05 above the threshold, the share that is proposed (agrees in a band); 0.99 is asked;
- ``curve``: by similarity, how many pairs there are, the share proposed, and the share expected of bands;
- ``same_documents_stay``: whether brute force, made transitive, and the curator keep the same documents.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from typing import Any

import numpy as np
import pyarrow
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from windtunnel.core.registry import make
from windtunnel.data.corpus.frame import texts_of
from windtunnel.data.corpus.judging import numbered, of_source
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.alike import HASHES, band_rows
from windtunnel.slots import Curator, CuratorContext, Source

WORDS = 5


def corpus(count: int, seed: int = 0) -> list[str]:
    """Pieces of 20 to 120 words in letters, a third of them copies with words replaced."""
    chance = random.Random(seed)
    pieces: list[list[str]] = []
    for name in ("docstrings", "stdlib"):
        for text in texts_of(make(Source, {"builtin": {"text": name}}), Tally(name)):
            words = ["".join(filter(str.isalpha, word)).lower() for word in text.split()]
            words = [word for word in words if word]
            while len(words) > 20 and len(pieces) < 4 * count:
                size = chance.randint(20, 120)
                pieces.append(words[:size])
                words = words[size:]
    chance.shuffle(pieces)
    own = pieces[: count * 2 // 3]
    vocabulary = sorted({word for piece in own[:2000] for word in piece})
    while len(own) < count:
        share = chance.random() * 0.12
        own.append([chance.choice(vocabulary) if chance.random() < share else word for word in own[chance.randrange(count * 2 // 3)]])
    chance.shuffle(own)
    return [" ".join(piece) for piece in own]


def brute_force(texts: list[str], least: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (int64 [pairs, 2], first below second) of exact similarity ``least`` or more, and their similarity."""
    known: dict[tuple[str, ...], int] = {}
    rows = []
    for text in texts:
        words = text.split()
        rows.append(sorted({known.setdefault(tuple(words[n : n + WORDS]), len(known)) for n in range(max(1, len(words) - WORDS + 1))}))
    sizes = np.array([len(row) for row in rows])
    ends = np.append(0, np.cumsum(sizes))
    matrix = csr_array((np.ones(ends[-1], np.int32), np.concatenate(rows), ends), shape=(len(rows), len(known)))
    pairs, found = [], []
    for start in range(0, len(rows), 2000):
        shared = (matrix[start : start + 2000] @ matrix.T).tocoo()
        one, other = shared.row + start, shared.col
        similarity = shared.data / (sizes[one] + sizes[other] - shared.data)
        keep = (one < other) & (similarity >= least)
        pairs.append(np.stack([one[keep], other[keep]], axis=1))
        found.append(similarity[keep])
    return np.concatenate(pairs), np.concatenate(found)


def measure(count: int, threshold: float) -> dict[str, Any]:
    """The comparison as a dictionary."""
    texts = corpus(count)
    part = make(Curator, {"near-duplicates": {"similarity": threshold, "words": WORDS}})
    form = pyarrow.large_string()
    batch = pyarrow.record_batch({"text": pyarrow.array(texts, form), "origin": pyarrow.array(map(str, range(len(texts))), form)})
    rows = list(numbered(of_source((batch.slice(start, 4096) for start in range(0, len(texts), 4096)), "all")))
    began = time.process_time()
    scans = [part.scan(one) for one in rows]
    scanned = time.process_time()
    found = part.decide(scans, CuratorContext(None))
    decided = time.process_time()
    pairs, similarity = brute_force(texts, 0.3)
    brute = time.process_time()
    keys = np.concatenate([scan["bands"] for scan in scans])
    proposed = (keys[pairs[:, 0]] == keys[pairs[:, 1]]).any(axis=1)
    above = similarity >= threshold
    graph = csr_array((np.ones(above.sum()), (pairs[above, 0], pairs[above, 1])), shape=(len(texts), len(texts)))
    group = connected_components(graph, directed=False)[1]
    first = np.unique(group, return_index=True)[1]
    expected = np.setdiff1d(np.arange(len(texts)), first)
    # What the curator says of a removed document, against brute force: the pair that it names, where it says that the two are alike.
    exact = {tuple(pair): value for pair, value in zip(pairs.tolist(), similarity.tolist(), strict=True)}
    named = [(int(origin), int(row), value) for origin, row, value in zip(found["origin"], found["row"], found["similarity"], strict=False)]
    alike = [(pair[0], pair[1], value) for *pair, value in named if value >= threshold]
    right = [abs(exact.get((one, other), 0.0) - value) < 1e-9 for one, other, value in alike]
    same_group = group[[one for one, *_ in named]] == group[[other for _, other, _ in named]]
    per_band = band_rows(threshold)
    curve = []
    for low in np.arange(0.3, 1.0, 0.05):
        inside = (similarity >= low) & (similarity < low + 0.05)
        if inside.any():
            middle = float(similarity[inside].mean())
            chance = 1 - (1 - middle**per_band) ** (HASHES // per_band)
            curve.append(
                {"from": round(float(low), 2), "pairs": int(inside.sum()), "proposed": float(proposed[inside].mean()), "expected": chance}
            )
    wanted = similarity >= threshold + 0.05
    return {
        "documents": len(texts),
        "threshold": threshold,
        "hashes": HASHES,
        "hashes_per_band": per_band,
        "asked": {"precision": 1.0, "recall": 0.99},
        "precision": float(np.mean([*right, *same_group.tolist()])),
        "recall": float(proposed[wanted].mean()),
        "pairs_above": int(wanted.sum()),
        "curve": curve,
        "removed": len(found["row"]),
        "removed_by_brute_force": len(expected),
        "same_documents_stay": bool(np.array_equal(found["row"], expected)),
        "missed": len(np.setdiff1d(expected, found["row"])),
        "wrongly_removed": len(np.setdiff1d(found["row"], expected)),
        "cpu_seconds": {"scan": scanned - began, "decide": decided - scanned, "brute_force": brute - decided},
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="near-duplicates against brute force")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--threshold", type=float, default=0.7)
    arguments = parser.parse_args()
    json.dump(measure(arguments.documents, arguments.threshold), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
