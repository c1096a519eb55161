"""The command ``windtunnel completion``: a script that completes commands, options, and the names of parts, papers and studies.

The script holds all these words, because asking the program at every stroke would take a second each.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import typer


class Shell(enum.StrEnum):
    """For which a script can be printed."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def part_names() -> list[str]:
    """Every part, whatever slot it fills."""
    from windtunnel.core import registry
    from windtunnel.slots import by_name

    return sorted({name for slot in by_name().values() for name in registry.known(slot)})


def slot_names() -> list[str]:
    """Every slot."""
    from windtunnel.slots import by_name

    return list(by_name())


def paper_names() -> list[str]:
    """Every paper that comes with Windtunnel."""
    from windtunnel.core.shipped import paper_files

    return list(paper_files())


def study_names() -> list[str]:
    """Every study that comes with Windtunnel."""
    from windtunnel.core.shipped import study_files

    return list(study_files())


def checkable_names() -> list[str]:
    """Every study and paper that comes with Windtunnel."""
    return study_names() + paper_names()


def section_names() -> list[str]:
    """Every section."""
    from windtunnel.recipe.section import ORDER

    return list(ORDER)


def key_names() -> list[str]:
    """Every key of a file."""
    from windtunnel.report.reference import groups

    return sorted({key for group in groups() for key in (group.name, *group.keys)})


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="for which shell")],
) -> None:
    """Print a script that completes commands, options and names on a press of Tab.

    bash: windtunnel completion bash > ~/.local/share/bash-completion/completions/windtunnel

    zsh: windtunnel completion zsh > a file _windtunnel in a folder of $fpath

    fish: windtunnel completion fish > ~/.config/fish/completions/windtunnel.fish
    """
    places = list(places_of(context.find_root().command))
    print({Shell.bash: bash, Shell.zsh: zsh, Shell.fish: fish}[shell](places))


class Value(NamedTuple):
    """What may stand as an argument or behind an option: known words, files, or both."""

    words: list[str]
    files: bool


class CommandWords(NamedTuple):
    """A command (``()``: before any) with what may follow it: subcommands with what they do, options, and what its arguments may be."""

    path: tuple[str, ...]
    commands: dict[str, str]
    flags: dict[str, str]
    options: dict[str, tuple[str, Value]]
    argument: Value


def places_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[CommandWords]:
    """``command`` and those below it, hidden ones left out."""
    below = {name: one for name, one in sorted(getattr(command, "commands", {}).items()) if not one.hidden}
    flags, options = {"--help": "show the help"}, dict[str, tuple[str, Value]]()
    words, files = [], False
    for param in command.params:
        known = [item.value for item in param.shell_complete(typer.Context(command), "")]
        if param.param_type_name == "argument":
            words += known
            files = files or not known or param.metavar not in (None, "NAME")
        elif getattr(param, "is_flag", False):
            flags |= dict.fromkeys([*param.opts, *param.secondary_opts], param.help or "")
        else:
            options |= dict.fromkeys(param.opts, (param.help or "", Value(known, not known)))
    yield CommandWords(path, {name: one.get_short_help_str(80) for name, one in below.items()}, flags, options, Value(words, files))
    for name, one in below.items():
        yield from places_of(one, (*path, name))


# The scripts ----------------------------------------------------------------------------------------------------------------------


def cases(places: list[CommandWords]) -> str:
    """Shell code, the same for bash and zsh: of ``at``, ``before`` and ``now`` it makes ``choices`` and ``files``."""
    lines = ['    case "$at:$before" in']
    for place in places:
        at, free = " ".join(place.path), []
        for option, (_, value) in place.options.items():
            free += [] if value.words else [shlex.quote(f"{at}:{option}")]
            if value.words:
                lines.append(f"        {shlex.quote(f'{at}:{option}')}) {_set(value.words, value.files)}; return ;;")
        if free:
            lines.append(f"        {' | '.join(free)}) {_set([], files=True)}; return ;;")
    lines += ["    esac", '    case "$at:$now" in']
    for place in places:
        at = shlex.quote(" ".join(place.path))
        lines.append(f"        {at}:-*) {_set([*place.flags, *place.options], files=False)} ;;")
        lines.append(f"        {at}:*) {_set([*place.commands, *place.argument.words], place.argument.files)} ;;")
    return "\n".join([*lines, "    esac"])


def _set(words: list[str], files: bool) -> str:
    return f"choices={shlex.quote(' '.join(words))} files={'yes' if files else ''}"


def groups_of(places: list[CommandWords]) -> str:
    """The commands that have commands below them, as a pattern of ``case``."""
    return "|".join(place.path[0] for place in places if place.path and place.commands)


def bash(places: list[CommandWords]) -> str:
    """The script for bash."""
    return f"""# bash completion for windtunnel
_windtunnel_words() {{
{cases(places)}
}}
_windtunnel() {{
    local now="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" at="" choices="" files="" line
    ((COMP_CWORD > 1)) && at="${{COMP_WORDS[1]}}"
    case "$at" in {groups_of(places)}) ((COMP_CWORD > 2)) && at="$at ${{COMP_WORDS[2]}}" ;; esac
    _windtunnel_words
    COMPREPLY=()
    while IFS= read -r line; do [[ -n $line ]] && COMPREPLY+=("$line"); done < <(compgen -W "$choices" -- "$now")
    if [[ -n $files ]]; then
        compopt -o filenames 2> /dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$now")
    fi
}}
complete -F _windtunnel windtunnel"""


def zsh(places: list[CommandWords]) -> str:
    """The script for zsh."""
    return f"""#compdef windtunnel
_windtunnel_words() {{
{cases(places)}
}}
_windtunnel() {{
    local now="${{words[CURRENT]}}" before="${{words[CURRENT - 1]}}" at="" choices="" files=""
    (( CURRENT > 2 )) && at="${{words[2]}}"
    case "$at" in {groups_of(places)}) (( CURRENT > 3 )) && at="$at ${{words[3]}}" ;; esac
    _windtunnel_words
    [[ -n $choices ]] && compadd -- ${{=choices}}
    [[ -n $files ]] && _files
    return 0
}}
if [ "$funcstack[1]" = "_windtunnel" ]; then
    _windtunnel "$@"
else
    compdef _windtunnel windtunnel
fi"""


AT_IN_FISH = (  # whether the words after `windtunnel` begin with these
    "function __windtunnel_at",
    "    set -l words (commandline -opc)",
    "    set -l last (math 1 + (count $argv))",
    '    test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"',
    "end",
)


def fish(places: list[CommandWords]) -> str:
    """The script for fish."""
    lines = ["# fish completion for windtunnel", *AT_IN_FISH, "complete -c windtunnel -f"]
    for place in places:
        seen = f"__windtunnel_at {' '.join(place.path)}" if place.path else ""
        below = f"not __fish_seen_subcommand_from {' '.join(place.commands)}" if place.commands else ""
        at = "; and ".join(filter(None, [seen, below])) if place.path else "__fish_use_subcommand"
        when = f"complete -c windtunnel -n {_fish(at)}"
        lines += [f"{when} -a {name} -d {_fish(meaning)}" for name, meaning in place.commands.items()]
        lines += [f"{when} -l {name[2:]} -d {_fish(meaning)}" for name, meaning in place.flags.items() if name.startswith("--")]
        for name, (meaning, value) in place.options.items():
            how = "-r -F" if value.files else f"-x -a {_fish(' '.join(value.words))}"
            lines.append(f"{when} -l {name[2:]} {how} -d {_fish(meaning)}")
        if place.argument.words:
            lines.append(f"{when} -a {_fish(' '.join(place.argument.words))}")
        if place.argument.files:
            lines.append(f"{when} -F")
    return "\n".join(lines)


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
