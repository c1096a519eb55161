"""What stands on the command line or in a recipe, looked at before anything is read or flown."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from windtunnel.core.errors import UserError, told


class Engine(enum.StrEnum):
    """Where runs are flown."""

    local = "local"
    ray = "ray"


class LoggerName(enum.StrEnum):
    """Where the numbers of a run go besides its own log."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"
    trackio = "trackio"


OUT = Path("windtunnel-out")
CorpusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--corpus",
        metavar="NAME=PATH",
        help="a source of your own: folder, file, builtin:NAME, hf:OWNER/NAME or {files: ...} as YAML has it; repeat it for several",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON and nothing else on standard output")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda ... (default: a GPU if any)")]
SampleOption = Annotated[
    str | None,
    typer.Option("--sample", metavar="SIZE", help="at most so much of each source, such as 200KB (default: all)"),
]
WindowsOption = Annotated[int, typer.Option("--batch", min=1, help="windows that go through a model at once")]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="threads of one run (default: 1; with fewer workers than cores, their share of these)"),
]
RanksOption = Annotated[int, typer.Option("--ranks", min=1, help="processes that share each batch, each on its own device")]
MeshOption = Annotated[
    str | None,
    typer.Option(
        "--mesh",
        metavar="data=N,shard=M",
        help="N groups of M processes, which hold one model in parts; tensor=K cuts layers; auto: by memory (default: each holds it whole)",
    ),
]
RecomputeOption = Annotated[
    bool, typer.Option("--recompute", help="compute the activations of blocks again instead of keeping them: less memory, more time")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="change a setting of the file, such as baseline.batch=8; repeat it for several",
    ),
]
BudgetOption = Annotated[str | None, typer.Option("--budget", metavar="UNIT=AMOUNT", help="the budget, such as tokens_per_parameter=5")]
SeedsOption = Annotated[str | None, typer.Option("--seeds", metavar="SEEDS", help="how many, or several such as 3,4,5")]
PartsOption = Annotated[
    list[Path] | None,
    typer.Option("--parts", metavar="FILE", help="a Python file with parts of your own; repeat it for several"),
]
HoursOption = Annotated[
    float | None,
    typer.Option(
        "--hours",
        metavar="N",
        help="size the study to so many hours on this machine: the largest section at 20 tokens per parameter, and enough seeds",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="where runs, prepared text and results are kept and found again")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="runs flown side by side (default: fill the machine)")]
EngineOption = Annotated[Engine, typer.Option("--engine", help="fly runs here, or as Ray tasks")]
AddressOption = Annotated[str | None, typer.Option("--address", metavar="ADDRESS", help="of a running Ray cluster (default: a local one)")]
RecordsOption = Annotated[
    list[Path] | None,
    typer.Option("--records", metavar="DIR", help="records of finished runs that count as flown (also: records/ beside the file)"),
]
LoggerOption = Annotated[list[LoggerName] | None, typer.Option("--logger", help="also send numbers there; repeat it for several")]
SaveOption = Annotated[
    Path | None,
    typer.Option("--save-records", metavar="DIR", help="write the record of every finished run there, without weights"),
]


ShareOption = Annotated[
    str | None,
    typer.Option(
        "--share",
        metavar="ADDRESS",
        help="a store of your team (s3://bucket/name, or a folder) that encoded text and records of finished runs come from and go to",
    ),
]


def changed(settings: Sequence[str] | None, budget: str | None = None, seeds: str | None = None) -> list[str]:
    """What --set, --budget and --seeds change, as KEY=VALUE.

    Raises:
        UserError: for a budget without unit or amount.
    """
    found = list(settings or ())
    if budget is not None:
        unit, _, amount = budget.partition("=")
        if not unit or not amount:
            raise UserError(f"--budget {budget}: expected UNIT=AMOUNT, for example tokens_per_parameter=5 or flops=1e12")
        found.append(f"budget={{{unit}: {amount}}}")
    if seeds is not None:
        found.append(f"seeds=[{seeds}]" if "," in seeds else f"seeds={seeds}")
    return found


def own_parts(files: Sequence[Path] | None) -> list[Any]:
    """The parts that --parts names, defined. Raises UserError for a file that cannot be run or defines none."""
    from windtunnel.core.outside import load_file

    return [part for file in files or () for part in load_file(file.expanduser())]


def sources(given: Sequence[str] | None, option: str = "--corpus") -> dict[str, Any]:
    """``NAME=PATH`` arguments as sources by name; ``~`` is the home folder, ``builtin:NAME`` stays as it is.

    A path in braces is a source with knobs as YAML writes it: ``mail={files: {path: mail.csv, field: body}}``.
    """
    if not given:
        return {}
    from pydantic import ValidationError

    from windtunnel.core.registry import make
    from windtunnel.recipe import shorthand
    from windtunnel.slots import Source

    found: dict[str, Any] = {}
    for entry in given:
        name, separator, path = entry.partition("=")
        if not separator or not name.strip() or not path.strip():
            raise UserError(f"{option} {entry}: write it as NAME=PATH, for example {option} notes=~/notes")
        if name in found:
            raise UserError(f"{option} {entry}: a source called {name!r} was given already; every source needs a name of its own")
        found[name] = _written(f"{option} {entry}", path) if path.startswith("{") else os.path.expanduser(path)
        try:
            make(Source, shorthand(found[name]))
        except ValidationError as error:
            raise UserError(f"{option} {entry}: {told(error.errors()[0])}") from error
    return found


def _written(given: str, text: str) -> Any:
    """The source that ``text`` writes in YAML. Raises UserError for what is no YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{given}: is not a source in YAML: {getattr(error, 'problem', error)}") from error


def look_at(recipe: Any) -> None:
    """Raise UserError where a source, a folder of the encoding or a model to start from is not there, without reading it."""
    folders: dict[str, str | None] = {f"tokenizer.{knob}": folder for knob, folder in recipe.encoding.folders().items()}
    for phase in recipe.phases:
        if phase.start is not None:
            folders[f"start.{phase.start.name}.folder"] = getattr(phase.start, "folder", None)
    for key, folder in folders.items():
        if folder is not None and not Path(folder).expanduser().is_dir():
            raise UserError(f"{key}: {folder}: no such folder")
    for name, source in recipe.sources.items():
        try:
            source.refuse_missing()
        except UserError as error:
            raise UserError(f"source {name}: {error}") from error


def check_device(device: str | None, several: bool = False) -> None:
    """Raise UserError unless this machine has ``device``, or each of several, and runs are known to be right there."""
    from windtunnel.train.machine import refuse_device

    refuse_device(device, several)


def check_engine(engine: Engine, address: str | None) -> None:
    """Raise UserError for an address that nobody would look at."""
    if address and engine is not Engine.ray:
        raise UserError("--address only applies with --engine ray")
