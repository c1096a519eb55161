"""The atlas: one page of all papers, what was measured of each at each scale, what was not flown yet, and what nobody has built.

It works offline and runs nothing: the choice of an area or an outcome is a radio button that a style sheet reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from windtunnel.report import charts
from windtunnel.report.elements import framed, safe, section, to_file
from windtunnel.report.expectations import improved, law_number
from windtunnel.report.words import DASH, duration, finite
from windtunnel.study.known import KnownPaper
from windtunnel.study.paper_result import Finding, PaperResult
from windtunnel.study.papers import Paper, measured

NOT_FLOWN = "not flown"
NOT_BUILT, SURVEY = "not built", "survey"
OUTCOMES = ("reproduced", "not reproduced", "undecided", NOT_FLOWN, SURVEY, NOT_BUILT)
CHIPS = {"reproduced": "helps", "not reproduced": "hurts"}  # classes of the page's style
WIDTH, HEIGHT = 110, 16  # of the drawing of an interval
REACH = 0.2  # the share at which a drawing ends; what lies beyond is cut there


@dataclass(frozen=True)
class Flight:
    """One scale of one paper, with what was measured of it if it was flown."""

    paper: Paper
    scale: str
    result: PaperResult | None

    @property
    def outcome(self) -> str:
        """The verdict of the paper at this scale."""
        return self.result.verdict if self.result else NOT_FLOWN

    @property
    def first(self) -> Finding | None:
        """What the paper is about first of all: its first expectation."""
        return self.result.expectations[0] if self.result and self.result.expectations else None

    @property
    def held(self) -> str:
        """How many expectations held, of how many."""
        if not self.result:
            return DASH
        verdicts = [finding.verdict for finding in self.result.expectations]
        return f"{verdicts.count('reproduced')} of {len(verdicts)}"

    @property
    def exposure(self) -> float | None:
        """Tokens of the baseline over its parameters: those in blocks, or all where the result does not tell these."""
        if not self.result:
            return None
        baseline = self.result.baseline
        if baseline.tokens_per_parameter is None and baseline.tokens and baseline.parameters:
            return baseline.tokens / baseline.parameters
        return baseline.tokens_per_parameter


def entries(papers: Iterable[Paper], folders: Sequence[Path] = ()) -> list[Flight]:
    """All scales of ``papers`` that were flown, by area and name, and of a paper without any its first scale.

    Results lie beside a paper's file or below one of ``folders``, as NAME/SCALE.json; a later folder's count before an earlier one's.
    """
    found = []
    for paper in sorted(papers, key=lambda paper: (paper.area, paper.name)):
        results = measured(paper)
        for folder in folders:
            results |= measured(paper, folder)
        scales = [scale for scale in paper.scales if scale in results] or [next(iter(paper.scales))]
        found += [Flight(paper, scale, results.get(scale)) for scale in scales]
    return found


def page(found: Sequence[Flight], file: Path, missing: Sequence[KnownPaper] = ()) -> Path:
    """Write the atlas to ``file``; returns its path. Raises UserError where it cannot be written."""
    return to_file(document(found, missing), file)


def document(found: Sequence[Flight], missing: Sequence[KnownPaper] = ()) -> str:
    """The whole page as text, with a row for each of the ``missing`` papers below those that are there."""
    papers = {entry.paper.name for entry in found}
    flown = {entry.paper.name for entry in found if entry.result}
    counts = Counter([*(entry.outcome for entry in found), *map(outcome_of, missing)])
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES[:3] if counts[outcome])
    flights = sum(1 for entry in found if entry.result)
    often = f" (at {flights} scales in all)" if flights > len(flown) else ""  # outcomes are counted at each
    subtitle = f"{len(papers)} papers, {len(flown)} of them flown{often}: {told or 'nothing measured yet'}"
    subtitle += f"; {counts[NOT_BUILT]} more that nobody has built" if counts[NOT_BUILT] else ""
    areas = sorted({entry.paper.area or "other" for entry in found} | {one.area for one in missing})
    style = f"<style>\n{rules(areas)}</style>\n"
    choices = choice("area", areas) + choice("outcome", [outcome for outcome in OUTCOMES if counts[outcome]])
    note = (
        "<p>“Not reproduced” is a result: nothing was tuned until it came out right. The improvement is that of the paper’s first "
        "expectation, above zero is better, with its interval over seeds; where that is about a law, it is the law’s number. “4 of 5” "
        "counts the expectations that held. A paper is reproduced if all hold, and not reproduced if one is refuted. Real pre-training "
        "sees 20 to several thousand tokens for each parameter: of what was flown with fewer than ten only the beginning of training "
        "is known.</p>\n"
    )
    heading, numbers = "What published papers claim, and what was measured", "in <code>SCALE.json</code> beside each paper"
    body = section("Papers", choices, table(found, missing))
    return framed("Atlas of papers", "Windtunnel atlas", heading, subtitle, style + note, body, version("windtunnel"), numbers)


def rules(areas: Sequence[str]) -> str:
    """The style of the choices: what is not chosen is not shown."""
    shown = [
        "fieldset { border: 0; margin: 0 0 0.6rem; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.9rem; }\n",
        "legend { float: left; margin-right: 1rem; color: var(--muted); }\n",
        "main, header, footer { max-width: 78rem; }\n",  # so that all columns fit a page of 1,280 pixels
        "table { font-size: 0.82rem; }\n",
        "th + th, td { padding-left: 0.55rem; }\n",
        "td.word { min-width: 0; white-space: nowrap; }\n",
        "td.gain { white-space: normal; min-width: 21rem; }\n",
        "td svg { display: inline-block; vertical-align: middle; margin-left: 0.5rem; }\n",
    ]
    for group, values in (("area", areas), ("outcome", OUTCOMES)):
        for value in values:
            row = f'tbody tr:not([data-{group}="{safe(value)}"])'
            shown.append(f"main:has(#{identifier(group, value)}:checked) {row} {{ display: none; }}\n")
    return "".join(shown)


def choice(group: str, values: Sequence[str]) -> str:
    """Radio buttons for ``group``."""
    every = f'<label><input type="radio" name="{group}" checked> all</label>\n'
    buttons = "".join(
        f'<label><input type="radio" name="{group}" id="{identifier(group, value)}"> {safe(value)}</label>\n' for value in values
    )
    return f"<fieldset><legend>{group}</legend>\n{every}{buttons}</fieldset>\n"


def identifier(group: str, value: str) -> str:
    """The name of a choice in the page."""
    return f"{group}-" + "".join(character if character.isalnum() else "-" for character in value)


def table(found: Sequence[Flight], missing: Sequence[KnownPaper]) -> str:
    """A row for each entry, and below for each missing paper."""
    columns = ("paper", "outcome", "held", "improvement", "tokens / parameter", "area", "scale", "FLOPs", "time")
    words = {0, 1, 5, 6}
    head = "".join(f'<th scope="col"{" class=word" if index in words else ""}>{column}</th>' for index, column in enumerate(columns))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Papers"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join([*map(row, found), *map(row_of_missing, missing)])}</tbody></table></div>\n"
    )


def row(entry: Flight) -> str:
    """One entry as a row."""
    paper, result = entry.paper, entry.result
    name = f'<a href="https://arxiv.org/abs/{safe(paper.arxiv)}">{safe(paper.name)}</a>' if paper.arxiv else safe(paper.name)
    also = f"; also answers {', '.join(paper.papers[1:])}" if len(paper.papers) > 1 else ""
    title = safe(f"{paper.title} ({paper.year}){also}")
    chip = f'<span class="chip {CHIPS.get(entry.outcome, "")}">{safe(entry.outcome)}</span>'
    cells = (
        f'<td class="word">{chip}</td>',
        f"<td>{entry.held}</td>",
        f'<td class="gain">{improvement(entry.first)}</td>',
        f"<td>{DASH if entry.exposure is None else f'{entry.exposure:.2g}'}</td>",
        f'<td class="word">{safe(paper.area or "other")}</td>',
        f'<td class="word">{safe(entry.scale)}</td>',
        f"<td>{f'{result.flops:.1e}' if result and result.flops else DASH}</td>",
        f"<td>{duration(result.seconds) if result else DASH}</td>",
    )
    data = f'data-area="{safe(paper.area or "other")}" data-outcome="{safe(entry.outcome)}"'
    return f'<tr {data}><th scope="row" class="word" title="{title}">{name}</th>{"".join(cells)}</tr>\n'


def outcome_of(paper: KnownPaper) -> str:
    """Surveys claim nothing that could be flown; of them is told how many techniques are here."""
    return SURVEY if paper.here else NOT_BUILT


def row_of_missing(paper: KnownPaper) -> str:
    """A paper that nobody has built, or a survey, as a row."""
    outcome = outcome_of(paper)
    cells = (
        f'<td class="word"><span class="chip">{outcome}</span></td>',
        f"<td>{f'{paper.here} here' if paper.here else DASH}</td>",
        *(f"<td>{DASH}</td>" for _ in range(2)),
        f'<td class="word">{safe(paper.area)}</td>',
        f'<td class="word">{DASH}</td>',
        *(f"<td>{DASH}</td>" for _ in range(2)),
    )
    name = f'<th scope="row" class="word" title="{safe(paper.title)}">{safe(paper.name)}</th>'
    return f'<tr data-area="{safe(paper.area)}" data-outcome="{outcome}">{name}{"".join(cells)}</tr>\n'


def improvement(finding: Finding | None) -> str:
    """The improvement of an expectation with its interval, in figures and, where it is a share, drawn."""
    mean = finite(finding.improvement.mean) if finding else None
    if finding is None or mean is None:
        return DASH
    if finding.law:
        return f'<span title="{safe(f"{finding.law}: {finding.number}")}">{safe(law_number(finding.improvement))}</span>'
    low, high = finite(finding.improvement.low), finite(finding.improvement.high)
    title = safe(f"{finding.arm} against {finding.rival}: {finding.metric.replace('_', ' ')}")
    text = f'<span title="{title}">{safe(improved(finding))}</span>'
    return text + (drawing(mean, low, high) if finding.relative else "")


def drawing(mean: float, low: float | None, high: float | None) -> str:
    """An interval and its middle on a line that has zero in its middle and ends at :data:`REACH` on both sides."""

    def at(value: float) -> float:
        return WIDTH / 2 * (1 + max(-1.0, min(1.0, value / REACH)))

    ends = at(-REACH if low is None else low), at(REACH if high is None else high)
    ink, muted, middle = charts.light("ink"), charts.light("muted"), HEIGHT / 2
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">'
        f'<path d="M{WIDTH / 2} 0V{HEIGHT}" stroke="{muted}" stroke-dasharray="2 2"></path>'
        f'<path d="M{ends[0]:.1f} {middle}H{ends[1]:.1f}" stroke="{ink}" stroke-width="2"></path>'
        f'<circle cx="{at(mean):.1f}" cy="{middle}" r="3.5" fill="{ink}"></circle></svg>'
    )
