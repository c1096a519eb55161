"""Ctrl-C and SIGTERM end a command in time, also one that hears neither."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from windtunnel.commands.ending import ending_in_time

DEAF = """
import os, signal, time
from windtunnel.commands.ending import ending_in_time
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
