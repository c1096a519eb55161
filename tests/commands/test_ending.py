"""Ctrl-C and SIGTERM end a command in time, also one that hears neither."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import typer

from windtunnel.commands import ending
from windtunnel.commands.console import stopping
from windtunnel.commands.ending import ending_in_time
from windtunnel.commands.train import at_work
from windtunnel.core import asked

DEAF = """
import os, signal, time
from windtunnel.commands import ending
from windtunnel.commands.console import stopping
from windtunnel.commands.ending import ending_in_time
from windtunnel.commands.train import at_work
from windtunnel.core import asked
with ending_in_time(0.2):
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100): time.sleep(0.2)
"""


def test_a_command_that_does_not_stop_is_ended_with_a_sentence():
    done = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and "interrupted, and ended after" in done.stderr


def test_sigterm_interrupts_and_handlers_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ending_in_time():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_that_come_together_are_one_wish(monkeypatch):
    with stopping(speaking=False) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # as `timeout` does, and SLURM where torchrun hands its own on
        assert stop()
        monkeypatch.setattr(asked, "TOGETHER", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ranks_that_write_a_checkpoint_are_waited_for_when_signals_come_together(monkeypatch, tmp_path):
    import torch.distributed.run
    from torch.distributed.elastic.multiprocessing.api import SignalException

    heard = []

    def agent(words):
        try:
            signal.raise_signal(signal.SIGTERM)
        except SignalException as error:
            signal.raise_signal(signal.SIGTERM)  # while it waits for the ranks
            heard.append((error.sigval, ending._writing, "SIGTERM" in str(words)))
            raise

    monkeypatch.setattr(torch.distributed.run, "main", agent)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(typer.Exit) as end, at_work(tmp_path / "run", 2, "cpu", []):
        pass
    assert end.value.exit_code == 130
    assert heard == [(signal.SIGTERM, 1, False)] and signal.getsignal(signal.SIGTERM) is before
