"""The bytes of a file: decompressed, and in which encoding their text is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import string
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSET = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)|^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]+)|-\*-.{0,40}?coding:\s*([\w.-]+)""",
    re.IGNORECASE,
)
_SURROGATES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
WESTERN = ("cp1252", "cp850", "mac_roman")
RARE = 0.02  # of all letters are not ASCII: fewer than in most languages but English, German and Italian
LIKELY = 0.95  # of what is not ASCII stands where such stands
_LATIN = "À-ÖØ-öø-\u024f"
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_SIGNS = re.compile(rf"(?<=[a-zA-Z{_LATIN}])[^\x00-\x7f{_LATIN}’‘·‐‑–—…\xad]+(?=[a-zA-Z{_LATIN}])")
_BEHIND = re.compile(rf"(?<=[a-z])[{_LATIN}]")
_ROW = re.compile(rf"[{_LATIN}]{{3,}}")
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
    ".tgz": gzip.open,
    ".tbz2": bz2.open,
    ".txz": lzma.open,
}


# How compressed data begin, for files whose name hides that they are.
_PACKED = ((rb"\x1f\x8b\x08", ".gz"), (rb"\x28\xb5\x2f\xfd", ".zst"), (rb"BZh[1-9]1AY&SY", ".bz2"), (rb"\xfd7zXZ\x00", ".xz"))


def _packing(path: Path) -> str:
    """The suffix that says how a file is compressed: that of its name, else by its beginning; another one where it is not."""
    suffix = path.suffix.lower()
    if suffix in OPENERS:
        return suffix
    with path.open("rb") as file:
        head = file.read(10)
    return next((packed for begins, packed in _PACKED if re.match(begins, head)), suffix)


def kind(path: Path) -> str:
    """The suffix that says what is in the file, below the one of a compression: ``.jsonl`` for ``mail.jsonl.zst``."""
    suffix = path.suffix.lower()
    if suffix in OPENERS:
        return ".tar" if suffix.startswith(".t") else Path(path.stem).suffix.lower()
    return suffix


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes of ``path``. What goes wrong while reading is raised as :class:`Unreadable`."""
    import zstandard

    suffix = path.suffix.lower()
    try:
        suffix = _packing(path)
        with OPENERS.get(suffix, lambda plain: plain.open("rb"))(path) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        cause = "is cut short" if isinstance(error, EOFError) else "is damaged"
        raise Unreadable("damaged or truncated file", f"the {suffix} file {cause}: {error}") from error
    except OSError as error:
        if suffix in OPENERS and error.errno is None:  # bz2 reports damage so
            raise Unreadable("damaged or truncated file", f"the {suffix} file is damaged: {error}") from error
        raise Unreadable(f"unreadable file ({error.strerror or error})", f"cannot be read: {error.strerror or error}") from error


class _AsUTF8(io.RawIOBase):
    """The bytes of a file, from another encoding into UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            data = self._file.read(CHUNK >> 4)
            self._ended = not data
            self._ready = self._decoder.decode(data, self._ended).encode("utf-8")
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


@contextmanager
def opened_as_utf8(path: Path, encoding: str | None) -> Iterator[IO[bytes]]:
    """The decompressed bytes of ``path`` in UTF-8: from ``encoding``, without one from UTF-16 or UTF-32 where it is that."""
    with opened(path) as file:
        if encoding is None:
            head = file.peek(CHUNK >> 8)  # type: ignore[attr-defined]
            encoding = next((wide for mark, wide in BOMS if head.startswith(mark) and wide != "utf-8-sig"), None) or unmarked(head)
        if encoding is None:
            yield file
            return
        try:
            yield io.BufferedReader(_AsUTF8(file, encoding), CHUNK)
        except UnicodeError as error:
            raise Unreadable(f"not valid {encoding}", f"is not {encoding}: {error}") from error


def encoding_of(data: bytes, said: str | None = None) -> str:
    """The encoding of a text file: by its byte order mark, else UTF-8 where it is that, else what it says it is, else what is recognised.

    ``said`` is what the file names, such as a page of HTML. Western European text is cp1252, which has the letters of Latin-1 where that
    has letters, or else one of DOS or of old Macs.

    Raises:
        Unreadable: for binary data, and for UTF-8 with damaged bytes in it (which would else be read as some other encoding).
    """
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:8192]:
        wide = unmarked(data)
        if wide is None:
            raise Unreadable("binary file", "is a binary file (it has zero bytes)")
        return wide
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    else:
        escaped = _escaped(data, said)
        if escaped is None and _mostly_control(data[:8192].decode("utf-8", "ignore")):
            raise Unreadable("binary file", "is a binary file (it is full of control characters)")
        return escaped or "utf-8"
    if _SURROGATES.match(data, offset):
        detail = f"is UTF-8 with halves of surrogate pairs (CESU-8, from byte {offset} on), as Java and old MySQL write; save it as UTF-8"
        raise Unreadable("not valid UTF-8 (CESU-8)", detail)
    begin = data.rfind(b"\n", 0, max(0, offset - (CHUNK >> 5))) + 1
    sample = data[max(begin, offset - (CHUNK >> 4)) : offset + (CHUNK >> 4)]
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(not character.isascii() for character in text) - bad > 4 * bad:
        detail = f"is UTF-8 text with invalid bytes, the first 0x{data[offset]:02x} at byte {offset}; save it as UTF-8"
        raise Unreadable("not valid UTF-8", detail)
    if (named := _western(said)) and _fits(sample, named):
        return named
    # What is recognised may be wrong where few letters tell, as in English with some names; then Western European comes first.
    foreign, letters = (len(sample) - len(sample.translate(None, some)) for some in (bytes(range(128, 256)), string.ascii_letters.encode()))
    recognised, rare = _recognised(sample), foreign <= RARE * (foreign + letters)
    first = (WESTERN[0], recognised, *WESTERN[1:]) if rare else (recognised, *WESTERN)
    found, best = None, -1.0
    for one in dict.fromkeys(first):
        if one and best < LIKELY and _fits(sample, one) and (score := likely(sample.decode(one, "replace"))) > best:
            found, best = one, score
    if found is None:
        raise Unreadable("binary file", f"is no text in any encoding (not UTF-8 from byte {offset} on, and no other fits)")
    return found


def likely(text: str) -> float:
    """The share of what is not ASCII in ``text`` that stands where such letters and signs stand: 1 where there is none.

    Signs between two Latin letters, a capital behind a small letter, and many such letters in a row are what a wrong encoding makes of
    letters: ``Gr÷▀e``, ``FranÇais``, ``ïðèâåò``.
    """
    wrong = sum(len(found[0]) for found in _SIGNS.finditer(text))
    wrong += sum(found[0].isupper() for found in _BEHIND.finditer(text))
    wrong += sum(len(found[0]) - 2 for found in _ROW.finditer(text))
    return 1 - wrong / max(1, len(_FOREIGN.findall(text)))


def _escaped(data: bytes, said: str | None) -> str | None:
    """The encoding of text whose bytes are all ASCII because escapes say what they mean: mails and old pages of Japan, Korea and China."""
    if b"\x1b$" in data:
        return next((one for one in ("iso2022_jp_2", "iso2022_jp_ext", "iso2022_kr") if _fits(data, one)), None)
    return "hz" if b"~{" in data and _western(said) == "hz" and _fits(data, "hz") else None


def unmarked(data: bytes) -> str | None:
    """UTF-16 without a byte order mark: text in which nearly every other byte is zero; None for anything else."""
    head = data[: CHUNK >> 8]
    head = head[: len(head) // 2 * 2]
    half, first, second = len(head) // 2, head[::2].count(0), head[1::2].count(0)
    if half < 8 or max(first, second) < half / 2 or min(first, second) > half / 50:
        return None
    encoding = "utf-16-le" if second > first else "utf-16-be"
    return encoding if _fits(head, encoding) else None


def declared_encoding(data: bytes) -> str | None:
    """The encoding that a text names at its beginning: as HTML, XML and manual pages do."""
    found = _CHARSET.search(data[:4096])
    return next(one for one in found.groups() if one).decode("ascii") if found else None


def telling_line(text: str) -> str:
    """The first line of a text in which decoding shows: one with a letter that is not ASCII."""
    found = re.search(r".{0,40}[^\x00-\x7f].{0,60}", text)
    return " ".join(found[0].split()) if found else ""


def _recognised(sample: bytes) -> str | None:
    """The encoding that uchardet recognises."""
    from resiliparse.parse.encoding import EncodingDetector

    detector = EncodingDetector()
    detector.update(sample)
    return _western(detector.encoding(html5_compatible=False))


def _western(encoding: str | None) -> str | None:
    """``encoding`` as Python calls it, cp1252 for Latin-1 and ASCII, as browsers have it; None where Python has none of this name."""
    if encoding is None:
        return None
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        return None
    return "cp1252" if name in ("iso8859-1", "ascii") else name


def _fits(sample: bytes, encoding: str) -> bool:
    try:
        # The last letter of a sample may be cut in two.
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except (UnicodeDecodeError, LookupError):
        return False
    return not _mostly_control(text)


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins so may be text."""
    if any(head.startswith(mark) for mark, _ in BOMS) or unmarked(head):
        return True
    return b"\0" not in head and not _mostly_control(head.decode("ascii", "ignore"))


def _mostly_control(text: str) -> bool:
    return len(_CONTROL.findall(text[:8192])) > 0.02 * min(len(text), 8192)
