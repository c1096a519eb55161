"""The commands about packs: make one, fly one, and take in what came of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windtunnel.commands.console import console, print_json
from windtunnel.commands.options import OUT, JsonOption
from windtunnel.core.errors import UserError, several
from windtunnel.core.shipped import shipped

if TYPE_CHECKING:
    from windtunnel.study.pack.make import Made

UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def size_of(text: str) -> int:
    """Bytes that ``60MB``, ``1.5 GB`` or ``500000`` says. Raises UserError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgG]?)[bB]?\s*", text)
    if found is None:
        raise UserError(f"--max-size {text}: write it as 60MB, 1.5GB or a number of bytes")
    return int(float(found[1]) * UNITS[found[2].lower()])


def pack(
    studies: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STUDY...", help="studies (YAML), or names of shipped ones; with --papers names of papers"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder of the pack, which is made")] = Path("pack"),
    most: Annotated[str | None, typer.Option("--max-size", metavar="SIZE", help="leave out what does not fit, for example 60MB")] = None,
    papers: Annotated[
        str | None,
        typer.Option("--papers", metavar="SCALE", help="pack papers at this scale: those that are named, or all"),
    ] = None,
    cache: Annotated[Path, typer.Option("--prepare-in", metavar="DIR", help="the --out of studies, where text is prepared")] = OUT,
    as_json: JsonOption = False,
) -> None:
    """Pack studies for a machine without a network or the libraries that read a corpus: text, recipes, and the runs in order of value.

    Example: windtunnel pack my-study.yaml --out pack
    """
    from windtunnel.study.file import load_study
    from windtunnel.study.pack.make import pack_studies

    screen = console()
    limit = size_of(most) if most is not None else None

    def say(line: str) -> None:
        screen.print(line, markup=False, soft_wrap=True)

    decided: list[str] = []
    if papers is not None:
        from windtunnel.study.pack.papers import studies_of

        found, decided = studies_of([str(name) for name in studies or ()], papers, say)
    elif studies:
        found = [load_study(shipped(file)) for file in studies]
    else:
        raise UserError("name the studies that are to be packed, or say --papers gpu for those of all papers")
    made = pack_studies(found, out, out=cache, most=limit, decided=decided, say=say)
    if as_json:
        print_json(made.summary())
    else:
        print("\n".join(sentences(made, out)))


def sentences(made: Made, folder: Path) -> list[str]:
    """What a pack holds, for the terminal."""
    known = made.summary()
    lines = [f"{folder}: {made.bytes / 1e6:.1f} MB, {known['runs']} runs, in this order of value:"]
    for name, one in known["studies"].items():
        held = ", ".join(several(one[f"{what}s"], what) for what in ("arm", "seed", "run"))
        lines.append(f"  {name}: {held}, about {one['flops']:.2g} FLOPs")
    lines += [f"left out: {line}" for line in known["left_out"]]
    lines.append(f"copy it to the other machine, and there: python {folder.name}/fly.py --minutes 30 --out flown")
    lines.append("then copy the folder flown back, and here: windtunnel unpack flown")
    return lines


def is_pack(folder: Path) -> bool:
    """Whether ``folder`` says that it is a pack."""
    if not folder.is_dir():
        return False
    from windtunnel.study.pack.manifest import FILE

    return (folder / FILE).exists()


def fly(folder: Path, minutes: float | None, out: Path, workers: int | None, threads: int | None, as_json: bool) -> None:
    """What ``windtunnel study`` does with a pack."""
    from windtunnel.study.pack.flight import fly_pack

    if minutes is None:
        raise UserError(f"{folder}: is a pack; say how long it may be flown, for example --minutes 30")
    screen = console()
    found = fly_pack(
        folder,
        out,
        minutes=minutes,
        workers=workers,
        threads=threads,
        say=lambda line: screen.print(line, markup=False, soft_wrap=True),
    )
    if as_json:
        print_json(found.plain())
    else:
        print(f"results: {out}; where the studies are: windtunnel unpack {out}")


def unpack(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="folders that packs were flown in")],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="the --out of studies, which then find these runs as flown")] = OUT,
    weights: Annotated[bool, typer.Option("--weights", help="take the models too, not their records alone")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take in what came of a pack: every run that is whole counts as if it had been flown here.

    Example: windtunnel unpack flown-pack
    """
    from windtunnel.study.pack.unpack import unpack as take

    found = take(results, into, weights=weights)
    if as_json:
        print_json({"joined": found.joined, "known": found.known, "refused": found.refused})
    else:
        print(f"{len(found.joined)} runs joined those in {into / 'runs'}, {len(found.known)} were there already")
    if found.refused:
        raise UserError("\n".join(found.refused))
