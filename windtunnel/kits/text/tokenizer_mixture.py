"""What a BPE tokenizer was trained on, told from the order of its merges.

Hayase et al. 2024, arXiv:2407.16607. Training makes the most frequent pair of the mixture a token, again and again. So at every merge
the pair that was chosen was at least as frequent, in the mixture, as each of its rivals; and how frequent pairs are in each source can be
counted in a sample. Which shares make all of that true is a linear program.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.kits.text.extend import merged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SCALE = 1e6  # frequencies are counted a million bytes, so that the solver's tolerances, which are absolute, are small beside them
TOLERANCE = 1e-4  # occurrences in a million bytes by which a rival may be ahead
RIVALS = 5  # of each merge that join the program in one round
ROUNDS = 60

Pair = tuple[str, str]


class Step(NamedTuple):
    """One merge: the ``chosen`` pair, and by how much the frequencies of the pairs ``changed`` rise when it is made, [pairs, sources]."""

    chosen: int
    changed: np.ndarray
    rise: np.ndarray


class Replay(NamedTuple):
    """How frequent pairs are in each source while merges are made: ``first`` before them, [pairs, sources]; pairs that arise later are 0.

    Frequencies are occurrences in a million bytes of the source. Merges that no source has are left out; ``skipped`` counts them.
    """

    first: np.ndarray
    steps: list[Step]
    skipped: int = 0


class Found(NamedTuple):
    """The ``shares`` of the sources, float64, and the part of the chosen pairs' frequencies that they leave ``unexplained``.

    ``broken`` rivals of merges were still ahead when the rounds were used up: with any, the shares are not quite those of the program.
    """

    shares: np.ndarray
    unexplained: float
    broken: int = 0


def merges_of(backend: Tokenizer) -> list[Pair]:
    """The merges of a BPE tokenizer in the order in which they were learnt.

    Files converted from sentencepiece or tiktoken list every split of a token. Of these the one counts at which BPE arrives when it spells
    the token with the merges that come before; where it arrives at none of them, the first.

    Raises:
        UserError: where its model is no BPE of merges, or marks the middle of words.
    """
    model = json.loads(backend.to_str())["model"]
    if model.get("type") != "BPE" or not model.get("merges"):
        raise UserError(f"its model is {model.get('type')}, and only the merges of a BPE tell in which order they were learnt")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError("its tokens carry a mark for the middle or the end of a word, so they are not made of the characters of a text")
    ranks: dict[Pair, int] = {}
    splits: defaultdict[str, list[Pair]] = defaultdict(list)
    for place, merge in enumerate(model["merges"]):
        one, other = merge.split(" ", 1) if isinstance(merge, str) else merge
        if ranks.setdefault((one, other), place) == place:
            splits[one + other].append((one, other))
    return [pairs[0] if len(pairs) == 1 else _arrived(token, pairs, ranks) for token, pairs in splits.items()]


def _arrived(token: str, splits: Sequence[Pair], ranks: Mapping[Pair, int]) -> Pair:
    """Of the ``splits`` of ``token`` the one that the merges before all of them leave of its characters, else the first."""
    before, parts = min(ranks[pair] for pair in splits), list(token)
    while len(parts) > 2:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, before))
        if ranks.get(best, before) >= before:
            break
        parts = merged(parts, best, best[0] + best[1])
    arrived = tuple(parts)
    return next((pair for pair in splits if pair == arrived), splits[0])


def replay(merges: Sequence[Pair], counts: Sequence[Counter[str]], sizes: Sequence[int], most: int) -> Replay:
    """Make up to ``most`` of ``merges`` in text.

    Args:
        merges: as :func:`merges_of` has them.
        counts: for each source how often each word occurs: see :func:`windtunnel.kits.text.extend.words`.
        sizes: the bytes of the text that was counted, by source.
        most: merges that are made, those left out not counted.
    """
    text = _Text(counts, sizes)
    first = text.frequencies()
    steps: list[Step] = []
    skipped = 0
    for one, other in merges:
        if len(steps) == most:
            break
        if (step := text.merge(one, other)) is not None:
            steps.append(step)
        else:
            skipped += 1
    return Replay(np.vstack([first, np.zeros((len(text.numbers) - len(first), len(sizes)))]), steps, skipped)


class _Text:
    """The words of all sources, and where each pair of neighbours stands."""

    def __init__(self, counts: Sequence[Counter[str]], sizes: Sequence[int]) -> None:
        names = list(dict.fromkeys(word for count in counts for word in count if len(word) > 1))
        self.often = np.array([[count[word] for count in counts] for word in names], np.float64).reshape(len(names), len(counts))
        self.often *= SCALE / np.maximum(1, np.array(sizes, np.float64))
        self.words = [list(word) for word in names]
        self.numbers: dict[Pair, int] = {}
        self.places: defaultdict[int, set[int]] = defaultdict(set)
        for place, word in enumerate(self.words):
            for pair in pairwise(word):
                self.places[self.numbers.setdefault(pair, len(self.numbers))].add(place)

    def frequencies(self) -> np.ndarray:
        """Of every pair that stands somewhere, [pairs, sources]."""
        pairs = [self.numbers[pair] for word in self.words for pair in pairwise(word)]
        places = np.repeat(np.arange(len(self.words)), [len(word) - 1 for word in self.words])
        return self._summed(np.array(pairs, np.int64), places, np.ones(len(places)), len(self.numbers))

    def merge(self, one: str, other: str) -> Step | None:
        """Make one token of every ``one`` that ``other`` follows; None where that stands nowhere."""
        chosen = self.numbers.get((one, other))
        if chosen is None or not self.places[chosen]:
            return None
        pairs, places, signs = [], [], []
        for place in sorted(self.places.pop(chosen)):
            before = self.words[place]
            after = merged(before, (one, other), one + other)
            if len(after) == len(before):  # it stood here once, and another merge took one of its sides
                continue
            for sign, word in ((-1, before), (1, after)):
                for pair in pairwise(word):
                    number = self.numbers.setdefault(pair, len(self.numbers))
                    pairs.append(number)
                    places.append(place)
                    signs.append(sign)
                    if sign > 0:
                        self.places[number].add(place)
            self.words[place] = after
        if not pairs:
            return None
        changed, inverse = np.unique(pairs, return_inverse=True)
        rise = self._summed(inverse, np.array(places), np.array(signs, np.float64), len(changed))
        keeps = np.abs(rise).max(axis=1) > 1e-6  # what a merge leaves as it was adds up to rounding errors
        return Step(chosen, changed[keeps], rise[keeps])

    def _summed(self, numbers: np.ndarray, places: np.ndarray, signs: np.ndarray, size: int) -> np.ndarray:
        return np.stack([np.bincount(numbers, signs * column[places], size) for column in self.often.T], axis=1)


def inferred(found: Replay, *, by_pair: bool = True) -> Found:
    """The shares of the sources (in bytes) under which the merges that were made are the most frequent pairs, as nearly as can be.

    Two kinds of slack make up for samples that are not the training text: one for each merge, whose rivals the sample has too often, and
    with ``by_pair`` one for each pair, which the sample has too often throughout. Their sum is the least that it can be. Most rivals
    never come near, so rows join only where the shares so far break them, until none is broken; then the whole program is solved. Where
    that takes more than :data:`ROUNDS` rounds, the answer says how many are ``broken`` still.

    Raises:
        UserError: where no merge was made, so that nothing is known.
    """
    if not found.steps:
        raise UserError("none of the merges occurs in the sources: nothing of their text can be among what the tokenizer was trained on")
    sources = found.first.shape[1]
    rows: dict[tuple[int, int], np.ndarray] = {}
    shares, behind, ahead = np.full(sources, 1 / sources), np.zeros(len(found.steps)), np.zeros(len(found.first))
    broken = _broken(found, shares, behind, ahead, rows)
    for _ in range(ROUNDS):
        if not broken:
            break
        rows |= broken
        shares, behind, ahead = _solved(rows, sources, len(found.steps), len(found.first), by_pair)
        broken = _broken(found, shares, behind, ahead, rows)
    level = _chosen(found) @ shares
    return Found(shares, float((behind.sum() + ahead.sum()) / max(level.sum(), 1e-12)), len(broken))


def _broken(
    found: Replay, shares: np.ndarray, behind: np.ndarray, ahead: np.ndarray, rows: dict[tuple[int, int], np.ndarray]
) -> dict[tuple[int, int], np.ndarray]:
    """For the rivals that are furthest ahead of each merge, by (step, pair): how much more frequent the merge is in each source."""
    now, broken = found.first.copy(), {}
    for number, step in enumerate(found.steps):
        lead = now @ shares - ahead
        lead -= now[step.chosen] @ shares + behind[number]
        lead[step.chosen] = -1.0
        furthest = np.argpartition(lead, -min(RIVALS, len(lead)))[-RIVALS:]
        for rival in furthest[lead[furthest] > TOLERANCE].tolist():
            if (number, rival) not in rows:
                broken[number, rival] = now[step.chosen] - now[rival]
        now[step.changed] += step.rise
    return broken


def _solved(
    rows: dict[tuple[int, int], np.ndarray], sources: int, steps: int, pairs: int, by_pair: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares, and slack by merge and by pair, of the linear program of ``rows``."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, csr_array, hstack

    keys = np.array(list(rows), np.int64)
    step, step_of = np.unique(keys[:, 0], return_inverse=True)
    rival, rival_of = np.unique(keys[:, 1], return_inverse=True)
    line = np.arange(len(keys))
    parts: list[Any] = [csr_array(-np.stack(list(rows.values()))), coo_array((-np.ones(len(keys)), (line, step_of)))]
    if by_pair:
        parts.append(coo_array((-np.ones(len(keys)), (line, rival_of))))
    matrix = hstack(parts, format="csr")
    cost = np.append(np.zeros(sources), np.ones(matrix.shape[1] - sources))
    whole = np.append(np.ones(sources), np.zeros(matrix.shape[1] - sources))[None]
    answer = linprog(cost, A_ub=matrix, b_ub=np.zeros(len(keys)), A_eq=whole, b_eq=[1.0], method="highs")
    if answer.x is None:
        raise UserError(f"the linear program of the shares was not solved: {answer.message}")
    behind, ahead = np.zeros(steps), np.zeros(pairs)
    behind[step] = answer.x[sources : sources + len(step)]
    if by_pair:
        ahead[rival] = answer.x[sources + len(step) :]
    return answer.x[:sources], behind, ahead


def _chosen(found: Replay) -> np.ndarray:
    """The frequencies of the chosen pairs when they were chosen, [steps, sources]."""
    now, chosen = found.first.copy(), []
    for step in found.steps:
        chosen.append(now[step.chosen].copy())
        now[step.changed] += step.rise
    return np.array(chosen)


def by_vocabulary(backend: Tokenizer, texts: Sequence[Sequence[str]], sizes: Sequence[int]) -> np.ndarray:
    """The shares of the sources among the tokens, each token counting for the source that has it most often for its bytes.

    The simple way, which the paper compares with. Tokens of one byte, and those that no source has, count for none.
    """
    rates = np.zeros((backend.get_vocab_size(), len(texts)))
    for source, some in enumerate(texts):
        for encoding in backend.encode_batch_fast(list(some), add_special_tokens=False):
            np.add.at(rates[:, source], np.array(encoding.ids, np.int64), 1)
    rates /= np.maximum(1, np.array(sizes, np.float64))
    known = backend.get_vocab(with_added_tokens=False)
    kept = [number for token, number in known.items() if len(token) > 1 and rates[number].any()]
    found = np.bincount(rates[kept].argmax(axis=1), minlength=len(texts))
    return found / max(1, found.sum())
