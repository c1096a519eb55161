"""What is known of tokens: their number, the special ones, the bytes that each stands for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.slots.encoding import ALL

if TYPE_CHECKING:
    import numpy as np

LEARNT = "tokens are learnt from what the curators of the arm kept, so part of a difference may be the vocabulary's"


@dataclass(frozen=True)
class Vocabulary:
    """What an objective may know of the tokeniser: its size and its special tokens.

    ``document`` separates documents (it begins each one, so it also ends the one before). Where a tokenizer begins texts with a token of
    its own, that is ``document``, and every document has ``end``, its end-of-text token, as its last. ``spans`` are the sentinels of span
    corruption, ``modes`` the mode tokens of UL2 by name (R, S, X). ``token_bytes[i]`` is how many UTF-8 bytes token i stands for
    (0 for special tokens), an int32 array; ``word_starts[i]`` whether token i begins a word, a bool array.
    """

    size: int
    document: int
    pad: int
    mask: int
    spans: tuple[int, ...]
    modes: Mapping[str, int]
    token_bytes: np.ndarray
    word_starts: np.ndarray
    end: int | None = None

    def rows_needed(self, special: Collection[str]) -> int:
        """How many rows of an embedding a run needs that feeds text, the separator, padding and the ``special`` tokens to its model.

        ``special`` are of ``mask``, ``spans`` and ``modes``, or :data:`ALL`. Where one of them lies above all text, it is the size of the
        vocabulary.
        """
        kinds = {"mask": (self.mask,), "spans": self.spans, "modes": tuple(self.modes.values())}
        last_text = max((number for number, size in enumerate(self.token_bytes.tolist()) if size), default=0)
        plain = 1 + max(last_text, self.document, self.pad, self.end or 0)
        return self.size if any(number >= plain for kind in (kinds if ALL in special else special) for number in kinds[kind]) else plain
