"""Add tokens to a tokenizer that exists, so that its own tokens keep their numbers and text without new ones is read as before."""

from __future__ import annotations

import heapq
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

RAREST = 2  # how often a pair must occur to become a token: what occurs once is no pattern

Pair = tuple[int, int]
Token = TypeVar("Token", int, str)  # by its number or its spelling


def extended(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], count: int) -> PreTrainedTokenizerFast:
    """``tokenizer`` with ``count`` further tokens (fewer where ``texts`` offer no more), for which the learning of its BPE goes on.

    Continued BPE training: Purason et al. 2025, arXiv:2512.03989. ``texts`` are split as the tokenizer splits them and read with its
    merges; then, as in training, the most frequent pair of neighbours becomes a token, again and again. The new merges come after
    all old ones, so every new token can occur and no old merge is made differently. A tokenizer learned anew from the same text would
    offer tokens that the old merges never let arise.

    A pair that spells an old token is left alone: making it would change how text is read without any new token in it.

    Raises:
        UserError: if its model is not BPE.
    """
    backend = tokenizer.backend_tokenizer
    definition = json.loads(backend.to_str())
    model = definition["model"]
    if model.get("type") != "BPE":
        raise UserError(
            f"tokenizer.extend: its model is {model.get('type')}, and only a BPE can be extended so that old text is read as before; "
            "replace it (tokenizer without folder and extend, and a start that takes the old model's weights over)"
        )
    known: dict[str, int] = dict(model["vocab"])
    added = {entry["content"]: int(entry["id"]) for entry in definition["added_tokens"]}
    # Tokens that stand beside the model are numbered from its size when a tokenizer is read; entered in it they keep their numbers.
    known |= added
    spelling = {number: text for text, number in known.items()}
    sides = model.get("continuing_subword_prefix") or ""
    for number, (one, other), joined in merges(_sequences(backend, texts), spelling, sides, count):
        model["merges"].append([spelling[one], spelling[other]] if _as_lists(model) else f"{spelling[one]} {spelling[other]}")
        known[joined] = number
        spelling[number] = joined
    model["vocab"] = known
    return _rewritten(tokenizer, definition)


def merges(words: dict[tuple[int, ...], int], spelling: dict[int, str], prefix: str, count: int) -> Iterator[tuple[int, Pair, str]]:
    """The next ``count`` merges of ``words`` (token sequences and how often each occurs), best first: number, pair and new token.

    Ties go to the pair that is spelled first. New tokens are numbered from above the largest number in ``spelling``, in turn.
    ``prefix`` is what a token in the middle of a word begins with, if anything.
    """
    sequences = [list(word) for word in words]
    often = list(words.values())
    pairs: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, sequence in enumerate(sequences):
        for pair in pairwise(sequence):
            pairs[pair] += often[index]
            places[pair].add(index)
    texts = dict(spelling)
    taken = set(texts.values())
    heap = [(-frequency, texts[one], texts[other], (one, other)) for (one, other), frequency in pairs.items()]
    heapq.heapify(heap)
    number = max(texts)
    last = number + count
    while number < last and heap:
        frequency, _, _, pair = heapq.heappop(heap)
        if -frequency != pairs[pair]:  # it has become rarer since; it is in the heap once more with what it is now
            continue
        if -frequency < RAREST:
            return
        joined = texts[pair[0]] + texts[pair[1]].removeprefix(prefix)
        if joined in taken:
            continue
        number += 1
        texts[number] = joined
        taken.add(joined)
        change: Counter[Pair] = Counter()
        for index in places.pop(pair):
            before = sequences[index]
            after = merged(before, pair, number)
            for old in pairwise(before):
                change[old] -= often[index]
            for new in pairwise(after):
                change[new] += often[index]
                places[new].add(index)
            sequences[index] = after
        for (one, other), difference in change.items():
            pairs[one, other] += difference
            if difference and pairs[one, other] > 0:
                heapq.heappush(heap, (-pairs[one, other], texts[one], texts[other], (one, other)))
        yield number, pair, joined


def merged(sequence: list[Token], pair: tuple[Token, Token], whole: Token) -> list[Token]:
    """``sequence`` with every occurrence of ``pair``, from the left, as ``whole``."""
    found: list[Token] = []
    index = 0
    while index < len(sequence):
        if index + 1 < len(sequence) and (sequence[index], sequence[index + 1]) == pair:
            found.append(whole)
            index += 2
        else:
            found.append(sequence[index])
            index += 1
    return found


def words(backend: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word of ``texts`` occurs, as the tokenizer cuts and spells them before its merges: none reaches beyond a word."""
    counts: Counter[str] = Counter()
    for text in texts:
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        if backend.pre_tokenizer is not None:
            counts.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text))
        else:  # sentencepiece: a text is one piece, but a token begins where a word does
            counts.update(re.findall("▁*[^▁]+|▁+", text))
    return counts


def _sequences(backend: Tokenizer, texts: Iterable[str]) -> dict[tuple[int, ...], int]:
    """The words of ``texts`` as tokens of the old model, and how often each occurs; those of one token left out."""
    found: Counter[tuple[int, ...]] = Counter()
    for word, often in words(backend, texts).items():
        tokens = tuple(token.id for token in backend.model.tokenize(word))
        if len(tokens) > 1:
            found[tokens] += often
    return dict(found)


def _as_lists(model: dict[str, Any]) -> bool:
    return not model["merges"] or isinstance(model["merges"][0], list)


def _rewritten(tokenizer: PreTrainedTokenizerFast, definition: dict[str, Any]) -> PreTrainedTokenizerFast:
    """``tokenizer`` with another definition: its settings stay as transformers writes them."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        Path(folder, "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False), encoding="utf-8")
        for name in ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model"):  # the old vocabulary in an older form
            Path(folder, name).unlink(missing_ok=True)
        found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not definition["model"]["vocab"].items() <= found.get_vocab().items():
        raise UserError(f"tokenizer.extend: transformers does not keep added merges of a {type(tokenizer).__name__}; replace the tokenizer")
    return found
