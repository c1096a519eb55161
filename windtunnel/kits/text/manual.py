"""Python's own manual in pieces, and what spoils pieces of text, for experiments on cleaning: real prose that needs no download."""

from __future__ import annotations

import math
import random

LINES = 24  # of a piece
MODULES = (
    *("argparse", "ast", "calendar", "cmd", "codecs", "configparser", "csv", "difflib", "fractions", "inspect", "locale", "mailbox"),
    *("shutil", "smtplib", "statistics", "subprocess", "tarfile", "textwrap", "threading", "traceback", "turtle", "typing", "uuid"),
)
FURNITURE = (
    "Home | {0} | {1} | Contact",
    "Share this page on {0} or {1}",
    "Copyright {2} {0} Ltd. All rights reserved.",
    "We use cookies. Accept {0} cookies or read our {1} policy",
    "https://www.{0}.example/{1}?page={2}",
    "Sign up for the {0} newsletter - {2} readers",
    "Previous: {0}  Next: {1}",
    "Posted by {0} at {2} - {3} comments",
)


def pieces(chance: random.Random, lines: int = LINES) -> list[str]:
    """All help topics of pydoc in pieces of so many lines, in a random order.

    Some topics are part of others, so a line of more than 20 characters that came before is left out: no piece is another one.
    """
    from pydoc_data.topics import topics

    found, seen = [], set[str]()
    for _, text in sorted(topics.items()):
        new = [line for line in dict.fromkeys(text.splitlines()) if line.strip() and (len(line) <= 20 or line not in seen)]
        seen.update(new)
        found += ["\n".join(new[start : start + lines]) for start in range(0, len(new) - lines // 2, lines)]
    chance.shuffle(found)
    return found


def asked(part: str, texts: list[str], count: int) -> list[str]:
    """The first ``count`` of ``texts``. Raises PartError, for the part ``part``, where there are fewer."""
    from windtunnel.core.errors import PartError

    if count > len(texts):
        raise PartError(
            f"{part}: asks for {count} pieces of text, of which this Python has {len(texts)}; lower how many documents are asked for"
        )
    return texts[:count]


def furniture(chance: random.Random, words: list[str]) -> str:
    """A line of a web page that belongs to no text, with some of ``words``."""
    numbers = chance.randrange(1990, 2030), chance.randrange(100)
    return chance.choice(FURNITURE).format(chance.choice(words), chance.choice(words), *numbers)


def furnished(text: str, chance: random.Random, words: list[str], share: float) -> tuple[str, list[bool]]:
    """``text`` with lines of furniture among its own, as many as ``share`` of them, in runs of one to four; and which lines these are."""
    lines = [(line, False) for line in text.split("\n")]
    wanted = round(share * len(lines))
    while wanted > 0:
        run = min(chance.randint(1, 4), wanted)
        place = chance.randint(0, len(lines))
        lines[place:place] = [(furniture(chance, words), True) for _ in range(run)]
        wanted -= run
    return "\n".join(line for line, _ in lines), [bad for _, bad in lines]


def salad(text: str, chance: random.Random) -> str:
    """The words of ``text`` in a random order, on lines of ten."""
    words = text.split()
    chance.shuffle(words)
    return "\n".join(" ".join(words[start : start + 10]) for start in range(0, len(words), 10))


def bits_of(texts: list[str], held: list[str], words: int) -> float:
    """Bits a word of ``held`` under an n-gram model of the first ``words`` words of ``texts``."""
    from windtunnel.kits.text.ngrams import NGrams, words_of

    given, left = [], words
    for text in texts:
        own = words_of(text)
        if left <= 0:
            break
        given.append(" ".join(own[:left]))
        left -= len(own)
    model = NGrams(given)
    sizes = [len(words_of(text)) for text in held]
    return math.fsum(math.log2(model.perplexity(text)) * size for text, size in zip(held, sizes, strict=True)) / sum(sizes)


def code_pieces(chance: random.Random) -> list[str]:
    """Some modules of the standard library in pieces of so many lines, in a random order."""
    import sysconfig
    from pathlib import Path

    folder, found = Path(sysconfig.get_paths()["stdlib"]), []
    for name in MODULES:
        file = folder / f"{name}.py"
        if not file.exists():  # it has become a package
            continue
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        found += ["\n".join(lines[start : start + LINES]) for start in range(0, len(lines) - LINES // 2, LINES)]
    chance.shuffle(found)
    return found
