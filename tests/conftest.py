"""A tiny real corpus, its stream and tiny recipes, shared by every test."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import inspect
import json
import pkgutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from windtunnel.recipe import Recipe, merge, recipe_from

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two sources of real text: source files of the standard library, and its docstrings as JSON lines."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "code").mkdir()
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.glob("*.py"))[:120]:
        (folder / "code" / path.name).write_text(path.read_text(encoding="utf-8", errors="replace")[:3000], encoding="utf-8")
    lines = []
    for module in sorted(m.name for m in pkgutil.iter_modules([str(library / "json"), str(library / "email")])):
        lines.append({"text": f"{module}\n" + inspect.cleandoc(json.__doc__ or "") * 2})
    for name, value in sorted(vars(Path).items()):
        if value.__doc__:
            lines.append({"text": f"Path.{name}: {inspect.cleandoc(value.__doc__)}"})
    for name, value in sorted(vars(str).items()):
        if value.__doc__:
            lines.append({"text": f"str.{name}: {inspect.cleandoc(value.__doc__)}"})
    (folder / "prose.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return {"code": str(folder / "code"), "prose": str(folder / "prose.jsonl")}


@pytest.fixture(scope="session")
def tiny(corpus: dict[str, Any]) -> Callable[..., Recipe]:
    """A function that makes a tiny recipe; keyword arguments are fields that differ."""

    def make(**fields: Any) -> Recipe:
        base = {
            "corpus": corpus,
            "budget": {"steps": 6},
            "tokenizer": {"vocabulary": 512, "sentinels": 16},
            "split": {"validation": 0.1, "test": 0.1},
            "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2},
            "context": 32,
            "batch": 4,
            "precision": "float32",
            "evaluate_every": 0.5,
            "evaluation_tokens": 256,
            "test_tokens": 512,
        }
        return recipe_from(merge(base, fields))

    return make


@pytest.fixture(scope="session")
def stream(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The prepared stream of the tiny corpus."""
    from windtunnel.train.run import prepare

    return prepare(tiny(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def law() -> Callable[..., int]:
    """``windtunnel law`` with the given words, in this process; returns the exit code."""
    from windtunnel.commands.main import main

    def run(*words: Any) -> int:
        with pytest.raises(SystemExit) as end:
            main(["law", *map(str, words)])
        return int(end.value.code or 0)

    return run
