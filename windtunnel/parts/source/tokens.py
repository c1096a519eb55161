"""Text out of files of token ids, as other programs prepared it for training."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally

if TYPE_CHECKING:
    import numpy as np

_MEGATRON = b"MMIDIDX\x00\x00"
_FORMS = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # how the index of Megatron numbers the types of ids
_HEADS = {20240520: "<u2", 20240801: "<u4"}  # the first number of what llm.c writes
_HEAD = 1024  # bytes of its head
_LONGEST = 1 << 20  # tokens of a document; files without ends of documents would else be one
_READ = 1 << 22  # tokens looked at in one go


class Tokens(StreamedSource, name="tokens"):
    """Documents from a .bin file of token ids, decoded by the tokenizer that made them.

    nanoGPT: ids one after the other. llm.c: the same behind a head. Megatron: documents as the .idx file beside it lists them. Elsewhere a
    document ends where the tokenizer's end-of-text token stands, and after a million tokens.
    """

    path: str = Field(min_length=1, description="the .bin file; what Megatron wrote has its .idx beside it")
    tokenizer: str = Field(min_length=1, description="folder of the tokenizer that made the ids")
    end: int | None = Field(None, ge=0, description="the id that ends a document (default: the tokenizer's end of text)")
    ids: Literal["uint16", "uint32"] = Field("uint16", description="how ids are stored where the file does not say, as nanoGPT's does not")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The documents in their order, each with its number in the file.

        Raises:
            UserError: where the file cannot be read, or holds ids that the tokenizer does not have.
        """
        from windtunnel.kits.text.tokenizer import load

        path = Path(self.path).expanduser()
        tokenizer = load(self.tokenizer, sentinels=0)
        end = tokenizer.eos_token_id if self.end is None else self.end
        size = len(tokenizer)
        tally.stored = 2 * _opened(path).stat().st_size  # a token of two bytes stands for some four of text
        for number, ids in enumerate(self._documents(path, end, tally), 1):
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
                wrong = int(ids.max() if ids.max() >= size else ids.min())
                raise UserError(
                    f"{path}: document {number} holds token {wrong}, and the tokenizer in {self.tokenizer} has {size:,}; "
                    f"name the tokenizer that made the file, and how its ids are stored (ids: {self.ids})"
                )
            text = tokenizer.backend_tokenizer.decode([int(one) for one in ids if one != end], skip_special_tokens=True)
            yield text, f"{path.name}:{number}"

    def signature(self) -> str:
        """The sizes and times of the file, of Megatron's index beside it, and of what makes the tokenizer."""
        path, folder = _opened(Path(self.path).expanduser()), Path(self.tokenizer).expanduser()
        held = [path, path.with_suffix(".idx"), *sorted(folder.glob("tokenizer*.json")), folder / "config.json"]
        looks = [(file.name, file.stat()) for file in held if file.is_file()]
        return str([(name, status.st_size, status.st_mtime_ns) for name, status in looks])

    def _documents(self, path: Path, end: int, tally: Tally) -> Iterator[np.ndarray]:
        """The ids of each document."""
        import numpy as np

        _opened(path)
        index = path.with_suffix(".idx")
        if index.is_file():
            yield from _megatron(path, index)
            return
        with path.open("rb") as file:
            head = file.read(4)
        form = _HEADS.get(struct.unpack("<i", head)[0]) if len(head) == 4 else None
        width = np.dtype(form or f"<u{2 if self.ids == 'uint16' else 4}")
        start = _HEAD if form else 0
        if (path.stat().st_size - start) % width.itemsize:
            raise UserError(f"{path}: its size is no multiple of {width.itemsize} bytes; are its ids stored as ids: {self.ids}?")
        count = max(0, path.stat().st_size - start) // width.itemsize
        found = np.memmap(path, width, "r", start, (count,)) if count else np.empty(0, width)
        yield from _between(found, end, tally, path.name)


def _between(ids: Any, end: int, tally: Tally, name: str) -> Iterator[np.ndarray]:
    """What stands between the ids ``end``, in pieces that are not too long."""
    import numpy as np

    begun = 0
    for start in range(0, len(ids), _READ):
        for place in (start + np.flatnonzero(ids[start : start + _READ] == end)).tolist():
            if place > begun:
                yield from _cut(ids[begun:place], tally, name)
            begun = place + 1
    if begun < len(ids):
        yield from _cut(ids[begun:], tally, name)


def _cut(ids: Any, tally: Tally, name: str) -> Iterator[np.ndarray]:
    if len(ids) > _LONGEST:
        tally.count("cut: document over a million tokens", where=name)
    for start in range(0, len(ids), _LONGEST):
        yield ids[start : start + _LONGEST]


def _megatron(path: Path, index: Path) -> Iterator[np.ndarray]:
    import numpy as np

    data = index.read_bytes()
    if not data.startswith(_MEGATRON):
        raise UserError(f"{index}: not an index that Megatron wrote")
    try:
        form, sequences, documents = struct.unpack_from("<8xBQQ", data, len(_MEGATRON))
        place = len(_MEGATRON) + struct.calcsize("<8xBQQ")
        lengths = np.frombuffer(data, "<i4", sequences, place)
        begins = np.frombuffer(data, "<i8", sequences, place + 4 * sequences)
        bounds = np.frombuffer(data, "<i8", documents, place + 12 * sequences)
        width = np.dtype(_FORMS[form])
    except (struct.error, ValueError, KeyError) as error:
        raise UserError(f"{index}: cut short, or its ids are of a type that is not read ({error})") from error
    ids = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        pairs = zip(begins[first:last].tolist(), lengths[first:last].tolist(), strict=True)
        parts = [ids[begin : begin + length * width.itemsize] for begin, length in pairs]
        if sum(map(len, parts)) != int(lengths[first:last].sum()) * width.itemsize:
            raise UserError(f"{path}: shorter than its index {index.name} says")
        yield np.concatenate([part.view(width) for part in parts]) if parts else np.empty(0, width)


def _opened(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return path
