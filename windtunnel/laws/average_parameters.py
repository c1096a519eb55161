"""One law for dense and sparse training: loss from tokens and from the parameters that were active on average.

Jin et al. 2025, "The Journey Matters", arXiv:2501.12486: L(N, D) = E + A / N^alpha + B / D^beta, the form of Hoffmann et al. 2022
(arXiv:2203.15556), where N is the number of active parameters averaged over training. It is fitted as all laws of
this form are (:mod:`windtunnel.laws.power`). The authors' constants are for their text and tokeniser and are of no use here, so every fit
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

from windtunnel.core.errors import UserError
from windtunnel.kits.text.network import TokenFacts
from windtunnel.laws.power import CHINCHILLA, Fitter, resamples
from windtunnel.parts.structure.fixed_mask import FixedMask
from windtunnel.parts.structure.pruning_ramp import PruningRamp
from windtunnel.recipe import Recipe, needed
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult
from windtunnel.train.count import mean_density
from windtunnel.train.estimate import estimate

KINDS = ("average", "final", "initial")
COUNTS = ("prunable", "total")
FEWEST = 7  # settings: five numbers are fitted, and the law must be able to be wrong even when one is left out


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


def fit_law(parameters: Any, tokens: Any, loss: Any) -> dict[str, float]:
    """The law of lowest Huber loss over runs: E, A, B, alpha, beta.

    Args:
        parameters: active parameters of every run.
        tokens: training tokens of every run.
        loss: what was measured, above 0.
    """
    fitter = Fitter(CHINCHILLA, {"N": parameters, "D": tokens}, loss)
    return dict(zip(CHINCHILLA.names, map(float, fitter.laws(fitter.fit())[0]), strict=True))


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


def _runs(settings: Sequence[Mapping[str, Any]], kind: str, count: str) -> tuple[np.ndarray, ...]:
    """Parameters, tokens, loss and seed of every run."""
    rows = [(s[kind][count], s["tokens"], s["losses"][seed], seed) for s in settings for seed in sorted(s["losses"])]
    return tuple(np.array(rows, float).reshape(-1, 4).T)


def _judged(settings: Sequence[Mapping[str, Any]], count: str, draws: int, confidence: float) -> dict[str, Any]:
    n, d, loss, seeds = _runs(settings, "average", count)
    fitter = Fitter(CHINCHILLA, {"N": n, "D": d}, loss)
    best = fitter.fit()
    value = fitter.laws(best)[0]
    law = dict(zip(CHINCHILLA.names, map(float, value), strict=True))
    weights = resamples(len(loss), draws if len(set(seeds)) > 1 else 0, seeds)
    weights = weights[weights.sum(axis=1) > 0]
    samples = fitter.laws(fitter.fit(weights, begin=best, count=2)) if len(weights) else np.full((1, len(value)), np.nan)
    ends = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    errors: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for left, setting in enumerate(settings):
        others = [s for index, s in enumerate(settings) if index != left]
        for kind in KINDS:
            again = fit_law(*_runs(others, kind, count)[:3])
            guess = CHINCHILLA.predict(again, {"N": setting[kind][count], "D": setting["tokens"]})[0]
            errors[kind][f"{setting['arm']} x {setting['multiple']:g}"] = math.log(float(guess) / _mean(setting))
    return {
        "law": {
            name: {"value": law[name], "low": float(low) if np.isfinite(low) else None, "high": float(high) if np.isfinite(high) else None}
            for name, low, high in zip(CHINCHILLA.names, *ends, strict=True)
        },
        "error": float(np.sqrt(np.mean(fitter.residuals(best)[0] ** 2))),
        "predictive_error": {kind: math.sqrt(math.fsum(e * e for e in found.values()) / len(found)) for kind, found in errors.items()},
        "predictive_error_by_setting": errors,
    }
