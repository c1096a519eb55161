"""Where the numbers of a run go besides its own JSONL file: one small interface, four optional libraries."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from windtunnel.core.errors import UserError, nearest


class Logger(Protocol):
    """What the loop calls."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Numbers of one step (counted over the whole run)."""

    def close(self) -> None:
        """No more numbers will come."""


class TensorBoard:
    """Event files under the run's folder."""

    def __init__(self, folder: Path, name: str) -> None:
        place = folder / "tensorboard"  # runs of a study get a name that can be read there
        self.writer = _library("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(place if name == folder.name else place / name))

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Add one point for each number."""
        for key, value in numbers.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class Tracker:
    """wandb and trackio, which share their interface: init, log, finish."""

    def __init__(self, library: str, folder: Path, name: str) -> None:
        self.module = _library(library, library)
        options: dict[str, Any] = {"dir": str(folder)} if library == "wandb" else {}
        self.module.init(project="windtunnel", name=name, **options)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Send one row."""
        self.module.log(numbers, step=step)

    def close(self) -> None:
        """Finish the run."""
        self.module.finish()


class MLflow:
    """An mlflow run in the store that its environment variables name."""

    def __init__(self, folder: Path, name: str) -> None:
        self.module = _library("mlflow", "mlflow")
        self.module.set_experiment("windtunnel")
        self.module.start_run(run_name=name)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Send one row; mlflow allows no character like '/' but keeps slashes."""
        self.module.log_metrics(numbers, step=step)

    def close(self) -> None:
        """End the run."""
        self.module.end_run()


LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio")


def make_logger(kind: str, folder: Path, name: str) -> Logger:
    """The logger called ``kind``.

    Raises:
        UserError: for an unknown name, or when its library is not installed.
    """
    check_loggers((kind,))
    if kind == "tensorboard":
        return TensorBoard(folder, name)
    return MLflow(folder, name) if kind == "mlflow" else Tracker(kind, folder, name)


def check_loggers(kinds: Iterable[str]) -> None:
    """Raise UserError for an unknown kind, or one whose library is not installed."""
    for kind in kinds:
        if kind not in LOGGERS:
            raise UserError(f"no logger is called {kind!r}; {nearest(kind, LOGGERS)}")
        _library("torch.utils.tensorboard" if kind == "tensorboard" else kind, kind)


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"the logger needs the package {package}: pip install {package}") from error
