"""The command ``windtunnel forensics``: what a tokenizer says of the text that it was trained on."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.evaluate import size_of
from windtunnel.commands.options import CorpusOption, JsonOption, sources


def forensics(
    tokenizer: Annotated[str, typer.Argument(metavar="TOKENIZER", help="a tokenizer.json, or a folder with one", show_default=False)],
    corpus: CorpusOption = None,
    merges: Annotated[int, typer.Option("--merges", min=1, help="how many of its merges are looked at, the first ones")] = 1000,
    sample: Annotated[str, typer.Option("--sample", metavar="SIZE", help="how much of each source is counted")] = "5MB",
    as_json: JsonOption = False,
) -> None:
    """Tell from the merges of a BPE tokenizer in which shares your sources were in the text that it was trained on.

    Example: windtunnel forensics tokenizer.json --corpus code=~/src --corpus french=~/fr --corpus german=~/de
    """
    from windtunnel.recipe import sources_from
    from windtunnel.study.forensics import forensics as tell

    found = tell(
        tokenizer,
        sources_from(sources(corpus)),
        merges=merges,
        sample=size_of(sample),
        say=lambda line: console().print(escape(line), soft_wrap=True),
    )
    if as_json:
        print_json(found.data)
        return
    rows = []
    for row in found.data["shares"]:
        quarters = "" if row["least"] is None else f"{row['least']:.1%} to {row['most']:.1%}"
        rows.append((row["source"], f"{row['share']:.1%}", quarters, f"{row['documents']:,}", f"{row['bytes']:,}"))
    answers().print(plain_table(("source", "share", "quarters of its documents", "documents", "bytes"), rows))
    made, unexplained, skipped = found.data["merges"], found.data["unexplained"], found.data["skipped"]
    passed = f" ({skipped:,} more, which no source has, were skipped)" if skipped else ""
    print(f"{made:,} merges{passed}; {unexplained:.1%} of their frequency is not explained by these sources in any shares")
    if found.data["broken"]:
        print(f"the program was not solved to its end: {found.data['broken']:,} rivals are still ahead of a merge, so try fewer merges")
