"""The commands ``windtunnel train`` and ``windtunnel export``: one model from a recipe, and what is done with it."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from windtunnel.commands.console import console, following, print_json, stop_with, stopping
from windtunnel.commands.options import (
    OUT,
    BudgetOption,
    CorpusOption,
    JsonOption,
    RanksOption,
    SetOption,
    ThreadsOption,
    changed,
    check_device,
    sources,
)
from windtunnel.core.errors import UserError
from windtunnel.core.files import locked


class LoggerName(enum.StrEnum):
    """Where the numbers of a run go besides its own log."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"
    trackio = "trackio"


@dataclass(frozen=True)
class Callbacks:
    """What a process at work reports to, asks whether to stop, and says things with. Of several ranks only the first is heard."""

    follow: Callable[[dict[str, Any]], None] | None
    stop: Callable[[], bool]
    say: Callable[[str], None]


@contextlib.contextmanager
def at_work(out: Path, processes: int, device: str | None, words: Sequence[str]) -> Iterator[Callbacks]:
    """Hold the folder ``out`` and show progress, as one process or as one of the ranks that share its work.

    Where ``processes`` are asked for and torchrun has not started them, they are started with ``words`` and waited for instead. Ranks
    that do not speak leave the command at the end.

    Raises:
        UserError: where another process holds the folder, or this machine has no such device.
    """
    from windtunnel.train import ranks

    check_device(device)
    if processes > 1 and "WORLD_SIZE" not in os.environ:  # which torchrun sets for those it starts
        raise typer.Exit(ranks.torchrun(processes, ["-m", "windtunnel.commands.main", *words]))
    with ranks.joined(device):
        speaking = not ranks.rank()
        with (
            locked(out / ".lock") if speaking else contextlib.nullcontext(True) as mine,
            stopping(speaking) as stop,
            following(out) if speaking else contextlib.nullcontext() as follow,
        ):
            if not mine:
                raise UserError(f"{out}: another process is working on it; wait for it, or choose another --out")

            def say(message: str) -> None:
                if speaking:
                    console().print(escape(message), soft_wrap=True)

            yield Callbacks(follow, stop, say)
    if not speaking:
        raise typer.Exit


def train(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a recipe with its corpus and budget (YAML)", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder of the run", show_default=False)],
    seed: Annotated[int, typer.Option("--seed", min=0, help="what differs between repetitions")] = 0,
    corpus: CorpusOption = None,
    settings: SetOption = None,
    budget: BudgetOption = None,
    cache: Annotated[Path, typer.Option("--cache", metavar="DIR", help="where prepared text is kept; studies share theirs")] = OUT
    / "cache",
    threads: ThreadsOption = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1 ... (default: a GPU if there is one)", show_default=False)
    ] = None,
    logger: Annotated[
        list[LoggerName] | None, typer.Option("--logger", help="also send numbers there; repeat it for several", show_default=False)
    ] = None,
    processes: RanksOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train one model from a recipe. Given again, it goes on where it was. With --corpus, a source is replaced or added.

    With --ranks, processes on this machine share the work; on several machines, let torchrun start `-m windtunnel.commands.main train ...`.
    """
    from windtunnel.recipe import Document, load_recipe
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train import ranks
    from windtunnel.train.run import fly, prepare, prepare_needed

    document = Document(file, changed(settings, budget))
    recipe = resolve(load_recipe(document, sources(corpus)), document)
    with at_work(out, processes, device, context.obj) as callbacks:
        with ranks.rank_0_first():
            stream, others = prepare(recipe, cache, callbacks.say), prepare_needed(recipe, cache, callbacks.say)
        how: dict[str, Any] = {"threads": threads, "device": device, "loggers": [kind.value for kind in logger or ()]}
        record = fly(recipe, seed, stream, out, report=callbacks.follow, stop=callbacks.stop, warn=callbacks.say, streams=others, **how)
    if as_json:
        print_json(record.plain())
    if record.status == "interrupted":
        raise KeyboardInterrupt
    if record.failure is not None:
        stop_with(record.failure)
    if not as_json:
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in record.test.items())
        print(f"{out}: finished, on test {numbers}\nexport it: windtunnel export {out} FOLDER")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a finished run", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new or empty folder", show_default=False)],
    dtype: Annotated[str, typer.Option("--dtype", help="float32 (what runs train in), bfloat16 or float16")] = "float32",
) -> None:
    """Write a finished run as a folder that AutoModel and AutoTokenizer load, and load it once to be sure."""
    from windtunnel.train.export import export_run

    found = export_run(run, out, dtype)
    size = f"{found['parameters']:,} parameters in {found['dtype']}"
    print(f"{out}: {found['architecture']}, {size}, loaded with {' and '.join([found['loads_with'], *found['beside']])}")
