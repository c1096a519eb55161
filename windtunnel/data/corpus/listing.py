"""Which files of a folder a pattern means, those behind links to folders too, and what is passed over."""

from __future__ import annotations

import fnmatch
import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from windtunnel.core.files import OURS

Passed = list[tuple[str, Path]]  # what was passed over and why, relative to the folder


def shown(path: Path) -> str:
    """``path`` as text that can be stored: bytes of a name that are not UTF-8, as old archives unpack them, become ``\\xe9``."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def listed(root: Path, pattern: str) -> tuple[list[Path], Passed]:
    """The files in ``root`` that ``pattern`` matches, in the order of their paths, and what is passed over.

    ``**`` also enters folders behind links, which ``Path.glob`` does not: each real folder once, so that loops end, and none that ``root``
    lies in. Folders that may not be listed, those that Windtunnel writes, and links that lead nowhere are passed over. Every folder that
    can hold a match is read once, and no other.

    Raises:
        ValueError, NotImplementedError: where ``pattern`` is no pattern for files inside the folder.
        OSError: where the folder cannot be listed.
    """
    parts = PurePosixPath(pattern).parts
    if PurePosixPath(pattern).is_absolute():
        raise NotImplementedError("it begins at the root of the file system")
    if not parts or any("**" in part and part != "**" for part in parts):
        raise ValueError("'**' can only be a whole component" if parts else "it is empty")
    fixed = list(itertools.takewhile(lambda part: not any(mark in part for mark in "*?["), parts[:-1]))
    if ".." in parts[len(fixed) :]:
        raise ValueError("'..' behind a wildcard")
    with os.scandir(root):  # says why it cannot be listed
        pass
    walk = _Walk(root, parts)
    return walk.files(root.joinpath(*fixed), len(fixed)), walk.passed


class _Walk:
    """A walk through a folder for one pattern. ``passed`` is what was passed over."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        self.root, self.parts, self.passed, self.top = root, parts, Passed(), str(root)
        self._known: set[str] = set()  # real folders, where ** could meet one twice
        self._links: list[tuple[str, frozenset[int]]] = []
        self._above = {os.path.realpath(folder) for folder in (root, *Path(os.path.realpath(root)).parents)}

    def files(self, top: Path, place: int) -> list[Path]:
        """The files in ``top`` that match the parts of the pattern from ``place`` on."""
        self.top = str(top)
        found = list(self._in(self.top, self._open({place})))
        in_order = not self._links
        while self._links:
            folder, places = self._links.pop(0)
            found += self._in(folder, places)
        files = [Path(file) for file in found]
        return files if in_order else sorted(files, key=lambda file: file.relative_to(self.root).parts)

    def _open(self, places: set[int]) -> frozenset[int]:
        """``places`` and those behind each ``**``, which may stand for no folder at all."""
        for place in sorted(places):
            while place < len(self.parts) and self.parts[place] == "**":
                place += 1
                places.add(place)
        return frozenset(places)

    def _after(self, name: str, places: frozenset[int]) -> frozenset[int]:
        """Where in the pattern one stands behind a component ``name``."""
        found = set()
        for place in places:
            if place < len(self.parts):
                part = self.parts[place]
                if part == "**":
                    found.add(place)
                elif part == "*" or fnmatch.fnmatchcase(name, part):
                    found.add(place + 1)
        return self._open(found)

    def _in(self, folder: str, places: frozenset[int]) -> Iterator[str]:
        """The files in ``folder`` and below, in the order of their paths. Links to folders are put off, as real folders come first."""
        if folder != self.top and os.path.exists(os.path.join(folder, OURS)):
            self._pass("folder that Windtunnel writes", folder)
            return
        if any(part == "**" for part in self.parts):
            real = os.path.realpath(folder)
            if real in self._known:
                return
            self._known.add(real)
        try:
            with os.scandir(folder) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # a pattern may name what is not there
                self._pass(f"unreadable folder ({error.strerror})", folder)
            return
        for entry in here:
            after = self._after(entry.name, places)
            if not after:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._in(entry.path, after)
            elif not entry.is_symlink() or entry.is_file():
                if len(self.parts) in after and entry.is_file():
                    yield entry.path
            elif not entry.is_dir():
                self._pass("link to nothing", entry.path)
            elif os.path.realpath(entry.path) in self._above:
                self._pass("link to a folder above", entry.path)
            elif after != {len(self.parts)}:
                self._links.append((entry.path, after))

    def _pass(self, what: str, path: str) -> None:
        self.passed.append((what, Path(path).relative_to(self.root)))
