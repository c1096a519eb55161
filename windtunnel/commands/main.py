"""The command line: parse, call, print. Everything else lives in the rooms and can be called from Python in the same way.

Exit codes: 0 done, 1 something broke that is our fault or a run's (its traceback is shown), 2 something the user can mend,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from windtunnel.commands.adapt import adapt
from windtunnel.commands.completion import completion
from windtunnel.commands.compress import compress
from windtunnel.commands.curate import curate
from windtunnel.commands.ending import ending_in_time
from windtunnel.commands.evaluate import evaluate
from windtunnel.commands.forecast import forecast, ladder, plan
from windtunnel.commands.forensics import forensics
from windtunnel.commands.keys import keys, schema
from windtunnel.commands.law import app as law
from windtunnel.commands.merge import merge
from windtunnel.commands.pack import pack, unpack
from windtunnel.commands.papers import papers, reproduce
from windtunnel.commands.parts import parts
from windtunnel.commands.release import release
from windtunnel.commands.sample import sample
from windtunnel.commands.sections import sections
from windtunnel.commands.stored import clean, du, runs
from windtunnel.commands.studies import check, report, study
from windtunnel.commands.train import export, train
from windtunnel.commands.watch import watch
from windtunnel.commands.write import ask, new
from windtunnel.core.errors import ADVICE, UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fly pre-training techniques as small models on your own corpus, and learn which of them pays.",
)
CONTINUES = ("study", "reproduce", "train", "adapt", "continue", "curate")


def print_version(wanted: bool) -> None:
    """What ``--version`` does."""
    if wanted:
        from importlib.metadata import version

        print(f"windtunnel {version('windtunnel')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="print the version and stop")] = False,
) -> None:
    """Options before the command."""


# Studies ------------------------------------------------------------------------------------------------------------------------


app.command()(study)
app.command()(check)
app.command()(report)


# Single runs --------------------------------------------------------------------------------------------------------------------


app.command()(train)
app.command()(export)
app.command()(merge)
app.command()(compress)
app.command("adapt")(adapt)
app.command()(curate)
app.command()(evaluate)
app.command()(forensics)
app.command()(sample)
app.command()(pack)
app.command()(unpack)
app.command("continue", hidden=True, help="The old name of `windtunnel adapt`.")(adapt)
app.command()(new)
app.add_typer(ask, name="ask")
app.add_typer(law, name="law")
app.command()(ladder)
app.command()(forecast)
app.command()(plan)


# What there is ------------------------------------------------------------------------------------------------------------------


app.command()(parts)
app.command()(keys)
app.command()(schema)
app.command()(completion)
app.command()(papers)
app.command()(reproduce)
app.command()(sections)
app.command()(watch)
app.command()(runs)
app.command()(du)
app.command()(clean)
app.command()(release)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. What the user can mend is one message on standard error and exit code 2."""
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        quiet_libraries()
        with ending_in_time():
            app(args=words, prog_name="windtunnel", obj=words)
    except UserError as error:
        leave(str(error))
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        leave(f"{error.filename or 'writing'}: {ADVICE[error.errno]}")
    except SystemExit as end:
        if end.code == 130 and "TORCHELASTIC_RUN_ID" not in os.environ:  # a rank leaves it to whoever launched it
            again = "; give the same command again to go on from here" if words and words[0] in CONTINUES else ""
            print(f"windtunnel: interrupted{again}", file=sys.stderr)
        raise


def quiet_libraries() -> None:
    """Let libraries draw progress bars on a terminal alone. What a user has set stays."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # which tqdm reads when it is imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def leave(message: str) -> NoReturn:
    """Print what the user can mend, and exit with code 2."""
    print(f"windtunnel: {message}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
