"""Words and runs of words of many texts as 64-bit hashes, without a Python loop over words.

A word is a run of letters, digits, marks and underscores, in lower case. In scripts that are written without spaces every character is a
word. White space and signs separate and are otherwise nothing.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

LETTER, UNSPACED, DIGIT = 1, 2, 3  # kinds of characters; 0 belongs to no word
PIECE = 1 << 20  # characters looked at together: some 40 MiB of memory
_BEYOND = 0x20000  # from here on there are rare Chinese characters
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
)


class WordHashes(NamedTuple):
    """The words of several texts, one after the other.

    Attributes:
        hashes: uint64 [words]; equal words have equal hashes.
        document: int64 [words]: which text each is of, ascending.
        length: int64 [words]: its characters.
        number: bool [words]: whether it is made of digits alone.
        begin: int64 [words]: the character of the text in lower case at which it begins.
    """

    hashes: np.ndarray
    document: np.ndarray
    length: np.ndarray
    number: np.ndarray
    begin: np.ndarray


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64 ``values`` scattered over all 64 bits, one to one (Steele et al. 2014, the finaliser of SplitMix64)."""
    values = values + _ODD[0]
    values = (values ^ (values >> np.uint64(30))) * _ODD[1]
    values = (values ^ (values >> np.uint64(27))) * _ODD[2]
    return values ^ (values >> np.uint64(31))


@functools.cache
def _kinds() -> np.ndarray:
    """The kind of every character up to :data:`_BEYOND`, uint8."""
    first = {"L": LETTER, "M": LETTER, "N": DIGIT}
    kinds = np.array([first.get(unicodedata.category(chr(code))[0], 0) for code in range(_BEYOND)] + [UNSPACED], np.uint8)
    kinds[ord("_")] = LETTER
    for begin, end in _WITHOUT_SPACES:
        kinds[begin : end + 1][kinds[begin : end + 1] == LETTER] = UNSPACED
    return kinds


@functools.cache
def _powers(count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.cumprod(np.full(count, np.uint64(0xD1342543DE82EF95)))


def words_of(texts: Sequence[str]) -> WordHashes:
    """The words of ``texts``."""
    found = [_words(*piece) for piece in _pieces(texts)]
    if not found:
        return _no_words()
    return WordHashes(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _no_words() -> WordHashes:
    whole = np.zeros(0, np.int64)
    return WordHashes(np.zeros(0, np.uint64), whole, whole, np.zeros(0, bool), whole)


def _pieces(texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Character codes with the number of their text and their place in it, about :data:`PIECE` at a time; a longer text is cut
    between two words."""
    held: list[tuple[int, int, str]] = []
    size = 0
    for number, text in enumerate(texts):
        for start, part in _parts(text.lower()):
            if held and size + len(part) > PIECE:
                yield _joined(held)
                held, size = [], 0
            held.append((number, start, part))
            size += len(part)
    if held:
        yield _joined(held)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while len(text) - start > PIECE:
        stop = max(text.rfind(mark, start + PIECE // 2, start + PIECE) for mark in " \n")
        stop = start + PIECE if stop < 0 else stop
        yield start, text[start:stop]
        start = stop
    yield start, text[start:]


def _joined(held: list[tuple[int, int, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers, starts, texts = zip(*held, strict=True)
    codes = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) + 1 for text in texts])
    before = np.cumsum(lengths) - lengths
    return codes, np.repeat(np.array(numbers), lengths), np.arange(len(codes)) + np.repeat(np.array(starts) - before, lengths)


def _words(codes: np.ndarray, document: np.ndarray, place: np.ndarray) -> WordHashes:
    kind = _kinds()[np.minimum(codes, _BEYOND)]
    inside = np.flatnonzero(kind)
    if not len(inside):
        return _no_words()
    kind = kind[inside]
    alone = kind == UNSPACED
    begins = np.ones(len(inside), bool)
    begins[1:] = (np.diff(inside) > 1) | alone[1:] | alone[:-1]
    starts = np.flatnonzero(begins)
    length = np.diff(np.append(starts, len(inside)))
    with np.errstate(over="ignore"):
        # A polynomial of scattered codes: sums of products, which wrap round, in one pass over the characters.
        within = np.arange(len(inside)) - np.repeat(starts, length)
        terms = mixed(codes[inside].astype(np.uint64)) * _powers(1 << int(length.max()).bit_length())[within]
        hashes = mixed(np.add.reduceat(terms, starts) ^ length.astype(np.uint64))
    digits = np.logical_and.reduceat(kind == DIGIT, starts)
    return WordHashes(hashes, document[inside[starts]], length, digits, place[inside[starts]])


def runs(words: WordHashes, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all runs of ``size`` words that lie within one text, uint64, and the place of the first word of each."""
    count = len(words.hashes) - size + 1
    if count <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    first = np.flatnonzero(words.document[:count] == words.document[size - 1 :])
    with np.errstate(over="ignore"):
        total = np.zeros(len(first), np.uint64)
        for place in range(size):
            total = total * np.uint64(0xD1342543DE82EF95) + words.hashes[first + place]
        return mixed(total), first


class Ragged(NamedTuple):
    """Arrays of several lengths as one: the n-th is ``values[ends[n - 1]:ends[n]]``, from the beginning where n is 0."""

    values: np.ndarray
    ends: np.ndarray


def shingles(texts: Sequence[str], words: WordHashes, size: int) -> Ragged:
    """The set of runs of ``size`` words of each text, as sorted uint64.

    A text of fewer words is one shingle, all of it; one without any word is its signs. So short texts are alike only where they are the
    same, and an empty text has no shingle.
    """
    hashes, first = runs(words, size)
    owner = words.document[first]
    count = np.bincount(words.document, minlength=len(texts))
    short = np.flatnonzero(count < size)
    if len(short):
        begins = np.cumsum(count) - count
        extra, owners = [], []
        for number in short.tolist():
            own = words.hashes[begins[number] : begins[number] + count[number]]
            if len(own):
                extra.append(_whole(own))
            elif signs := "".join(texts[number].split()):
                extra.append(_whole(np.frombuffer(signs.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)))
            else:
                continue
            owners.append(number)
        hashes = np.concatenate([hashes, np.array(extra, np.uint64)])
        owner = np.concatenate([owner, np.array(owners, np.int64)])
    return sets(hashes, owner, len(texts))


def _whole(values: np.ndarray) -> np.uint64:
    with np.errstate(over="ignore"):
        return mixed(np.array([(values * _powers(1 << len(values).bit_length())[: len(values)]).sum()]) ^ np.uint64(len(values)))[0]


def sets(hashes: np.ndarray, owner: np.ndarray, count: int) -> Ragged:
    """The distinct ``hashes`` of each of ``count`` owners, sorted."""
    if (owner[1:] < owner[:-1]).any():
        order = np.argsort(owner, kind="stable")
        hashes, owner = hashes[order], owner[order]
    ends = np.cumsum(np.bincount(owner, minlength=count))
    hashes = hashes.copy()
    for begin, end in itertools.pairwise([0, *ends.tolist()]):
        hashes[begin:end].sort()  # a sort of one key for each owner takes a tenth of one sort by two keys
    fresh = np.ones(len(hashes), bool)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
    return Ragged(hashes[fresh], np.cumsum(np.bincount(owner[fresh], minlength=count)))
