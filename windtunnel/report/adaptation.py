"""The page of an adaptation: what was learned, what was kept, on the way and at the end, and samples before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.report.charts import DASHES, LINES, WIDE, both, configured, light
from windtunnel.report.elements import figure, framed, html_table, pairs, recipes, safe, section, swatch, to_file
from windtunnel.report.samples import block, left_out, readable
from windtunnel.report.tables import Table
from windtunnel.report.words import mapping, mean, number

COLUMNS: tuple[str, ...] = ("source", "role", "before", "after", "change", "95 % interval", "after training", "change then")


def rows(result: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The before/after table: headings and rows. Bits per byte on test documents, what was to be learned first."""
    found: list[tuple[str, ...]] = []
    for name, entry in sorted(result["sources"].items(), key=lambda item: item[1]["role"] == "kept"):
        now, then = entry["change_after"], entry["change_trained"]
        interval = f"{percent(now['low'])} to {percent(now['high'])}"
        figures = (number(entry["before"], 4), number(entry["after"], 4), percent(now["mean"]), interval)
        found.append((name, entry["role"], *figures, number(entry["trained"], 4), percent(then["mean"])))
    if result["kept_share"] == 1:
        return COLUMNS[:6], [row[:6] for row in found]
    return COLUMNS, found


def percent(share: float) -> str:
    """A change as a percentage with its sign."""
    return f"{share:+.2%}".replace("-", "−")


def change(source: str, entry: Mapping[str, Any]) -> str:
    """What became of ``source``, in a sentence with its interval; ``entry`` is its entry in the result."""
    moved = entry["change_after"]
    interval = f"{percent(moved['low'])} to {percent(moved['high'])}"
    went = "fell" if moved["high"] < 0 else "rose" if moved["low"] > 0 else "changed by an amount that may be none"
    figures = f"from {number(entry['before'], 4)} to {number(entry['after'], 4)} ({percent(moved['mean'])}, {interval})"
    return f"Bits per byte of {source} ({entry['role']}) {went}: {figures}."


def said(result: Mapping[str, Any]) -> list[str]:
    """What happened, in sentences."""
    lines = [change(name, entry) for name, entry in result["sources"].items()]
    if result["stopped"]:
        lines.append(f"{result['stopped'][:1].upper()}{result['stopped'][1:]}.")
    if result["kept_share"] < 1:
        lines.append(
            f"{result['kept_share']:.0%} of the change in weights was kept: the exported model lies between the one before and the trained "
            "one, as far towards the trained one as validation allowed."
        )
    limit = result["tolerance"]
    over = [] if limit is None else [n for n, e in result["sources"].items() if e["role"] == "kept" and e["change_after"]["mean"] > limit]
    if over:
        lines.append(
            f"On test documents {', '.join(over)} rose by more than the {limit:.2%} that was allowed: the limit was held on validation "
            "documents, and these are others."
        )
    if result["own_text"]:
        lines.append(
            "What was to be kept is judged by text that the model wrote itself. That is what it would say, not all that it knows; give "
            "--keep a folder of text like what it must keep, if you have one."
        )
    return lines


def curves(result: Mapping[str, Any], width: int = WIDE) -> Any | None:
    """Change of every source's validation number on the way, in percent of what it was."""
    import altair as alt

    validation = result["validation"]
    names = sources(validation)
    if not names or len(validation) < 2:
        return None
    first = validation[0]["numbers"]
    data = [
        {"step": entry["step"], "value": 100 * (entry["numbers"][key] / first[key] - 1), "source": name}
        for name, key in names.items()
        for entry in validation
    ]
    limits = [{"value": 100 * float(limit)} for limit in set(mapping(result["recipe"].get("limits")).values())]
    x = alt.X(
        "step", type="quantitative", title="step", axis=alt.Axis(grid=False, tickCount=6 if width >= 500 else 4, tickMinStep=1, format=",d")
    )
    y = alt.Y("value", type="quantitative", title="change of bits per byte, %", axis=alt.Axis(tickCount=6))
    layers = [alt.Chart(alt.Data(values=[{"value": 0}])).mark_rule(color=light("muted")).encode(y=y)]
    if limits:
        layers.append(alt.Chart(alt.Data(values=limits)).mark_rule(color=light("muted"), strokeDash=[3, 3]).encode(y=y))
    for index, name in enumerate(names):
        line = alt.Chart(alt.Data(values=[row for row in data if row["source"] == name]))
        colour, dash = light(LINES[index % len(LINES)]), list(DASHES[index % len(DASHES)])
        layers.append(line.mark_line(strokeWidth=2.2, color=colour, strokeDash=dash).encode(x=x, y=y))
        layers.append(line.mark_point(color=colour, fill=colour, size=30).encode(x=x, y=y))
        if width >= 500:  # on a phone the legend above says it
            end = alt.Chart(alt.Data(values=[row for row in data if row["source"] == name][-1:]))
            layers.append(end.mark_text(color=colour, align="left", dx=9, fontSize=13, limit=150).encode(x=x, y=y, text="source:N"))
    return configured(alt.layer(*layers).properties(width=width - (230 if width >= 500 else 90), height=300), width)


def sources(validation: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The sources that were measured on the way, and the name of each one's number."""
    return {key.partition("/")[2]: key for key in (validation[0]["numbers"] if validation else {}) if "/" in key}


def page(result: Mapping[str, Any], folder: Path) -> Path:
    """Write ``folder/report.html`` and return its path. Raises UserError where it cannot be written."""
    headings, entries = rows(result)
    table = Table("Before and after", headings, entries, frozenset({0, 1}))
    legend = "".join(
        f"<li>{swatch(LINES[index % len(LINES)], DASHES[index % len(DASHES)])}{safe(name)}</li>"
        for index, name in enumerate(sources(result["validation"]))
    )
    caption = "On validation documents, during training, before any of the change was taken back. Dashed: how far what is kept may rise."
    drawing = figure(both(curves, result, "curves", " ".join(said(result))), caption, f'<ul class="legend">{legend}</ul>\n')
    texts: list[str] = []
    scores = {when: mean(entry[when] for entry in result["sources"].values()) for when in ("before", "after")}
    titles = {"prompt": "prompt", "truth": "how the document goes on"} | {when: when for when, value in scores.items() if readable(value)}
    for sample in result["samples"]:
        written = [(title, sample[key]) for key, title in titles.items()]
        texts.append(block(sample["source"], sample["prompt"], written, opened=not texts))
    note = "Bits per byte on test documents, lower is better. Intervals resample windows of these; they speak of this one training alone."
    totals = result["totals"]
    steps, tokens = (f"{round(totals[key]):,}" for key in ("steps", "tokens"))
    spent = {"steps": steps, "tokens": tokens, "FLOPs": f"{totals['flops']:.3g}", "seconds": round(totals["seconds"])}
    body = "".join(
        (
            section("What happened", *(f"<p>{safe(line)}</p>" for line in said(result))),
            section("Before and after", html_table(table), f'<p class="note">{safe(note)}</p>'),
            section("On the way", drawing),
            section("Samples", left_out(scores), *texts),
            section("What it cost", pairs(spent)),
            recipes({"recipe": result["recipe"]}),
            section("Versions and hardware", pairs({**mapping(result.get("versions")), **mapping(result.get("hardware"))})),
        )
    )
    name = Path(str(result["checkpoint"])).name or str(result["checkpoint"])
    kept = "no limit" if result["tolerance"] is None else f"what is kept may get {result['tolerance']:.2%} worse"
    subtitle = f"{steps} steps, {tokens} tokens · {kept} · seed {result['seed']}"
    version = str(mapping(result.get("versions")).get("windtunnel", ""))
    return to_file(framed(f"{name}: before and after", "Windtunnel adaptation", name, subtitle, "", body, version), folder / "report.html")
