"""What other libraries would write between our own lines."""

from __future__ import annotations

import os

import pytest
import warm

from windtunnel.commands.main import quiet_libraries

# Signatures are computed by Daft; standard error and output are a terminal whose other end is read afterwards.
IN_A_TERMINAL = """
import os, pty, sys
from windtunnel.data.corpus.near_duplicates import signatures
master, slave = pty.openpty()
before = [os.dup(number) for number in (1, 2)]
for number in (1, 2):
    os.dup2(slave, number)
signatures(["one two three four five six", "seven eight nine ten eleven twelve"])
print("done", flush=True)
for number, kept in enumerate(before, start=1):
    os.dup2(kept, number)
print(repr(os.read(master, 65536)))
"""


@pytest.mark.parametrize(("wanted", "first"), [(None, "done"), ("1", "Daft Query ID")])
def test_daft_does_not_name_its_queries_in_a_terminal(wanted: str | None, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen lines "Daft Query ID: ..." stood above the table of a study. Who wants them sets the variable."""
    if wanted is not None:
        monkeypatch.setenv("DAFT_SHOW_QUERY_ID", wanted)
    said = warm.run(code=IN_A_TERMINAL)
    assert said.returncode == 0 and said.stdout.startswith(f"b'{first}"), said


def test_libraries_draw_bars_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars of transformers came out of `export` into a pipe. What a user has set stays."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    quiet_libraries()
    assert "TQDM_DISABLE" not in os.environ
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    monkeypatch.setenv("TQDM_DISABLE", "0")
    quiet_libraries()
    assert os.environ["TQDM_DISABLE"] == "0"
    monkeypatch.delenv("TQDM_DISABLE")
    quiet_libraries()
    assert os.environ.pop("TQDM_DISABLE") == "1"
