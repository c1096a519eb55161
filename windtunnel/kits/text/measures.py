"""What heuristics of clean text measure: of words and repetitions for many texts at once, of lines for each text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from windtunnel.kits.text.words import WordHashes, mixed, runs, words_of

ENDS = ".!?…。！？"  # what ends a sentence
CLOSING = "\"'”’»)]›」』*_"  # what may stand behind the end of one
_OPENS_SPEECH = re.compile(r"[-–—―]\s*[\"“«A-ZÀ-ÞА-ЯЁ¿¡]")
_BULLET = re.compile(r"[•‣▪◦*\-–—·○●]\s")
_SENTENCE = re.compile(r"[.!?…]+[\"'”’»)\]]*(?:\s|$)|[。！？]")
FEW_LINES = 5  # shares of lines say nothing of a text with fewer
BRIEF = 3  # words; so short a line may well occur again, as in a dialogue
SHORT = 30  # characters of a short line


def ended(line: str) -> bool:
    """Whether a line ends as a sentence does, also within quotation marks."""
    return line.rstrip(CLOSING)[-1:] in ENDS and bool(line.rstrip(CLOSING))


def bullet(line: str) -> bool:
    """Whether a line is an item of a list. A dash before a sentence opens speech."""
    return bool(_BULLET.match(line)) and not (_OPENS_SPEECH.match(line) and ended(line))


def of_words(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """By measure, a number for each text: ``words``, their mean length, and the share of its characters in repeated runs of words."""
    words, count = words_of(texts), len(texts)
    number = np.bincount(words.document, minlength=count)
    characters = np.maximum(1, np.array([len(text) for text in texts]))
    found = {
        "words": number.astype(np.float64),
        "mean word length": np.bincount(words.document, weights=words.length, minlength=count) / np.maximum(1, number),
        "words with letters": 1 - np.bincount(words.document[words.number], minlength=count) / np.maximum(1, number),
    }
    for size in (2, 3, 4):
        found[f"commonest run of {size} words"] = _commonest(words, size, count) / characters
    for size in range(5, 11):
        found[f"repeated runs of {size} words"] = _repeated(words, size, count)
    return found


def _occurrences(words: WordHashes, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first word of every run, and of every different run in a text: which it is, its first occurrence, and how often it occurs."""
    hashes, first = runs(words, size)
    with np.errstate(over="ignore"):
        own = mixed(hashes ^ (words.document[first].astype(np.uint64) * np.uint64(0xD1342543DE82EF95)))
    _, once, which, counts = np.unique(own, return_index=True, return_inverse=True, return_counts=True)
    return first, once, which, counts


def _commonest(words: WordHashes, size: int, texts: int) -> np.ndarray:
    """The characters of all occurrences of the run that takes up most; one that occurs once is no repetition."""
    first, once, _, counts = _occurrences(words, size)
    ends = np.append(0, np.cumsum(words.length + 1))
    length = ends[first[once] + size] - ends[first[once]] - 1
    most = np.zeros(texts)
    again = counts > 1
    np.maximum.at(most, words.document[first[once[again]]], (length * counts)[again])
    return most


def _repeated(words: WordHashes, size: int, texts: int) -> np.ndarray:
    """The share of a text's words, by characters, that lie in a run that was there before."""
    first, once, _, _ = _occurrences(words, size)
    again = np.ones(len(first), bool)
    again[once] = False
    steps = np.zeros(len(words.hashes) + 1, np.int64)
    np.add.at(steps, first[again], 1)
    np.add.at(steps, first[again] + size, -1)
    weight = words.length + 1.0
    covered = np.bincount(words.document, weights=weight * (np.cumsum(steps[:-1]) > 0), minlength=texts)
    return covered / np.maximum(1, np.bincount(words.document, weights=weight, minlength=texts))


def of_lines(text: str) -> dict[str, float]:
    """By measure, a number: shares of the lines and paragraphs of a text. A text of few lines has no shares of them."""
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    found = {
        "symbols per word": (text.count("#") + text.count("...") + text.count("…")) / max(1, text.count(" ") + text.count("\n") + 1),
        "sentences": float(len(_SENTENCE.findall(text))),
    }
    if len(lines) < FEW_LINES:
        return found
    total = len(lines)
    closed = [ended(line) for line in lines]
    found["bullets"] = sum(map(bullet, lines)) / total
    found["lines with an ellipsis"] = sum(line.endswith(("...", "…")) for line in lines) / total
    found["ended lines"] = sum(closed) / total
    found["short lines"] = sum(len(line) <= SHORT and not end for line, end in zip(lines, closed, strict=True)) / total
    found["repeated lines"], found["characters of repeated lines"] = _again([line for line in lines if line.count(" ") >= BRIEF], lines)
    paragraphs = [part.strip() for part in text.split("\n\n")]
    paragraphs = [part for part in paragraphs if part]
    if len(paragraphs) >= FEW_LINES:
        long = [part for part in paragraphs if part.count(" ") >= BRIEF]
        found["repeated paragraphs"], found["characters of repeated paragraphs"] = _again(long, paragraphs)
    return found


def _again(judged: list[str], every: list[str]) -> tuple[float, float]:
    """The share of ``judged`` that were there before among ``every``, by number and by characters."""
    seen: set[str] = set()
    number = characters = 0
    for part in judged:
        if part in seen:
            number += 1
            characters += len(part)
        seen.add(part)
    return number / len(every), characters / max(1, sum(map(len, every)))


def whole_sentences(text: str) -> bool:
    """Whether a text is a sentence or several, however short: it ends as one does, and has three words."""
    return ended(text.rstrip()) and text.count(" ") >= 2
