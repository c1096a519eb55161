"""How often intervals of 80 percent hold, on other people's runs, and whether arms stand in the order that is forecast.

``python benchmarks/law_calibration.py FOLDER`` prints JSON; FOLDER holds the tables that docs/laws.md names. Every forecast is of a run of
at least 8 times the compute of the runs that it is made from. Forecasts are clustered by corpus and loss: the interval of the coverage is
a Wilson interval of as many trials as would have that spread between clusters. The interval score is that of Gneiting and Raftery 2007,
in the logarithm; the baseline has the width, the same everywhere, that covers 80 percent on the tables that are not scored. The terms of
``windtunnel.laws.band`` were written before any table was scored with them and are scored ``as written``. They were found too wide, and so
each table is scored again with its intervals narrowed by one factor: that which makes 80 percent of the forecasts of the other tables hold,
where each of these counts as much. ``width`` is the factor by all tables, which the product has.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from windtunnel.laws.band import foretell
from windtunnel.laws.order import Posterior, gather
from windtunnel.laws.power import CHINCHILLA, Form

LEVEL, BEYOND, SAMPLES = 0.8, 8.0, 100
CURVE = Form({"E": {}, "A": {"D": "beta"}})


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8-sig")))


def numbers(found: list[dict[str, str]], *names: str) -> list[np.ndarray]:
    return [np.array([float(row[name]) for row in found]) for name in names]


def scored(cluster: str, form: Form, variables: dict[str, np.ndarray], loss: np.ndarray, most: float) -> list[dict[str, Any]]:
    """Forecasts of the runs beyond 8 times the compute ``most`` from those up to it."""
    compute = np.exp(sum(np.log(values) for values in variables.values()))
    seen, target = compute <= most * 1.001, compute >= BEYOND * most
    if seen.sum() < len(form.names) + 2 or not target.any():
        return []
    at = {name: values[target] for name, values in variables.items()}
    found = foretell(form, {name: values[seen] for name, values in variables.items()}, loss[seen], at, draws=SAMPLES, width=1.0)
    low, high = found.interval(LEVEL)
    return [
        {"cluster": cluster, "error": float(m - np.log(y)), "half": float(np.log(h / a) / 2), "held": bool(a <= y <= h)}
        for m, a, h, y in zip(found.middle, low, high, loss[target], strict=True)
    ]


def forecasts(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By table."""
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    found = rows(folder / "gadre_overtraining_104.csv")
    losses = [name for name in found[0] if name.startswith("loss_") and not name.endswith(("lo95", "hi95"))]
    for dataset in sorted({row["dataset"] for row in found}):
        mine = [row for row in found if row["dataset"] == dataset]
        n, d = numbers(mine, "params", "tokens")
        for name in losses:
            known = np.array([row[name] != "" for row in mine])
            loss = np.array([float(row[name] or "nan") for row in mine])
            for most in np.quantile(np.unique(n * d), [0.4, 0.6]):
                told["gadre"] += scored(f"{dataset}/{name}", CHINCHILLA, {"N": n[known], "D": d[known]}, loss[known], float(most))
    found = [row for row in rows(folder / "olmo_ladder_final.csv") if row["tokens"] and row["params"]]
    n, d = numbers(found, "params", "tokens")
    for name in (key for key in found[0] if key.startswith(("ce_", "bpb_"))):
        known = np.array([row[name] != "" for row in found])
        loss = np.array([float(row[name] or "nan") for row in found])
        for most in np.quantile(n * d, [0.5, 0.7]):
            told["olmo"] += scored(name, CHINCHILLA, {"N": n[known], "D": d[known]}, loss[known], float(most))
    found = rows(folder / "google_nmt_learning_curves.csv")
    for model in sorted({row["model"] for row in found}):
        d, loss = numbers([row for row in found if row["model"] == model], "seen_examples", "log_perplexity")
        for most in np.sort(d)[5:-3]:
            told["nmt"] += scored(model, CURVE, {"D": d}, loss, float(most))
    return told


def judged(found: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, Any]:
    """Coverage with its Wilson interval, and interval scores against a constant width taken from ``others``."""
    held = np.array([one["held"] for one in found], float)
    clusters = sorted({one["cluster"] for one in found})
    share = held.mean()
    means = np.array([[held[[one["cluster"] == c for one in found]].sum(), sum(one["cluster"] == c for one in found)] for c in clusters])
    spread = float((((means[:, 0] - share * means[:, 1]) / len(held)) ** 2).sum()) * len(clusters) / max(len(clusters) - 1, 1)
    trials = min(len(held), share * (1 - share) / spread) if spread > 0 else float(len(clusters))
    z = 1.96
    middle, reach = share + z**2 / (2 * trials), z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low, high = (middle - reach) / (1 + z**2 / trials), (middle + reach) / (1 + z**2 / trials)
    error, half = np.abs([one["error"] for one in found]), np.array([one["half"] for one in found])
    constant = float(np.quantile(np.abs([one["error"] for one in others]), LEVEL))
    ours = 2 * half + 2 / (1 - LEVEL) * np.maximum(error - half, 0)
    theirs = 2 * constant + 2 / (1 - LEVEL) * np.maximum(error - constant, 0)
    return {
        "forecasts": len(found),
        "clusters": len(clusters),
        "coverage": float(share),
        "wilson": [float(low), float(high)],
        "interval score": float(ours.mean()),
        "interval score of a constant width": float(theirs.mean()),
        "constant half-width": constant,
        "median error": float(np.median(error)),
        "median half-width": float(np.median(half)),
    }


def order(folder: Path) -> dict[str, Any]:
    """Pairs of training sets at 8 times the compute or more, by loss: the forecast against the rank at the largest scale seen."""
    found = rows(folder / "gadre_overtraining_104.csv")
    sets = sorted({row["dataset"] for row in found})
    losses = [name for name in found[0] if name.startswith("loss_") and not name.endswith(("lo95", "hi95"))]
    ours: list[bool] = []
    ranks: list[bool] = []
    by_loss: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for name in losses:
        for times in ("5.0", "20.0", "40.0", "80.0"):
            cells = {
                (row["dataset"], float(row["params"])): float(row[name])
                for row in found
                if row["token_multiplier_M"] == times and row[name]
            }
            sizes = sorted({n for _, n in cells if all((s, n) in cells for s in sets)})
            for cut in range(2, len(sizes)):
                seen = sizes[:cut]
                for target in (n for n in sizes[cut:] if (n / seen[-1]) ** 2 >= BEYOND):
                    y = np.log([cells[s, n] for n in seen for s in sets])
                    place = 2 * np.log(np.array(seen) / seen[-1])
                    who, scale = np.tile(np.arange(len(sets)), cut), np.repeat(np.arange(cut), len(sets))
                    mean = Posterior.of(gather(y, who, scale, place), 2 * float(np.log(target / seen[-1]))).draw().mean(axis=0)
                    for a in range(len(sets)):
                        for b in range(a):
                            real = np.log(cells[sets[a], target] / cells[sets[b], target])
                            if abs(real) < 0.005:  # not decided: about the noise of a run
                                continue
                            mine = bool((mean[a] < mean[b]) == (real < 0))
                            rank = bool((cells[sets[a], seen[-1]] < cells[sets[b], seen[-1]]) == (real < 0))
                            by_loss[name].append((mine, rank))
                            ours.append(mine)
                            ranks.append(rank)
    random = np.random.default_rng(0)
    names = list(by_loss)
    apart = []
    for _ in range(2000):
        drawn = [pair for name in random.choice(names, len(names)) for pair in by_loss[name]]
        apart.append(float(np.mean([mine - rank for mine, rank in drawn])))
    low, high = np.percentile(apart, [2.5, 97.5])
    return {
        "pairs": len(ours),
        "ours": float(np.mean(ours)),
        "rank at one scale": float(np.mean(ranks)),
        "difference": float(np.mean(ours) - np.mean(ranks)),
        "interval over losses": [float(low), float(high)],
    }


def factor(tables: Sequence[list[dict[str, Any]]]) -> float:
    """By what the intervals of these tables are multiplied for 80 percent of them to hold, each table counting as much."""
    ratios = np.concatenate([[abs(one["error"]) / one["half"] for one in table] for table in tables])
    weights = np.concatenate([np.full(len(table), 1 / len(table) / len(tables)) for table in tables])
    order = np.argsort(ratios)
    return float(ratios[order][np.searchsorted(np.cumsum(weights[order]), LEVEL)])


def narrowed(found: list[dict[str, Any]], width: float) -> list[dict[str, Any]]:
    """The forecasts with intervals ``width`` times as wide."""
    halves = [width * one["half"] for one in found]
    return [{**one, "half": half, "held": abs(one["error"]) <= half} for one, half in zip(found, halves, strict=True)]


def scores(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Of all forecasts and of each table; the constant width of a table is that of the others."""
    whole = [one for several in found.values() for one in several]
    told: dict[str, Any] = {"all": judged(whole, whole)}
    for name, mine in found.items():
        told[name] = judged(mine, [one for other, several in found.items() if other != name for one in several])
    theirs = sum(told[name]["interval score of a constant width"] * len(mine) for name, mine in found.items())
    told["all"]["interval score of a constant width"] = theirs / len(whole)
    told["all"].pop("constant half-width")
    return told


def main(folder: Path) -> dict[str, Any]:
    found = forecasts(folder)
    widths = {name: factor([several for other, several in found.items() if other != name]) for name in found}
    return {
        **scores({name: narrowed(mine, widths[name]) for name, mine in found.items()}),
        "factors from the other tables": widths,
        "width": factor(list(found.values())),
        "as written": scores(found),
        "order": order(folder),
    }


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout, indent=1)
    print()
