"""Racing: does it call what is not there, and what does a verdict cost against a fixed number of seeds?

Studies are simulated from noise fitted to the committed results of the papers (``papers/*/*/cpu.json``): how many arms a study has, how
large the seed-paired differences of its arms are and how widely they spread. Differences are counted in margins of "no difference".

- ``errors``: in studies without any effect, how often an arm is called, with normal, heavy-tailed (t of 5 degrees of freedom) and skewed
  noise (a gamma of skewness 1 in every run, which pairing cancels; or, as the worst case, in every difference), by racing and by fixed
  seeds; and in studies whose every arm is worse by exactly the margin, how often one is called "no difference".
- ``effects``: the seeds to a verdict of one arm at 0, 0.5, 1, 2 and 4 margins, against the fixed number of seeds of equal power at that
  very effect (at most 99 %), which nobody knows beforehand; and, for all five together, against one fixed number.
- ``papers``: the same over the effects found in the papers, with what the baseline costs, against the one fixed number of seeds that
  decides as many arms. ``designs`` compares other ways to spend the error, among them an exact t e-process.

The loops here work on many studies at once; before anything is counted, they are held against ``windtunnel.study.race``.
``python benchmarks/racing.py`` prints JSON and takes about two CPU minutes. With ``--seeds FILE`` studies are not simulated but resampled
from the losses of many real seeds of one setting: arm and baseline are disjoint seeds of it, and an arm with an effect has that added.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, special

from windtunnel.study.race import LEAST_CHANCE, standing
from windtunnel.study.results import load
from windtunnel.study.seeds import KnownNoise, Race
from windtunnel.study.statistics.sequential import DISAGREES, SPENDING, boundary, boundary_spending

CONFIDENCE, MARGIN, STUDIES, TRIALS = 0.95, 0.005, 5000, 1500
RACE = Race(least=3, most=12)
FREEDOM = 3.0  # that the noise of the other arms of a study is worth; `fitted` says what the papers show
CALLED, NO_DIFFERENCE, GIVEN_UP, OPEN = 1, 2, 3, 0
LARGEST = 30  # seeds of a fixed design that are looked at
Limits = Callable[[Sequence[int], float, float], float]  # (looks so far, confidence, freedom) -> boundary

# Studies ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """What a paper measured: for each arm the difference and its standard deviation, in margins, and what the baseline costs in runs."""

    name: str
    differences: np.ndarray
    sds: np.ndarray
    seeds: np.ndarray
    baseline: float

    @property
    def others(self) -> np.ndarray:
        """For each arm the typical standard deviation of the others: what a prior could know without having seen the arm."""
        logs = np.log(self.sds)
        return np.exp((logs.sum() - logs) / (len(logs) - 1)) if len(logs) > 1 else self.sds


def papers() -> list[Study]:
    found = []
    for file in sorted(Path(__file__).parents[1].glob("papers/*/*/cpu.json")):
        result = load(file)
        metric, values = result["study"]["metric"], dict[str, dict[int, float]]()
        for run in result["runs"]:
            if run["multiple"] == 1 and run["status"] == "finished" and metric in run["test"]:
                values.setdefault(run["arm"], {})[run["seed"]] = run["test"][metric]
        base = values.pop("baseline")
        margin = MARGIN * abs(sum(base.values()) / len(base))
        paired = [np.array([arm[s] - base[s] for s in sorted(arm.keys() & base.keys())]) / margin for arm in values.values()]
        multiples = [point["multiple"] for point in result["baseline"].get("curve", [])] or [1.0]
        found.append(
            Study(
                result["paper"],
                np.array([d.mean() for d in paired]),
                np.array([d.std(ddof=1) for d in paired]),
                np.array([len(d) for d in paired]),
                sum(multiples),
            )
        )
    return found


def fitted(studies: Sequence[Study]) -> dict[str, Any]:
    """The noise of the papers: its size, and how alike it is among the arms of a study, as degrees of freedom (Smyth 2004)."""
    spread, sampling, freedom = 0.0, 0.0, 0
    for study in studies:
        half = (study.seeds - 1) / 2
        logs = 2 * np.log(study.sds) - special.digamma(half) + np.log(half)
        spread += ((logs - logs.mean()) ** 2).sum()
        sampling += special.polygamma(1, half).mean() * (len(logs) - 1)
        freedom += len(logs) - 1
    excess = (spread - sampling) / freedom
    prior = 2 * optimize.brentq(lambda h: special.polygamma(1, h) - excess, 1e-3, 1e6) if excess > 0 else None
    sds, sizes = (np.concatenate([getattr(study, name) for study in studies]) for name in ("sds", "differences"))

    def quartiles(values: np.ndarray) -> list[float]:
        return [round(float(value), 2) for value in np.quantile(np.abs(values), (0.25, 0.5, 0.75))]

    return {
        "studies": len(studies),
        "arms": len(sds),
        "sd_in_margins": quartiles(sds),
        "difference_in_margins": quartiles(sizes),
        "difference_in_sds": quartiles(sizes / sds),
        "freedom_of_a_study": prior and round(prior, 1),
    }


def noise(kind: str, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of mean 0 and standard deviation 1."""
    if kind == "normal":
        return random.standard_normal(shape)
    return random.standard_t(5, shape) / math.sqrt(5 / 3) if kind == "heavy tails" else random.gamma(4, 1, shape) / 2 - 2  # skewness 1


def differences(kind: str, random: np.random.Generator, trials: int, effects: np.ndarray, sds: np.ndarray, seeds: int) -> np.ndarray:
    """``[trial, arm, seed]``: half of the variance is the baseline's, which all arms of a study share."""
    own, shared = noise(kind, random, (trials, len(sds), seeds)), noise(kind, random, (trials, 1, seeds))
    return effects[:, None] + sds[:, None] * (own + (shared if kind == "skewed differences" else -shared)) / math.sqrt(2)


# Racing many studies at once ----------------------------------------------------------------------------------------------------


def spent(looks: Sequence[int], confidence: float, freedom: float) -> float:
    return boundary(looks, RACE.most, confidence, freedom)


def spent_at(rate: float) -> Limits:
    """Another rate of spending."""

    def limit(looks: Sequence[int], confidence: float, freedom: float) -> float:
        return boundary_spending(looks, [(1 - confidence) * (n / RACE.most) ** rate for n in looks], freedom)

    return limit


def e_process(scale: float) -> Limits:
    """The t e-process that mixes standardised effects over a normal of variance ``1 / scale``: crossed where it reaches 1 / alpha."""

    @functools.cache
    def limit(n: int, confidence: float) -> float:
        grown = 1 + n / scale

        def surplus(t: float) -> float:
            gain = n / 2 * (math.log1p(t * t / (n - 1)) - math.log1p(t * t / (n - 1) / grown))
            return gain - math.log(grown) / 2 + math.log(1 - confidence)

        return float(optimize.brentq(surplus, 0.0, 1e9)) if surplus(1e9) > 0 else math.inf

    return lambda looks, confidence, freedom: limit(looks[-1], confidence)


def raced(
    x: np.ndarray,
    *,
    arms: int,
    margin: float = 1.0,
    limits: Limits = spent,
    prior: np.ndarray | None = None,
    freedom: float = FREEDOM,
    give_up: float = LEAST_CHANCE,
) -> tuple[np.ndarray, np.ndarray]:
    """What was said of each ``[trial, arm]`` and after how many seeds; ``prior`` is the sd known of each arm, worth ``freedom``."""
    confidence, looks = 1 - (1 - CONFIDENCE) / arms, RACE.looks
    said, seeds = np.zeros(x.shape[:2], dtype=int), np.full(x.shape[:2], RACE.most)
    for index, n in enumerate(looks):
        mean, variance = x[..., :n].mean(axis=-1), x[..., :n].var(axis=-1, ddof=1)
        known, rest = np.zeros(x.shape[:2]), variance
        if prior is not None:
            agreed = special.fdtrc(n - 1, freedom, variance / prior**2) > DISAGREES
            known = np.where(agreed, freedom, 0.0)
            rest = np.where(agreed, (freedom * prior**2 + (n - 1) * variance) / (freedom + n - 1), variance)

        def limit(looks: Sequence[int], known: np.ndarray = known) -> np.ndarray | float:
            plain = limits(looks, confidence, 0.0)
            return plain if prior is None else np.where(known > 0, limits(looks, confidence, freedom), plain)

        half = limit(looks[: index + 1]) * np.sqrt(rest / n)
        same = np.abs(mean) + half <= margin
        now = np.where(same, NO_DIFFERENCE, np.where(np.abs(mean) > half, CALLED, OPEN))
        if n < RACE.most and give_up:
            hoped = chance(mean, np.sqrt(rest), n, limit(looks) * np.sqrt(rest / RACE.most), margin, n - 1 + known)
            now = np.where((now == OPEN) & (hoped < give_up), GIVEN_UP, now)
        fresh = (said == OPEN) & (now != OPEN)
        said[fresh], seeds[fresh] = now[fresh], n
    return said, seeds


def chance(mean: np.ndarray, sd: np.ndarray, n: int, half: np.ndarray, margin: float, freedom: np.ndarray) -> np.ndarray:
    """As in ``sequential``, for many."""
    error = sd * math.sqrt(1 / n - 1 / RACE.most)

    def beyond(limit: np.ndarray) -> np.ndarray:
        return special.stdtr(freedom, (mean - limit) / error)

    within = np.where(half < margin, np.maximum(0.0, beyond(half - margin) - beyond(margin - half)), 0.0)
    return beyond(half) + 1 - beyond(-half) + within


def agree_with_the_study(random: np.random.Generator) -> int:
    """Hold ``raced`` against what a study does; the number of arms that were compared."""
    compared = 0
    for known in (None, KnownNoise(sd=0.01, freedom=FREEDOM)):
        effects, sds = random.normal(0, 0.02, 60), random.uniform(0.003, 0.03, 60)
        x = differences("normal", random, 1, effects, sds, RACE.most)
        said, seeds = raced(x, arms=4, margin=MARGIN * 2, prior=known and np.full(60, known.sd))
        for arm in range(60):
            base = dict.fromkeys(range(RACE.most), 2.0)
            values = {seed: 2.0 + float(x[0, arm, seed]) for seed in base}
            race = RACE.model_copy(update={"noise": known})
            found = standing(race, "arm", values, {1.0: base}, settled=RACE.most, arms=4, confidence=CONFIDENCE, margin=MARGIN)
            verdict = {"helps": CALLED, "hurts": CALLED, "no difference": NO_DIFFERENCE}.get(found.block["verdict"], OPEN)
            expected = GIVEN_UP if found.stopped == "hopeless" else verdict
            assert (said[0, arm], seeds[0, arm]) == (expected, found.planned), (arm, said[0, arm], seeds[0, arm], found)
            compared += 1
    return compared


# What is measured ---------------------------------------------------------------------------------------------------------------


def rate(count: int, trials: int) -> dict[str, Any]:
    """A share with its exact binomial interval at 95 % (Clopper and Pearson 1934)."""
    low = float(special.betaincinv(count, trials - count + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, trials - count, 0.975)) if count < trials else 1.0
    return {"count": count, "rate": count / trials, "low": low, "high": high}


def errors(studies: Sequence[Study]) -> dict[str, Any]:
    """False calls and wrong "no difference" of whole studies."""
    found: dict[str, Any] = {}
    for kind in ("normal", "heavy tails", "skewed runs", "skewed differences"):
        random = np.random.default_rng(1)
        counts: dict[str, int] = {}
        for index, study in enumerate(studies):
            trials, arms = STUDIES // len(studies) + (index < STUDIES % len(studies)), len(study.sds)
            x = differences(kind, random, trials, np.zeros(arms), study.sds, RACE.most)
            # For the prior each arm's own sd is drawn as the prior says; margin 0 lets no "no difference" hide a call.
            drawn = study.others * np.sqrt(FREEDOM / random.chisquare(FREEDOM, (trials, arms)))
            y = x / study.sds[:, None] * drawn[..., None]
            each = {
                "false_calls": raced(x, arms=arms, margin=0.0)[0] == CALLED,
                "without_giving_up": raced(x, arms=arms, margin=0.0, give_up=0.0)[0] == CALLED,
                **{f"fixed_{n}_seeds": called(x, arms, n) for n in (3, RACE.most)},
                "with_prior": raced(y, arms=arms, margin=0.0, prior=study.others, give_up=0.0)[0] == CALLED,
                "prior_half_the_noise": raced(y, arms=arms, margin=0.0, prior=study.others / 2, give_up=0.0)[0] == CALLED,
                # A spread of a third of the margin, so that "no difference" is within reach.
                "wrong_no_difference": raced(1 + x / study.sds[:, None] / 3, arms=arms)[0] == NO_DIFFERENCE,
            }
            for name, wrong in each.items():
                counts[name] = counts.get(name, 0) + int(wrong.any(axis=1).sum())
        found[kind] = {name: rate(count, STUDIES) for name, count in counts.items()}
    return {"studies": STUDIES, "stated_rate": 1 - CONFIDENCE, "stated_rate_of_wrong_no_difference": (1 - CONFIDENCE) / 2, "noise": found}


def called(x: np.ndarray, arms: int, n: int) -> np.ndarray:
    """Which arms a fixed number of seeds calls."""
    return np.abs(x[..., :n].mean(axis=-1)) > student(n - 1, arms) * x[..., :n].std(axis=-1, ddof=1) / math.sqrt(n)


def student(freedom: float, arms: int) -> float:
    return float(-special.stdtrit(freedom, (1 - CONFIDENCE) / arms / 2))


def fixed(x: np.ndarray, arms: int, prior: np.ndarray | None = None) -> list[float]:
    """The share of arms that are decided with a fixed number of seeds, from 2 to as many as there are."""
    shares = []
    for n in range(2, x.shape[-1] + 1):
        mean, variance, freedom = x[..., :n].mean(axis=-1), x[..., :n].var(axis=-1, ddof=1), n - 1.0
        if prior is not None:
            variance, freedom = (FREEDOM * prior**2 + (n - 1) * variance) / (FREEDOM + n - 1), freedom + FREEDOM
        half = student(freedom, arms) * np.sqrt(variance / n)
        shares.append(float(((np.abs(mean) + half <= 1.0) | (np.abs(mean) > half)).mean()))
    return shares


def equal(power: float, shares: Sequence[float]) -> float | None:
    """The fixed number of seeds that decides as often, between whole numbers by a straight line; None where it is not among them."""
    rising = np.maximum.accumulate(shares)
    return float(np.interp(power, rising, np.arange(2, len(rising) + 2))) if rising[0] <= power <= rising[-1] else None


def effects() -> list[dict[str, Any]]:
    """One arm, at given effects, and all of them together."""
    tables = []
    for sd in (1.0, 2.0, 4.0):
        rows, powers, costs = [], dict[str, list[list[float]]](), dict[str, list[tuple[float, float]]]()
        for effect in (0.0, 0.5, 1.0, 2.0, 4.0):
            x = differences("normal", np.random.default_rng(2), 20_000, np.array([effect]), np.array([sd]), LARGEST)
            row: dict[str, Any] = {"effect_in_margins": effect}
            for name, prior in (("plain", None), ("with_prior", np.array([sd]))):
                said, seeds = raced(x, arms=1, prior=prior)
                power, shares = float(np.isin(said, (CALLED, NO_DIFFERENCE)).mean()), fixed(x, 1, prior)
                same = equal(min(power, 0.99), shares)
                mean = float(seeds.mean())
                row[name] = {"decided": power, "given_up": float((said == GIVEN_UP).mean()), "seeds": mean, "fixed_seeds": same}
                row[name]["ratio"] = same and mean / same
                powers.setdefault(name, []).append(shares)
                costs.setdefault(name, []).append((power, mean))
            rows.append(row)
        together = {}
        for name, found in costs.items():
            power, mean = np.mean(found, axis=0)
            same = equal(power, np.mean(powers[name], axis=0).tolist())
            together[name] = {"decided": float(power), "seeds": float(mean), "fixed_seeds": same, "ratio": same and float(mean) / same}
        tables.append({"sd_in_margins": sd, "rows": rows, "together": together})
    return tables


def over_papers(studies: Sequence[Study], shrunk: bool = False, **design: Any) -> dict[str, Any]:
    """Every paper raced; seeds and runs, against the one fixed number of seeds that decides as many arms.

    ``shrunk`` takes from the measured differences what noise adds to their size.
    """
    use_prior = design.pop("known", False)
    decided, no_difference, seeds, runs, arms_in_all = 0.0, 0.0, 0.0, 0.0, 0
    shares, own_shares, weight = np.zeros(LARGEST - 1), np.zeros(LARGEST - 1), 0.0
    for index, study in enumerate(studies):
        sizes, arms = np.abs(study.differences), len(study.sds)
        if shrunk:
            sizes = np.sqrt(np.maximum(0.0, sizes**2 - study.sds**2 / study.seeds))
        x = differences("normal", np.random.default_rng(100 + index), TRIALS, sizes, study.sds, LARGEST)
        prior = study.others if use_prior else None
        said, spent_seeds = raced(x, arms=arms, prior=prior, **design)
        decided += float(np.isin(said, (CALLED, NO_DIFFERENCE)).mean(axis=0).sum())
        no_difference += float((said == NO_DIFFERENCE).mean(axis=0).sum())
        seeds += float(spent_seeds.mean(axis=0).sum())
        runs += float((spent_seeds.sum(axis=1) + study.baseline * spent_seeds.max(axis=1)).mean())
        shares += arms * np.array(fixed(x, arms))
        own_shares += arms * np.array(fixed(x, arms, prior))
        arms_in_all, weight = arms_in_all + arms, weight + arms + study.baseline
    power = decided / arms_in_all
    plain, own = equal(power, shares / arms_in_all), equal(power, own_shares / arms_in_all)
    return {
        "decided": power,
        "no_difference": no_difference / arms_in_all,
        "seeds": seeds / arms_in_all,
        "fixed_seeds": plain,
        "ratio_of_seeds": plain and seeds / arms_in_all / plain,
        "ratio_of_flops": plain and runs / (weight * plain),
        # With a prior, fixed seeds could use it as well.
        "ratio_of_flops_to_fixed_with_the_same_prior": own and runs / (weight * own),
    }


def losses(file: Path) -> np.ndarray:
    """The losses of one setting by seed: a JSON object ``{"0": 2.31, ...}``, or the result of a study, whose baseline it then is."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if "runs" in content:
        result = load(file)
        metric = result["study"]["metric"]
        runs = [run for run in result["runs"] if (run["arm"], run["multiple"], run["status"]) == ("baseline", 1, "finished")]
        content = {run["seed"]: run["test"][metric] for run in runs}
    return np.array([float(value) for value in content.values()])


def of_seeds(values: np.ndarray) -> dict[str, Any]:
    """Studies resampled from real seeds of one setting: arm and baseline are disjoint seeds of it, so that there is nothing to call.

    The studies are drawn from the same seeds, so their bounds say what these seeds do and not what others would.
    """
    if len(values) < 2 * RACE.most:
        raise SystemExit(f"{len(values)} seeds: {2 * RACE.most} are needed for one arm and a baseline of {RACE.most} seeds each")
    margin = MARGIN * abs(values.mean())
    sd = math.sqrt(2) * float(values.std(ddof=1)) / margin

    def drawn(random: np.random.Generator, trials: int, arms: int, seeds: int) -> np.ndarray:
        order = random.permuted(np.tile(values / margin, (trials, 1)), axis=1)[:, : (arms + 1) * seeds].reshape(trials, arms + 1, seeds)
        return order[:, 1:] - order[:, :1]

    counts: dict[str, Any] = {}
    for arms in (1, 4):
        if (arms + 1) * RACE.most > len(values):
            continue
        x, prior = drawn(np.random.default_rng(1), STUDIES, arms, RACE.most), np.full(arms, sd)
        said = {
            "false_calls": raced(x, arms=arms)[0] == CALLED,
            "false_calls_without_margin": raced(x, arms=arms, margin=0.0)[0] == CALLED,
            "false_calls_with_prior": raced(x, arms=arms, margin=0.0, prior=prior)[0] == CALLED,
            **{f"false_calls_of_fixed_{n}_seeds": called(x, arms, n) for n in (3, RACE.most)},
            # Arms that are worse by exactly the margin: the stated one, and one that a third of the spread puts within reach.
            "wrong_no_difference": raced(x + 1, arms=arms)[0] == NO_DIFFERENCE,
            "wrong_no_difference_within_reach": raced(1 + x / sd / 3, arms=arms)[0] == NO_DIFFERENCE,
            "wrong_no_difference_within_reach_with_prior": raced(1 + x / sd / 3, arms=arms, prior=prior / sd / 3)[0] == NO_DIFFERENCE,
        }
        counts[f"{arms} arm{'s' if arms > 1 else ''}"] = {name: rate(int(wrong.any(axis=1).sum()), STUDIES) for name, wrong in said.items()}
    most = min(LARGEST, len(values) // 2)
    curve = []
    for effect in (0.0, 0.5, 1.0, 2.0, 4.0):
        x = drawn(np.random.default_rng(2), STUDIES, 1, most) + effect
        row: dict[str, Any] = {"effect_in_margins": effect}
        for name, known in (("plain", None), ("with_prior", np.array([sd]))):
            verdicts, seeds = raced(x[..., : RACE.most], arms=1, prior=known)
            power, mean = float(np.isin(verdicts, (CALLED, NO_DIFFERENCE)).mean()), float(seeds.mean())
            same = equal(min(power, 0.99), fixed(x, 1, known))
            row[name] = {"decided": power, "seeds": mean, "fixed_seeds": same, "ratio_of_flops": same and mean / same}
        curve.append(row)
    about = {"seeds": len(values), "mean": float(values.mean()), "sd": float(values.std(ddof=1)), "sd_of_a_difference_in_margins": sd}
    stated = {"stated_rate": 1 - CONFIDENCE, "stated_rate_of_wrong_no_difference": (1 - CONFIDENCE) / 2}
    return {**about, "studies": STUDIES, **stated, "errors": counts, "effects": curve}


def main() -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=Path, metavar="FILE", help="losses of one setting by seed, as JSON: resample studies from these")
    asked = parser.parse_args()
    if asked.seeds is not None:
        return of_seeds(losses(asked.seeds))
    compared = agree_with_the_study(np.random.default_rng(0))
    studies = papers()
    designs = {
        f"spending rate {speed:g}": over_papers(studies, limits=spent_at(speed), give_up=0.0) for speed in (0.5, 1.0, SPENDING, 2.0, 3.0)
    }
    designs |= {
        f"e-process, scale {scale:g}": over_papers(studies, limits=e_process(scale), give_up=0.0) for scale in (0.05, 0.1, 0.3, 1.0)
    }
    designs |= {f"given up below {least:g}": over_papers(studies, give_up=least) for least in (0.05, 0.1, 0.2, 0.3)}
    return {
        "looks": list(RACE.looks),
        "held_against_the_study": compared,
        "noise": fitted(studies),
        "errors": errors(studies),
        "effects": effects(),
        "papers": {
            "plain": over_papers(studies),
            "with_prior": over_papers(studies, known=True),
            "plain_shrunk": over_papers(studies, shrunk=True),
            "with_prior_shrunk": over_papers(studies, shrunk=True, known=True),
        },
        "designs": designs,
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
