"""YAML files that remember on which line each key stands, so that messages can point there."""

from __future__ import annotations

import copy
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from windtunnel.core import outside
from windtunnel.core.card import MADE
from windtunnel.core.errors import UserError, nearest, told
from windtunnel.recipe.settings import SHORT

NAMED = ("arms", "recipes", "corpus", "held_out")  # what stands under these has names that the user gives


class Document:
    """A YAML file as plain data that remembers on which line each key stands. Of the card of an exported model, the recipe that it holds.

    ``changes`` are ``KEY=VALUE``, where a key is a path with dots and a value is YAML: they take the place of what the file says.
    """

    def __init__(self, path: Path | str, changes: Sequence[str] = ()) -> None:
        self.path = Path(path)
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            beside = [path.name for path in self.path.parent.glob("*.y*ml")]
            raise UserError(f"{self.path}: no such file" + (f"; {nearest(self.path.name, beside)}" if beside else "")) from error
        except IsADirectoryError as error:
            what = "is a folder, and what is read is a YAML file"
            raise UserError(f"{self.path}: {what}; one about the text in it is written by: windtunnel new {self.path}") from error
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not a UTF-8 text file ({error.reason} at byte {error.start})") from error
        if self.path.suffix == ".md":
            text = _recipe_in(text, self.path)
        try:
            self.node, self.data = _parsed(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{self.path}:{line}: not valid YAML: {error.problem}") from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise UserError(f"{self.path}:{line}: not valid YAML: character {error.character:#x} is not text") from error
        if not isinstance(self.data, dict):
            raise UserError(f"{self.path}: expected a mapping of keys to values")
        self._changed: dict[tuple[str, ...], str] = {}
        for change in changes:
            self._change(change)

    def _change(self, change: str) -> None:
        written, equals, text = change.partition("=")
        path = [int(key) if key.isdecimal() else key for key in written.split(".")]
        if not equals or "" in path:
            raise UserError(f"--set {change}: expected KEY=VALUE, for example baseline.batch=8")
        try:
            _, value = _parsed(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {change}: {text!r} is not a value in YAML: {getattr(error, 'problem', error)}") from error
        place: Any = self.data
        within = self.data.get(path[0]) if path[0] in NAMED and len(path) > 2 else None
        if isinstance(within, dict) and path[1] not in within:
            known = nearest(str(path[1]), map(str, within))
            raise UserError(f"--set {change}: {self.path} has nothing called {path[1]!r} under {path[0]}; {known}; a new one is set whole")
        for number, key in enumerate(path[:-1]):
            inner = _entry(place, key)
            if inner == path[number + 1] or inner is None:  # the bare name of a part, or nothing yet: both take settings
                inner = {inner: {}} if inner is not None else {}
            self._put(place, key, copy.copy(inner), change)  # a copy, because an anchor may stand for it elsewhere too
            place = _entry(place, key)
        self._put(place, path[-1], value, change)
        self._changed[tuple(map(str, path))] = change

    def _put(self, place: Any, key: int | str, value: Any, change: str) -> None:
        if isinstance(place, dict) or (isinstance(place, list) and isinstance(key, int) and key < len(place)):
            place[key] = value  # type: ignore[index]
            return
        raise UserError(f"--set {change}: {self.path} has {reprlib.repr(place)} where {key!r} is looked for; set the whole of it")

    def line(self, path: tuple[Any, ...]) -> int:
        """The line (from 1) of the deepest key of ``path`` that the file has."""
        node, line = self.node, 1
        for key in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
                continue
            while isinstance(node, yaml.MappingNode):
                found = [(k, v) for k, v in node.value if k.value == str(key)]
                if found:
                    line, node = found[-1][0].start_mark.line + 1, found[-1][1]
                    break
                if len(node.value) != 1:  # a part is one key: its fields stand one level deeper than their path says
                    break
                node = node.value[0][1]
        return line

    def error(self, path: tuple[Any, ...], message: str, line: int | None = None) -> UserError:
        """An error at ``path``: on the line of its last key, unless ``line`` says otherwise, or in the change that put it there."""
        where, keys = ".".join(str(key) for key in path), tuple(map(str, path))
        written = {key.value for key, _ in self.node.value} if isinstance(self.node, yaml.MappingNode) else set()
        changes = [
            change
            for changed, change in self._changed.items()
            if keys[: len(changed)] == changed or (keys[:1] == changed[:1] and keys[:1] and keys[0] not in written)
        ]
        place = f"--set {changes[-1]}" if changes else f"{self.path}:{line or self.line(path)}"
        return UserError(f"{place}: {where + ': ' if where else ''}{message}")

    def errors(self, error: ValidationError, prefix: tuple[Any, ...] = (), fallbacks: tuple[tuple[Any, ...], ...] = ()) -> UserError:
        """A pydantic error as one message, a line for each problem, with file, line and path of the key.

        ``prefix`` is where in the file the validated mapping stands; ``fallbacks`` are the places it inherits from, tried in order
        for a key that is not written there.
        """
        lines = []
        for detail in error.errors():
            if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
                continue  # its entries are wrong, each of which is told by itself
            path = tuple(key for key in detail["loc"] if not (isinstance(key, str) and key.startswith("function-")))
            key = detail.get("ctx", {}).get("key")
            path = (*path, *detail.get("ctx", {}).get("path", ()))
            full = (*path, key) if key is not None else path
            if full[:1] == ("encoding",) and any(self.has((*place, SHORT)) for place in (prefix, *fallbacks)):
                path, full = (SHORT, *path[1:]) if path else path, (SHORT, *full[1:])
            shown = path if detail["type"] == "unknown_part" else full  # its message names the part already
            inherited = full[:1] == ("phases",) and len(full) > 2
            place, start = next(
                (
                    (place, start)
                    for written in ((full, full[:-1]) if detail["type"] == "missing" else (full,))  # what is missing stands nowhere
                    for place in (prefix, *fallbacks)
                    for start in ((0, 2) if inherited else (0,))
                    if self.has((*place, *written[start:]))
                ),
                (prefix, 2 if inherited and not self.has((*prefix, "phases")) else 0),
            )
            lines.append(str(self.error((*place, *shown[start:]), told(detail), self.line((*place, *full[start:])))))
        return UserError("\n".join(dict.fromkeys(lines)))

    def find(self, text: str, below: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """The path of the first value ``text`` in the file, or in what stands at the path ``below``; None where there is none."""

        def search(value: Any, path: tuple[Any, ...]) -> tuple[Any, ...] | None:
            entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            inside = (search(entry, (*path, key)) for key, entry in entries)
            return path if value == text else next((found for found in inside if found is not None), None)

        value: Any = self.data
        for key in below:
            value = value[key] if isinstance(value, list) else value.get(key) if isinstance(value, dict) else None
        return search(value, below)

    def define_parts(self, path: tuple[Any, ...] = ("parts",)) -> None:
        """Define the parts in the Python files that are listed at ``path``, which lie beside this file unless they say otherwise.

        Raises:
            UserError: naming the file (and its line) that is not there, cannot be run or defines no part.
        """
        listed: Any = self.data
        for key in path:
            listed = listed.get(key) if isinstance(listed, dict) else None
        for place, name in enumerate(listed if isinstance(listed, list) else [] if listed is None else [listed]):
            if not isinstance(name, str):
                raise self.error((*path, place), f"expected the name of a Python file, not {name!r}")
            try:
                outside.load_file(self.path.parent / Path(name).expanduser())
            except UserError as error:
                raise self.error((*path, place), str(error)) from error

    def has(self, path: tuple[Any, ...]) -> bool:
        """Whether the file itself writes the last key of ``path``."""
        if not path:
            return True
        data: Any = self.data
        for place, key in enumerate(path):
            if isinstance(data, dict):  # a number such as a year may name a source or an arm
                key, data = str(key), {str(name): entry for name, entry in data.items()}
            if isinstance(data, dict) and key not in data and len(data) == 1:
                data = next(iter(data.values()))
            if (isinstance(data, dict) and key in data) or (isinstance(data, list) and isinstance(key, int) and key < len(data)):
                data = data[key]
            else:
                return isinstance(data, str) and place == len(path) - 1  # the bare name of a part, or the shorthand of a source
        return True


def _entry(place: Any, key: int | str) -> Any:
    """What stands at ``key`` of a mapping or list; None where there is no such entry."""
    if isinstance(place, dict):
        return place.get(key)
    return place[key] if isinstance(place, list) and isinstance(key, int) and key < len(place) else None


class _Rules(yaml.constructor.SafeConstructor):
    """YAML as people write it: 1e12 is a number, no is a word (only true and false are not), and a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a single word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Loader(_Rules, yaml.SafeLoader):
    """The parser in Python: slow, and its messages are the better ones."""


_REWRITTEN = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REWRITTEN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER = r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)[eE][-+]?\d+|[-+]?(\d[\d_]*\.\d*|\.\d+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_Loader.add_implicit_resolver(_REWRITTEN[0], re.compile(f"^({_NUMBER})$"), list("-+0123456789."))
_Loader.add_implicit_resolver(_REWRITTEN[1], re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class _Fast(_Rules, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The parser in C (libyaml), where PyYAML was built with it: about ten times as fast."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _recipe_in(card: str, path: Path) -> str:
    """The YAML below the last heading of a model's card that says how it was made, on the lines where it stands there."""
    lines = card.splitlines()
    heading = max((number for number, line in enumerate(lines) if line == MADE), default=len(lines))
    fences = [number for number, line in enumerate(lines) if number > heading and line.startswith("```")]
    if len(fences) < 2 or lines[fences[0]] != "```yaml":
        raise UserError(f"{path}: holds no recipe; the card of an exported model does, below {MADE!r}")
    return "\n" * (fences[0] + 1) + "\n".join(lines[fences[0] + 1 : fences[1]])


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML text, with their lines, and what they say. Raises YAMLError as the parser in Python words it."""
    try:
        return _parsed_by(_Fast, text)
    except yaml.YAMLError:
        return _parsed_by(_Loader, text)


def _parsed_by(kind: Any, text: str) -> tuple[yaml.Node | None, Any]:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
