"""Problems of gapped copying: random symbols, a gap, and the same symbols again."""

from __future__ import annotations

import random
import string

SYMBOLS = string.ascii_lowercase  # at most so many kinds


def problem(chance: random.Random, *, copied: int, symbols: int, offset: int, gap: int) -> list[str]:
    """``offset`` symbols of filler, ``copied`` different symbols, ``gap`` symbols of filler, the same ``copied`` again.

    Filler is drawn from those of ``symbols`` kinds that are not copied, so each copied symbol but the first follows from the one before
    it, wherever that stood.
    """
    order = chance.sample(SYMBOLS[:symbols], symbols)
    copy, others = order[:copied], order[copied:]
    return [*chance.choices(others, k=offset), *copy, *chance.choices(others, k=gap), *copy]


def spelt(symbols: list[str]) -> str:
    """``symbols`` as text: a space before each, so that a byte-level tokenizer makes one token of each and can merge no two."""
    return "".join(f" {symbol}" for symbol in symbols)
