"""Multiple-choice questions from a file of the user's: JSON lines, each with a question, its choices and the right one."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, NamedTuple

from windtunnel.core.errors import PartError, nearest


class Question(NamedTuple):
    """``text`` and the ``choices`` that may follow it; ``answer`` is the number of the right one, ``line`` that in the file."""

    line: int
    text: str
    choices: tuple[str, ...]
    answer: int


def read_questions(path: Path, *, question: str, choices: str, answer: str) -> list[Question]:
    """The questions in ``path``, whose fields are called ``question``, ``choices`` and ``answer``.

    An answer is the number of the right choice (from 0), its letter (from A), or the choice itself.

    Raises:
        PartError: naming file and line for one that is no JSON, lacks a field, has fewer than two choices, or whose answer is none of them.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON may hold what splitlines takes for the end of a line
    except (OSError, UnicodeDecodeError) as error:
        raise PartError(f"{path}: cannot be read as text: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise PartError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise PartError(f"{path}:{number}: expected an object with {question}, {choices} and {answer}")
        for field in (question, choices, answer):
            if field not in entry:
                raise PartError(f"{path}:{number}: has no {field}; {nearest(field, entry)}")
        offered = entry[choices]
        if not isinstance(offered, list) or len(offered) < 2 or not all(isinstance(one, str) and one for one in offered):
            raise PartError(f"{path}:{number}: {choices} is a list of two texts or more, not {offered!r}")
        right = _answer(entry[answer], offered, f"{path}:{number}: {answer}")
        if offered.count(offered[right]) > 1:  # they have one score, so where they stand would decide
            raise PartError(f"{path}:{number}: {choices} has the answer {offered[right]!r} twice; leave one out")
        found.append(Question(number, str(entry[question]), tuple(offered), right))
    if not found:
        raise PartError(f"{path}: holds no question")
    return found


def _answer(given: Any, choices: list[str], where: str) -> int:
    if isinstance(given, str) and given in choices:
        return choices.index(given)
    letters = string.ascii_uppercase[: len(choices)]
    if isinstance(given, str) and len(given) == 1 and given in letters:
        return letters.index(given)
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(choices):
        return given
    known = f"0 to {len(choices) - 1}, {letters[0]} to {letters[-1]}, or its text"
    raise PartError(f"{where} is {given!r}, which is none of {len(choices)} choices: {known}")


def paired(tokenizer: Any, text: str, choice: str) -> tuple[list[int], list[int]]:
    """The tokens of ``text`` and those of ``choice`` behind it, as they are where both stand together.

    Spaces that end the text belong to the choice, whose first token holds them; this is how lm-evaluation-harness cuts.
    """
    bare = text.rstrip()
    both = tokenizer(text + choice, add_special_tokens=False)["input_ids"]
    cut = len(tokenizer(bare, add_special_tokens=False)["input_ids"])
    return both[:cut], both[cut:]
