"""Studies written for the user: a first one on folders of his own, and one that asks which of his sources helps."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.formats import AS_THEY_STAND
from windtunnel.data.corpus.glance import Glance, glances
from windtunnel.data.corpus.split import SPLITS, shares_that_do, split_of
from windtunnel.recipe import sources_from

NO_TEXT = (
    "`windtunnel new` writes studies of text; what is something else has a study to copy: docs/rows.md for tables, docs/series.md, "
    "docs/images.md, docs/graphs.md, docs/trajectories.md for episodes"
)
SMALL = 2_000_000  # bytes: with less text, even the smallest section reads it more than four times
FEWEST = 8  # documents: for the sake of fewer, no larger share of all others is held out
HELD_OUT = {"validation": 0.05, "test": 0.1}  # shares of documents
SHARES = (0.0, 2.0)  # multiples of a source's own share that are flown
NAMES = {0.0: "without-{}", 0.5: "half-{}", 2.0: "twice-{}"}

FIRST = """\
# {what}
#
# See what it costs:  windtunnel check {file}{hours}
# Fly it:             windtunnel study {file}{hours}

description: {description}

# Your text. A source is a folder, a file, or knobs of `files`: `windtunnel parts files` lists them.
corpus:
{corpus}
# A test set of your own: never trained on, and copies of it leave the training documents. Then it can decide:
# held_out: {{target: PATH}}
# primary: bits_per_byte/target

budget: {{tokens_per_parameter: 20}}  # as much text as pre-training reads; fewer is faster, and about early training
seeds: {seeds}                      # a race stops where verdicts are clear; a number is fixed

baseline:
  section: {section}                         # a tuned small model: S, M or L; whatever is set here goes before it
{larger}  split: {{validation: {validation:g}, test: {test:g}}}  # shares of documents; or by time, see docs/own-corpus.md

# Each arm is a difference from the baseline. `windtunnel parts` lists what can be plugged in.
arms:
  cosine: {{schedule: {{cosine: {{warmup: 0.05}}}}}}
  adamw: {{optimizer: adamw}}
  whole-documents: {{packing: whole-documents}}
  # half-the-text: {{curators: {{fraction: {{share: 0.5}}}}}}
"""


def named(paths: Sequence[str | Path]) -> dict[str, str]:
    """Folders and files as sources, each under a name made from its own, written as they were given, with ``~`` for the home folder.

    Raises:
        UserError: for one that is not there, or is named twice.
    """
    found: dict[str, str] = {}
    known: set[Path] = set()
    for path in (Path(path).expanduser() for path in paths):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        if path.resolve() in known:
            raise UserError(f"{path}: is named twice")
        known.add(path.resolve())
        own = path.name if path.name not in ("", "..") else path.resolve().name
        name = re.sub(r"[^a-z0-9]+", "-", own.split(".")[0].lower()).strip("-") or "text"
        number = next(number for number in range(1, len(found) + 2) if (name if number == 1 else f"{name}-{number}") not in found)
        home = path.is_absolute() and path.is_relative_to(Path.home()) and Path.home() != Path("/")
        found[name if number == 1 else f"{name}-{number}"] = f"~/{path.relative_to(Path.home())}" if home else str(path)
    return found


def with_text(corpus: Mapping[str, Any], known: dict[str, Glance] | None = None) -> dict[str, Any]:
    """``corpus`` where what holds records without a field ``text`` says which of their fields is the text: the one that holds most of it.

    Raises:
        UserError: for a source that cannot be read.
    """
    found = dict(corpus)
    for name, glance in glances(sources_from(corpus), known).items():
        if isinstance(corpus[name], str) and not corpus[name].startswith("builtin:") and (field := glance.wordiest()):
            found[name] = {"files": {"path": corpus[name], "field": field}}
    return found


def first_study(
    corpus: Mapping[str, Any],
    file: Path,
    *,
    hours: float | None = None,
    section: str = "S",
    seeds: Any = None,
    known: dict[str, Glance] | None = None,
) -> str:
    """The text of a commented study on ``corpus``, whose beginning is read to say what is in it.

    Args:
        corpus: sources as a file writes them.
        file: where it will stand, for the comments.
        hours: that it is meant for.
        section, seeds: of its baseline.
        known: sources that are not read again.

    Raises:
        UserError: for a source that cannot be read.
    """
    lines, bytes_in_all = [], 0
    looked_at = glances(sources_from(corpus), known)
    for name, glance in looked_at.items():
        if glance.rows and not glance.has_text:
            raise UserError(f"corpus source {name!r}: {glance.example}; {NO_TEXT}")
    too_few = without_the_fewest(looked_at)
    if len(taken := [name for name in corpus if name not in too_few]) == 1 and not can_be_split(looked_at[taken[0]]):
        why = f"; {left}" if (left := looked_at[taken[0]].tally.summary("skipped")) else ""
        what = "too few documents to hold some out; add some (a long one can be cut into several)"
        raise UserError(f"corpus source {taken[0]!r}: {what}{why}")
    for name, glance in looked_at.items():
        about = glance.about()
        bytes_in_all += 0 if name in too_few else about["bytes"]
        said = f"{about['estimated']} {about['documents']:,} documents, {_megabytes(about['bytes'])} MB".strip()
        example = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in about["example"])[:60]
        lines.append(f"  # {said}; the first begins: {example}")
        lines += [f"  # {_counted(row)}" for row in glance.tally.rows()]
        beside, pages = (glance.tally.documents(what) for what in (AS_THEY_STAND, "HTML documents: text extracted"))
        if isinstance(corpus[name], str) and beside and 2 * pages >= glance.rows:
            alone = {"files": {"path": corpus[name], "glob": "**/*.html"}}
            lines.append(f"  # the pages alone: {_flow(name)}: {_flow(alone)}")
        if isinstance(corpus[name], Mapping) and (field := corpus[name].get("files", {}).get("field")):
            lines.append(
                f"  # no field is called text, so {field!r} is taken, which holds most; `template` joins several: docs/own-corpus.md"
            )
        if name in too_few:
            lines.append(
                "  # not taken: of so few documents a far larger share would have to be held out, and of all others too; to take them:"
            )
        lines.append(f"  {'# ' * (name in too_few)}{_flow(name)}: {_flow(corpus[name])}")
    small = f"  # {_megabytes(bytes_in_all)} MB in all is little: it will be read again and again, and verdicts are about that\n"
    names = ", ".join(name for name in corpus if name not in too_few)
    shares, few = held_out_shares({name: glance for name, glance in looked_at.items() if name not in too_few})
    return FIRST.format(
        what=f"Which technique pays on {names}? Written by `windtunnel new`; change what you like.",
        file=file,
        hours="" if hours is None else f" --hours {hours:g}",
        description=_flow(f"What pays on {names}"),
        corpus="\n".join(lines) + "\n" + (small if bytes_in_all < SMALL else ""),
        seeds="{least: 3, most: 6}" if seeds is None else seeds,
        section=section,
        larger=f"  # with less held out, no document of {few} would be in each of training, validation and test\n" if few else "",
        **shares,
    )


def _flow(value: Any) -> str:
    """``value`` as YAML on one line."""
    return yaml.safe_dump(value, allow_unicode=True, width=math.inf, default_flow_style=True).strip().removesuffix("\n...")


def _megabytes(size: float) -> str:
    """In two figures, and all that stand before the point."""
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.2g}"


def _counted(row: Mapping[str, Any]) -> str:
    """A row of the table of the corpus, in words."""
    what, kept = re.subn(r"^(skipped|left out): ", "", row["what"])
    return f"{'left out: ' * bool(kept)}{what} ({row['documents']:,})"


def can_be_split(glance: Glance) -> bool:
    """Whether some shares below one half leave a document in each split; of a source that was not read to its end there are enough."""
    places = glance.positions()
    usual = {split_of(place, **HELD_OUT) for place in places}
    return not glance.whole or len(usual) == len(SPLITS) or shares_that_do(places, len(places), HELD_OUT) is not None


def without_the_fewest(looked_at: Mapping[str, Glance]) -> list[str]:
    """The sources that are too small to be split; none where there are no others.

    Of these no share of documents would leave something in each split, or they have fewer than :data:`FEWEST` and would want more held out
    of all.
    """
    found: list[str] = []
    while len(rest := {name: glance for name, glance in looked_at.items() if name not in found}) > 1:
        shares, few = held_out_shares(rest)
        parts = {name: {split_of(one, **shares) for one in glance.positions()} for name, glance in rest.items() if glance.whole}
        hopeless = [name for name in parts if len(parts[name]) < len(SPLITS)]
        if few and rest[few].rows < FEWEST:
            hopeless.append(few)
        if not hopeless:
            break
        found.append(hopeless[0])
    return found


def held_out_shares(looked_at: Mapping[str, Glance]) -> tuple[dict[str, float], str]:
    """Shares of validation and test, as usual or the least above, that leave no split of a source empty; and whom they are larger for.

    Of sources that were not read to their end enough documents are sure to be held out.
    """
    shares, few = dict(HELD_OUT), ""
    small = {name: glance.positions() for name, glance in looked_at.items() if glance.whole}
    for name in tuple(small) * (1 + len(small)):  # what one source asks for can empty the validation of another
        counts = Counter(split_of(position, **shares) for position in small[name])
        if len(counts) < len(SPLITS) and (found := shares_that_do(small[name], len(small[name]), shares)) is not None:
            shares, few = dict(zip(HELD_OUT, found, strict=True)), name
    return shares, few


def which_sources(
    corpus: Mapping[str, Any],
    *,
    target: Mapping[str, Any] | None = None,
    decides: str | None = None,
    shares: Sequence[float] = SHARES,
    sizes: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A study that leaves each source out once and draws it more often, as plain data.

    The baseline draws sources by their bytes. In an arm one source has a multiple of its weight; the budget stays, so the others give way
    or gain. All arms are measured on every source and on ``target``.

    Args:
        corpus: two sources or more, as a file writes them.
        target: held-out sources.
        decides: the source whose number the verdicts rest on (default: the only target there is, else all test text).
        shares: the multiples; 0 leaves the source out.
        sizes: bytes of each source, where they are known; else its beginning is read.

    Raises:
        UserError: for fewer than two sources, a multiple that changes nothing, or a source that cannot be read.
    """
    if len(corpus) < 2:
        raise UserError("which source helps can be asked of two sources or more: give --corpus for each")
    if not shares or any(not 0 <= share < 1000 or share == 1 for share in shares) or len(set(shares)) < len(shares):
        raise UserError("--shares: multiples of a source's share, 0 or more, none of them 1 or twice, for example 0,2")
    target = dict(target or {})
    if decides is None and len(target) == 1:
        decides = next(iter(target))
    if decides is not None and decides not in {**corpus, **target}:
        raise UserError(f"--decides {decides}: no source is called so; known: {', '.join((*corpus, *target))}")
    sizes = sizes or {name: float(glance.about()["bytes"]) for name, glance in glances(sources_from(corpus)).items()}
    whole = sum(sizes[name] for name in corpus)
    own = {name: max(0.001, round(sizes[name] / whole, 3)) for name in corpus}
    arms = {}
    for name in corpus:
        for share in shares:
            arm = NAMES.get(share, "{}-times-" + f"{share:g}").format(name)
            arms[arm] = {"mixture": {"fixed": {"shares": {**own, name: round(own[name] * share, 6)}}}}
    return {
        "description": "Which source helps: each left out, and drawn more often",
        "corpus": dict(corpus),
        **({"held_out": target} if target else {}),
        **({"primary": f"bits_per_byte/{decides}"} if decides else {}),
        "budget": {"tokens_per_parameter": 20},
        "seeds": {"least": 3, "most": 6},
        "curve": [0.5, 1.0, 2.0],
        "baseline": {"section": "S", "split": HELD_OUT, "mixture": {"fixed": {"shares": own}}},
        "arms": arms,
    }
