"""What parts are tried on: a tiny real corpus, its stream, and models trained on it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import inspect
import json
import os
import pkgutil
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.recipe import Recipe, merge, recipe_from
from windtunnel.recipe.resolve import resolve

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream

MODEL = {"depth": 2, "layers": 2, "width": 32, "heads": 2}
TINY: dict[str, Any] = {
    "budget": {"steps": 6},
    "tokenizer": {"vocabulary": 512, "sentinels": 16},
    "split": {"validation": 0.1, "test": 0.1},
    "model": MODEL,
    "context": 32,
    "batch": 4,
    "precision": "float32",
    "evaluate_every": 0.5,
    "evaluation_tokens": 256,
    "test_tokens": 512,
}


class Workshop:
    """What parts are tried on: a tiny real corpus with the sources ``code`` and ``prose``, its stream, and models trained on it.

    Everything is made in ``folder`` when it is first asked for, once for all processes that share the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def corpus(self) -> dict[str, str]:
        """Two sources of real text: source files of the standard library, and docstrings as JSON lines."""
        with self._alone():
            if not (self.folder / "corpus.done").exists():
                write_corpus(self.folder / "corpus")
                (self.folder / "corpus.done").touch()
        return {"code": str(self.folder / "corpus" / "code"), "prose": str(self.folder / "corpus" / "prose.jsonl")}

    def recipe(self, **fields: Any) -> Recipe:
        """A tiny recipe; ``fields`` are those that differ, as a file writes them. Another corpus or encoding takes the place of text."""
        base = {**TINY, "corpus": self.corpus}
        for given, replaced in (("corpus", "corpus"), ("encoding", "tokenizer")):
            if given in fields:
                del base[replaced]
        return resolve(recipe_from(merge(base, fields)))

    @cached_property
    def stream(self) -> Stream:
        """The prepared stream of :meth:`recipe`."""
        return self.prepared(self.recipe())

    def prepared(self, recipe: Recipe) -> Stream:
        """The stream of ``recipe``."""
        from windtunnel.train.prepare import prepare

        return prepare(recipe, self.folder / "cache")

    @cached_property
    def model(self) -> Path:
        """The folder of a model of the sizes of :meth:`recipe`, trained for some steps."""
        return self.plain(self.recipe(), seed=3) / "model"

    @cached_property
    def other(self) -> Path:
        """As :attr:`model`, with another tokenizer."""
        return self.plain(self.recipe(tokenizer={"vocabulary": 480}), seed=3) / "model"

    def plain(self, recipe: Recipe, seed: int = 0) -> Path:
        """The folder of a finished run of ``recipe``, for all that compare with it."""
        from windtunnel.train.run import fly

        folder = self.folder / "runs" / hashlib.sha256(f"{seed}{recipe.model_dump_json()}".encode()).hexdigest()[:16]
        stream = self.prepared(recipe)
        with self._alone():
            record = fly(recipe, seed, stream, folder, warn=lambda message: None)
        assert record["status"] == "finished", record["traceback"]
        return folder

    def filled(self, value: Any) -> Any:
        """``value`` with paths in place of ``"@model"``, ``"@other"``, ``"@code"``, ``"@prose"`` and ``"@questions"``."""
        if isinstance(value, Mapping):
            return {key: self.filled(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.filled(entry) for entry in value]
        if value in ("@model", "@other"):
            return str(self.model if value == "@model" else self.other)
        if value == "@questions":
            return str(Path(self.corpus["prose"]).with_name("questions.jsonl"))
        return self.corpus[value[1:]] if value in ("@code", "@prose") else value

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Other processes that share the folder wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def workshop(tmp_path_factory: Any) -> Workshop:
    """The workshop of a test session; the workers of pytest-xdist share its folder."""
    base = Path(tmp_path_factory.getbasetemp())
    return _workshop((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workshop")


_workshop = functools.cache(Workshop)


def write_corpus(folder: Path) -> None:
    """Write the tiny corpus of :class:`Workshop` to ``folder``."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.glob("*.py"))[:120]:
        (folder / "code" / path.name).write_text(path.read_text(encoding="utf-8", errors="replace")[:3000], encoding="utf-8")
    lines = []
    for module in sorted(m.name for m in pkgutil.iter_modules([str(library / "json"), str(library / "email")])):
        lines.append({"text": f"{module}\n" + inspect.cleandoc(json.__doc__ or "") * 2})
    for kind in (Path, str):
        for name, value in sorted(vars(kind).items()):
            if value.__doc__:
                lines.append({"text": f"{kind.__name__}.{name}: {inspect.cleandoc(value.__doc__)}"})
    questions = [{"question": f"{left} and", "choices": [right, "none"], "answer": 0} for left, right in (("read", "write"), ("a", "b"))]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in questions), encoding="utf-8")
    (folder / "prose.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
