"""How a part is found: by the file of its name in the folder of its slot, or in what another package offers.

Only the file that is asked for is imported, so reading a recipe costs no more than the parts it names.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    from windtunnel.core.part import Part
    from windtunnel.recipe import Recipe

FOLDER = Path(__file__).parent.parent / "parts"
ENTRY_POINTS = "windtunnel.parts"  # the group under which other packages name modules that define parts

_slots: dict[str, type[Part]] = {}
_parts: dict[type[Part], dict[str, type[Part]]] = {}  # those whose class has been defined so far
_offered: set[str] | None = None  # the modules that other packages offer, once they are imported
_recipe: list[type[Recipe]] = []  # the class of recipes, which stand above parts although parts hold them


def add(part: type[Part]) -> None:
    """Make a new class known by its name.

    A part outside any package may be defined again: a cell of a notebook is run twice, a file is changed and loaded anew.

    Raises:
        TypeError: where another module has a part of this name in this slot.
    """
    from windtunnel.core.outside import is_outside

    present = _parts[part.slot].get(part.name)
    taken = part.name in files(part.slot) and not part.__module__.startswith("windtunnel.")
    if taken or (present is not None and present.__module__ != part.__module__ and not (is_outside(present) and is_outside(part))):
        there = present.__module__ if present is not None else "windtunnel"
        raise TypeError(f"two parts are called {part.name!r} in slot {part.slot.__name__}: {there} and {part.__module__}")
    _parts[part.slot][part.name] = part


def add_recipe(kind: type[Recipe]) -> type[Recipe]:
    """Say which class reads the recipes that parts hold."""
    _recipe[:] = [kind]
    return kind


def read_recipe(data: Any) -> Recipe:
    """The recipe that a part holds: itself, or its fields as plain data."""
    if not _recipe:
        raise TypeError("a part that holds a recipe is read after `import windtunnel.recipe`")
    if not isinstance(data, (Mapping, *_recipe)):
        raise ValueError(f"expected a recipe, not {data!r}; a name or a difference is understood in a file, or by recipe_from")
    return _recipe[0].model_validate(data)


def slots() -> dict[str, type[Part]]:
    """Every slot by its name."""
    return dict(_slots)


def folder_of(slot: str) -> str:
    """The folder of the parts that fill ``slot``: LossTerm -> loss_term."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", slot).lower()


def files(slot: type[Part]) -> dict[str, Path]:
    """The files of this package's parts of ``slot``, by the part's name."""
    return {
        path.stem.replace("_", "-"): path for path in sorted((FOLDER / folder_of(slot.__name__)).glob("*.py")) if path.stem != "__init__"
    }


def known(slot: type[Part]) -> set[str]:
    """The name of every part that fills ``slot``. No file of this package is imported for it."""
    _load_offered()
    return {*files(slot), *_parts[slot]}


def find(slot: type[Part], name: str) -> type[Part] | None:
    """The part of ``slot`` called ``name``; None if there is none. Only its own file is imported."""
    if name not in _parts[slot] and name in files(slot):
        importlib.import_module(f"windtunnel.parts.{folder_of(slot.__name__)}.{name.replace('-', '_')}")
    if name not in _parts[slot]:
        _load_offered()
    return _parts[slot].get(name)


def names(slot: type[Part]) -> dict[str, type[Part]]:
    """Every part that fills ``slot``, by its name. All of them are imported."""
    found = {name: find(slot, name) for name in sorted(known(slot))}
    return {name: part for name, part in found.items() if part is not None}


def load_all() -> None:
    """Import every part."""
    for slot in _slots.values():
        names(slot)


def offered() -> set[str]:
    """The modules that other packages offer under :data:`ENTRY_POINTS`, imported."""
    _load_offered()
    return set(_offered or ())


def _load_offered() -> None:
    """Import the modules that other packages offer."""
    global _offered
    if _offered is not None:
        return
    _offered = set()
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            _offered.add(entry.module)
            entry.load()
        except Exception as error:
            raise UserError(f"the parts of entry point {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error


def make(slot: type[Part], data: Any) -> Any:
    """The part of ``slot`` that ``data`` (a name, or one key with its settings) describes."""
    return slot.model_validate(data)


def summary(slot: type[Part], name: str) -> str:
    """The first paragraph of a part's documentation, as one line. The file of a part that is not imported yet is read, not imported."""
    text = ""
    if name in _parts[slot]:
        text = inspect.cleandoc(_parts[slot][name].__doc__ or "")
    else:
        for node in ast.parse(files(slot)[name].read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(word.arg == "name" for word in node.keywords):
                text = ast.get_docstring(node) or ""
    return text.partition("\n\n")[0].replace("\n", " ")
