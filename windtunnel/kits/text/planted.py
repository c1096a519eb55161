"""Clean text mixed with noise of known kinds, from documents that every Python installation carries."""

from __future__ import annotations

import ast
import functools
import random
import re
import warnings
from collections.abc import Callable, Iterable

NOISE = ("shuffled", "other", "copies")
TEMPLATES = 5  # documents that near-copies are made of
REPLACED = 0.03  # of the words of a near-copy


def without_docstrings(code: str) -> str:
    """Source code without the lines of its docstrings; nothing where it cannot be parsed, so that none slips through."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings of the library's own
            tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return ""
    lines = code.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node) is not None:
            said = node.body[0]
            lines[said.lineno - 1 : said.end_lineno] = [""] * ((said.end_lineno or said.lineno) - said.lineno + 1)
    return "\n".join(lines)


def pieces(texts: Iterable[str]) -> dict[tuple[str, ...], str]:
    """Paragraphs of each text joined to about a thousand characters, by their words: none twice, up to signs and case."""
    found = []
    for text in texts:
        piece = ""
        for paragraph in text.split("\n\n"):
            piece += paragraph + "\n\n"
            if len(piece) > 800:
                found.append(piece[:2000].strip())
                piece = ""
    return {tuple(re.findall(r"\w+", piece.lower())): piece for piece in found}


@functools.lru_cache(maxsize=1)
def material() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pieces of documentation, and pieces of source code without docstrings that are no documentation."""
    from windtunnel.core.registry import make
    from windtunnel.data.corpus.frame import texts_of
    from windtunnel.data.corpus.tally import Tally
    from windtunnel.slots import Source

    def builtin(name: str) -> Iterable[str]:
        return texts_of(make(Source, {"builtin": {"text": name}}), Tally(name))

    documentation, source = pieces(builtin("docstrings")), pieces(map(without_docstrings, builtin("stdlib")))
    return tuple(documentation.values()), tuple(piece for words, piece in source.items() if words not in documentation)


def planted(characters: int, seed: int) -> tuple[dict[str, list[str]], list[str]]:
    """Documents of each kind, ``characters`` or a little more of each, and clean documents that are in none of them.

    Kinds are ``clean``, documentation; ``shuffled``, other documentation with its words in random order, so the unigrams are the same;
    ``other``, fluent text of another domain: source code; ``copies``, near-copies of a few clean documents in which some words are
    replaced.

    Raises:
        ValueError: there is not so much text.
    """
    chance = random.Random(seed)
    prose, code = (list(found) for found in material())
    chance.shuffle(prose)
    chance.shuffle(code)
    vocabulary = [word for text in prose[:200] for word in text.split()]

    def taken(make_one: Callable[[], str]) -> list[str]:
        found: list[str] = []
        length = 0
        while length < characters:
            found.append(make_one())
            length += len(found[-1])
        return found

    def shuffled() -> str:
        words = prose.pop().split()
        chance.shuffle(words)
        return " ".join(words)

    def copy() -> str:
        return " ".join(chance.choice(vocabulary) if chance.random() < REPLACED else word for word in chance.choice(templates).split(" "))

    try:
        templates = [prose.pop() for _ in range(TEMPLATES)]
        kinds = {"clean": taken(prose.pop), "shuffled": taken(shuffled), "other": taken(code.pop), "copies": taken(copy)}
        if not prose:
            raise IndexError
    except IndexError:
        have = sum(map(len, material()[0]))
        raise ValueError(f"characters: {characters} of each kind are too many: this Python has {have} of documentation") from None
    return kinds, prose[: max(20, len(prose) // 2)]
