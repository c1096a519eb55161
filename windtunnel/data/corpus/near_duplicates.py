"""Finding training documents that are nearly copies of held-out ones: MinHash signatures and banding.

Broder 1997, "On the resemblance and containment of documents" (MinHash); Indyk and Motwani 1998 (locality-sensitive hashing); Lee et al.
2021, arXiv:2107.06499 (near-duplicates between training and held-out text make language models look better than they are).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from windtunnel.data.corpus.frame import engine

HASHES = 128  # the standard error of the estimated similarity is at most 0.045
SHINGLE = 5  # words in a shingle
PAIRS = 1 << 14  # signatures compared at once: 16 MiB of memory

# Scripts written without spaces: each character counts as a word there, or a whole paragraph would be one shingle.
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"


def signatures(texts: Sequence[str]) -> np.ndarray:
    """MinHash signatures of ``texts``, uint32 [len(texts), HASHES], over shingles of five lower-case words."""
    import pyarrow

    if not len(texts):
        return np.zeros((0, HASHES), dtype=np.uint32)
    daft = engine()
    from daft.functions import minhash, normalize, regexp_replace

    text = normalize(daft.col("text"), lowercase=True, white_space=True)
    # One small table at a time: in a longer pipeline Daft gathers 131072 rows before it computes, however long the texts are.
    table = pyarrow.table({"text": pyarrow.array(texts, pyarrow.large_string())})
    if not all(map(str.isascii, texts)):
        text = regexp_replace(text, _UNSPACED, " $1 ")
        text = normalize(text, white_space=True)
    hashed = daft.from_arrow(table).select(minhash(text, num_hashes=HASHES, ngram_size=SHINGLE).alias("signature")).to_arrow()
    column = hashed["signature"].combine_chunks()
    return np.asarray(column.flatten(), dtype=np.uint32).reshape(len(texts), HASHES)


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The estimated Jaccard similarity of signatures, over the last axis: the share of equal hashes."""
    return (one == other).mean(axis=-1)


def band_width(threshold: float) -> int:
    """How many hashes make a band, so that every pair of estimated similarity ``threshold`` agrees in at least one whole band.

    Such a pair differs in at most ``HASHES - threshold * HASHES`` hashes; with more bands than that, one is untouched. So banding only
    saves comparisons: unlike the usual choice, it misses no pair.
    """
    differing = HASHES - math.ceil(threshold * HASHES - 1e-9)
    return max(width for width in range(1, HASHES + 1) if HASHES // width > differing)


class HeldOutSignatures:
    """The signatures of the held-out documents, and which training documents come too close to one of them."""

    def __init__(self, held_out: np.ndarray, threshold: float) -> None:
        """``held_out``: uint32 [documents, HASHES]; ``threshold``: the estimated similarity from which on a document is a copy."""
        self.threshold = threshold
        self.signatures = np.unique(held_out, axis=0) if len(held_out) else held_out
        self.width = band_width(threshold)
        self._bands = []
        for keys in self._band_keys(self.signatures):
            order = np.argsort(keys, kind="stable").astype(np.int32)
            self._bands.append((keys[order], order))

    def _band_keys(self, signatures: np.ndarray) -> list[np.ndarray]:
        keys = []
        for start in range(0, HASHES // self.width * self.width, self.width):
            key = np.zeros(len(signatures), dtype=np.uint64)
            for column in range(start, start + self.width):
                # Multiply and shift; a chance collision only costs one comparison.
                key = (key ^ signatures[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(29)
            keys.append(key)
        return keys

    def copies(self, signatures: np.ndarray) -> np.ndarray:
        """Which of ``signatures`` [n, HASHES] have an estimated similarity of at least the threshold to a held-out document (bool [n])."""
        found = np.zeros(len(signatures), dtype=bool)
        if not len(self.signatures) or not len(signatures):
            return found
        for keys, (band, order) in zip(self._band_keys(signatures), self._bands, strict=True):
            low = np.searchsorted(band, keys, side="left")
            high = np.searchsorted(band, keys, side="right")
            for row in np.flatnonzero((high > low) & ~found):
                for start in range(low[row], high[row], PAIRS):
                    candidates = self.signatures[order[start : min(start + PAIRS, high[row])]]
                    if (similarity(candidates, signatures[row]) >= self.threshold - 1e-9).any():
                        found[row] = True
                        break
        return found
