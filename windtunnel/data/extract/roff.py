"""The escapes of roff, in which manual pages are written."""

from __future__ import annotations

import re
import unicodedata

_CHARACTERS = {
    "co": "©", "rg": "®", "tm": "™", "em": "—", "en": "–", "hy": "-", "bu": "•", "aq": "'", "dq": '"', "cq": "’", "oq": "‘", "lq": "“",
    "rq": "”", "ga": "`", "ha": "^", "ti": "~", "rs": "\\", "sl": "/", "<=": "≤", ">=": "≥", "->": "→", "<-": "←", "mu": "×", "+-": "±",
    "de": "°", "sc": "§", "Fo": "«", "Fc": "»", "fo": "‹", "fc": "›", "ss": "ß", "AE": "Æ", "ae": "æ", "OE": "Œ", "oe": "œ", "o/": "ø",
    "O/": "Ø", "oa": "å", "oA": "Å", "!=": "≠", "==": "≡", "**": "*", "pl": "+", "mi": "−", "eq": "=", "or": "|", "ba": "|", "br": "│",
    "ul": "_", "lC": "{", "rC": "}", "lB": "[", "rB": "]", "la": "⟨", "ra": "⟩", "at": "@", "sh": "#", "Do": "$", "Eu": "€", "ct": "¢",
    "Po": "£", "Ye": "¥", "dg": "†", "dd": "‡", "ps": "¶", "r!": "¡", "r?": "¿", "Bq": "„", "bq": "‚", "ff": "ff", "fi": "fi", "fl": "fl",
    "if": "∞", "*a": "α", "*b": "β", "*g": "γ", "*d": "δ", "*e": "ε", "*m": "μ", "*p": "π", "*s": "σ", "12": "½", "14": "¼",
    "34": "¾", "S2": "²", "S3": "³", "-D": "Ð", "Sd": "ð", "TP": "Þ", "Tp": "þ", "/L": "Ł", "/l": "ł", "es": "∅", "no": "¬", "lh": "☜",
    "rh": "☞", "OK": "✓", "sq": "□", "ci": "○",
}  # fmt: skip
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327", "v": "\u030c", "a": "\u0306"}
_ONE = {"e": "\\", "-": "-", "'": "´", "`": "`", "(": "(", " ": " ", "~": "\u00a0", "0": " ", "t": "\t", "_": "_", ".": "."}
_NOTHING = "&|^%:/,{})cpad!?ur"
# A name after an escape is one character, two after "(", or any number in brackets.
_ESCAPE = re.compile(
    r"\\(?:"
    r"(?P<comment>[\"#]).*"
    r"|\*(?:\[(?P<long>[^\]]*)\]|\((?P<two>..)|(?P<short>.))"
    r"|(?:f|F|m|M|n[+-]?|k|g|Y|V|O)(?:\[[^\]]*\]|\(..|.)"
    r"|s(?:\[[^\]]*\]|\([+-]?..|[+-]?'[^']*'|[+-]?\(..|[+-]?[0-3][0-9]|[+-]?[0-9])"
    r"|[hvwbloLDNRSXZAxH](?P<quote>['\"^]).*?(?P=quote)"
    r"|C'(?P<called>[^']*)'"
    r"|\[(?P<name>[^\]]*)\]|\((?P<pair>..)"
    r"|(?P<other>.)|$)"
)


class Strings:
    """The strings that a page defines."""

    def __init__(self) -> None:
        self._found = {"lq": "“", "rq": "”", "R": "®", "Tm": "™", "S": ""}

    def define(self, words: str) -> None:
        """As the request ``ds`` does: a name, then the string, from a double quote on where it begins with one."""
        name, _, value = words.partition(" ")
        self._found[name] = value.lstrip(" ").removeprefix('"')

    def value(self, name: str) -> str:
        """What the string holds; nothing where it is not defined."""
        return self._found.get(name, "")


def plain(line: str, strings: Strings, depth: int = 0) -> str:
    """A line without escapes: characters are written out, fonts and movements are left out."""

    def written(found: re.Match[str]) -> str:
        string = found["long"] or found["two"] or found["short"]
        if string is not None:
            return plain(strings.value(string), strings, depth + 1) if depth < 8 else ""
        name = found["name"] or found["pair"] or found["called"]
        if name is not None:
            return character(name)
        one = found["other"]
        return "" if one is None or one in _NOTHING else _ONE.get(one, one)

    return _ESCAPE.sub(written, line)


def character(name: str) -> str:
    """The character that roff calls so; nothing where it has another name."""
    if name in _CHARACTERS:
        return _CHARACTERS[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}(_[0-9A-F]{4,6})*", name):
        return unicodedata.normalize("NFC", "".join(chr(int(one, 16)) for one in name[1:].split("_") if int(one, 16) < 0x110000))
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    if re.fullmatch(r"char\d{1,3}", name):
        return chr(int(name[4:]))
    return ""


_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|\S)+)')


def arguments(text: str, strings: Strings) -> list[str]:
    """The arguments of a macro, without escapes: words, or what stands between double quotes."""
    found = _ARGUMENT.finditer(re.split(r'\\["#]', text, maxsplit=1)[0])
    return [plain(one[2] if one[2] is not None else one[1].replace('""', '"'), strings) for one in found]
