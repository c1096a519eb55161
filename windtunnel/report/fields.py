"""The page of the fields of result.json and record.json, made from their types."""

from __future__ import annotations

import inspect
import re
from typing import Any

from windtunnel.core.typed import Failure, JsonBlock
from windtunnel.report.markup import escaped, table_of
from windtunnel.study.paper_result import Finding, Improvement, PaperResult
from windtunnel.study.result import (
    About,
    Arm,
    Axes,
    Baseline,
    Comparison,
    ComputeGain,
    CorpusRow,
    Estimate,
    Evaluated,
    Look,
    OverDocuments,
    Point,
    Run,
    RunsSoFar,
    RunTotals,
    Sample,
    Sides,
    Stages,
    StreamFacts,
    StudyResult,
    Transfer,
    Tuned,
    Tuning,
    TuningTrial,
)
from windtunnel.train.record import Measured, RunRecord, Totals

INTRODUCTION = """# The fields of result.json

`windtunnel study` writes `studies/NAME/result.json` beside the report and rewrites it after every finished run; `--json` prints it.
`windtunnel.study.result.StudyResult` is its type, and reads it. A change that would break a reader raises `format`; results of format 1
are still read. Unknown and infinite numbers are `null`.

This page is made from the types by `make docs`."""
COMPARED = (Baseline, Point, Arm, Comparison, Estimate, OverDocuments, ComputeGain, Look)
FLOWN = (Run, RunTotals, Evaluated, Failure)
KEPT = (Transfer, Stages, Axes, Sides)
TRIED = (Tuning, Tuned, TuningTrial)
READ = (Sample, CorpusRow, StreamFacts)
PAPER = (PaperResult, Finding, Improvement)
RESULT: tuple[type[JsonBlock], ...] = (StudyResult, About, RunsSoFar, *COMPARED, *FLOWN, *KEPT, *TRIED, *READ, *PAPER)
RECORD: tuple[type[JsonBlock], ...] = (RunRecord, Totals, Measured)
RECORDS = """# The fields of record.json

Every run leaves `record.json` in its folder: everything that came of it, in a few kB. Without the weights it still counts as flown."""


def result_page() -> str:
    """The fields of a result and of a record as Markdown, a section for each block."""
    blocks = [INTRODUCTION, *map(section, RESULT), RECORDS, *map(section, RECORD)]
    return "\n\n".join(blocks) + "\n"


def section(block: type[JsonBlock]) -> str:
    """One block: what it is, and a row for each field."""
    rows = [(f"`{key}`", f"`{kind(info.annotation)}`", escaped(info.description or "")) for key, info in block.model_fields.items()]
    meaning = " ".join(inspect.cleandoc(block.__doc__ or "").partition("\n\n")[0].split())
    return f"## {block.__name__}\n\n{escaped(meaning)}\n\n{table_of(('field', 'type', 'meaning'), rows, frozenset(range(3)))}"


def kind(annotation: Any) -> str:
    """A type as a reader writes it; an alternative bar would end the cell of a table."""
    text = annotation.__name__ if isinstance(annotation, type) and not getattr(annotation, "__args__", None) else str(annotation)
    text = re.sub(r"\b(?:typing|windtunnel(?:\.\w+)+)\.", "", text)
    if "Annotated[float" in text:
        text = text[: text.index("Annotated[float")] + "float" + "]" * text.count("dict[")
    return text.replace(" | ", " or ")
