"""Which files of a folder a pattern means, those behind links to folders too, and what is passed over."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path


def shown(path: Path) -> str:
    """``path`` as text that can be stored: bytes of a name that are not UTF-8, as old archives unpack them, become ``\\xe9``."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def listed(root: Path, pattern: str) -> tuple[list[Path], list[tuple[str, Path]]]:
    """The files in ``root`` that ``pattern`` matches, in a fixed order; what is passed over, with the reason, relative to ``root``.

    ``**`` also enters folders behind links, which ``Path.glob`` does not: each real folder once, so that loops end, and none that ``root``
    lies in. Folders that may not be listed and links that lead nowhere are passed over.

    Raises:
        ValueError, NotImplementedError, IndexError: where ``pattern`` is no pattern for files inside the folder.
        OSError: where the folder cannot be listed.
    """
    found = {file for file in root.glob(pattern) if file.is_file()}
    passed: list[tuple[str, Path]] = []

    def noted(error: OSError) -> None:
        passed.append((f"unreadable folder ({error.strerror})", Path(os.fsdecode(error.filename)).relative_to(root)))

    known: set[str] = set()
    links = [root]
    while links:
        top = links.pop(0)
        for folder, folders, names in os.walk(top, onerror=noted):
            real = os.path.realpath(folder)
            if real in known:
                folders.clear()
                continue
            known.add(real)
            here = [Path(folder, name) for name in sorted(folders) if os.path.islink(os.path.join(folder, name))]
            above = [link for link in here if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(link))]
            passed += [("link to a folder above", link.relative_to(root)) for link in above]
            links += [link for link in here if link not in above and "**" in pattern]
            files = [Path(folder, name) for name in names]
            passed += [("link to nothing", file.relative_to(root)) for file in files if file.is_symlink() and not file.exists()]
            if top != root:
                wanted = tuple(pattern.split("/"))
                found |= {file for file in files if file.is_file() and _matches(file.relative_to(root).parts, wanted)}
    return sorted(found, key=lambda file: file.relative_to(root).parts), passed


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether the ``parts`` of a path fit a glob ``pattern``, in which ``**`` stands for any number of folders."""
    if not pattern or not parts:
        return not parts and all(one == "**" for one in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
