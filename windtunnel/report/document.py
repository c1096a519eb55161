"""The report as one HTML file that works offline: no script, no request, nothing beside it needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.laws.decision import ForecastResult
from windtunnel.report import charts, outlook, rates, samples, sweep, tables, transfer, ways
from windtunnel.report.elements import (
    RECIPE_LENGTH,
    explained,
    figure,
    folded,
    framed,
    html_table,
    pairs,
    paragraphs,
    recipes,
    safe,
    section,
    shortened,
    swatch,
    to_file,
)
from windtunnel.report.expectations import expected
from windtunnel.report.fairness import warnings
from windtunnel.report.markup import markdown
from windtunnel.report.reading import Reading
from windtunnel.report.words import listing, plural
from windtunnel.study.result import BASELINE, StudyResult

BESIDE = 440  # the width of the differences beside the verdicts


def page(result: StudyResult | Mapping[str, Any], folder: Path, forecast: ForecastResult | None = None) -> Path:
    """Write ``folder/report.html`` for a result.json, with a section about ``forecast``, and return its path. It is replaced whole or not.

    Raises:
        UserError: where the folder cannot be written.
    """
    return to_file(document(result, forecast), Path(folder) / "report.html")


def write_report(result: StudyResult | Mapping[str, Any], folder: Path) -> Path:
    """Write the report of a study or a paper to ``folder``, ``report.html`` and ``report.md``; returns the path of the page.

    Raises:
        UserError: where the folder cannot be written.
    """
    to_file(markdown(result), Path(folder) / "report.md")
    return page(result, folder)


def document(result: StudyResult | Mapping[str, Any], forecast: ForecastResult | None = None) -> str:
    """The whole page as text."""
    reading = Reading(result)
    found = reading.result
    name, version = reading.study.name or "study", found.versions.get("windtunnel", "")
    sections = (
        section("What the paper leads us to expect", html_table(expected(reading))),
        outlook_section(forecast) if forecast else "",
        verdicts(reading),
        section("The numbers", html_table(tables.verdicts(reading)), folded_looks(reading)),
        curves(reading),
        rates_section(reading),
        transfer_section(reading),
        pruning_sweep(reading),
        section("What it cost", html_table(tables.costs(reading))),
        others(reading),
        samples.of_arms(reading),
        section("The corpus", html_table(tables.corpus(reading)), stream(reading), removed(reading)),
        failures(reading),
        section("Every run", folded("All runs", len(reading.runs), html_table(tables.runs(reading))) if reading.runs else ""),
        recipes(found.recipes),
        tuning(reading),
        section("Notes", paragraphs(found.notes)),
        section("Versions and hardware", pairs({**found.versions, **found.hardware})),
        reading_on(reading),
    )
    head = f"{paragraphs(reading.study.description)}{banner(reading)}"
    title = f"{name}: {'verdicts' if reading.finished else 'verdicts so far'}"
    return framed(title, "Windtunnel study", str(name), subtitle(reading), head, "".join(sections), str(version))


def removed(reading: Reading) -> str:
    """What curators removed, to be opened."""
    table = tables.removed(reading)
    return folded(table.title, None, html_table(table)) if table.rows else ""


def subtitle(reading: Reading) -> str:
    """One line: what was compared with what."""
    arms = (
        f"{len(reading.arms)} arm{'' if len(reading.arms) == 1 else 's'} against one baseline"
        if reading.arms
        else "A baseline without arms"
    )
    judges = "documents" if reading.unit_name == "token" else f"{reading.unit_name}s"
    return f"{arms} · {reading.seeds()} · {reading.budget()} a run · judged by {reading.deciding} on held-out test {judges}"


def banner(reading: Reading) -> str:
    """What to say of a study that is still flying, or that can say nothing."""
    shown = f'<p class="banner" role="note"><strong>Early training.</strong> {safe(early)}</p>\n' if (early := reading.early()) else ""
    if reading.result.error:
        shown += f'<p class="banner" role="alert"><strong>No verdict.</strong> {safe(reading.result.error)}</p>\n'
    if not reading.finished:
        progress = reading.result.progress
        done = progress.finished or sum(run.finished for run in reading.runs)
        whole = f"{done} of {plural(progress.runs, 'run')}" if progress.runs else plural(done, "run")
        said = safe(f"This is what the study says so far: {whole} {'is' if done == 1 else 'are'} finished. Verdicts may change.")
        shown += f'<p class="banner" role="status"><strong>Not finished.</strong> {said}</p>\n'
    return shown


def verdicts(reading: Reading) -> str:
    """The verdicts in plain words, the differences drawn beside them, warnings, and what all of it rests on."""
    items = []
    for name in reading.ranked():
        verdict = reading.arms[name].verdict
        items.append(
            f'<li><span class="chip {(verdict or "pending").replace(" ", "-")}">{safe(verdict or "not yet")}</span>'
            f"<p><strong>{safe(name)}</strong> {safe(reading.sentence(name))}</p></li>\n"
        )
    said = f'<ul class="verdicts">\n{"".join(items)}</ul>' if items else "<p>No arm was flown: there is only a baseline.</p>"
    if drawn := forest(reading):
        said = f'<div class="first">\n{said}\n{drawn}\n</div>'
    warned = "\n".join(f'<p class="warning">{safe(line)}</p>' for line in warnings(reading))
    more = explained("what the correction for several arms means", corrected) if (corrected := reading.multiplicity()) else ""
    known = reading.arms or reading.baseline.model_fields_set
    honest = f'<div class="note">{safe(" ".join(reading.honesty()))}{more}</div>' if known else ""
    return section("What pays", said, warned, honest)


def outlook_section(found: ForecastResult) -> str:
    """The forecast: what to do, bands, the table of arms, what more pilots are worth, and doubts."""
    said = "".join(f"<p>{safe(line)}</p>\n" for line in outlook.sentences(found))
    legend = "".join(f"<li>{swatch(*style)}{safe(name)}</li>" for name, style in outlook.styles(found).items())
    caption = (
        "Diamonds: measured means; lines and bands of 80 percent: the baseline's law of compute and each arm's difference upon it. The "
        "dashed rules mark the largest scale that was flown and the target: between them everything is forecast."
    )
    alternative = f"Forecast of {found.metric} against FLOPs. The numbers are in the table below."
    drawing = figure(charts.both(outlook.chart, found, "outlook", alternative), caption, f'<ul class="legend">{legend}</ul>\n')
    warned = "\n".join(f'<p class="warning">{safe(line)}</p>' for line in found.warnings)
    more = outlook.pilots(found)
    pilots = f"<h3>{safe(more.title)}</h3>\n{html_table(more)}" if more.rows else ""
    return section(f"At {found.target:.3g} FLOPs", said, warned, drawing, html_table(outlook.table(found)), pilots)


def folded_looks(reading: Reading) -> str:
    """What each look at a race said."""
    table = tables.looks(reading)
    return folded(table.title, len(table.rows), html_table(table)) if table.rows else ""


def forest(reading: Reading) -> str:
    """The forest plot, with what its marks mean behind a question mark; empty where no arm has a difference."""
    shown = [name for name in reading.ranked() if charts.finite(reading.arms[name].test.difference) is not None]
    missing = [name for name in reading.arms if name not in shown]
    alternative = "Forest plot of the differences to the baseline. " + " ".join(f"{name}: {reading.sentence(name)}" for name in shown)
    caption = f"Difference of each arm to the baseline with its {reading.confidence} interval."
    if missing:
        caption += f" Without a difference to draw: {listing(missing)}."
    marks = "Filled circle: helps; diamond: hurts; square: no difference; hollow: undecided."
    if reading.margin:
        marks += " The shaded band is the equivalence margin: an interval wholly inside it is “no difference”."
    drawing = charts.both(charts.forest, reading, "forest", alternative, BESIDE)
    return figure(drawing, caption, more=explained("what the marks mean", marks))


def curves(reading: Reading) -> str:
    """Loss against compute."""
    chosen = charts.styles(reading)
    swatches = {BASELINE: ("ink", (1, 0)), **chosen}
    marks = {BASELINE: charts.budget_points(reading), **charts.diamonds(reading)}
    drawn = [name for name in swatches if charts.bands(reading, name) or marks.get(name)]
    grey = [name for name in reading.ranked() if name not in chosen and charts.bands(reading, name)]
    legend = "".join(f"<li>{swatch(*swatches[name])}{safe(name)}</li>" for name in drawn)
    legend = f'<ul class="legend">{legend}</ul>\n' if legend else ""
    caption = (
        "Lines: validation during training, mean over seeds; bands: from the lowest to the highest seed. Diamonds: the test split at the "
        "end of training, for the baseline (hollow, with interval) at every budget it was flown at. The dotted line between them is what "
        "turns a difference into a compute gain: go sideways from an arm's diamond until it is met."
    )
    if said := reading.two_scales():
        caption += f" {said} Compare lines with lines and diamonds with diamonds."
    if grey:
        caption += f" Thin grey lines: {listing(grey)}."
    shown = listing(drawn) if drawn else "the baseline"
    alternative = f"{reading.measure} against FLOPs spent, for {shown}. The numbers at the end are in the table above."
    return section(
        "Loss against compute" if reading.lower_is_better else "Score against compute",
        figure(charts.both(charts.curves, reading, "curves", alternative), caption, legend),
    )


def rates_section(reading: Reading) -> str:
    """Loss against learning rate, where the study checks it."""
    table, chosen = tables.over_rates(reading), {BASELINE: ("ink", (1, 0)), **charts.styles(reading)}
    legend = "".join(f"<li>{swatch(*chosen[name])}{safe(name)}</li>" for name in reading.over_rates() if name in chosen)
    said = " ".join(rates.sentences(reading))
    drawing = charts.both(rates.chart, reading, "rates", said or rates.CAPTION)
    shown = figure(drawing, rates.CAPTION, f'<ul class="legend">{legend}</ul>\n')
    return section(table.title, paragraphs(rates.sentences(reading)), shown, html_table(table))


def transfer_section(reading: Reading) -> str:
    """What training on one source after another kept and gained: both axes, the matrix of each arm, the numbers."""
    return section(
        "What was kept and what was gained",
        figure(charts.both(transfer.axes, reading, "axes", transfer.AXES), transfer.AXES),
        html_table(ways.table(reading)),
        figure(charts.both(ways.chart, reading, "ways", ways.CAPTION), ways.CAPTION),
        figure(charts.both(transfer.heat, reading, "heat", transfer.HEAT), transfer.HEAT),
        html_table(tables.transfer_table(reading)),
    )


def pruning_sweep(reading: Reading) -> str:
    """Loss against sparsity of models pruned at once, where it was measured."""
    table = tables.pruning_sweep(reading)
    legend = "".join(f"<li>{swatch(*style)}{safe(' '.join(key))}</li>" for key, style in sweep.drawn(reading).items())
    alternative = " ".join(f"{row[0]}, {row[1]}: knee at {row[3]} ({row[4]}), best shape {row[2]}." for row in table.rows)
    drawing = charts.both(sweep.chart, reading, "sweep", alternative)
    return section(table.title, figure(drawing, sweep.CAPTION, f'<ul class="legend shown">{legend}</ul>\n'), html_table(table))


def others(reading: Reading) -> str:
    """Other test metrics; folded where there are many."""
    table = tables.others(reading)
    content = html_table(table)
    return section("Other measurements", content if len(table.rows) <= 24 else folded("All measurements", len(table.rows), content))


def stream(reading: Reading) -> str:
    """How many units each split holds, and what the encoding says of itself."""
    facts, lines = reading.result.stream, []
    for split, entry in facts.sizes.items():
        inner = tables.count(entry)
        if isinstance(entry, Mapping):
            inner = ", ".join(f"{source} {tables.count(tokens)}" for source, tokens in entry.items())
        lines.append(f"{split}: {inner}")
    if not lines:
        return ""
    unit = reading.unit_name.capitalize()
    told = {key.replace("_", " ").capitalize(): value for key, value in facts.encoding.items() if value}
    numbers = "".join(f" {key}: {tables.number(value, 0)}." for key, value in told.items())
    said = f"{unit}s after removal, {'; '.join(lines)}.{numbers}"
    return f'<p class="note">{safe(said)} Documents are split by a hash of their content before anything else happens.</p>'


def failures(reading: Reading) -> str:
    """Failed runs with their tracebacks; the same traceback is shown once."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for run in reading.failed_runs():
        grouped.setdefault((run.arm, run.traceback or "no traceback was recorded"), []).append(str(run.seed))
    blocks = [
        folded(
            f"{arm}, seed{'s' if len(seeds) > 1 else ''} {listing(seeds)}: {shortened(tables.last_line(text), 200)}",
            None,
            f"<pre>{safe(shortened(text, 20_000))}</pre>",
        )
        for (arm, text), seeds in grouped.items()
    ]
    return section("Failed runs", *blocks)


def tuning(reading: Reading) -> str:
    """What was tuned, with how many trials, and what was chosen for each arm."""
    import yaml

    found = reading.result.tuning
    if found is None:
        return ""
    text = yaml.safe_dump(found.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True, width=100)
    note = '<p class="note">Every arm and the baseline got the same knobs and the same number of trials, chosen on validation.</p>'
    table = html_table(tables.trials(reading))
    return section("Tuning", note, table, folded("Trials and what was chosen", None, f"<pre>{safe(shortened(text, RECIPE_LENGTH))}</pre>"))


def reading_on(reading: Reading) -> str:
    """How to read the page and how to go on from here."""
    file = reading.study.file or "STUDY.yaml"
    better = "below" if reading.lower_is_better else "above"
    undecided = [name for name in reading.ranked() if reading.arms[name].verdict == "undecided"]
    advice = [
        f"<p><strong>helps</strong> and <strong>hurts</strong> mean that the whole interval lies on one side of zero ({better} it is "
        "better) and reaches beyond the margin; <strong>no difference</strong> that it lies inside the margin; <strong>undecided</strong> "
        "that these seeds cannot tell. A compute gain of 1.5 means that the baseline would need one and a half times the arm's compute to "
        "get as far.</p>",
        f"<p>The same command continues the study; finished runs are not trained again: <code>windtunnel study {safe(file)}</code></p>",
    ]
    if undecided:
        advice.append(
            f"<p>To decide {safe(listing(undecided))}, raise <code>seeds:</code> in that file; the seeds already flown are kept.</p>"
        )
    if reading.failed_runs():
        advice.append("<p>Fix the cause and give the same command to retry failed runs.</p>")
    return section("Reading on", *advice)
