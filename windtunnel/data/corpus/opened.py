"""The bytes of a file: decompressed, and in which encoding their text is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x7f-\x9f]")


class Unreadable(Exception):
    """A file, or a record, that gives no document. ``what`` is the wording for the table, ``detail`` the sentence for the user."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(detail)
        self.what = what
        self.detail = detail


class _Zstandard(io.RawIOBase):
    """Decompressed bytes of a .zst file of one or several frames.

    The library's own reader takes a missing end for the end of the text; this one raises EOFError.
    """

    def __init__(self, path: Path) -> None:
        import zstandard

        # Long-distance frames need a large window; the library's default refuses them.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._file = path.open("rb")
        self._frame = self._decompressor.decompressobj()
        self._begun = False
        self._left = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._left or self._file.read(1 << 14)
            self._left = b""
            if not data:
                if self._begun:
                    raise EOFError("the compressed data end in the middle of a frame")
                return 0
            self._begun = True
            self._ready = memoryview(self._frame.decompress(data))
            if self._frame.eof:
                self._left = self._frame.unused_data
                self._frame = self._decompressor.decompressobj()
                self._begun = False
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".zst": lambda path: io.BufferedReader(_Zstandard(path), CHUNK),
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


def kind(path: Path) -> str:
    """The suffix that says what is in the file, below the one of a compression: ``.jsonl`` for ``mail.jsonl.zst``."""
    return (Path(path.stem) if path.suffix.lower() in OPENERS else path).suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes of ``path``. What goes wrong while reading is raised as :class:`Unreadable`."""
    import zstandard

    suffix = path.suffix.lower()
    try:
        with OPENERS.get(suffix, lambda plain: plain.open("rb"))(path) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        cause = "is cut short" if isinstance(error, EOFError) else "is damaged"
        raise Unreadable("damaged or truncated file", f"the {suffix} file {cause}: {error}") from error
    except OSError as error:
        if suffix in OPENERS and error.errno is None:  # bz2 reports damage so
            raise Unreadable("damaged or truncated file", f"the {suffix} file is damaged: {error}") from error
        raise Unreadable(f"unreadable file ({error.strerror or error})", f"cannot be read: {error.strerror or error}") from error


def encoding_of(data: bytes) -> str:
    """The encoding of a text file: by its byte order mark, else UTF-8 where it is that, else what charset-normalizer recognises.

    Raises:
        Unreadable: for binary data, and for UTF-8 with damaged bytes in it (which would else be read as some other encoding).
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:8192]:
        raise Unreadable("binary file", "is a binary file (it has zero bytes)")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    else:
        if _mostly_control(data[:8192].decode("utf-8", "ignore")):
            raise Unreadable("binary file", "is a binary file (it is full of control characters)")
        return "utf-8"
    begin = data.rfind(b"\n", 0, max(0, offset - (CHUNK >> 5))) + 1
    sample = data[max(begin, offset - (CHUNK >> 4)) : offset + (CHUNK >> 4)]
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(not character.isascii() for character in text) - bad > 4 * bad:
        detail = f"is UTF-8 text with invalid bytes, the first 0x{data[offset]:02x} at byte {offset}; save it as UTF-8"
        raise Unreadable("not valid UTF-8", detail)
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample).best()
    if best is None or _mostly_control(sample.decode(best.encoding, "ignore")):
        raise Unreadable("binary file", f"is no text in any encoding (not UTF-8 from byte {offset} on, and no other fits)")
    return best.encoding


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins so may be text."""
    if any(head.startswith(mark) for mark, _ in _BOMS):
        return True
    return b"\0" not in head and not _mostly_control(head.decode("ascii", "ignore"))


def _mostly_control(text: str) -> bool:
    return len(_CONTROL.findall(text[:8192])) > 0.02 * min(len(text), 8192)
