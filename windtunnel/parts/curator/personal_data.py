"""A curator that masks what identifies people, or removes documents that hold it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import TEXT, text_of
from windtunnel.data.corpus.judging import Judge, Reasons, replaced

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

Kind = Literal["email", "phone", "ip", "card", "iban"]
_PATTERNS = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "card": re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d.-])"),
    "ip": re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]\d|\w)"),
    # A plus sign and a country, or brackets round the area: a bare run of digits may be anything.
    "phone": re.compile(r"(?<![\w+])(?:\+\d{1,3}[ .-]?(?:\(\d{1,5}\)[ .-]?)?|\(\d{2,5}\)[ .-]?)\d{2,5}(?:[ .-]?\d{2,5}){1,4}(?!\w)"),
}


class PersonalData(Judge, name="personal-data"):
    """Put a word in the place of addresses of e-mail, phone numbers, public IP addresses, and numbers of cards and accounts.

    What is masked reads ``<email>``, ``<phone>`` and so on. Card numbers are told by their check digit (Luhn), account numbers by theirs
    (ISO 13616), addresses by being public ones (not 127.0.0.1, not 10.0.0.1), phone numbers by a country or an area in brackets. Names
    and postal addresses are not found: that takes a model. With ``action: remove`` the document goes instead.
    """

    fields = ("text",)
    trial = Trial({"kinds": ["email"]})

    kinds: tuple[Kind, ...] = Field(("email", "phone", "ip", "card", "iban"), description="what is looked for")
    action: Literal["mask", "remove"] = Field("mask", description="what happens to it: a word takes its place, or the document goes")

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents with what identifies people masked, or the reason why they go."""
        texts: list[str | None] = []
        reasons: list[str | None] = []
        for text in text_of(documents):
            new, counts = (text, {}) if text is None else masked(text, self.kinds)
            gone = self.action == "remove" and counts
            reasons.append(f"personal data: {', '.join(f'{count} {kind}' for kind, count in counts.items())}" if gone else None)
            texts.append(text if self.action == "remove" else new)
        return replaced(documents, {TEXT: texts}), reasons


def masked(text: str, kinds: tuple[Kind, ...]) -> tuple[str, dict[str, int]]:
    """``text`` with a word in the place of each kind, and how many of each there were."""
    counts: dict[str, int] = {}
    for kind, pattern in _PATTERNS.items():
        if kind not in kinds or (kind == "email" and "@" not in text):
            continue
        pieces: list[str] = []
        done = place = 0
        while match := pattern.search(text, place):
            found = _real_part(kind, match[0])
            place = match.start() + len(found) if found else match.end()
            if found:
                pieces += [text[done : match.start()], f"<{kind}>"]
                done = place
                counts[kind] = counts.get(kind, 0) + 1
        text = "".join([*pieces, text[done:]])
    return text, counts


_SHORTEST = {"card": 13, "iban": 15}  # digits of a card number, characters of an account number


def _real_part(kind: str, found: str) -> str:
    """What of a match is one; nothing: none. A word or number behind an account or a card (its check digits) may look like its end."""
    while not _real(kind, found):
        found = found.rpartition(" ")[0] if kind in _SHORTEST else ""
        if sum(map(str.isalnum, found)) < _SHORTEST.get(kind, 0) or not found:
            return ""
    return found


def _real(kind: str, found: str) -> bool:
    """Whether what looks like one is one, as far as that can be told."""
    if kind == "card":
        digits = [int(one) for one in found if one.isdigit()]
        doubled = [digit if place % 2 else (digit * 2 - 9 * (digit > 4)) for place, digit in enumerate(reversed(digits), 1)]
        return sum(doubled) % 10 == 0 and len(set(digits)) > 1
    if kind == "iban":
        plain = found.replace(" ", "")
        return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1
    if kind == "ip":
        try:
            return ipaddress.ip_address(found).is_global
        except ValueError:
            return False
    return kind != "phone" or 7 <= sum(one.isdigit() for one in found) <= 15
