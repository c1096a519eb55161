"""The command ``windtunnel sample``: what a model writes after a prompt."""

from __future__ import annotations

from typing import Annotated

import typer

from windtunnel.commands.console import print_json
from windtunnel.commands.options import DeviceOption, JsonOption, ThreadsOption, check_device


def sample(
    model: Annotated[str, typer.Argument(metavar="RUN", help="the folder of a run, or any model as of evaluate")],
    prompt: Annotated[str, typer.Option("--prompt", help="what it goes on from")] = "",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="most tokens that it writes")] = 100,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0: always the likeliest token")] = 0.8,
    count: Annotated[int, typer.Option("--count", min=1, help="how many continuations")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="the same seed writes the same (on the same machine)")] = 0,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a model go on from a prompt.

    Example: windtunnel sample windtunnel-out/runs/1a2b3c4d --prompt "def main("
    """
    from windtunnel.study.evaluate import sample as write

    check_device(device)
    found = write(model, prompt, tokens=tokens, temperature=temperature, count=count, seed=seed, threads=threads, device=device)
    if as_json:
        print_json({"model": model, "prompt": prompt, "continuations": found})
        return
    for place, continuation in enumerate(found):
        print(("\n---\n" if place else "") + prompt + continuation)
