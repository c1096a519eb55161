"""Parts that stand outside any package: in a file that a study names under ``parts:``, in a script, or in a cell of a notebook.

Another process (a worker, a later session) has to define them again, and a run has to know which text it was flown with. So their source
is kept: it travels with every job, is stored with the run, and its hash is part of the run's key.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import inspect
import linecache
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.core.part import Part

OURS = __name__.partition(".")[0]
PREFIX = "windtunnel_outside_"  # of the modules that are made of sources


class PartSource(NamedTuple):
    """Python text that defines parts. ``name`` is that of its file, or of its part where it was taken from a notebook."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """A hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


_sources: dict[str, PartSource] = {}  # of the modules that were made here, by the module's name


def load_file(path: Path) -> list[type[Part]]:
    """Define the parts in the Python file ``path``, and return them.

    Raises:
        UserError: when it cannot be read, cannot be run, or defines no part.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    source = PartSource(path.name, text)
    define([source], str(path))
    return _defined_in(f"{PREFIX}{source.digest}")


def define(sources: Iterable[PartSource], file: str | None = None) -> None:
    """Run ``sources``, unless this process has run the same text before. ``file`` is the place that errors and tracebacks name.

    Raises:
        UserError: for text that cannot be run or defines no part.
    """
    for source in sources:
        module_name = f"{PREFIX}{source.digest}"
        if module_name in _sources:
            continue
        place = file or f"<{source.name}>"
        module = types.ModuleType(module_name)
        module.__file__ = place
        sys.modules[module_name] = module
        linecache.cache[place] = (len(source.text), None, source.text.splitlines(keepends=True), place)
        _sources[module_name] = source
        try:
            exec(compile(source.text, place, "exec", dont_inherit=True), module.__dict__)
        except Exception as error:
            del sys.modules[module_name], _sources[module_name]
            line = next((frame.lineno for frame in reversed(_frames(error)) if frame.filename == place), getattr(error, "lineno", None))
            where = f"{place}:{line}" if line else place
            raise UserError(f"{where}: {type(error).__name__}: {error}") from error
        if not _defined_in(module_name):
            raise UserError(f"{place}: defines no part; a part is a class such as: class Staircase(Schedule, name='staircase')")


def _defined_in(module_name: str) -> list[type[Part]]:
    return [part for filling in registry._parts.values() for part in filling.values() if part.__module__ == module_name]


def _frames(error: BaseException) -> list[inspect.FrameInfo]:
    return inspect.getinnerframes(error.__traceback__, context=0) if error.__traceback__ else []


def parts_in(value: Any) -> Iterator[Part]:
    """Every part in ``value``: in settings, recipes, tuples and mappings, at any depth."""
    if isinstance(value, Part):
        yield value
    if isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from parts_in(getattr(value, key))
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from parts_in(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from parts_in(entry)


def is_outside(part: type[Part]) -> bool:
    """Whether ``part`` is neither this package's nor one of a package that can be imported by its name."""
    module = part.__module__
    if module in _sources or module in ("__main__", "__mp_main__"):
        return True
    if module.partition(".")[0] == OURS or module in registry.offered():
        return False
    return "." not in module  # a module of a package is imported by its name; a lone file may lie anywhere


def source_of(part: type[Part]) -> PartSource | None:
    """The text that defines ``part`` in a process of its own; None where there is none, as for a class typed into a bare interpreter."""
    if part.__module__ in _sources:
        return _sources[part.__module__]
    module = sys.modules.get(part.__module__)
    file = getattr(module, "__file__", None)
    try:
        if part.__module__ not in ("__main__", "__mp_main__") and file:
            return PartSource(Path(file).name, Path(file).read_text(encoding="utf-8"))
        return PartSource(f"{part.name.replace('-', '_')}.py", _standing_alone(part))
    except (OSError, TypeError, SyntaxError, _NoSource):
        return None


def sources_of(value: Any) -> tuple[PartSource, ...]:
    """The sources of the outside parts in ``value``, each once, in the order of their names."""
    found = {source for part in parts_in(value) if is_outside(type(part)) and (source := source_of(type(part))) is not None}
    return tuple(sorted(found))


def store(value: Any, folder: Path) -> None:
    """Write the sources of the outside parts in ``value`` to ``folder/parts``, so that a run says with what it was flown."""
    for source in sources_of(value):
        target = folder / "parts" / source.digest / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.text, encoding="utf-8")


def without_source(value: Any) -> list[str]:
    """The names of the outside parts in ``value`` whose source is not known."""
    return sorted({part.name for part in parts_in(value) if is_outside(type(part)) and source_of(type(part)) is None})


def modules_of(value: Any) -> tuple[str, ...]:
    """The modules that define parts in ``value`` and that a process has to be told of: of packages without an entry point for parts."""
    used = {type(part).__module__ for part in parts_in(value) if not is_outside(type(part))}
    return tuple(sorted(name for name in used if name.partition(".")[0] != OURS and name not in registry.offered()))


class Sent(NamedTuple):
    """A part as another process can be handed it; pickling would name a module that only this process has."""

    slot: str
    written: dict[str, Any]
    sources: tuple[PartSource, ...]


def sent(part: Part) -> Part | Sent:
    """``part`` as another process can be handed it, for :func:`received`."""
    sources = sources_of(part)
    return Sent(type(part).slot.__name__, part.model_dump(mode="json"), sources) if sources else part


def received(part: Part | Sent) -> Any:
    """The part that was :func:`sent`."""
    if isinstance(part, Part):
        return part
    define(part.sources)
    return registry.make(registry.slots()[part.slot], part.written)


def digest_of(part: type[Part]) -> str | None:
    """What a run's key says of ``part`` besides its name and knobs: a hash of its source, or of its code where there is none.

    None for a part of a package.
    """
    if not is_outside(part):
        return None
    source = source_of(part)
    if source is not None:
        return source.digest
    code = [(name, _code(value.__code__)) for name, value in sorted(vars(part).items()) if isinstance(value, types.FunctionType)]
    return hashlib.sha256(repr(code).encode()).hexdigest()[:16]


def _code(code: types.CodeType) -> tuple[Any, ...]:
    constants = tuple(_code(entry) if isinstance(entry, types.CodeType) else repr(entry) for entry in code.co_consts)
    return code.co_code, code.co_names, constants


class _NoSource(Exception):
    """Something that a class uses cannot be written down."""


def _standing_alone(part: type[Part]) -> str:
    """The source of a class of a script or a notebook, with the imports, constants, functions and classes that it uses before it."""
    lines: dict[str, str] = {}
    _write(part, lines)
    imports = [text for text in lines.values() if text.startswith(("import ", "from "))]
    rest = [text for text in lines.values() if not text.startswith(("import ", "from "))]
    return "\n".join(["from __future__ import annotations", "", *sorted(imports), "", "", "\n\n\n".join(rest)]) + "\n"


def _write(thing: Any, lines: dict[str, str]) -> None:
    """Put the source of ``thing`` into ``lines`` under its name, behind what it uses."""
    text = textwrap.dedent(inspect.getsource(thing))
    space = sys.modules[thing.__module__].__dict__
    lines[thing.__name__] = ""  # known from here on: functions may call each other
    own = ast.parse(text)
    for name in sorted({node.id for node in ast.walk(own) if isinstance(node, ast.Name)} - {thing.__name__}):
        if name not in lines and name in space:
            _write_name(name, space[name], lines)
    del lines[thing.__name__]
    lines[thing.__name__] = text.rstrip()


def _write_name(name: str, value: Any, lines: dict[str, str]) -> None:
    home: Any = getattr(value, "__module__", None)
    if isinstance(value, types.ModuleType):
        lines[name] = f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
    elif isinstance(value, (type, types.FunctionType)) and home in ("__main__", "__mp_main__"):
        _write(value, lines)
    elif isinstance(value, (bool, int, float, str, bytes, tuple, frozenset, type(None))):
        lines[name] = f"{name} = {value!r}"
    elif home and getattr(importlib.import_module(home), own := str(getattr(value, "__name__", "")), None) is value:
        lines[name] = f"from {home} import {own}" + (f" as {name}" if own != name else "")
    elif home == "typing" or getattr(builtins, name, None) is value:
        lines[name] = f"from typing import {name}" if home == "typing" else ""
    else:
        raise _NoSource(name)
