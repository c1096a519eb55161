"""Compiled code on disk that a process was killed over does not stand in the way of the next one."""

from __future__ import annotations

import os
import sysconfig
import time
from pathlib import Path

from windtunnel.train.compiled import AT_REST, forget_unfinished


def test_what_a_killed_compiler_left_is_deleted_and_the_rest_stays(tmp_path):
    library = next(Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so")).read_bytes()
    (tmp_path / "ab").mkdir()
    long_ago = time.time() - 2 * AT_REST
    files = {
        "ab/whole.so": library,
        "ab/kernel.cpp": b"",
        "ab/empty.main.so": b"",
        "ab/half.so": library[: len(library) // 2],
        "ab/last.o": library[:-1],
        "ab/header.o": library[:40],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / "ab" / "being-written.so").write_bytes(b"")
    forget_unfinished(tmp_path)
    left = {file.name for file in tmp_path.rglob("*.*")}
    assert left == {"whole.so", "kernel.cpp", "being-written.so"}
