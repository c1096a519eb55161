"""Processes that begin with everything imported.

A process that trains imports torch and transformers first, several seconds of CPU time, and the tests start hundreds. Here they are
forked from a server process that has done nothing but these imports. What a process does is what it does when it is spawned; only the
environment has to be handed over, because the server keeps the one that it was started in, and how long the samples of a model are.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing.context
import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from windtunnel.kits.text.samples import samples
from windtunnel.study.launch import local

PRELOADED = [
    "altair",
    "daft",
    "pandas",
    "pytest",
    "scipy.stats",
    "transformers.models.llama.modeling_llama",
    "windtunnel.commands.main",
    "windtunnel.kits.text.samples",
    "windtunnel.study.fly",
    "windtunnel.study.launch.worker",
    "windtunnel.train.run",
]


class Process(multiprocessing.context.ForkServerProcess):
    """A process with the environment of its parent. /proc says whose it is, for the system knows it as a child of the server."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.environment = dict(os.environ)
        self.sample = samples.__kwdefaults__["new_tokens"]
        self.mark = mark(os.getpid())

    def start(self) -> None:
        serve()
        super().start()

    def run(self) -> None:
        gc.freeze()  # every run collects garbage, and would go through all that was imported
        os.environ.clear()
        os.environ.update(self.environment)
        samples.__kwdefaults__["new_tokens"] = self.sample
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(self.mark)
        # Its own children come from the same server, which multiprocessing knows for the process alone that started it.
        forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
        local.multiprocessing = SimpleNamespace(get_context=lambda method: CONTEXT)  # type: ignore[assignment]
        super().run()


def mark(parent: int) -> str:
    """The name that /proc/PID/comm shows of the children of ``parent``."""
    return f"of-{parent}"


class Context(multiprocessing.context.ForkServerContext):
    """As that of ``multiprocessing.get_context("spawn")``, but warm."""

    Process = Process  # type: ignore[assignment]


CONTEXT = Context()


def serve() -> None:
    """Start the server, in a folder that will not go away and that no test mounts over."""
    if forkserver._forkserver._forkserver_address is None:  # type: ignore[attr-defined]
        CONTEXT.set_forkserver_preload(PRELOADED)
        with contextlib.chdir("/"):
            before = os.environ.get("OMP_NUM_THREADS")
            os.environ["OMP_NUM_THREADS"] = "1"  # a library that has started threads must not be forked
            forkserver.ensure_running()
            del os.environ["OMP_NUM_THREADS"]
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before


def spent() -> float:
    """CPU seconds of the server and of the processes that have ended."""
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if server is None:
        return 0.0
    try:
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Command:
    """``windtunnel WORDS`` in a process of its own that leads its own session; what ``subprocess.Popen`` offers, as far as tests use it.

    With ``code``, ``python -c CODE WORDS``.
    """

    def __init__(self, words: Sequence[str], folder: Path | None = None, code: str = "") -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.outputs = [Path(self.folder.name) / name for name in ("stdout", "stderr")]
        self.process = CONTEXT.Process(target=_command, args=([*words], folder or Path.cwd(), code, self.outputs))
        self.process.start()

    @property
    def pid(self) -> int:
        return int(self.process.pid or 0)

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("windtunnel", timeout or 0.0)
        said, complained = (path.read_text(encoding="utf-8") if path.exists() else "" for path in self.outputs)
        return said, complained


def begin(*words: str) -> Command:
    """``windtunnel WORDS``, begun in this folder."""
    return Command(words)


def run(*words: str, folder: Path | None = None, code: str = "", timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run`` of ``windtunnel WORDS``, or with ``code`` of ``python -c CODE WORDS``, with its output captured."""
    command = Command(words, folder, code)
    said, complained = command.communicate(timeout)
    return subprocess.CompletedProcess([*words], command.returncode or 0, said, complained)


def _command(words: list[str], folder: Path, code: str, outputs: list[Path]) -> None:
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.setsid()
    os.chdir(folder)
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if code:
        sys.argv = ["-c", *words]
        sys.path.insert(0, "")
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
        return
    from windtunnel.commands.main import main

    sys.argv = ["windtunnel", *words]
    main(words)


CLIENT = """\
#!{python} -IS
import json, os, signal, socket, sys
words = sys.argv[4:] if sys.argv[1:4] == ["-u", "-m", "windtunnel.commands.main"] else sys.argv[1:]  # so torchrun starts a rank
with socket.socket(socket.AF_UNIX) as door:
    door.connect({address!r})
    said = dict(words=words, folder=os.getcwd(), environment=dict(os.environ), client=os.getpid(), code={code!r})
    door.sendall((json.dumps(said) + "\\n").encode())
    answers = door.makefile()
    pid = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(pid, number))
    code = int(answers.readline())
sys.exit(code if code >= 0 else 128 - code)
"""
# What `python FILE WORDS` and `python -m MODULE WORDS` do.
INTERPRETER = """\
import runpy, sys
del sys.argv[0]
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[Path]:
    """A folder with the commands ``windtunnel`` and ``python`` for a shell, which hand their words to a warm process and wait for it.

    As PYTHON_EXEC, it starts the ranks that torchrun asks for.
    """
    serve()
    (folder / "bin").mkdir()
    address = str(folder / "door")
    for name, code in {"windtunnel": "", "python": INTERPRETER}.items():
        client = folder / "bin" / name
        client.write_text(CLIENT.format(python=sys.executable, address=address, code=code), encoding="utf-8")
        client.chmod(0o755)
    with socketserver.ThreadingUnixStreamServer(address, _Caller) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder / "bin"
        server.shutdown()


class _Caller(socketserver.StreamRequestHandler):
    """One command of a shell."""

    def handle(self) -> None:
        said = json.loads(self.rfile.readline())
        outputs = [Path(f"/proc/{said['client']}/fd/{number}") for number in (1, 2)]
        process = CONTEXT.Process(target=_command, args=(said["words"], Path(said["folder"]), said["code"], outputs))
        process.environment = said["environment"]
        process.start()
        self.wfile.write(f"{process.pid}\n".encode())
        process.join()
        self.wfile.write(f"{process.exitcode}\n".encode())
