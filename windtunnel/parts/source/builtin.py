"""Documents that every Python installation carries, so that a study flies on a fresh machine without a download."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import io
import os
import platform
import sysconfig
import tokenize
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import UserError, needing
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.series.packaged import packaged, version
from windtunnel.kits.text.interpreter import character_names, headers, instructions, readmes

if TYPE_CHECKING:
    import pyarrow

# Not the library itself: installed packages, its tests and their fixtures, and what was generated when this Python was built.
_EXCLUDED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_GENERATED = "_sysconfigdata"


class Builtin(StreamedSource, name="builtin"):
    """Text that the running Python has: source code, documentation as prose, instructions, names of characters, and more.

    ``stdlib``: every module's source, a document each. ``docstrings``: the docstrings of each module, its classes and functions (taken
    from the syntax tree; nothing is imported) as one document, and each help topic of pydoc as one. ``instructions``: what the compiler
    makes of each module, the first 500 instructions. ``characters``: the names of Unicode's characters. ``readmes``: the descriptions of
    the packages installed, other ones on every machine. ``headers``: C header files, where Python was installed with them. Together
    they are domains as far apart as any that need no download.

    ``digits`` are images, not text: scikit-learn's 1,797 handwritten digits (Alpaydin and Kaynak 1998), each with ``image``, a list of 8
    rows of 8 whole numbers from 0 (white) to 255, and ``label``, 0 to 9. They need the extra ``vision``. ``series`` are numbers
    in time, those of statsmodels: carbon dioxide by the week, the sea's temperature by the month, economies by the quarter, sunspots, the
    Nile and births by the year. They need the extra ``series``.
    """

    text: Literal["stdlib", "docstrings", "instructions", "characters", "readmes", "headers", "digits", "series"] = Field(
        description="stdlib: source code; docstrings: also pydoc topics; instructions; characters; readmes; headers; digits: images; series"
    )

    def content_fields(self) -> tuple[str, ...]:
        """Of digits, the image; of series, the values and when they begin."""
        return {"digits": ("image",), "series": ("values", "start")}.get(self.text, ())

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The documents in the order of their names, each with its module's file or topic.

        Raises:
            UserError: where this installation does not have them, naming what is missing.
        """
        if self.text == "digits":
            yield _digits()
            return
        if self.text == "series":
            yield from packaged(tally)
            return
        if self.text == "characters":
            yield from character_names()
            return
        if self.text == "readmes":
            yield from readmes()
            return
        if self.text == "headers":
            for file in headers():
                yield _contents(file).decode("utf-8", errors="replace"), file.name
            return
        root = _library()
        for file in _modules(root):
            name = file.relative_to(root).as_posix()
            data = _contents(file)
            try:
                code = data.decode(tokenize.detect_encoding(io.BytesIO(data).readline)[0])
                make = {"docstrings": _documentation, "instructions": instructions}.get(self.text)
                text = make(code, name) if make else code
            except (SyntaxError, UnicodeDecodeError, ValueError) as error:
                tally.count("skipped: not valid Python source", size=len(data), where=f"{name}: {error}")
                continue
            if text:
                yield text, name
            elif self.text == "docstrings":
                tally.count("skipped: module without docstrings", size=len(data), where=name)
        if self.text == "docstrings":
            for topic, text in sorted(_topics().items()):
                yield text, f"pydoc topic {topic}"

    def signature(self) -> str:
        """The version of Python and a hash of the library's files (of its headers or readmes; of characters, the version of Unicode)."""
        if self.text == "digits":
            return f"scikit-learn {_sklearn().__version__}"
        if self.text == "series":
            return f"statsmodels {version()}"
        if self.text == "characters":
            return f"Unicode {unicodedata.unidata_version}"
        digest = hashlib.blake2b(digest_size=16)
        if self.text == "readmes":
            digest.update(repr(readmes()).encode("utf-8", errors="replace"))
            return f"packages {digest.hexdigest()}"
        root = _library()
        for file in headers() if self.text == "headers" else _modules(root):
            data = _contents(file)
            name = file.name if self.text == "headers" else file.relative_to(root).as_posix()
            digest.update(f"{name}\0{len(data)}\0".encode())
            digest.update(data)
        return f"{platform.python_implementation()} {platform.python_version()} {digest.hexdigest()}"


def _sklearn() -> Any:
    with needing("builtin:digits", "scikit-learn", "vision"):
        return importlib.import_module("sklearn")


def _digits() -> pyarrow.RecordBatch:
    """All digits: image [8][8] uint8, label int64."""
    import numpy as np
    import pyarrow

    _sklearn()
    found = importlib.import_module("sklearn.datasets").load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)  # they are counts from 0 to 16
    rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(pixels.reshape(-1)), pixels.shape[2])
    origins = pyarrow.array([f"digit {number}" for number in range(len(pixels))])
    images = pyarrow.FixedSizeListArray.from_arrays(rows, pixels.shape[1])
    return pyarrow.record_batch({"image": images, "label": pyarrow.array(found.target.astype(np.int64)), "origin": origins})


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _contents(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error


def _modules(root: Path) -> list[Path]:
    files = []
    for folder, folders, found in os.walk(root):
        folders[:] = [name for name in folders if name not in _EXCLUDED]  # site-packages can be huge: not walked at all
        files += [Path(folder, name) for name in found if name.endswith(".py") and not name.startswith(_GENERATED)]
    if not files:
        raise UserError(f"{root}: this Python keeps no source files of its standard library, so the built-in corpus is not there")
    return sorted(files, key=lambda file: file.relative_to(root).parts)


def _documentation(code: str, name: str) -> str:
    """The docstrings of a module in the order of its source, each below the dotted name of what it describes."""
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    parts: list[str] = []

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, path: str) -> None:
        described = ast.get_docstring(node, clean=False)
        if described and described.strip():
            parts.append(f"{path}\n\n{inspect.cleandoc(described)}")
        for child in node.body:
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                visit(child, f"{path}.{child.name}")

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are not this program's business
        visit(ast.parse(code), module)
    return "\n\n\n".join(parts)


def _topics() -> dict[str, str]:
    try:
        return importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise UserError(f"this Python has no pydoc topics ({error}); use builtin:stdlib") from error
