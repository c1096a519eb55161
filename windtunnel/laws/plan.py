"""A plan for a large run: its shape, tokens, batch and rate, what it takes, and from where each number comes.

The best size is that of a law of size and tokens: the one fitted to the baselines of studies where they have enough sizes, else that of
Besiroglu et al. 2024 (arXiv:2404.10102). Tokens that repeat a corpus count for less (Muennighoff et al. 2023, arXiv:2305.16264), and tokens
that the model will read in use cost two FLOPs a parameter. Shape, batch and rate are carried over from the recipe that was flown, by rules
that say so. ``windtunnel plan`` prints what :func:`plan` finds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError, several
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.chinchilla import fit_chinchilla
from windtunnel.laws.device import on_device
from windtunnel.laws.repeated import predict
from windtunnel.recipe import Budget, Phase, Recipe
from windtunnel.study.result import BASELINE, StudyResult
from windtunnel.train.accelerators import DEVICES, Device
from windtunnel.train.estimate import STATE, estimate

PUBLISHED = {"E": 1.8172, "A": 477.8, "B": 2143.4, "alpha": 0.3473, "beta": 0.3672}
REPEATS, EXCESS = 15.39, 5.31
SLACK = 1.003  # a size whose loss is within this of the best is as good
CHECKPOINTS = 20
SIZES = 400  # that are looked at


class Planned(JsonBlock):
    """A number of a plan."""

    value: Number
    low: Number | None = Field(None, description="lower end of what is nearly as good, or of the interval")
    high: Number | None = Field(None, description="upper end")
    why: str = Field(description="from which runs or rule it comes")


class Plan(JsonBlock):
    """A run that is to be flown."""

    arm: str
    numbers: dict[str, Planned] = Field(description="flops, parameters, tokens, epochs, layers, width, batch, rate, steps, memory and time")
    schedule: str = Field(description="carried over from the recipe")
    recipe: dict[str, Any] = Field(description="ready for `windtunnel train`")
    warnings: list[str] = []


def spend(flops: float | None, gpus: int | None, days: float | None, mfu: float, peak: float) -> float:
    """FLOPs of the run. Raises UserError unless exactly one of FLOPs, or GPUs and days, is given and possible."""
    if (flops is None) == (gpus is None) or (gpus is None) != (days is None):
        raise UserError("give either --flops, or --gpus and --days")
    if not 0 < mfu <= 1:
        raise UserError(f"--mfu {mfu:g}: a share of the peak between 0 and 1; 0.4 is usual")
    found = float(flops) if flops is not None else float(gpus or 0) * float(days or 0) * 86400 * mfu * peak
    if not (math.isfinite(found) and found > 0):
        raise UserError(f"{found:g} FLOPs buy nothing; give a positive number, such as 1e21")
    return found


class Needs(NamedTuple):
    """What the run is for: different tokens that there are (None: enough), tokens that the model will read and write in use, and the most
    parameters that it may have.
    """

    corpus_tokens: float | None = None
    inference_tokens: float = 0.0
    max_size: float | None = None


PLENTY = Needs()


def plan(
    recipe: Recipe,
    *,
    arm: str = BASELINE,
    flops: float,
    results: Sequence[StudyResult] = (),
    gpus: int = 1,
    mfu: float = 0.4,
    device: Device = DEVICES["h100"],
    price: float | None = None,
    needs: Needs = PLENTY,
) -> Plan:
    """The run of ``recipe`` at ``flops``.

    Args:
        recipe: of the arm, as it was flown in the study.
        arm: its name.
        flops: of training and use together.
        results: of studies, whose baselines tell the law where they have three sizes or more.
        gpus: devices that share the run.
        mfu: share of the peak that is reached.
        device: what they are.
        price: of a device and hour; None: cost is left out.
        needs: what the run is for.

    Raises:
        UserError: for a recipe that begins from a checkpoint, or a budget below that of the pilot.
    """
    if recipe.checkpoints():
        raise UserError("the recipe begins from a checkpoint, whose size is what it is; a plan is for models trained from nothing")
    pilot = estimate(recipe)
    if flops < pilot["flops"]:
        raise UserError(f"{flops:.3g} FLOPs are fewer than the pilot's {pilot['flops']:.3g}; a plan is for a larger run")
    told: list[str] = []
    laws, why = law_of(results, told)
    best = np.array([_best(law, flops, needs) for law in laws])
    wanted = float(best[0])
    ends = np.percentile(best, [2.5, 97.5]) if len(best) > 1 else _as_good(laws[0], flops, needs)
    training = flops - 2 * wanted * needs.inference_tokens
    if training <= pilot["flops"]:
        raise UserError(f"reading {needs.inference_tokens:.3g} tokens in use would take the budget; give more FLOPs, or fewer tokens")
    large = scaled(recipe, wanted / pilot["parameters"], training)
    cost = estimate(large)
    if abs(math.log(cost["parameters"] / wanted)) > 0.3:
        told.append(f"the shape has {cost['parameters']:.3g} parameters where {wanted:.3g} were wanted; set layers and width by hand")
    size = Planned(value=cost["parameters"], low=float(ends[0]), high=float(ends[1]), why=why)
    numbers = _shape(recipe, large, training, size, needs) | _machines(large, gpus, mfu, device, price)
    told += _doubts(large, size.value / pilot["parameters"], numbers)
    schedule = next(iter(large.phases[-1].schedule.model_dump(mode="json")))
    return Plan(arm=arm, numbers=numbers, schedule=schedule, recipe=large.model_dump(mode="json", exclude_defaults=True), warnings=told)


def _shape(recipe: Recipe, large: Recipe, training: float, size: Planned, needs: Needs) -> dict[str, Planned]:
    """What the large run is, and how each number was carried over from ``recipe``."""
    cost, phase, sizes = estimate(large), large.phases[-1], large.phases[-1].model.sizes()
    epochs = cost["tokens"] / needs.corpus_tokens if needs.corpus_tokens else float("nan")
    multiple = phase.rate_multiple / recipe.phases[-1].rate_multiple
    batch_why = "the pilot's batch times the size to the power 2/3 (rule of the OLMo ladder), not fitted to your runs"
    rate_why = "the pilot's rate times the size to the power -1/3 (same rule), not fitted to your runs; sweep it at an eighth of the size"
    return {
        "flops": Planned(value=training, why="asked for, less two a parameter and token of use"),
        "parameters": size,
        "tokens": Planned(value=cost["tokens"], why="what the FLOPs buy at that size, by the family's count"),
        "tokens a parameter": Planned(value=cost["tokens"] / size.value, why="from both"),
        "layers": Planned(value=sizes.layers, why="the pilot's, times a whole number near the fifth root of the growth"),
        "width": Planned(value=sizes.width, why="the pilot's, times the root of what remains"),
        "batch": Planned(value=phase.batch, why=batch_why),
        "tokens a step": Planned(value=phase.batch * phase.context, why="batch times context"),
        "rate multiple": Planned(value=multiple, why=rate_why),
        "steps": Planned(value=cost["steps"], why="tokens over tokens a step"),
        "epochs": Planned(value=epochs, why="tokens over --corpus-tokens"),
        "checkpoints": Planned(value=CHECKPOINTS, why=f"one in {100 / CHECKPOINTS:.0f} % of the run"),
        "checkpoint bytes": Planned(value=12.0 * size.value, why="weights and two moments, 4 bytes each"),
    }


def _machines(large: Recipe, gpus: int, mfu: float, device: Device, price: float | None) -> dict[str, Planned]:
    """What the run takes of its devices."""
    taken = on_device(large, device, gpus, mfu)
    shared = (
        f"{STATE} bytes a parameter shared by {several(gpus, 'device')}, and activations of {max(1, taken.micro_batch)} sequences at a time"
    )
    cost = taken.device_hours * price if price else float("nan")
    return {
        "memory a device": Planned(value=taken.memory, why=shared),
        "sequences at a time": Planned(value=taken.micro_batch, why=f"what fits in {device.memory / 1e9:.0f} GB; 0: not even one does"),
        "days": Planned(value=taken.days, why=f"{several(gpus, 'device')} at {mfu:.0%} of {device.peak:.3g} FLOPs a second"),
        "cost": Planned(value=cost, why="device hours times --price"),
    }


def _doubts(large: Recipe, growth: float, numbers: Mapping[str, Planned]) -> list[str]:
    """What a reader of the plan has to know."""
    told = []
    if growth > 1000:
        told.append(f"{growth:.0f} times the pilot's parameters: all is carried far; fly a rung between, and sweep its rate")
    if growth > 30:
        context = large.phases[-1].context
        told.append(f"the tokenizer and the context of {context} are the pilot's; at this size larger ones pay, so set them by hand")
    if (epochs := numbers["epochs"].value) > 4:
        told.append(f"{epochs:.1f} epochs: beyond four, repeated tokens are worth clearly less than new ones")
    if not numbers["sequences at a time"].value:
        told.append("it does not fit in the memory of so many devices, not with one sequence at a time; give --gpus more")
    return told


# The best size --------------------------------------------------------------------------------------------------------------------


def law_of(results: Sequence[StudyResult], told: list[str]) -> tuple[list[dict[str, float]], str]:
    """Laws of size and tokens (the first the fit, then resamples of it), and where they come from."""
    rows = []
    for result in results:
        size = result.baseline.parameters
        for run in result.runs:
            value = run.test.get(result.study.metric)
            if run.arm == BASELINE and run.finished and size and run.totals.tokens and value:
                rows.append((size, run.totals.tokens, value, f"{result.study.name}/{run.multiple:g}"))
    if rows:
        sizes, tokens, values = (np.array([row[place] for row in rows], float) for place in range(3))
        try:
            law = fit_chinchilla(sizes, tokens, values, draws=200)
        except UserError as error:
            told.append(f"the studies cannot tell the best size ({error}); the published law is used")
        else:
            told.extend(law.warnings)
            kept = {name: law.parameters[name].value for name in PUBLISHED}
            if min(kept["alpha"], kept["beta"]) > 0.02 and not any("not identified" in line for line in law.warnings):
                names = sorted({row[3] for row in rows})
                return _spread(kept, law.covariance), f"the law fitted to {len(rows)} runs of the baseline ({', '.join(names)})"
            told.append("the studies do not identify the law of size and tokens, so the published one is used for the best size")
    return [
        dict(PUBLISHED)
    ], "the published law (arXiv:2404.10102), not one of your runs; within the range its loss is within 0.3 % of the best"


def _spread(law: Mapping[str, float], covariance: Mapping[str, Mapping[str, float]]) -> list[dict[str, float]]:
    """The law, and 200 draws about it."""
    labels = list(covariance)
    middle = np.array([math.log(law[name[4:]]) if name.startswith("log ") else law[name] for name in labels])
    matrix = np.array([[covariance[a][b] for b in labels] for a in labels])
    drawn = np.random.default_rng(0).multivariate_normal(middle, matrix, size=200, method="eigh")
    found = [{name.removeprefix("log "): value for name, value in zip(labels, row, strict=True)} for row in drawn]
    logs = {name.removeprefix("log ") for name in labels if name.startswith("log ")}
    whole = [{name: math.exp(min(value, 60)) if name in logs else max(value, 0.02) for name, value in one.items()} for one in found]
    return [dict(law), *whole]


def _curve(law: Mapping[str, float], flops: float, needs: Needs) -> np.ndarray:
    """Sizes and losses [2, sizes] that spend ``flops``, those of use included."""
    size = np.exp(np.linspace(math.log(1e4), math.log(max(needs.max_size, 1e4) if needs.max_size else 1e13), SIZES))
    left = flops - 2 * size * needs.inference_tokens
    paid = np.maximum(left, 1e-300) / (6 * size)
    numbers = np.array([[law["E"], law["A"], law["B"], law["alpha"], law["beta"], REPEATS, EXCESS]])
    unique = np.full(SIZES, needs.corpus_tokens) if needs.corpus_tokens else paid
    loss = predict(numbers, {"N": size, "D": np.maximum(paid, 1.0), "U": np.maximum(unique, 1.0)})[0]
    if not needs.corpus_tokens:
        loss = law["E"] + law["A"] / size ** law["alpha"] + law["B"] / np.maximum(paid, 1.0) ** law["beta"]
    return np.stack([size, np.where(left > 0, loss, np.inf)])  # a size whose use alone takes the budget is no choice


def _best(law: Mapping[str, float], flops: float, needs: Needs) -> float:
    size, loss = _curve(law, flops, needs)
    return float(size[loss.argmin()])


def _as_good(law: Mapping[str, float], flops: float, needs: Needs) -> np.ndarray:
    """Sizes between which the loss is within a third of a percent of the best."""
    size, loss = _curve(law, flops, needs)
    good = size[loss <= loss.min() * SLACK]
    return np.array([good.min(), good.max()])


# The recipe -------------------------------------------------------------------------------------------------------------------------


def scaled(recipe: Recipe, growth: float, flops: float) -> Recipe:
    """``recipe`` :func:`resized` to about ``growth`` times its parameters, with ``flops``."""
    return resized(recipe, growth).model_copy(update={"budget": Budget(flops=flops)})


def resized(recipe: Recipe, growth: float) -> Recipe:
    """``recipe`` with about ``growth`` times its parameters: shape, batch and rate carried over, everything else as it is.

    Layers of every phase are multiplied by one whole number, so that what is stacked keeps its proportions; the standard deviation of the
    first weights falls with the root of the width. What is made smaller keeps its layers.
    """
    deeper = max(1, round(growth**0.2))
    before = estimate(recipe)["parameters"]
    asked, found, real = growth, recipe, 1.0
    for _ in range(6):  # embeddings grow more slowly than blocks, so the width is corrected a few times
        phases = tuple(phase.model_copy(update={"model": _grown(phase, deeper, math.sqrt(asked / deeper))}) for phase in recipe.phases)
        found = recipe.model_copy(update={"phases": phases})
        real = estimate(found)["parameters"] / before
        if abs(math.log(real / growth)) < 0.05:
            break
        asked *= growth / real
    carried = [
        phase.model_copy(
            update={"batch": max(1, round(phase.batch * real ** (2 / 3))), "rate_multiple": phase.rate_multiple * real ** (-1 / 3)}
        )
        for phase in found.phases
    ]
    return found.model_copy(update={"phases": tuple(carried)})


def _grown(phase: Phase, deeper: int, wider: float) -> Any:
    """The model of ``phase`` with so many times its layers and its width."""
    sizes = phase.model.sizes()
    wanted = sizes.width * wider
    grain = 4 if wanted < 60 else 32 if wanted < 480 else 64 if wanted < 1984 else 128  # the usual size of a head there, from 32 on
    width = max(grain, grain * round(wanted / grain))
    more: dict[str, Any] = {"layers": sizes.layers * deeper, "width": width, "heads": None, "key_value_heads": None}
    inner = min(32, 2 * grain)
    more["intermediate"] = inner * round(sizes.intermediate / sizes.width * width / inner)
    if sizes.initializer_range is not None:
        more["initializer_range"] = sizes.initializer_range * math.sqrt(sizes.width / width)
    return phase.model.model_copy(update=more)
