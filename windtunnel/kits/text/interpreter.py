"""Text that the running Python can tell of itself: its instructions, its packages, the names of characters, its C headers."""

from __future__ import annotations

import dis
import importlib.metadata
import sysconfig
import types
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError

INSTRUCTIONS = 500  # of one module: a table of constants would go on for megabytes of the same
SHORTEST = 400  # characters of a description that is more than a line or two
BLOCK = 128  # code points whose names make one document, as most of Unicode's own blocks do


def instructions(code: str, name: str) -> str:
    """What the compiler makes of a module: every instruction on a line, the code objects of functions and classes after it.

    Nothing is run. Unlike the output of ``dis`` it holds no address in memory and no order of a set, which differ from call to call.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are not this program's business
        waiting: list[types.CodeType] = [compile(code, name, "exec", dont_inherit=True, optimize=0)]
    lines: list[str] = []
    left = INSTRUCTIONS
    while waiting and left > 0:
        one = waiting.pop(0)
        lines.append(f"{one.co_qualname if hasattr(one, 'co_qualname') else one.co_name} ({', '.join(one.co_varnames[: one.co_argcount])})")
        for step in dis.get_instructions(one):
            if left <= 0:
                break
            left -= 1
            if isinstance(step.argval, types.CodeType):
                waiting.append(step.argval)
            shown = _shown(step.argval) if step.opcode in dis.hasconst else step.argrepr
            lines.append(f"{step.offset:5d} {step.opname} {shown}".rstrip())
        lines.append("")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return f"code {value.co_name}"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_shown, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # docstrings are prose, of which there is a source


def character_names() -> Iterator[tuple[str, str]]:
    """The names of characters, a document for every 128 code points; those named after their number, as most of Chinese, left out."""
    for first in range(0, 0x110000, BLOCK):
        lines = []
        for point in range(first, first + BLOCK):
            name = unicodedata.name(chr(point), "")
            if name and not name.endswith(f"{point:04X}"):
                lines.append(f"U+{point:04X} {name.lower()} ({unicodedata.category(chr(point))})")
        if lines:
            yield "\n".join(lines), f"characters from U+{first:04X}"


def readmes() -> list[tuple[str, str]]:
    """What installed packages say of themselves at length, by name; short ones and copies left out."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        about: Any = package.metadata
        text = str(about.get("Description") or about.get_payload() or "").strip()
        if len(text) >= SHORTEST and text not in found.values():
            found.setdefault(str(about.get("Name")), text)
    return [(text, f"package {name}") for name, text in sorted(found.items())]


def headers() -> list[Path]:
    """The C header files of this Python.

    Raises:
        UserError: where it has been installed without them.
    """
    folder = Path(sysconfig.get_paths()["include"])
    files = sorted(folder.rglob("*.h"))
    if not files:
        raise UserError(f"{folder}: this Python was installed without its C headers (python3-dev on Debian); use another built-in text")
    return files
