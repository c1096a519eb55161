"""A result with every question that the page, the tables and the charts ask of it.

A ``Reading`` is a result.json (see ``windtunnel.study``). It never fails on a half-finished study: what is missing or not finite is
written as a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.report.words import DASH, above, decimals, finite, gain, gain_interval, listing, mean, number, plural, signed
from windtunnel.study.lenient import as_result
from windtunnel.study.result import BASELINE, Costs, OverRates, Run, StudyResult

ENOUGH = 10.0  # tokens per parameter below which verdicts are about early training
UNEVEN = 2.0  # how many times the peak memory of one run another of the same arm may have for arms to be compared in it
MEANS = ("tokens", "flops", "effective_flops", "seconds", "cpu_seconds", "peak_memory_bytes")  # of the runs of an arm
BITS = "bits_per_byte"
MORE_TEXT = "more held-out text (`test_tokens:`, `split: {test: ...}`)"
MOST_SEEDS = 10_000  # above this many a number of seeds is no advice any more


class Reading:
    """A result with the questions that a report asks of it."""

    def __init__(self, result: StudyResult | Mapping[str, Any]) -> None:
        self.result = as_result(result)
        self.study = self.result.study
        self.metric = self.study.metric
        self.unit = self.study.unit.strip()
        self.lower_is_better = self.study.better == "lower"
        self.baseline = self.result.baseline
        self.arms = self.result.arms
        self.runs = self.result.runs
        self.finished = self.result.finished
        self.margin = finite(self.study.margin)
        widths = [self.half_width(name) for name in self.arms]
        narrowest = min((width for width in widths if width), default=0.05)
        self.digits = decimals(narrowest, least=3)

    # Who flew -------------------------------------------------------------------------------------------------------------------

    def ranked(self) -> list[str]:
        """Arms from the best difference to the worst; those without one last, in the order of the file."""
        sign = 1 if self.lower_is_better else -1
        known = {name: value for name, arm in self.arms.items() if (value := finite(arm.test.difference)) is not None}
        return sorted(known, key=lambda name: sign * known[name]) + [name for name in self.arms if name not in known]

    def runs_of(self, name: str, multiple: float = 1) -> list[Run]:
        """The runs of one arm (or of the baseline) at a multiple of the budget."""
        own = [run for run in self.runs if run.arm == name]
        return [run for run in own if name != BASELINE or (finite(run.multiple) or 1.0) == multiple]

    def finished_runs(self, name: str) -> list[Run]:
        """Those of :meth:`runs_of` that came to their end."""
        return [run for run in self.runs_of(name) if run.finished]

    def failed_runs(self) -> list[Run]:
        """Runs that ended with an error."""
        return [run for run in self.runs if run.status == "failed"]

    def half_width(self, name: str) -> float | None:
        """Half the width of an arm's interval, None where it has none."""
        low, high = finite(self.arms[name].test.low), finite(self.arms[name].test.high)
        return abs(high - low) / 2 if low is not None and high is not None and high != low else None

    def over_documents(self) -> dict[str, float]:
        """Half the width of the interval over documents of each arm that has one and one over seeds."""
        found = {name: arm.over_documents for name, arm in self.arms.items() if self.half_width(name) is not None}
        ends = {name: (finite(one.low), finite(one.high)) for name, one in found.items() if one is not None}
        return {name: (high - low) / 2 for name, (low, high) in ends.items() if low is not None and high is not None}

    def over_rates(self) -> dict[str, OverRates]:
        """The baseline and the arms of a check of rates, the best first."""
        known = self.result.rates.arms if self.result.rates else {}
        return {name: known[name] for name in (BASELINE, *self.ranked()) if name in known}

    def costs(self, name: str) -> Costs:
        """What an arm or the baseline cost: as the result states it, else the mean of its finished runs."""
        own: Costs = self.baseline if name == BASELINE else self.arms[name]
        spent = [run.totals for run in self.finished_runs(name)]
        missing = [key for key in MEANS if finite(getattr(own, key)) is None]
        return own.model_copy(update={key: mean(getattr(one, key) for one in spent) for key in missing} | {"epochs": self.epochs(name)})

    def epochs(self, name: str) -> dict[str, float]:
        """How often an arm went over each source."""
        own = (self.baseline if name == BASELINE else self.arms[name]).epochs
        if own:
            return {source: value for source, value in own.items() if finite(value) is not None}
        found: dict[str, list[float]] = {}
        for run in self.finished_runs(name):
            for source, value in run.totals.epochs.items():
                found.setdefault(source, []).append(value)
        return {source: known for source, values in found.items() if (known := mean(values)) is not None}

    @property
    def cpu_known(self) -> bool:
        """Whether times are compared in CPU seconds: every arm that was compared has them."""
        compared = [arm for arm in self.arms.values() if finite(arm.wall_clock_ratio) is not None]
        return all(finite(arm.cpu_ratio) is not None for arm in compared) and bool(compared)

    def time_ratio(self, name: str) -> float | None:
        """How many times the baseline's time an arm took: in CPU seconds where all arms have them, else on the clock."""
        arm = self.arms[name]
        return arm.cpu_ratio if self.cpu_known else arm.wall_clock_ratio

    def memory_ratio(self, name: str) -> float | None:
        """How many times the baseline's peak memory an arm took; None where runs of one of them differ as much as arms do.

        They do in results in which it was the memory of a process, of which the first run of a worker takes most.
        """
        for one in (BASELINE, name):
            peaks = [run.totals.peak_memory_bytes for run in self.finished_runs(one) if run.totals.peak_memory_bytes]
            if peaks and max(peaks) > UNEVEN * min(peaks):
                return None
        return self.arms[name].peak_memory_ratio

    def repeats(self, name: str) -> dict[str, float]:
        """The sources that an arm read more than once."""
        return {source: value for source, value in self.epochs(name).items() if value > 1.001}

    # Sentences ------------------------------------------------------------------------------------------------------------------

    @property
    def measure(self) -> str:
        """What the primary metric is called in a sentence."""
        return self.unit or self.metric.replace("_", " ") or "the primary metric"

    @property
    def deciding(self) -> str:
        """The same, with the source whose number it is, where one decides alone."""
        source = self.metric.partition("/")[2]
        return f"{self.unit} of {source}" if self.unit and source else self.measure

    @property
    def confidence(self) -> str:
        """The level of the intervals, as ``95 %``."""
        known = finite(self.study.confidence)
        return DASH if known is None else f"{100 * known if known <= 1 else known:.4g} %"

    def two_scales(self) -> str:
        """Why validation and test cannot be compared, where knowing nothing (the number ``METRIC_zero``) costs another amount on each."""
        zero = f"{self.metric.partition('/')[0]}_zero"
        for run in self.finished_runs(BASELINE):
            seen, tested = finite(run.validation[-1].numbers.get(zero)) if run.validation else None, finite(run.test.get(zero))
            if seen is not None and tested is not None and abs(seen - tested) > 0.02 * max(abs(seen), abs(tested)):
                amounts = f"{number(seen, 2)} {self.measure} on validation and {number(tested, 2)} on test"
                return f"Validation and test are two scales here: knowing nothing costs {amounts}."
        return ""

    def difference(self, name: str) -> str:
        """An arm's difference to the baseline with its interval: ``−0.31 bits per byte (95 % CI −0.40 to −0.22)``."""
        test, digits = self.arms[name].test, self.figures(name)
        low, high = finite(test.low), finite(test.high)
        known = low is not None and high is not None
        interval = f"{self.confidence} CI {signed(low, digits)} to {signed(high, digits)}" if known else "no interval"
        return f"{signed(test.difference, digits)} {self.measure} ({interval})"

    def figures(self, name: str) -> int:
        """How many decimals the difference of this arm has, in sentences, charts and tables: enough that no end of its interval is zero."""
        digits = decimals(self.half_width(name) or 0.01)
        test = self.arms[name].test
        ends = [abs(end) for value in (test.low, test.high, test.difference) if (end := finite(value))]
        while digits < 5 and any(round(end, digits) == 0 for end in ends):
            digits += 1
        return digits

    def gain(self, name: str) -> str:
        """The compute gain: ``compute gain 1.60 (1.21 to ≥ 2.00)``; empty where there is none."""
        stated = self.arms[name].compute_gain
        if stated is None or (value := gain(stated)) == DASH:
            return ""
        if stated.bounded:
            return f"compute gain {value}, the {'largest' if above(stated) else 'smallest'} budget of the baseline"
        interval = gain_interval(stated)
        return f"compute gain {value}" + (f" ({interval})" if interval != DASH and stated.low != stated.high else "")

    def seeds_needed(self, name: str) -> str:
        """How many seeds would settle an undecided arm."""
        needed, flown = finite(self.arms[name].required_seeds), self.arms[name].seeds
        if needed is None:
            return "too few runs to estimate how many seeds would settle it"
        if needed > MOST_SEEDS:
            return "no practical number of seeds would settle it; try a larger budget or another corpus"
        return f"about {plural(needed, 'seed')} would settle it" + (f" ({number(flown, 0)} flown)" if flown else "")

    def sentence(self, name: str) -> str:
        """The verdict on an arm in words: ``Helps: −0.31 bits per byte (95 % CI −0.40 to −0.22); compute gain 1.60 (1.21 to 2.10).``."""
        arm = self.arms[name]
        verdict, failures = arm.verdict, sum(run.status == "failed" for run in self.runs_of(name))
        if verdict == "failed":
            flown = plural(len(self.runs_of(name)), "run")
            if failures:
                return f"Failed: {failures} of {flown} ended with an error, shown below."
            measured = any(run.status == "finished" for run in self.runs_of(name))
            return f"Failed: its runs have no {self.metric} to compare." if measured else "Failed: no run finished."
        if finite(arm.test.difference) is None or verdict is None:
            return "No verdict yet: its runs, or the baseline's, are not finished."
        more = self.gain(name)
        if verdict == "undecided":
            more = self.seeds_needed(name)
        elif verdict == "no difference":
            more = f"within the margin of ±{number(self.margin, decimals(self.margin or 0.01))}" if self.margin is not None else ""
        tail = self.stopping(name) + (f" {plural(failures, 'run')} failed, shown below." if failures else "")
        return f"{verdict.capitalize()}: {self.difference(name)}{'; ' + more if more else ''}.{tail}"

    def stopping(self, name: str) -> str:
        """Why an arm of a race got no more seeds, and what that does to its mean; empty where it got all."""
        arm, most = self.arms[name], number((self.study.race or {}).get("most"), 0)
        if arm.stopped == "hopeless":
            return f" Given up after {plural(arm.planned, 'seed')}: a verdict by {most} had become unlikely; the mean is biased."
        if arm.stopped != "decided":
            return ""
        side = "towards zero" if arm.verdict == "no difference" else "away from zero"
        return f" Stopped early, after {plural(arm.planned, 'seed')} of at most {most}: the mean is biased {side}."

    def seeds(self) -> str:
        """How many seeds were flown: of the study, or the range over its arms."""
        stated = self.study.seeds
        flown = sorted({seeds for seeds in (self.baseline.seeds, *(arm.seeds for arm in self.arms.values())) if seeds})
        if flown and (len(flown) > 1 or stated is None or flown[0] != stated):
            text = plural(flown[-1], "seed") if len(flown) == 1 else f"{number(flown[0], 0)} to {plural(flown[-1], 'seed')}"
            if self.study.race:
                return f"{text} of at most {number(stated, 0)}"
            return text if stated is None else f"{text} of {number(stated, 0)} planned"
        return plural(stated, "seed")

    def budget(self) -> str:
        """The budget of one run: ``2.00e12 FLOPs``."""
        parts = [
            f"{amount:.4g} {'FLOPs' if unit == 'flops' else unit.replace('_', ' ')}".replace("e+", "e")
            for unit, amount in self.study.budget.items()
            if finite(amount) is not None
        ]
        return " = ".join(parts) if parts else "a budget that the result does not state"

    def exposure(self) -> float | None:
        """Tokens per parameter of the baseline; None where the result does not say."""
        return self.baseline.tokens_per_parameter

    @property
    def unit_name(self) -> str:
        """What one unit of the data is called: ``token``, ``image``, ``row``; a token where the result does not say."""
        return self.result.stream.unit or "token"

    @property
    def positions(self) -> str:
        """What a model computes one by one: tokens of text, else positions, such as the cells of a row or the patches of an image."""
        return "tokens" if self.unit_name == "token" else "positions"

    def early(self) -> str:
        """What a reader has to know first of a study whose models have seen little, else nothing."""
        seen = self.exposure()
        if seen is None or seen >= ENOUGH:
            return ""
        return (
            f"These verdicts are about early training: the baseline saw {seen:.2g} {self.positions} per parameter, where pre-training has "
            "20 to several thousand."
        )

    def known_noise(self) -> str:
        """What was known of the noise of a race before it was flown, and for which arms it was not used."""
        noise = (self.study.race or {}).get("noise")
        used = {name: [look.prior for look in arm.looks if look.prior is not None] for name, arm in self.arms.items()}
        if not isinstance(noise, Mapping) or not any(used.values()):
            return ""
        without = [name for name in self.ranked() if used[name] and not used[name][-1]]
        source = f" (from {noise['source']})" if noise.get("source") else ""
        said = (
            f"The noise of a seed's difference was known beforehand{source}: a standard deviation of "
            f"{number(noise.get('sd'), self.digits + 1)} {self.measure}, worth {number(noise.get('freedom'), 1)} degrees of freedom."
        )
        return said + (f" {listing(without)} spread wider than that allows and is judged without it." if without else "")

    def doubt(self) -> str:
        """Whether seeds or held-out documents leave more doubt about each arm, and what that asks for; empty where it is not known."""
        widths = self.over_documents()
        known = [name for name in self.ranked() if name in widths]
        texts = [name for name in known if widths[name] > (self.half_width(name) or 0.0)]
        seeds = [name for name in known if name not in texts]
        said = []
        for names, larger, smaller, more, vain in (
            (texts, "the choice of held-out documents", "chance between seeds", MORE_TEXT, "more seeds"),
            (seeds, "chance between seeds", "the choice of held-out documents", "more seeds", "more held-out text"),
        ):
            if names:
                which = "every arm" if len(names) == len(known) > 1 else listing(names)
                said.append(f"For {which} {larger} leaves more doubt than {smaller}: {more} would narrow it, {vain} would not.")
        shaky = [name for name in known if self.arms[name].verdict in ("helps", "hurts") and self._straddles(name)]
        if shaky:
            said.append(f"Over documents the interval of {listing(shaky)} contains zero: other documents may give another verdict.")
        return " ".join(said)

    def _straddles(self, name: str) -> bool:
        found = self.arms[name].over_documents
        low, high = (finite(found.low), finite(found.high)) if found else (None, None)
        return low is not None and high is not None and low <= 0 <= high

    def multiplicity(self) -> str:
        """What the correction for several arms at once means; empty where there is none."""
        each = finite(self.study.confidence_of_each)
        if each is None or len(self.arms) < 2:
            return ""
        return f"Each interval is wide enough for {100 * each:.4g} %, so that all of them hold together with {self.confidence}."

    def bits_per_byte(self, name: str) -> float | None:
        """The bits per byte of an arm or the baseline on test; None where nothing measures them."""
        block = self.baseline if name == BASELINE else self.arms.get(name)
        if block is None:
            return None
        measured = [block.test] if self.metric.partition("/")[0] == BITS else []
        known = [finite(one.mean) for one in (*measured, block.numbers.get(BITS)) if one is not None]
        return next((value for value in known if value is not None), None)

    @property
    def trains_nothing(self) -> bool:
        """Whether it is the result of an experiment, which has settings of a part in the place of recipes."""
        return "experiment" in self.result.recipes.get(BASELINE, {})

    def honesty(self) -> list[str]:
        """What the verdicts rest on and what they cannot say, in a few sentences."""
        several = ", corrected for comparing several arms at once" if len(self.arms) > 1 else ""
        flew = "flew" if self.finished else "fly"
        how = (
            f"Nothing was trained by a recipe: every setting of the experiment was measured with {self.seeds()}, and a seed gives all of "
            "them the same data, so differences are paired. "
            if self.trains_nothing
            else f"Every arm and the baseline {flew} {self.seeds()} at a budget of {self.budget()} a run; seeds share "
            "initialisation and document order with the baseline where shapes agree, so differences are paired. "
        )
        lines = [f"{how}Intervals are {self.confidence} intervals{several}."]
        if self.study.race:
            lines.append(
                "Seeds were raced: the study looked after each group, and more went only to arms whose verdict was still open. Intervals "
                "are repeated confidence intervals: they hold at all looks together, and are wider than those of as many fixed seeds."
            )
        lines += [known] if (known := self.known_noise()) else []
        fewest = min((arm.seeds for arm in self.arms.values() if arm.seeds), default=None)
        if fewest is not None and fewest < 2:
            lines.append("One seed cannot separate an effect from chance; an interval needs at least two.")
        elif fewest is not None and fewest < 5:
            lines.append(f"{number(fewest, 0)} seeds give only a rough estimate of the spread between seeds, so intervals are wide.")
        if self.margin is not None:
            within = f"±{number(self.margin, decimals(self.margin or 0.01))} {self.measure}"
            compute = finite(self.study.margin_compute)
            worth = f": that is what {100 * compute:g} % of the compute buys on the baseline's curve" if compute else ""
            lines.append(f"“No difference” means that the whole interval lies within {within}{worth}.")
        elif self.arms:
            lines.append("The study sets no equivalence margin, so it can never conclude “no difference”, only “undecided”.")
        lines += [doubt] if (doubt := self.doubt()) else []
        if self.trains_nothing:
            return [*lines, "A verdict holds for these data and settings."]
        return [
            *lines,
            "A verdict holds for this corpus, model size and budget; expect it at larger ones only if it holds at several scales.",
        ]
