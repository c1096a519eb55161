"""The macros of mdoc, in which the manual pages of the BSDs are written: they are called inside of lines."""

from __future__ import annotations

from windtunnel.data.extract.roff import Strings, arguments

_ENCLOSED = {
    "Op": "[]", "Oo": "[]", "Brq": "{}", "Bro": "{}", "Bq": "[]", "Bo": "[]", "Pq": "()", "Po": "()", "Aq": "<>", "Ao": "<>",
    "Dq": "“”", "Do": "“”", "Sq": "‘’", "So": "‘’", "Ql": "‘’", "Qq": '""', "Qo": '""', "Fo": "()",
}  # fmt: skip
_CLOSES = {"Oc": "]", "Bc": "]", "Brc": "}", "Pc": ")", "Ac": ">", "Dc": "”", "Sc": "’", "Qc": '"', "Fc": ")"}
_OPENS = {"Oo", "Bro", "Bo", "Po", "Ao", "Do", "So", "Qo", "Fo"}
_WORDS = {
    "Ar", "Pa", "Cm", "Ic", "Nm", "Em", "Sy", "Li", "Va", "Vt", "Fa", "Ft", "Fn", "Ev", "Er", "Dv", "An", "Ad", "Lk", "Mt", "Tn", "No",
    "Cd", "In", "Ms", "Nd", "St", "Lb", "Ux", "Bx", "Fx", "Nx", "Ox", "At", "Xr", "Fl", "Sx", "Rv", "Ex", "It", "D1", "Dl",
    "Xo", "Xc", "SY", "OP",
}  # fmt: skip
_NAMES = {"Ux": "UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD", "At": "AT&T UNIX"}
_CLOSING = {".", ",", ":", ";", ")", "]", "?", "!"}


def mdoc_line(name: str, rest: str, strings: Strings) -> str:
    """What a line that calls ``name`` says; nothing where the macro is none that sets text."""
    if name not in _ENCLOSED and name not in _CLOSES and name not in _WORDS:
        return ""
    return _said([name, *arguments(rest, strings)], strings)


def _said(words: list[str], strings: Strings) -> str:
    """The words of a line, in which macros are called by their names."""
    text, ends, joined = "", "", False
    place = 0

    def add(word: str) -> None:
        nonlocal text, joined
        text += word if joined or not text or word in _CLOSING else f" {word}"
        joined = False

    while place < len(words):
        word = words[place]
        place += 1
        if word == "Ns":
            joined = True
        elif word in ("Pf", "Ap"):
            if word == "Ap":
                text, joined = text + "'", True
            elif place < len(words):
                add(words[place])
                place, joined = place + 1, True
        elif word == "Fl":
            dashes = words[place] if place < len(words) and words[place] not in _WORDS | _CLOSING and words[place] != "Ns" else ""
            add(f"-{dashes}")
            place += bool(dashes)
        elif word == "Xr" and place < len(words):
            section = words[place + 1] if place + 1 < len(words) and words[place + 1][:1].isdigit() else ""
            add(f"{words[place]}({section})" if section else words[place])
            place += 2 if section else 1
        elif word == "Nm":  # without a name it means the one that the page is about
            named = place < len(words) and words[place] not in _WORDS | _CLOSING | set(_ENCLOSED) | {"Ns"}
            if named and not strings.value("Nm"):
                strings.define(f"Nm {words[place]}")
            if not named:
                add(strings.value("Nm"))
        elif word == "Nd":
            add("–")
        elif word in _ENCLOSED:
            add(_ENCLOSED[word][0])
            joined = True
            ends = (_ENCLOSED[word][1] + ends) if word not in _OPENS else ends
        elif word in _CLOSES:
            text, joined = text + _CLOSES[word], False
        elif word in _WORDS:
            if word in _NAMES:
                add(_NAMES[word])
        elif word in _CLOSING and place == len(words):
            text, ends = text + ends + word, ""
        else:
            add(word)
    return text + ends
