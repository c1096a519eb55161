"""One law for dense and sparse training: loss from tokens and from the parameters that were active on average.

Jin et al. 2025, "The Journey Matters", arXiv:2501.12486: L(N, D) = E + A / N^alpha + B / D^beta, the form of Hoffmann et al. 2022
(arXiv:2203.15556), where N is the number of active parameters averaged over training. It is fitted as there: Huber loss (1e-3) on the
logarithm, L-BFGS from many beginnings. The authors' constants are for their text and tokeniser and are of no use here, so every fit
has its own, with percentile intervals from a bootstrap over seeds.

Whether the average is the right N is a matter of prediction: each setting (an arm at a budget, all its seeds) is left out in turn and
predicted from the others, with N the average, the final and the initial count. N counts the weights of the blocks' matrices
(``prunable``, as the authors' model cards do) or all parameters (``total``); in small models embeddings are a large part of the latter.

``windtunnel law average-parameters RESULT [...]`` prints what :func:`average_law` finds in results of studies or papers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize, special

from windtunnel.core.errors import UserError
from windtunnel.kits.text.network import TokenFacts
from windtunnel.parts.structure.fixed_mask import FixedMask
from windtunnel.parts.structure.pruning_ramp import PruningRamp
from windtunnel.recipe import Recipe, needed
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult
from windtunnel.train.count import mean_density
from windtunnel.train.estimate import estimate

NAMES = ("E", "A", "alpha", "B", "beta")
KINDS = ("average", "final", "initial")
COUNTS = ("prunable", "total")
FEWEST = 7  # settings: five numbers are fitted, and the law must be able to be wrong even when one is left out
DELTA = 1e-3  # of the Huber loss, in the logarithm


# How many parameters take part --------------------------------------------------------------------------------------------------


def average_active(recipe: Recipe, vocabulary: int, tokens: Sequence[float] | None = None) -> dict[str, dict[str, float]]:
    """Active parameters of a run of ``recipe``: ``average`` over its training tokens, ``final`` and ``initial``.

    Each has ``prunable`` (weights of the blocks' matrices) and ``total`` (every parameter, tied ones once). Sizes and schedules of
    masks are pure functions of the recipe, so nothing is trained or loaded. A phase counts by its tokens.

    Args:
        recipe: the run's recipe.
        vocabulary: tokens of the stream.
        tokens: input tokens of each phase, as the run's record has them; by default in proportion to what its share of the budget
            buys, estimated from sizes. With one phase it does not matter.

    Raises:
        UserError: where what is active cannot be told: a structure that is no mask, or weights that another run has trained.
    """
    import torch

    from windtunnel.models.anatomy import anatomy, linears, parameters_count
    from windtunnel.models.init import config_for

    if needed(recipe):
        raise UserError("a part holds another recipe, whose training this count does not know")
    phases: list[dict[str, dict[str, float]]] = []
    amounts, facts = [], TokenFacts(vocabulary)
    for index, phase in enumerate(recipe.phases):
        structure = phase.structure
        if structure is not None and not isinstance(structure, (FixedMask, PruningRamp)):
            raise UserError(f"structure {structure.name} is not a mask, so this count does not know what is active")
        with torch.device("meta"):
            model: Any = phase.model.family.model_class()(config_for(phase.model, facts, phase.context))
        whole = float(parameters_count(model)["total"])
        blocks = float(sum(module.weight.numel() for module in linears(model).values()))  # type: ignore[union-attr, operator, misc]
        masked = blocks
        if isinstance(structure, PruningRamp) and structure.head:
            head: Any = anatomy(model).head
            masked += head.module.weight.numel()
        density = {"average": mean_density(structure, model), "initial": 1.0, "final": 1.0}
        if structure is not None:
            density |= {"initial": structure.density(model, 0.0), "final": structure.density(model, 1.0)}
        phases.append({kind: {"prunable": share * blocks, "total": whole - (1 - share) * masked} for kind, share in density.items()})
        if tokens is not None:
            amounts.append(float(tokens[index]))
            continue
        cost = estimate(recipe.model_copy(update={"phases": (phase.model_copy(update={"share": 1.0}),)}))
        each = cost["own_flops"] / cost["own_tokens"]
        if recipe.allowance.unit == "effective_flops":
            each -= 6 * (1 - density["average"]) * blocks
        step_tokens = float(phase.batch * phase.positions(facts))
        amounts.append(phase.share * {"tokens": 1.0, "steps": step_tokens}.get(recipe.allowance.unit, 1 / each))
    mean = {count: sum(a * p["average"][count] for a, p in zip(amounts, phases, strict=True)) / sum(amounts) for count in COUNTS}
    return {"average": mean, "final": phases[-1]["final"], "initial": phases[0]["initial"]}


# The law ------------------------------------------------------------------------------------------------------------------------


def predict(law: Mapping[str, float], parameters: Any, tokens: Any) -> Any:
    """The loss of ``law`` for active parameters and tokens (numbers or arrays)."""
    return law["E"] + law["A"] / np.asarray(parameters, float) ** law["alpha"] + law["B"] / np.asarray(tokens, float) ** law["beta"]


def fit_law(parameters: Any, tokens: Any, loss: Any, *, begin: Sequence[Mapping[str, float]] = ()) -> dict[str, float]:
    """The law of lowest Huber loss over runs: E, A, alpha, B, beta. Exponents are kept between 0 and 3.

    Args:
        parameters: active parameters of every run.
        tokens: training tokens of every run.
        loss: what was measured, above 0.
        begin: laws to begin from, instead of the usual 18 beginnings.
    """
    n, d, y = (np.log(np.asarray(values, float)) for values in (parameters, tokens, loss))
    middle_n, middle_d = n.mean(), d.mean()
    n, d = n - middle_n, d - middle_d  # at the middle the terms are what they contribute there, which conditions the problem
    least = float(y.min())

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.stack([np.full_like(y, x[0]), x[1] - x[2] * n, x[3] - x[4] * d])
        highest = terms.max(axis=0)
        parts = np.exp(terms - highest)
        whole = parts.sum(axis=0)
        weights, error = parts / whole, highest + np.log(whole) - y
        slope = np.clip(error, -DELTA, DELTA)
        gradient = np.array(
            [slope @ weights[0], slope @ weights[1], -slope @ (weights[1] * n), slope @ weights[2], -slope @ (weights[2] * d)]
        )
        # Divided by its own scale, because the solver stops by absolute sizes.
        return float(special.huber(DELTA, error).sum()) / DELTA**2, gradient / DELTA**2

    bounds = [(least - 7, least), (least - 14, least + 3), (0.0, 3.0), (least - 14, least + 3), (0.0, 3.0)]
    if begin:
        starts = [
            [
                math.log(law["E"]),
                math.log(law["A"]) - law["alpha"] * middle_n,
                law["alpha"],
                math.log(law["B"]) - law["beta"] * middle_d,
                law["beta"],
            ]
            for law in begin
        ]
    else:
        starts = [
            [least + math.log(share), *(part for power in (alpha, beta) for part in (least + math.log((1 - share) / 2 + 0.01), power))]
            for share in (0.3, 0.8)
            for alpha in (0.1, 0.3, 0.8)
            for beta in (0.1, 0.3, 0.8)
        ]
    found = [optimize.minimize(objective, np.array(start), jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    e, a, alpha, b, beta = min(found, key=lambda outcome: float(outcome.fun)).x
    values = (math.exp(e), math.exp(a + alpha * middle_n), alpha, math.exp(b + beta * middle_d), beta)
    return dict(zip(NAMES, map(float, values), strict=True))


def average_law(results: Sequence[StudyResult | Mapping[str, Any]], *, draws: int = 200, confidence: float = 0.95) -> dict[str, Any]:
    """The law of all finished runs of ``results`` (of studies or of papers), its uncertainty, and how well each N predicts.

    Returns:
        ``settings`` (arm, multiple, seeds, tokens, mean loss and the counts of :func:`average_active`), ``left_out`` (arm: reason),
        ``noise`` (standard deviation of the log loss between seeds of a setting), and for ``prunable`` and ``total``: ``law`` (each
        number with its interval), ``error`` (root mean square of the log loss, in the sample) and ``predictive_error`` (the same
        for settings that were left out, by kind of N, and by setting).

    Raises:
        UserError: for results on different text, fewer than seven settings, or settings that do not differ in N and in D.
    """
    settings, left_out = gather(results)
    if len(settings) < FEWEST:
        reasons = "".join(f"; {arm}: {reason}" for arm, reason in left_out.items())
        raise UserError(f"the law needs {FEWEST} settings (an arm at a budget) or more, and there are {len(settings)}{reasons}")
    for what, values in (("average parameters", [s["average"]["prunable"] for s in settings]), ("tokens", [s["tokens"] for s in settings])):
        if max(values) < 1.05 * min(values):
            raise UserError(
                f"the settings hardly differ in {what} ({min(values):.4g} to {max(values):.4g}), so no law can be read off them"
            )
    squares = sum(float(np.var(np.log(list(s["losses"].values())))) * len(s["losses"]) for s in settings)
    freedom = sum(len(s["losses"]) - 1 for s in settings)
    return {
        "settings": [{k: v for k, v in s.items() if k != "losses"} | {"seeds": len(s["losses"]), "loss": _mean(s)} for s in settings],
        "left_out": left_out,
        "noise": math.sqrt(squares / freedom) if freedom else None,
        **{count: _judged(settings, count, draws, confidence) for count in COUNTS},
    }


def gather(results: Sequence[StudyResult | Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Every setting with a finished run: counts, tokens and losses by seed; and the arms that cannot be counted, with the reason.

    Raises:
        UserError: for results that were not measured on one text and by one metric.
    """
    settings: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    read = [as_result(result) for result in results]
    places = {(result.stream.fingerprint, result.study.metric) for result in read}
    if len(places) != 1:
        raise UserError("a law needs losses on one text by one metric; these results have several texts or metrics, or none")
    for number, result in enumerate(read):
        tag = f" ({number + 1})" if len(results) > 1 else ""
        found: dict[tuple[str, float], dict[str, Any]] = {}
        for run in result.runs:
            arm, loss = run.arm, run.test.get(result.study.metric)
            if not run.finished or f"{arm}{tag}" in left_out or loss is None:
                continue
            setting = found.get((arm, run.multiple))
            if setting is None:
                try:
                    active = average_active(Recipe.model_validate(result.recipes[arm]), result.stream.encoding["vocabulary"])
                except UserError as error:
                    left_out[f"{arm}{tag}"] = str(error)
                    continue
                setting = {"arm": f"{arm}{tag}", "multiple": run.multiple, "tokens": run.totals.tokens or 0.0, **active, "losses": {}}
                found[arm, run.multiple] = setting
            setting["losses"][run.seed] = loss
        settings += found.values()
    return settings, left_out


def _mean(setting: Mapping[str, Any]) -> float:
    return math.fsum(setting["losses"].values()) / len(setting["losses"])


def _runs(settings: Sequence[Mapping[str, Any]], kind: str, count: str, seeds: Sequence[int] | None = None) -> tuple[list[float], ...]:
    """Parameters, tokens and losses of every run; with ``seeds``, of those runs, as often as they are named."""
    rows = [
        (s[kind][count], s["tokens"], s["losses"][seed])
        for s in settings
        for seed in (sorted(s["losses"]) if seeds is None else seeds)
        if seed in s["losses"]
    ]
    columns = [[row[index] for row in rows] for index in range(3)]
    return tuple(columns)


def _judged(settings: Sequence[Mapping[str, Any]], count: str, draws: int, confidence: float) -> dict[str, Any]:
    laws = {kind: fit_law(*_runs(settings, kind, count)) for kind in KINDS}
    law = laws["average"]
    n, d, loss = _runs(settings, "average", count)
    seeds = sorted({seed for s in settings for seed in s["losses"]})
    random = np.random.default_rng(0)
    samples = []
    for _ in range(draws if len(seeds) > 1 else 0):
        drawn = [seeds[index] for index in random.integers(len(seeds), size=len(seeds))]
        runs = _runs(settings, "average", count, drawn)
        if runs[0]:
            samples.append(fit_law(*runs, begin=[law]))
    ends = ((1 - confidence) / 2, (1 + confidence) / 2)
    errors: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for left, setting in enumerate(settings):
        others = [s for index, s in enumerate(settings) if index != left]
        for kind in KINDS:
            runs = _runs(others, kind, count)
            # Twice, because an optimum of all settings need not lead to that of all but one.
            again = fit_law(*runs, begin=[laws[kind], {**laws[kind], "E": 0.7 * laws[kind]["E"]}])
            guess = float(predict(again, setting[kind][count], setting["tokens"]))
            errors[kind][f"{setting['arm']} x {setting['multiple']:g}"] = math.log(guess / _mean(setting))
    return {
        "law": {
            name: {"value": law[name]}
            | dict(zip(("low", "high"), np.quantile([s[name] for s in samples], ends).tolist() if samples else (None, None), strict=True))
            for name in NAMES
        },
        "error": float(np.sqrt(np.mean(np.log(predict(law, n, d) / np.asarray(loss)) ** 2))),
        "predictive_error": {kind: math.sqrt(math.fsum(e * e for e in found.values()) / len(found)) for kind, found in errors.items()},
        "predictive_error_by_setting": errors,
    }
