"""A tiny real corpus, its stream and tiny recipes, shared by every test and by the workers of pytest-xdist."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import warm
from cpu import Cpu

from windtunnel import testing
from windtunnel.core import registry
from windtunnel.core.part import Part
from windtunnel.recipe import Recipe

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--cpu``; see cpu.py."""
    parser.addoption("--cpu", type=int, metavar="N", help="print the CPU seconds of every file and of the N most expensive tests")


def pytest_configure(config: pytest.Config) -> None:
    """Measure where that was asked for."""
    if config.getoption("cpu") is not None:
        config.pluginmanager.register(Cpu(config.getoption("cpu")))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> testing.Workshop:
    """What the contract of the parts tries them on."""
    return testing.workshop(tmp_path_factory)


@pytest.fixture(scope="session")
def corpus(workshop: testing.Workshop) -> dict[str, Any]:
    """Two sources of real text: source files of the standard library, and its docstrings as JSON lines."""
    return dict(workshop.corpus)


@pytest.fixture(scope="session")
def tiny(workshop: testing.Workshop) -> Callable[..., Recipe]:
    """A function that makes a tiny recipe; keyword arguments are fields that differ."""
    return workshop.recipe


@pytest.fixture(scope="session")
def stream(workshop: testing.Workshop) -> Any:
    """The prepared stream of the tiny corpus. Other workers read it too: copy it before changing it."""
    return workshop.stream


@pytest.fixture(scope="session", autouse=True)
def nothing_old_to_collect() -> Iterator[None]:
    """A run collects garbage to measure its memory; going through all that torch and transformers have defined takes longer than it.

    What a collection leaves is therefore frozen, so that the next one goes through what came since.
    """
    import transformers.models.llama.modeling_llama  # noqa: F401

    from windtunnel.train import machine

    def collect() -> int:
        found = gc.collect()
        gc.freeze()
        return found

    collect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "gc", SimpleNamespace(collect=collect))
        yield


@pytest.fixture(scope="session", autouse=True)
def brief_samples() -> Iterator[None]:
    """Every run of a model of text ends with samples, and most forward passes of a tiny one would be for these: 16 tokens, one by one."""
    from windtunnel.kits.text.samples import samples

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(samples.__kwdefaults__, "new_tokens", 2)
        yield


@pytest.fixture(scope="session", autouse=True)
def warm_workers() -> Iterator[None]:
    """Studies hire workers that need not import anything first."""
    from windtunnel.study.launch import local

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "multiprocessing", SimpleNamespace(get_context=lambda method: warm.CONTEXT))
        yield


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the commands ``windtunnel`` and ``python``, which are warm processes."""
    with warm.on_path(tmp_path_factory.mktemp("shell")) as folder:
        yield folder


@pytest.fixture
def warm_ranks(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks of ``--ranks`` need not import anything first. Those of the pages, in test_docs.py, do."""
    monkeypatch.setenv("PYTHON_EXEC", str(shell / "windtunnel"))


@pytest.fixture
def spare_part() -> Iterator[Callable[[type[Part]], type[Part]]]:
    """A function that keeps a part of this test's own out of the registry once the test is over."""
    made: list[type[Part]] = []
    yield lambda part: made.append(part) or part  # type: ignore[func-returns-value]
    for part in made:
        registry._parts[part.slot].pop(part.name)


@pytest.fixture(scope="session")
def law() -> Callable[..., int]:
    """``windtunnel law`` with the given words, in this process; returns the exit code."""
    from windtunnel.commands.main import main

    def run(*words: Any) -> int:
        with pytest.raises(SystemExit) as end:
            main(["law", *map(str, words)])
        return int(end.value.code or 0)

    return run
