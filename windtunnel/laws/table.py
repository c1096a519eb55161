"""Tables of finished runs: read from a file, checked, and refused where a fit of them would be a silent mistake.

A table is comma-, semicolon- or tab-separated text with a heading. Columns are named by the caller; nothing is guessed from their names
but a nearer spelling. Numbers are written as Python writes them (``7e9``, ``0.31``): thousands separators, decimal commas and units
(``7B``) are refused, because each has two readings.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError, nearest

SEPARATORS = (",", "\t", ";", "|")
DIVERGED = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}
MISSING = {"", "na", "n/a", "none", "null", "-", "?"}
TOKENIZER = re.compile(r"(?i)^(tokeni[sz]er(_?name)?|vocab(ulary)?(_?size)?)$")
SHOWN = 5  # line numbers that a message names


@dataclass(frozen=True)
class RunTable:
    """What was read: ``numbers`` and ``words`` by role, one entry a row; ``lines`` of the file."""

    path: Path
    names: Mapping[str, str]
    numbers: dict[str, np.ndarray]
    words: dict[str, list[str]]
    lines: np.ndarray
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def kept(self, rows: np.ndarray) -> RunTable:
        """The rows that the boolean array ``rows`` marks."""
        numbers = {role: values[rows] for role, values in self.numbers.items()}
        words = {role: [word for word, keep in zip(values, rows, strict=True) if keep] for role, values in self.words.items()}
        return RunTable(self.path, self.names, numbers, words, self.lines[rows], self.warnings)

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each row, which is drawn together in the bootstrap; None where no column names any."""
        return np.array(self.words["group"]) if "group" in self.words else None

    def at(self, rows: np.ndarray) -> str:
        """The lines of the file that ``rows`` marks, for a message: "lines 3, 7, 9 and 4 more"."""
        return _lines([int(line) for line in self.lines[rows]])


def read_table(
    path: Path,
    numbers: Mapping[str, str],
    words: Mapping[str, str | None] | None = None,
    *,
    where: Mapping[str, str] | None = None,
    unknown: Sequence[str] = (),
) -> RunTable:
    """The named columns of the table at ``path``.

    Rows with an empty cell in one of them are left out with a warning, and so is a row that repeats another in every column.

    Args:
        path: of a text file with a heading; UTF-8, with or without a byte order mark. Lines that begin with # above it are skipped.
        numbers: the column of each role that holds numbers; may hold nan and inf.
        words: the column of each role that holds names; None for a role without one.
        where: only rows whose cell in a column says this.
        unknown: roles of numbers whose empty cells are read as nan.

    Raises:
        UserError: for a file that cannot be read, a column that is missing or there twice, a cell that is no number, or losses of
            several tokenizers where a column says so.
    """
    named = {role: name for role, name in (words or {}).items() if name is not None}
    heading, rows = _cells(path)
    wanted = {**numbers, **named}
    chosen = dict(where or {})
    for role, name in (wanted | {f"choice {name}": name for name in chosen}).items():
        if heading.count(name) != 1:
            missing = f"no column {name!r} for the {role}; {nearest(name, heading)}"
            raise UserError(f"{path}: {f'two columns are called {name!r}' if name in heading else missing}")
    warnings: list[str] = []
    places = {role: heading.index(name) for role, name in wanted.items()}
    for name, value in chosen.items():
        place = heading.index(name)
        values = {cells[place] for _, cells in rows}
        rows = [(line, cells) for line, cells in rows if cells[place] == value]
        if not rows:
            raise UserError(f"{path}: no row has {value!r} in column {name!r}; {nearest(value, values)}")
    seen: dict[tuple[str, ...], int] = {}
    full, empty, twice = [], [], []
    for line, cells in rows:
        if any(cells[place].lower() in MISSING for role, place in places.items() if role not in unknown):
            empty.append(line)
        elif tuple(cells) in seen:
            twice.append(line)
        else:
            seen[tuple(cells)] = line
            full.append((line, cells))
    if empty:
        warnings.append(f"{_lines(empty)}: an empty cell; left out")
    if twice:
        warnings.append(f"{_lines(twice)}: repeats an earlier row in every column; counted once")
    if not full:
        raise UserError(f"{path}: no row has {' and '.join(map(repr, wanted.values()))}")
    _refuse_tokenizers(path, heading, [cells for _, cells in full], numbers.get("loss", ""))
    found = {
        role: np.array(
            [
                math.nan if role in unknown and cells[place].lower() in MISSING else _number(path, line, name, cells[place])
                for line, cells in full
            ]
        )
        for role, name in numbers.items()
        for place in [places[role]]
    }
    texts = {role: [cells[places[role]] for _, cells in full] for role in named}
    return RunTable(path, wanted, found, texts, np.array([line for line, _ in full]), warnings)


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The heading and, for every row that is not blank, its line and cells."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, and a table is a file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; a table is comma-, semicolon- or tab-separated text with a heading") from None
    lines = text.splitlines(keepends=True)
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped].startswith("#")):
        skipped += 1
    if skipped == len(lines):
        raise UserError(f"{path}: empty")
    separator = max(SEPARATORS, key=lambda mark: len(next(csv.reader([lines[skipped]], delimiter=mark))))
    reader = csv.reader(io.StringIO("".join(lines[skipped:])), delimiter=separator, skipinitialspace=True)
    try:
        read = [(reader.line_num + skipped, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num + skipped}: {error}") from None
    heading = read[0][1]
    rows = [(line, cells) for line, cells in read[1:] if any(cells)]
    if not rows:
        raise UserError(f"{path}: a heading without rows")
    for line, cells in rows:
        if len(cells) != len(heading):
            hint = "; a thousands separator would do that" if separator == "," and len(cells) > len(heading) else ""
            raise UserError(f"{path}: line {line} has {len(cells)} cells where the heading has {len(heading)}{hint}")
    return heading, rows


def _number(path: Path, line: int, column: str, cell: str) -> float:
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell) or cell.lower() in DIVERGED:
        return float(cell)
    if re.fullmatch(r"[+-]?\d{1,3}([,_' ]\d{3})+(\.\d*)?", cell):
        why = "has thousands separators; write it without"
    elif re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell):
        why = "has a decimal comma; write a point"
    elif re.fullmatch(r"(?i)[+-]?\d+\.?\d*\s*[kmbtg]", cell):
        why = "has a unit; write the number in full, such as 7e9"
    else:
        why = "is not a number"
    raise UserError(f"{path}: line {line}, column {column!r}: {cell!r} {why}")


def _refuse_tokenizers(path: Path, heading: Sequence[str], rows: Sequence[Sequence[str]], loss: str) -> None:
    """Losses per token of two tokenizers are in two units. Losses per byte are not."""
    if re.search(r"(?i)bpb|byte|bpc|char", loss):
        return
    for place, name in enumerate(heading):
        if TOKENIZER.match(name) and len(kinds := sorted({cells[place] for cells in rows} - {""})) > 1:
            raise UserError(
                f"{path}: column {name!r} says that the runs have {len(kinds)} tokenizers ({', '.join(kinds[:3])} ...), so their losses "
                "per token are in different units; fit each alone, or use bits per byte and say so in the column's name (such as loss_bpb)"
            )


def _lines(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:SHOWN]))}{more}"


def scales(logs: np.ndarray) -> np.ndarray:
    """The number of the budget of each run, from the logarithms of FLOPs.

    The value that most others lie within 8 percent of takes them, and so on with what is left: budgets that are noisy, or that a run of
    another study lies between, are not joined into one.
    """
    near = np.abs(logs[:, None] - logs) < np.log(1.08)
    place, number = np.full(len(logs), -1), 0
    while (place < 0).any():
        open_ = place < 0
        first = int(np.where(open_, (near & open_).sum(axis=1), -1).argmax())
        place[open_ & near[first]] = number
        number += 1
    return place


# What units give away -----------------------------------------------------------------------------------------------------------


def check_loss(table: RunTable, role: str = "loss") -> RunTable:
    """The rows with a finite loss. Others are left out with a warning.

    Raises:
        UserError: where no loss is finite, or the losses cannot be in nats: below or at zero, or perplexities.
    """
    name, loss = table.names[role], table.numbers[role]
    finite = np.isfinite(loss)
    if not finite.any():
        raise UserError(f"{table.path}: no finite number in column {name!r}: every run diverged; fly them again with a lower learning rate")
    if not finite.all():
        table.warnings.append(f"{table.at(~finite)}: the loss is not finite; left out. Fly the runs again with a lower learning rate")
    kept = table.kept(finite)
    loss = kept.numbers[role]
    if (loss <= 0).any():
        raise UserError(f"{table.path}: {kept.at(loss <= 0)}, column {name!r}: a loss in nats is above zero")
    if re.search(r"(?i)ppl|perplex", name) and not re.search(r"(?i)log", name):
        raise UserError(f"{table.path}: column {name!r} names perplexities; the law is in nats: give a column with their natural logarithm")
    if float(np.median(loss)) > 11 or (loss > 20).any():
        raise UserError(
            f"{table.path}: column {name!r} has losses up to {loss.max():.4g}, and an untrained model of 50,000 tokens has 10.8 nats "
            "(its logarithm). If they are perplexities, give their natural logarithm; if bits, multiply by ln 2; if runs diverged, remove "
            "them"
        )
    if re.search(r"(?i)bit|bpb|bpc|bpt", name):
        table.warnings.append(f"column {name!r} names bits: E, A and B are in that unit and not in nats (exponents are the same)")
    return kept


def check_count(table: RunTable, role: str, least: float, unit: str) -> None:
    """Refuse a column of counts that is not positive and finite, or that must be in thousands, millions or billions.

    Raises:
        UserError: naming lines and what to write instead.
    """
    name, values = table.names[role], table.numbers[role]
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        raise UserError(f"{table.path}: {table.at(wrong)}, column {name!r}: {unit} must be positive numbers")
    if (values < least).any():
        small = values < least
        some = "" if small.all() else f" on {table.at(small)}"
        raise UserError(
            f"{table.path}: column {name!r} holds {values[small].min():g}{some}, too few for {unit}; if it is in millions or billions, "
            "write raw numbers, such as 70e6"
        )


def check_ratio(table: RunTable) -> None:
    """Refuse sizes and tokens that cannot both be raw numbers, by tokens per parameter. Raises UserError."""
    ratio = table.numbers["tokens"] / table.numbers["size"]
    odd = (ratio > 1e5) | (ratio < 1e-3)
    if odd.any():
        worst = float(ratio[odd][np.abs(np.log(ratio[odd])).argmax()])
        wrong = table.names["size"] if worst > 1 else table.names["tokens"]
        raise UserError(
            f"{table.path}: {table.at(odd)}: {worst:.3g} tokens per parameter; column {wrong!r} seems to be in millions or billions, and "
            "both columns must hold raw numbers, such as 70e6"
        )
