"""The command ``windtunnel forensics``: what a tokenizer or a model says of the text that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.evaluate import size_of
from windtunnel.commands.options import OUT, CorpusOption, DeviceOption, JsonOption, check_device, sources
from windtunnel.core.errors import UserError

MERGES, SAMPLE, LENGTH, CACHE = 1000, "5MB", 128, OUT / "cache"


def forensics(
    subject: Annotated[str, typer.Argument(metavar="TOKENIZER|MODEL", help="a tokenizer.json, or a folder with one; or a model")],
    corpus: CorpusOption = None,
    merges: Annotated[int, typer.Option("--merges", min=1, help="how many merges of a tokenizer are looked at, the first ones")] = MERGES,
    sample: Annotated[str, typer.Option("--sample", metavar="SIZE", help="how much of each source of --corpus is counted")] = SAMPLE,
    members: Annotated[
        str | None, typer.Option("--members", metavar="PATH", help="documents that a model may have been trained on")
    ] = None,
    others: Annotated[str | None, typer.Option("--others", metavar="PATH", help="of the same kind, which it cannot have been")] = None,
    reference: Annotated[str | None, typer.Option("--reference", metavar="MODEL", help="of the same tokenizer, trained on neither")] = None,
    length: Annotated[int, typer.Option("--length", min=2, help="tokens of each document that a model reads")] = LENGTH,
    cache: Annotated[Path, typer.Option("--cache", metavar="DIR", help="where prepared text is kept")] = CACHE,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell in which shares your sources were in a tokenizer's training text, or whether a model was trained on a text.

    Examples: windtunnel forensics tokenizer.json --corpus code=~/src --corpus french=~/fr --corpus german=~/de;
    windtunnel forensics MODEL --members articles.jsonl --others later.jsonl
    """
    of_model = {"--others": others, "--reference": reference, "--length": length != LENGTH, "--device": device}
    of_tokenizer = {"--corpus": corpus, "--merges": merges != MERGES, "--sample": sample != SAMPLE}
    if members is None:
        if extra := next((option for option, given in of_model.items() if given), None):
            raise UserError(f"{extra}: asks a model about a text: name the text with --members PATH")
        _of_tokenizer(subject, corpus, merges, sample, as_json)
        return
    if extra := next((option for option, given in of_tokenizer.items() if given), None):
        raise UserError(f"{extra}: is for tokenizers; a model is asked with --members and --others")
    if others is None:
        raise UserError("--others PATH: give text of the same kind that the model cannot have been trained on, to compare --members with")
    check_device(device)
    _of_model(subject, members, others, cache, {"reference": reference, "length": length, "device": device}, as_json)


def _say(line: str) -> None:
    console().print(escape(line), soft_wrap=True)


def _of_model(model: str, members: str, others: str, cache: Path, how: dict[str, Any], as_json: bool) -> None:
    from windtunnel.recipe import sources_from
    from windtunnel.study.membership import was_trained_on

    both = sources_from(sources([f"members={members}", f"others={others}"]))
    found = was_trained_on(model, both["members"], both["others"], cache, **how, say=_say).data
    if as_json:
        print_json(found)
        return
    areas = [*found["scores"], {"score": "no model at all", **found["blind"]}]
    rows = [(row["score"], f"{row['area']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}", f"{row['found']:.1%}") for row in areas]
    answers().print(plain_table(("score", "area under the curve", "95% interval", "found at 5% false alarms"), rows))
    documents = found["documents"]
    print(f"{documents['members']:,} documents against {documents['others']:,}, {found['length']} tokens of each; an area of 0.5 is chance")
    if not found["alike"]:
        print("these texts differ without any model: they are not of one kind, and no area says that one was trained on")


def _of_tokenizer(tokenizer: str, corpus: CorpusOption, merges: int, sample: str, as_json: bool) -> None:
    from windtunnel.recipe import sources_from
    from windtunnel.study.forensics import forensics as tell

    found = tell(tokenizer, sources_from(sources(corpus)), merges=merges, sample=size_of(sample), say=_say)
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
