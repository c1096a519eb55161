"""The command that shows the sections."""

from __future__ import annotations

from typing import Annotated

import typer

from windtunnel.commands.completion import section_names
from windtunnel.commands.console import answers, plain_table, print_json
from windtunnel.commands.options import JsonOption


def sections(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="only this section", autocompletion=section_names)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the sections, tuned settings of small models, with what their baselines reach and how far seeds scatter."""
    from windtunnel.recipe import section
    from windtunnel.report.words import number
    from windtunnel.study.section import levels

    chosen = section.ORDER if name is None else (name,)
    found = {one: levels(one) for one in chosen}
    if as_json:
        print_json(
            [
                {"name": one, "settings": section.section(one), "baseline": [{**level._asdict(), "sd": level.sd} for level in found[one]]}
                for one in chosen
            ]
        )
        return
    rows = []
    for level in (level for one in chosen for level in found[one]):
        spent = f"{level.tokens_per_parameter:.0f}", f"{level.flops:.1e}"
        rows.append((level.section, level.corpus, *spent, number(level.mean), number(level.sd), str(len(level.values))))
    columns = ("section", "corpus", "tokens per parameter", "FLOPs", "bits per byte", "sd of seeds", "seeds")
    if rows:
        answers().print(plain_table(columns, rows), end="\n\n")
    for one in chosen:
        print(f"section: {one} stands for")
        print((section.FOLDER / f"{one}.yaml").read_text(encoding="utf-8").rstrip())
