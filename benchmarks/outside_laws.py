"""Laws of tables against what others published: refits, and forecasts of runs that took no part.

``python benchmarks/outside_laws.py FOLDER [CHINCHILLA.csv]`` prints JSON. FOLDER holds the tables that docs/laws.md names with their
sources; a table that is missing is left out and said so. CHINCHILLA.csv is data/svg_extracted_data.csv of
epoch-research/analyzing-chinchilla.
The methods are those of ``windtunnel law`` at the commit ``FROZEN``, before a target of the OLMo ladder or of the schedules of 100M and
400M was predicted; the schedules of 25M had been seen. Every form that was tried is in the result.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from windtunnel.laws.chinchilla import fit_chinchilla
from windtunnel.laws.power import CHINCHILLA, COMPUTE, DELTA, Fitter, Form
from windtunnel.laws.repeated import repeated as law_repeated
from windtunnel.laws.schedule import schedule

FROZEN = "4dbee9f"
TIED = Form({"E": {}, "A": {"N": "alpha"}, "B": {"D": "alpha"}})
PLAIN = Form({"A": {"N": "alpha"}, "B": {"D": "beta"}})
FIT, HELD = ("constant_24000", "cosine_24000", "wsdcon_9"), (
    "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18", "cosine_72000", "constant_72000",
)  # fmt: skip
# Parameters and tokens of the targets, as the ladder's README gives them to its own prediction.
TARGETS = {"7B": ("peteish7_eval_full", 6887575552, 3945065873408), "13B": ("peteish13_eval_final", 13202396160, 5000088518656)}
TASKS = {"hellaswag_val": "hellaswag_val_5shot", "arc_challenge_test": "arc_challenge_test_5shot", "arc_easy_test": "arc_easy_test_5shot",
         "piqa_val": "piqa_val_5shot", "csqa_val": "csqa_val_5shot", "socialiqa_val": "socialiqa_val_5shot",
         "openbookqa_test": "openbookqa_test_5shot", "mmlu": "mmlu_avg_test_5shot"}  # fmt: skip
NAMES_7B = {"hellaswag_val": "HellaSwag", "arc_challenge_test": "ARC-Challenge", "arc_easy_test": "ARC-Easy", "piqa_val": "PIQA",
            "csqa_val": "CommonsenseQA", "socialiqa_val": "Social IQa", "openbookqa_test": "OpenBookQA", "mmlu": "MMLU"}  # fmt: skip
MMLU = {"stem": 0.215, "humanities": 0.335, "social_sciences": 0.219, "other": 0.231}  # shares of its questions


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8-sig")))


def column(found: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in found])


def chinchilla_again(path: Path) -> dict[str, Any]:
    """The published refit (240 points, the five of highest loss dropped) and Hoffmann's own constants, with the likelihood of both."""
    found = rows(path)
    size, flops, loss = (column(found, name) for name in ("Model Size", "Training FLOP", "loss"))
    tokens = flops / 6 / size
    published = {"A": (482, 285, 744), "B": (2085, 1042, 5810), "E": (1.817, 1.769, 1.871), "alpha": (0.348, 0.317, 0.373),
                 "beta": (0.366, 0.331, 0.415)}  # fmt: skip
    hoffmann = {"E": np.exp(0.5267228), "A": np.exp(6.0073404), "B": np.exp(6.0179186), "alpha": 0.33917084, "beta": 0.2849083}
    told: dict[str, Any] = {}
    for dropped in (5, 0):
        keep = np.argsort(loss)[: len(loss) - dropped]
        law = fit_chinchilla(size[keep], tokens[keep], loss[keep])
        theirs = np.log(CHINCHILLA.predict(hoffmann, {"N": size[keep], "D": tokens[keep]}) / loss[keep])
        told[f"{len(keep)} points"] = {
            "ours": law.plain()["parameters"],
            "objective": law.objective,
            "objective of Hoffmann et al.": float(special.huber(DELTA, theirs).sum()),
            "published": published if dropped else None,
            "warnings": law.warnings,
        }
    return told


def repeated(folder: Path) -> dict[str, Any]:
    """The law of repeated data with the five constants of the paper held, with all seven, and as published; 200 bootstrap samples."""
    table = folder / "datablations_fit182.csv"
    columns = {"size": "params", "tokens": "tokens", "unique": "unique_tokens", "loss": "val_loss_c4"}
    held = {"E": 1.869, "A": 520.8, "B": 1487.7, "alpha": 0.3527, "beta": 0.3527}
    told: dict[str, Any] = {}
    for name, hold in (("five held", held), ("as published", held | {"repeats": 15.387756, "excess": 5.309743}), ("all seven fitted", {})):
        law = law_repeated(table, **columns, hold=hold, draws=200)
        told[name] = {
            "parameters": law.plain()["parameters"],
            "objective": law.objective,
            "largest left out": law.plain()["largest_left_out"],
            "warnings": law.warnings,
        }
    return told


def overtraining(folder: Path) -> dict[str, Any]:
    """The recipe of Gadre et al.: five runs, one exponent; the error at 1.4B, 640 tokens a parameter, and at 6.9B."""
    found = rows(folder / "gadre_overtraining_104.csv")
    told: dict[str, Any] = {}
    for dataset in sorted({row["dataset"] for row in found}):
        mine = [row for row in found if row["dataset"] == dataset]
        size, tokens, times, loss = (column(mine, name) for name in ("params", "tokens", "token_multiplier_M", "loss_c4_val"))
        sizes = np.unique(size)
        small = (np.isin(size, sizes[:4]) & (times == 20)) | ((size == sizes[0]) & (times == 320))
        for form, name in ((TIED, "tied"), (CHINCHILLA, "untied")):
            fitter = Fitter(form, {"N": size[small], "D": tokens[small]}, loss[small])
            law = dict(zip(form.names, fitter.laws(fitter.fit())[0], strict=True))
            far = ((size == sizes[-2]) & (times == 640)) | ((size == sizes[-1]) & (times == 20))
            error = form.predict(law, {"N": size[far], "D": tokens[far]}) / loss[far] - 1
            at = [f"{s / 1e9:.1f}B, M = {m:g}" for s, m in zip(size[far], times[far], strict=True)]
            told[f"{dataset}, {name}"] = {"runs": int(small.sum()), "error": dict(zip(at, error.tolist(), strict=True))}
    return told


def task_loss(row: dict[str, str], task: str) -> float:
    if task == "mmlu":
        return sum(share * float(row[f"bpb_mmlu_{part}"]) for part, share in MMLU.items())
    return float(row[f"bpb_{task}"])


def ladder(folder: Path) -> dict[str, Any]:
    """Task losses (bits per byte) of 7B and 13B from the sixteen runs that the authors fit; the form ``chinchilla`` is the forecast."""
    found = rows(folder / "olmo_ladder_final.csv")
    theirs = {row["Task"]: row for row in rows(folder / "olmo_ladder_pred_step1_main.csv")}
    at_7b = {row["Task"]: float(row["7B Loss Rel Error"]) for row in rows(folder / "olmo_ladder_pred_variance.csv")}
    small, lengths = ("190M", "370M", "760M", "1B"), ("-1xC", "-2xC", "-5xC", "-10xC")
    runs = [row for row in found if row["run"].split("-")[0] in small and row["run"].endswith(lengths)]
    size, tokens = column(runs, "params"), column(runs, "tokens")
    by_name = {row["run"]: row for row in found}
    told: dict[str, Any] = {"runs": len(runs)}
    for label, (name, n, d) in TARGETS.items():
        table: dict[str, Any] = {}
        for task, official in TASKS.items():
            loss = np.array([task_loss(row, task) for row in runs])
            actual = task_loss(by_name[name], task)
            at = {"N": np.array([float(n)]), "D": np.array([float(d)]), "C": np.array([6.0 * n * d])}
            forms = {"chinchilla": CHINCHILLA, "tied": TIED, "without E": PLAIN, "in FLOPs": COMPUTE}
            errors = {}
            for called, form in forms.items():
                variables = {"C": 6 * size * tokens} if form is COMPUTE else {"N": size, "D": tokens}
                fitter = Fitter(form, variables, loss)
                law = dict(zip(form.names, fitter.laws(fitter.fit())[0], strict=True))
                errors[called] = float(form.predict(law, {k: at[k] for k in variables})[0] / actual - 1)
            errors["largest run"] = float(loss[(size * tokens).argmax()] / actual - 1)
            authors = at_7b[NAMES_7B[task]] if label == "7B" else float(theirs[official]["Rel Error"])
            table[task] = {"actual": actual, "errors": errors, "authors": authors}
        told[label] = table
        told[f"{label}, mean absolute error"] = {
            **{f: float(np.mean([abs(one["errors"][f]) for one in table.values()])) for f in next(iter(table.values()))["errors"]},
            "authors": float(np.mean([abs(one["authors"]) for one in table.values()])),
        }
    told["actual of the authors, 13B"] = {task: float(theirs[official]["Actual"]) for task, official in TASKS.items()}
    return told


def schedules(folder: Path) -> dict[str, Any]:
    """Mean absolute relative error along the curve of six schedules, from three and from the cosine alone."""
    told: dict[str, Any] = {}
    names = {"run": "schedule", "step": "step", "rate": "lr", "loss": "loss"}
    for model in ("25M", "100M", "400M"):
        for label, fitted in (("three", FIT), ("cosine alone", ("cosine_24000",))):
            table = folder / "multipowerlaw_curves.csv"
            found = schedule(table, **names, predict_runs=HELD, fit_runs=fitted, where={"model": model}, draws=2)  # type: ignore[arg-type]
            errors = {name: one.error for name, one in found.predictions.items()}
            told[f"{model}, {label}"] = {"mean": float(np.mean([e for e in errors.values() if e is not None])), **errors}
    return told


def critical_batch(folder: Path) -> dict[str, Any]:
    """The hyperbola steps = a + b / batch by size; b / a in tokens (sequences of 512)."""
    found = rows(folder / "cbs_steps_to_loss.csv")
    told = {}
    for model in dict.fromkeys(row["model"] for row in found):
        mine = [row for row in found if row["model"] == model]
        batch, steps = column(mine, "batch_seqs_of_512"), column(mine, "steps_to_target")
        fitter = Fitter(Form({"a": {}, "b": {"batch": "one"}}), {"batch": batch}, steps, delta=1.0)
        fitter.low[-1] = fitter.high[-1] = 1.0  # the exponent is one
        law = dict(zip(fitter.form.names, fitter.laws(best := fitter.fit())[0], strict=True))
        told[model] = {
            "b / a, million tokens": law["b"] / law["a"] * 512 / 1e6,
            "critical batch, sequences (20 % more steps than linear from 256)": 0.2 * law["b"] / law["a"] + 1.2 * 256,
            "residual": float(np.sqrt((fitter.residuals(best)[0] ** 2).mean())),
        }
    return told


def arms(folder: Path) -> dict[str, Any]:
    """The order of schedules of one length at 400M, foretold from 25M and 100M, against their rank at 100M."""
    from windtunnel.laws.order import order

    last: dict[tuple[str, str], float] = {}
    for row in rows(folder / "multipowerlaw_curves.csv"):
        last[row["model"], row["schedule"]] = float(row["loss"])
    told: dict[str, Any] = {}
    for kind, names in {"24000 steps": ("constant_24000", "cosine_24000", "wsd_20000_24000", "wsdld_20000_24000"),
                        "two-stage": ("wsdcon_3", "wsdcon_9", "wsdcon_18")}.items():  # fmt: skip
        lines = ["arm,flops,loss"]
        lines += [f"{s},{6e14 * float(m[:-1]):.6g},{loss}" for (m, s), loss in last.items() if s in names and m != "400M"]
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("\n".join(lines))
            file.flush()
            found = order(file.name, arm="arm", flops="flops", loss="loss", target=6e14 * 400)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

        def right(ranks: list[str], pairs: list[tuple[str, str]] = pairs) -> float:
            same = [(ranks.index(a) < ranks.index(b)) == (last["400M", a] < last["400M", b]) for a, b in pairs]
            return float(np.mean(same))

        told[kind] = {"pairs": len(pairs), "ours": right(found.order), "rank at one scale": right(found.rank_at_one_scale)}
    return told


def main(folder: Path, extracted: Path | None) -> dict[str, Any]:
    told: dict[str, Any] = {"frozen at": FROZEN}
    checks: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
        "data-constrained": ("datablations_fit182.csv", repeated),
        "overtraining": ("gadre_overtraining_104.csv", overtraining),
        "critical batch": ("cbs_steps_to_loss.csv", critical_batch),
        "ladder": ("olmo_ladder_final.csv", ladder),
        "order": ("multipowerlaw_curves.csv", arms),
        "schedules": ("multipowerlaw_curves.csv", schedules),
    }
    told["chinchilla"] = chinchilla_again(extracted) if extracted else "not given"
    for name, (table, check) in checks.items():
        told[name] = check(folder) if (folder / table).exists() else f"{table} is not there"
    return told


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None), sys.stdout, indent=1)
    print()
