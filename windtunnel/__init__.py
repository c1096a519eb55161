"""Fly pre-training techniques as small models on your own corpus, and learn which of them pays.

``import windtunnel as wt`` gives the verbs of the command line as functions (:mod:`windtunnel.api`) and the slots, from which parts of
one's own are made. Nothing is imported before it is used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

if sys.platform == "win32":  # files are locked and published as POSIX systems do it
    raise ImportError("Windtunnel runs on Linux and macOS; on Windows, run it in WSL 2 (the Windows Subsystem for Linux)")

# What each module of windtunnel/api offers here.
_OFFERED = {
    "curation": ("curate",),
    "library": ("papers", "parts", "reproduce"),
    "models": ("adapt", "evaluate", "forensics", "sample", "train"),
    "packs": ("fly_pack", "pack", "unpack"),
    "stored": ("clean", "stored"),
    "studies": ("Result", "Study", "ask_sources", "read", "read_result"),
    "membership": ("was_trained_on",),
}
_MODULES = {name: f"windtunnel.api.{module}" for module, names in _OFFERED.items() for name in names}
_FOLDERS = ("parts", "train")  # verbs whose name is also that of a package of this one


class _Verb(ModuleType):
    """A package that can be called: ``wt.train(...)`` calls :func:`windtunnel.api.models.train`, ``wt.train.loop`` stays the module."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_MODULES[name]), name)(*arguments, **keywords)


class _Package(ModuleType):
    """Importing ``windtunnel.train`` puts that package where the verb of its name belongs, so it is made callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FOLDERS and type(value) is ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _FOLDERS:
        return import_module(f"windtunnel.{name}")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in ("PartError", "UserError"):
        return getattr(import_module("windtunnel.core.errors"), name)
    if name == "Trained":
        return import_module("windtunnel.core.part").Trained
    if name == "Field":
        return import_module("pydantic").Field
    if name == "__version__":
        return import_module("importlib.metadata").version("windtunnel")
    if not name.startswith("__") and name in import_module("windtunnel.slots").__all__:
        return getattr(import_module("windtunnel.slots"), name)
    raise AttributeError(f"module 'windtunnel' has no attribute {name!r}")


def __dir__() -> list[str]:
    slots = import_module("windtunnel.slots").__all__
    return sorted({*_MODULES, "Field", "PartError", "Trained", "UserError", "__version__", *slots})
