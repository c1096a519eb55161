"""Files out of archives: tar, also compressed or of samples as webdataset writes them, and zip. One member is unpacked at a time."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from windtunnel.core.errors import DiskError
from windtunnel.data.corpus.fields import TEXT
from windtunnel.data.corpus.opened import Unreadable, kind, opened

ARCHIVES = (".tar", ".zip")
Member = tuple[str, IO[bytes]]  # its name and what it holds


def members(path: Path) -> Iterator[tuple[Path, str]]:
    """The files in an archive, in its order: each unpacked to a path that lasts until the next is asked for, and its name there.

    Only the last part of a name is used on this disk. Consecutive members ``a.txt`` and ``a.json`` of a tar, which webdataset calls a
    sample, come as one record: the object of the JSON, its ``text`` that of the other.

    Raises:
        Unreadable: where the archive, or the rest of it, is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        listed = _samples(_in_tar(path)) if kind(path) == ".tar" else _in_zip(path)
        for number, (name, file) in enumerate(listed):
            own = Path(folder, str(number), Path(name).name or "member")
            own.parent.mkdir()
            with own.open("wb") as target, _reading(path, name):
                shutil.copyfileobj(file, target, 1 << 20)
            yield own, name
            shutil.rmtree(own.parent)


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        after = f" at {name}" if name else ""
        raise Unreadable("damaged or encrypted archive", f"the {kind(path)} archive is damaged or encrypted{after}: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise DiskError(f"{path}: {name} in it cannot be unpacked: {error.strerror}", error.errno) from error
        raise Unreadable("damaged or encrypted archive", f"the {kind(path)} archive is damaged at {name}: {error}") from error


def _in_tar(path: Path) -> Iterator[Member]:
    with opened(path) as stream, _reading(path, ""):
        watched: Any = _Watched(stream)
        source = watched
        while source is not None:
            archive = tarfile.open(fileobj=source, mode="r|")  # noqa: SIM115  what it has read ahead is the beginning of the next
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield member.name, file
            source = _joined_behind(archive.fileobj)
        if bytes(tarfile.BLOCKSIZE) not in watched.last:
            raise EOFError("it is cut short")


def _joined_behind(rest: Any) -> Any:
    """The archive that stands behind the end mark of another, as ``cat a.tar b.tar`` makes them; None where nothing but zeros follows."""
    while block := rest.read(tarfile.BLOCKSIZE):
        if block.strip(b"\0"):
            return _Begun(block, rest)
    return None


class _Begun:
    """A stream of which the first ``block`` has been read."""

    def __init__(self, block: bytes, stream: Any) -> None:
        self._block = block
        self._stream = stream

    def read(self, size: int) -> bytes:
        begun, self._block = self._block[:size], self._block[size:]
        return begun + bytes(self._stream.read(size - len(begun)))


class _Watched:
    """A stream that remembers what was read last: tarfile takes a file that is cut between two members for a whole one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.last = self.last[-size:] + data
        return data


def _in_zip(path: Path) -> Iterator[Member]:
    with opened(path) as raw, _reading(path, ""), zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as file:
                    yield member.filename, file


def _samples(found: Iterator[Member]) -> Iterator[Member]:
    """The members of a tar, with text and JSON of one sample as one record. A sample's other members may stand between the two."""
    held: tuple[str, bytes] | None = None
    for name, file in found:
        if held is not None and _key(name) != _key(held[0]):
            yield held[0], io.BytesIO(held[1])
            held = None
        if not name.lower().endswith((".txt", ".json")):
            yield name, file
            continue
        data = file.read()
        record = _joined(held, (name, data)) if held is not None else None
        if record is not None:
            yield f"{_key(name)}.json", io.BytesIO(record)
            held = None
            continue
        if held is not None:
            yield held[0], io.BytesIO(held[1])
        held = name, data
    if held is not None:
        yield held[0], io.BytesIO(held[1])


def _key(name: str) -> str:
    """The name of a sample: the path up to the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _joined(*members: tuple[str, bytes]) -> bytes | None:
    """The record of a text and an object; None where these are none."""
    held = {name.lower().rpartition(".")[2]: data for name, data in members}
    try:
        record: Any = json.loads(held["json"])
        return json.dumps({**record, TEXT: held["txt"].decode("utf-8")}).encode() if isinstance(record, dict) else None
    except (KeyError, ValueError, RecursionError):
        return None
