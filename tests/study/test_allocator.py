"""Workers begin with tcmalloc where it is installed, and with whatever the user preloads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from windtunnel.study.launch import allocator

LOADED = "import ctypes, os; print(hasattr(ctypes.CDLL(None), 'MallocExtension_ReleaseFreeMemory'), os.environ.get('LD_PRELOAD'))"


def started() -> list[str]:
    """Whether a process that is started here has tcmalloc, and what it was told to preload."""
    return subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(allocator.installed() is None, reason="tcmalloc is not installed")
def test_what_is_started_inside_has_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(allocator.PRELOAD, raising=False)
    with allocator.preloaded():
        assert started() == ["True", allocator.installed()]
    assert started() == ["False", "None"]


def test_what_the_user_preloads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for own in ("", "libm.so.6"):
        monkeypatch.setenv(allocator.PRELOAD, own)
        with allocator.preloaded():
            assert os.environ[allocator.PRELOAD] == own
        assert os.environ[allocator.PRELOAD] == own


def test_without_it_nothing_is_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(allocator.PRELOAD, raising=False)
    monkeypatch.setattr(allocator, "installed", lambda: None)
    with allocator.preloaded():
        assert allocator.PRELOAD not in os.environ
