"""Documents from the user's files: a folder, one file, or a folder of the datasets library."""

from __future__ import annotations

import encodings.aliases
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import refuse_address
from windtunnel.data.corpus.fields import ORIGIN
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.listing import listed, shown
from windtunnel.data.corpus.tally import Tally
from windtunnel.data.corpus.written import TemplateText

if TYPE_CHECKING:
    import pyarrow

    from windtunnel.data.corpus.columns import Columns
    from windtunnel.data.corpus.opened import Unreadable


PACKED = (".gz", ".zst", ".bz2", ".xz", ".tgz", ".tbz2", ".txz", ".zip", ".parquet")

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".ico", ".tif", ".tiff")
OTHERS = (".mp3", ".mp4", ".ogg", ".wav", ".webm", ".avi", ".mov", ".ttf", ".otf", ".woff", ".woff2", ".eot", ".so", ".o", ".a", ".pyc")
NO_TEXT = {*IMAGES, *OTHERS}


class Files(StreamedSource, name="files"):
    """Documents from a folder (by a glob pattern), from one file, or from a folder that the datasets library saved.

    By suffix: .jsonl, .ndjson, .json, .csv, .tsv and .parquet hold one document a record, its text in column ``field``, and all other
    columns are kept as fields of the document; any other file is one document. Of HTML, PDF, Word, OpenDocument, EPUB, notebooks and
    manual pages, which are known by their content, it is the text in them; else it is the file as it stands, its encoding recognised. A
    field ``messages`` or ``conversations`` is written as a chat where there is no text. All but .parquet may be compressed (.gz, .zst,
    .bz2, .xz). In a folder, files that cannot be read are skipped and counted; a file that is named alone must be good.

    Where no file has a text, the documents have none, but all their fields. Objects in JSON are kept as JSON text, and so are the values
    of a field whose types have nothing in common, such as numbers and text. A field called origin, source, group or text that means
    something else here is kept with an underscore at the end of its name.
    """

    path: str = Field(
        min_length=1, description="folder, file, or a pattern such as data/*.jsonl; ~ is the home folder", examples=["~/notes"]
    )
    glob: str = Field(
        "**/*",
        min_length=1,
        description="which files of a folder are read (hidden ones only where the pattern names them)",
        examples=["**/*.md"],
    )
    field: str | None = Field(
        "text", min_length=1, description="the field or column that holds the text of a record; null: there is none", examples=["body"]
    )
    template: TemplateText | None = Field(
        None,
        description='writes the text from several fields, such as "{subject}\\n{body}"; in the place of field',
        examples=["{subject}\n{body}"],
    )
    keep: tuple[str, ...] | None = Field(
        None, description="the other fields that are kept; [] for none (default: all)", examples=[["date", "author"]]
    )
    group: str | None = Field(
        None, description="the field whose value names what is never split, such as a scene or a customer", examples=["customer"]
    )
    extract: bool = Field(
        True, description="take the text out of HTML, PDF, Word, notebooks, manual pages, mails; false: as they are", examples=[False]
    )
    encoding: str | None = Field(None, description="of plain text and tables, such as cp1252 (default: recognised)", examples=["cp1252"])
    sample: int | None = Field(
        None,
        ge=1,
        description="about so much text, such as 1GB: documents drawn by a hash of what they are (default: all)",
        examples=["1GB"],
    )
    content: tuple[str, ...] = Field(
        (),
        description="the fields that make a document what it is; duplicates agree in them (default: text and image, else all)",
        examples=[["image"]],
    )

    @field_validator("sample", mode="before", json_schema_input_type=int | str | None)
    @classmethod
    def _size_with_its_unit(cls, sample: Any) -> Any:
        from windtunnel.data.corpus.sample import bytes_of

        return bytes_of(sample) if isinstance(sample, str) else sample

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "".encode(encoding)
            except LookupError:
                names = sorted({*encodings.aliases.aliases, *encodings.aliases.aliases.values()})
                raise ValueError(f"no encoding of text is called {encoding!r}; {nearest(encoding, names)}") from None
        return encoding

    def content_fields(self) -> tuple[str, ...]:
        """As ``content`` says."""
        return self.content

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The documents, file by file in the order of their names, each with its file (relative to the folder) and line."""
        from windtunnel.data.corpus.opened import kind
        from windtunnel.data.corpus.packed import ARCHIVES
        from windtunnel.data.corpus.sample import sampled

        root, files = self._files(tally)
        whole = _text_in(files)
        every = self._every(root, files, tally)
        tally.stored = whole if self.sample is None else min(self.sample, whole)
        tally.files = None if any(kind(file) in ARCHIVES for file in files) else len(files)
        yield from every if self.sample is None else sampled(every, self.sample, whole, tally)

    def _every(self, root: Path, files: list[Path], tally: Tally) -> Iterator[Document]:
        from windtunnel.data.corpus.formats import read_file
        from windtunnel.data.corpus.opened import Unreadable

        columns = self._columns(root, files)
        read = 0
        for file, name, alone in self._unpacked(root, files, tally):

            def note(what: str, documents: int = 1, size: int = 0, where: str = "", name: str = name, alone: bool = alone) -> bool:
                if alone and what.startswith("skipped: record"):
                    return False
                tally.count(what, documents, size, f"{name}: {where}" if where else name)
                return True

            before = read
            try:
                for fields, place in read_file(file, columns, note):
                    read += 1
                    yield _with_origin(fields, name, place)
            except Unreadable as error:
                _skip(error, file, name, alone, tally, ", rest of a file" if read > before else "")
            except ModuleNotFoundError as error:
                module = (error.name or "").partition(".")[0]
                package = {"docx": "python-docx"}.get(module, module)
                raise UserError(f"{root}: {name}: reading it needs {package}: pip install {package}, or set extract: false") from error
        if not read:
            skipped = tally.summary("skipped")
            raise UserError(f"{root}: no document in any of {len(files):,} files: {skipped or 'they hold no record'}")
        for wanted in (*(self.keep or ()), *([self.group] if self.group else ())):
            if wanted not in columns.seen:
                raise UserError(f"{root}: no record has a field {wanted!r}; {nearest(wanted, columns.seen)}")
        for their, ours in columns.renamed():
            tally.count(f"renamed: field {their!r} is kept as {ours!r}", read)

    def _columns(self, root: Path, files: list[Path]) -> Columns:
        """How the files are read. Where records have no text, and none was asked for by name, documents have none."""
        from windtunnel.data.corpus.columns import Columns
        from windtunnel.data.corpus.formats import gives_text
        from windtunnel.data.corpus.written import Template

        def columns(text: str | None) -> Columns:
            template = None if self.template is None else Template(self.template)
            return Columns(text, self.keep, self.group, template=template, extract=self.extract, encoding=self.encoding)

        found = columns(self.field)
        if self.template is None and self.field == type(self).model_fields["field"].default:
            without = False
            for file, *_ in self._unpacked(root, files, None):
                gives = gives_text(file, found)
                if gives:
                    return found
                without = without or gives is False
            return columns(None) if without else found
        return found

    def _unpacked(self, root: Path, files: list[Path], tally: Tally | None) -> Iterator[tuple[Path, str, bool]]:
        """The files and the members of archives among them, each with its name for the user, and whether it was named alone."""
        from windtunnel.data.corpus.opened import Unreadable, kind
        from windtunnel.data.corpus.packed import ARCHIVES, members

        def within(file: Path, name: str, alone: bool) -> Iterator[tuple[Path, str, bool]]:
            if kind(file) not in ARCHIVES:
                yield file, name, alone
                return
            try:
                for own, inner in members(file):
                    if _hidden(Path(inner)):
                        _count(tally, "skipped: hidden file", own, f"{name}/{shown(Path(inner))}")
                    else:
                        yield from within(own, f"{name}/{shown(Path(inner))}", False)
            except Unreadable as error:
                _skip(error, file, name, alone, tally)

        alone = root.is_file()
        for file in files:
            yield from within(file, shown(Path(file.name) if alone else file.relative_to(root)), alone)

    def signature(self) -> str:
        """A hash of the names, sizes and modification times of the files."""
        root, files = self._files(None)
        digest = hashlib.blake2b(str(root.absolute()).encode("utf-8", "surrogateescape"), digest_size=16)
        for file in files:
            try:
                status = file.stat()
                entry = [str(file), status.st_size, status.st_mtime_ns]
            except OSError as error:
                entry = [str(file), error.errno, 0]
            digest.update(json.dumps(entry).encode())
        return digest.hexdigest()

    def refuse_missing(self) -> None:
        """Raise UserError where the file or folder is not there. Files are not listed: there may be very many."""
        root, _ = self._root()
        if not root.is_file() and not root.is_dir():
            raise UserError(f"{root}: neither a file nor a folder")

    def _files(self, tally: Tally | None) -> tuple[Path, list[Path]]:
        """The folder or file that is read, and the files in it in a fixed order."""
        root, pattern = self._root()
        if root.is_file():
            return root, [root]
        if not root.is_dir():
            raise UserError(f"{root}: neither a file nor a folder")
        saved = saved_dataset(root) if pattern == type(self).model_fields["glob"].default else None
        if saved is not None:
            return root, saved
        try:
            found, passed = listed(root, pattern)
        except (ValueError, NotImplementedError) as error:
            raise UserError(f"{root}: the glob {pattern!r} is no pattern for files inside the folder: {error}") from error
        except OSError as error:
            raise UserError(f"{root}: cannot be listed: {error.strerror or error}") from error
        if tally is not None:
            for what, path in passed:
                tally.count(f"skipped: {what}", where=shown(path))
        files = []
        for file in found:
            if _may_be_hidden(file) and _hidden(file.relative_to(root)) and not _names_hidden(pattern):
                _count(tally, "skipped: hidden file", file, shown(file.relative_to(root)))
            else:
                files.append(file)
        if not files:
            contents = "it is empty" if not any(root.iterdir()) else f"it holds {_listing(root)}"
            hidden = f", and {len(found)} hidden files" if found else ""
            raise UserError(f"{root}: no file in this folder matches {pattern!r}: {contents}{hidden}")
        return root, files

    def _root(self) -> tuple[Path, str]:
        try:
            root = Path(self.path).expanduser()
        except RuntimeError as error:
            raise UserError(f"{self.path}: {error}") from error
        if root.exists():
            return root, self.glob
        refuse_address(self.path)
        parts = root.parts
        wild = next((i for i, part in enumerate(parts) if any(mark in part for mark in "*?[")), None)
        if wild:
            return Path(*parts[:wild]), "/".join(parts[wild:])
        if root.parent.is_dir():
            near = nearest(root.name, [entry.name for entry in sorted(root.parent.iterdir())[:1000]])
            hint = near.partition(" known:")[0] if near.startswith("did") else f"{root.parent} has nothing of a similar name"
        else:
            hint = f"nor is there a folder {root.parent}"
        raise UserError(f"{root}: no such file or folder; {hint}")


def _skip(error: Unreadable, file: Path, name: str, alone: bool, tally: Tally | None, rest: str = "") -> None:
    """Count a file that gives no documents; where it was named alone it is refused. Without a tally it is let go."""
    if alone and tally is not None:
        raise UserError(f"{shown(file)}: {error.detail}") from error
    _count(tally, f"skipped: {error.what}{rest}", file, f"{name}: {error.detail}")


def _count(tally: Tally | None, what: str, file: Path, where: str) -> None:
    if tally is not None:
        tally.count(what, size=_size(file), where=where)


def _hidden(path: Path) -> bool:
    """Whether a file or a folder above it is hidden; archives made on a Mac hide what belongs to its file system under another name."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts if part != "..")


def _may_be_hidden(file: Path) -> bool:
    """False only where :func:`_hidden` would say no; quicker, for there may be very many files."""
    return "/." in (path := f"/{file}") or "__MACOSX" in path


def _text_in(files: list[Path]) -> int:
    """About how many bytes of text there are: what is compressed counts three times, as text shrinks about so much, and an image not."""
    return sum(_size(file) * (3 if file.suffix in PACKED else 1) for file in files if file.suffix.lower() not in NO_TEXT)


def _with_origin(fields: dict[str, Any] | pyarrow.RecordBatch, name: str, place: str | int) -> Document:
    """A document with the place where it was found, or a batch of them of which ``place`` is the number of the first."""
    if isinstance(fields, dict):
        return {**fields, ORIGIN: f"{name}{place}"}
    import pyarrow

    origins = [f"{name}:{int(place) + row}" for row in range(fields.num_rows)]
    return fields.append_column(ORIGIN, pyarrow.array(origins, pyarrow.large_string()))


def saved_dataset(folder: Path) -> list[Path] | None:
    """The Arrow files of what ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote, or None where it is another folder.

    Raises:
        UserError: where a file that the folder's own list names is missing.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits", [])
        return [file for split in splits for file in saved_dataset(folder / split) or []]
    if not ((folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()):
        return None
    files = [folder / entry["filename"] for entry in _json(folder / "state.json").get("_data_files", [])]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: missing, though {folder / 'state.json'} names it")
    return files


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not the list of files that the datasets library writes: {error}") from error


def _names_hidden(pattern: str) -> bool:
    return any(part.startswith(".") for part in pattern.split("/"))


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
