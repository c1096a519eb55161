"""Laws of other things than size and tokens: what was planted lies in the interval, and what a fit would hide is refused or said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.kits.text.knowledge import all_bits, stored_bits
from windtunnel.laws import capacity as bits
from windtunnel.laws import critical_batch, downstream, frequency, learning_curve, mixture, repeated, trajectory
from windtunnel.laws.advantage import advantage, planted_risk
from windtunnel.laws.dynamics import dynamics
from windtunnel.laws.fitting import LawForm
from windtunnel.laws.forecast import Bounds, LawResult
from windtunnel.laws.retention import retention
from windtunnel.laws.strategies import LONG, STRATEGIES, _crossings, strategies
from windtunnel.laws.under_cost import under_cost

DRAWS = 40


def noisy(values: np.ndarray, size: float, seed: int = 0) -> np.ndarray:
    return np.asarray(values * np.exp(size * np.random.default_rng(seed).standard_normal(len(values))))


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def write(**columns: Any) -> Path:
        rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        path = tmp_path / "table.csv"
        path.write_text("\n".join([",".join(columns), *rows]) + "\n")
        return path

    return write


def grid(*values: Any) -> list[np.ndarray]:
    return [axis.ravel() for axis in np.meshgrid(*values, indexing="ij")]


def holds(found: LawResult, truth: dict[str, float], loose: float = 0.02) -> None:
    """Every planted number lies in its interval, or so close to it that a few draws may miss it; and there is all that a law answers."""
    for name, value in truth.items():
        one = found.parameters[name]
        assert one.low * (1 - loose) - loose / 10 <= value <= one.high * (1 + loose) + loose / 10, (name, value, one)
    assert found.covariance and found.largest_left_out is not None and np.isfinite(found.residual)


# Repetition, trajectories, batches ------------------------------------------------------------------------------------------------


def test_the_worth_of_repeated_data_is_found(table: Any) -> None:
    truth = {"E": 1.9, "A": 500.0, "B": 1500.0, "alpha": 0.35, "beta": 0.35, "repeats": 15.0, "excess": 5.0}
    n, u, times = grid([1e8, 4e8, 1.6e9], [1e8, 1e9], [1.0, 2.0, 4.0, 16.0, 64.0])
    loss = noisy(repeated.REPEATED.at(truth, N=n, D=u * times, U=u), 0.001)
    path = table(N=n, D=u * times, U=u, loss=loss)
    columns = {"size": "N", "tokens": "D", "unique": "U", "loss": "loss"}
    held = {name: truth[name] for name in ("E", "A", "B", "alpha", "beta")}
    holds(repeated.repeated(path, **columns, hold=held, draws=DRAWS), truth, 0.2)
    with pytest.raises(UserError, match="no number 'Alpha'; did you mean 'alpha'"):
        repeated.repeated(path, **columns, hold={"Alpha": 1.0}, draws=DRAWS)
    with pytest.raises(UserError, match="fly some for 4 and for 16 epochs"):
        repeated.repeated(table(N=n, D=u, U=u, loss=loss), **columns, draws=DRAWS)


def test_the_loss_along_training_is_found(table: Any) -> None:
    truth = {"N_c": 6e13, "a": 0.08, "S_c": 2000.0, "s": 0.7, "B_star": 2e8, "p": 4.8}
    n, s, b = grid([1e6, 1e7, 1e8], np.geomspace(300, 30000, 10), [1e4, 1e5, 1e6])
    loss = noisy(trajectory.TRAJECTORY.at(truth, N=n, S=s, B=b), 0.002)
    run = [f"{x:g}/{y:g}" for x, y in zip(n, b, strict=True)]
    columns = {"size": "N", "step": "S", "batch": "B", "loss": "loss"}
    path = table(N=n, S=s, B=b, loss=loss, run=run)
    holds(trajectory.trajectory(path, **columns, group="run", draws=DRAWS), truth, 0.1)
    one = b == 1e5
    few = table(N=n[one], S=s[one], B=b[one], loss=loss[one])
    with pytest.raises(UserError, match="1 batch sizes say nothing of B_star and p"):
        trajectory.trajectory(few, **columns, draws=DRAWS)
    found = trajectory.trajectory(few, **columns, hold={"B_star": 2e8, "p": 4.8}, draws=DRAWS)
    holds(found, {"a": 0.08, "s": 0.7}, 0.05)
    assert any("--group" in line for line in found.warnings)


def test_critical_batches_grow_as_planted(table: Any) -> None:
    loss, batch = grid([4.0, 3.5, 3.0, 2.6], np.geomspace(1e4, 1e7, 8))
    critical = 2e8 / loss**5
    path = table(level=[f"at {x:g}" for x in loss], L=loss, B=batch, S=noisy(3000 * (1 + critical / batch), 0.02))
    found = critical_batch.critical_batch(path, batch="B", steps="S", level="level", loss="L", draws=DRAWS)
    holds(found, {"coefficient": 2e8, "exponent": 5.0}, 0.1)
    assert found.levels[2].batch.value == pytest.approx(2e8 / 3**5, rel=0.1)
    without = critical_batch.critical_batch(path, batch="B", steps="S", level="level", draws=DRAWS)
    assert not without.parameters and "fewer than three levels" in without.warnings[-1]


def planted_mixture(times: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares, times, and changes of the general and the domain loss: the general one has risen by 0.03 at the end for a share of 0.5."""
    share, t = grid([0.125, 0.25, 0.5, 0.75, 0.9], np.linspace(1 / times, 1, times))
    return share, t, 0.10 * share * t**0.3 - 0.02 * t**0.9, -0.35 * share**0.3 * t**0.2


def test_the_critical_mixture_ratio_is_found(table: Any) -> None:
    """General loss rises with the share at first and comes down again; at the planted ratio it turns just before the end."""
    share, t, general, domain = planted_mixture(25)
    tokens = np.concatenate([[0.0], t * 2e9])
    spread = 2e-4 * np.random.default_rng(0).standard_normal((2, len(t)))
    path = table(
        R=np.concatenate([[0.0], share]),
        T=tokens,
        G=np.concatenate([[2.5], 2.5 + general + spread[0]]),
        D=np.concatenate([[3.0], 3.0 + domain + spread[1]]),
    )
    columns = {"share": "R", "tokens": "T", "general": "G", "domain": "D"}
    found = mixture.mixture(path, **columns, tolerance=0.03, draws=DRAWS)
    assert found.parameters["critical_ratio"].value == pytest.approx(0.5, abs=0.03)  # 0.1 R - 0.02 = 0.03
    assert found.ahead is None  # six evaluations in the first quarter
    assert [one.feasible for one in found.shares] == [True, True, True, False, False] or [
        one.share for one in found.shares if one.feasible
    ][-1] in (0.25, 0.5)
    with pytest.raises(UserError, match="no row at zero tokens"):
        mixture.mixture(table(R=share, T=t * 2e9, G=2.5 + general, D=3 + domain), **columns, draws=DRAWS)


def test_the_beginnings_of_curves_foretell_the_critical_mixture_ratio(table: Any) -> None:
    """Three seeds that start at losses of their own: their changes are alike, and the seeds are what is drawn again."""
    share, t, general, domain = planted_mixture(44)
    rows: dict[str, list[Any]] = {"R": [], "T": [], "G": [], "D": [], "seed": []}
    for seed, level in enumerate((-0.2, 0.0, 0.2)):
        noise = 1e-4 * np.random.default_rng(seed).standard_normal((2, len(t)))
        rows["R"] += [0.5, *share]
        rows["T"] += [0.0, *(t * 2e9)]
        rows["G"] += [2.5 + level, *(2.5 + level + general + noise[0])]
        rows["D"] += [3.0 - level, *(3.0 - level + domain + noise[1])]
        rows["seed"] += [seed] * (1 + len(t))
    columns = {"share": "R", "tokens": "T", "general": "G", "domain": "D"}
    found = mixture.mixture(table(**rows), **columns, group="seed", tolerance=0.03, draws=10)
    one = found.parameters["critical_ratio"]
    assert one.value == pytest.approx(0.5, abs=0.01) and 0 < one.high - one.low < 0.02 and found.residual < 2e-4
    assert found.ahead is not None and found.ahead.tokens == 5e8
    assert found.ahead.general.error < 0.002 and found.ahead.domain.error < 0.002
    assert found.ahead.domain.against_last < 0.1 and found.ahead.domain.against_line < 0.1
    assert found.ahead.critical_ratio == pytest.approx(0.5, abs=0.1) and found.ahead.steps is not None and found.ahead.steps < 0.5
    lacking = {
        name: [cell for at, cell in enumerate(cells) if (rows["seed"][at], rows["R"][at]) != (2, 0.9)] for name, cells in rows.items()
    }
    before = {name: [cell for at, cell in enumerate(cells) if rows["T"][at] or rows["seed"][at] != 1] for name, cells in rows.items()}
    with pytest.raises(UserError, match="no row of seed 1 at zero tokens"):
        mixture.mixture(table(**before), **columns, group="seed", draws=1)
    with pytest.raises(UserError, match=r"share 0\.9 lacks seed 2"):
        mixture.mixture(table(**lacking), **columns, group="seed", draws=1)


# Scores ---------------------------------------------------------------------------------------------------------------------------


def test_a_score_follows_the_loss(table: Any) -> None:
    truth = {"floor": 0.25, "ceiling": 0.9, "steepness": 8.0, "middle": 0.8}
    loss = np.linspace(0.5, 1.3, 24)
    score = downstream.SCORE.at(truth, loss=loss) + 0.004 * np.random.default_rng(0).standard_normal(24)
    found = downstream.downstream(table(loss=loss, score=score), loss="loss", score="score", draws=DRAWS)
    holds(found, truth, 0.03)
    with pytest.raises(UserError, match="percentages must be divided by 100"):
        downstream.downstream(table(loss=loss, score=100 * score), loss="loss", score="score", draws=DRAWS)
    chance = table(loss=loss, score=0.25 + 0.01 * np.random.default_rng(1).random(24))
    assert any("at chance" in line for line in downstream.downstream(chance, loss="loss", score="score", draws=DRAWS).warnings)


def test_two_bits_a_parameter_are_found(table: Any) -> None:
    size, most = grid([1e5, 3e5, 1e6, 3e6, 1e7], [2e6, 2e7])
    stored = noisy(bits.CAPACITY.at({"bits_per_parameter": 2.0, "corner": 8.0}, N=size, most=most), 0.01)
    columns = {"size": "N", "bits": "bits", "most": "most"}
    holds(bits.capacity(table(N=size, bits=np.minimum(stored, most), most=most), **columns, draws=DRAWS), {"bits_per_parameter": 2.0})
    with pytest.raises(UserError, match="none is full"):
        bits.capacity(table(N=size, bits=0.99 * most, most=most), **columns, draws=DRAWS)
    # A model that knows all: no loss on values, and names as likely as one of so many people's.
    everything = stored_bits(1000, 1.6e8, 2**47.6, np.log(1000), 0.0)
    assert everything == pytest.approx(all_bits(1000, 1.6e8, 2**47.6)) == pytest.approx(1000 * (47.6 + np.log2(1.6e5)))
    assert stored_bits(1000, 1.6e8, 2**47.6, np.log(1.6e8), 47.6 * np.log(2)) == pytest.approx(0, abs=1e-6)


def test_frequent_facts_are_known(table: Any) -> None:
    truth = {"floor": 0.05, "ceiling": 0.8, "slope": 3.0, "middle": 300.0, "size_slope": 1.0}
    count, size = grid([0, 3, 10, 30, 100, 300, 1e3, 1e4, 1e5], [1e8, 1e9, 1e10])
    decades = np.log10(size) - 9
    score = frequency.FREQUENCY.at(truth, count=np.maximum(count, 0.5), decades=decades) + 0.01 * np.random.default_rng(0).random(27)
    columns = {"count": "n", "score": "score"}
    path = table(n=count, score=score, N=size)
    holds(frequency.frequency(path, **columns, size="N", draws=DRAWS), truth, 0.1)
    assert frequency.frequency(path, **columns, where={"N": str(1e9)}, draws=DRAWS).parameters["size_slope"].value == 0
    with pytest.raises(UserError, match="ten times as frequent"):
        frequency.frequency(table(n=[30, 40, 50, 60, 70, 80], score=[0.1] * 6), **columns, draws=DRAWS)


def test_a_learning_curve_is_stopped_in_time(table: Any) -> None:
    """The bound holds: no more is gained after the stop than was allowed, and never more than was said to be left."""
    units = 5000.0 * 2 ** np.arange(11)
    score = 95 - 900 / units**0.6 + 2 * (1 - np.exp(-units / 2e4))  # ends at 97, and is steeper at first
    columns = {"units": "n", "score": "score"}
    found = learning_curve.learning_curve(table(n=units, score=score), **columns, tolerance=1.0, draws=DRAWS)
    assert found.parameters["ceiling"].value == pytest.approx(97, abs=0.5)
    known = [one for one in found.additions if one.left is not None]
    assert known and all(one.left >= 97 - one.score for one in known if one.left is not None)
    assert found.stop_at is not None and 97 - score[units == found.stop_at] <= 1.0
    assert found.passed == 0 and found.against_last is not None and found.largest_left_out is not None
    assert found.against_last * (score[-1] - score[-2]) == pytest.approx(found.largest_left_out.error)
    jumps = np.concatenate([score[:-1], [99.0]])
    passed = learning_curve.learning_curve(table(n=units, score=jumps), **columns, tolerance=1.0, draws=DRAWS).passed
    assert passed == pytest.approx(99 - min(one.ceiling for one in known if one.units < units[-1]))
    lower = learning_curve.learning_curve(table(n=units, score=100 - score), **columns, tolerance=1.0, better="lower", draws=DRAWS)
    assert lower.stop_at == found.stop_at and lower.parameters["ceiling"].value == pytest.approx(100 - found.parameters["ceiling"].value)
    with pytest.raises(UserError, match="does not get better with data"):
        learning_curve.learning_curve(table(n=units, score=score[::-1]), **columns, tolerance=1.0, draws=DRAWS)


def test_tasks_in_one_order_agree_and_shuffled_ones_do_not(table: Any) -> None:
    random = np.random.default_rng(0)

    def curves(shared: bool) -> Path:
        rows: dict[str, list[Any]] = {"run": [], "t": [], **{f"task{k}": [] for k in range(6)}}
        for run in range(6):
            order = np.arange(6) if shared else random.permutation(6)
            for t in range(0, 60, 2):
                rows["run"].append(f"r{run}")
                rows["t"].append(t)
                for k in range(6):
                    rows[f"task{k}"].append(1 / (1 + np.exp(-(t - 8 - 8 * order[k]))) + 0.001 * random.random())
        return table(**rows)

    asked = {"run": "run", "tokens": "t", "scores": [f"task{k}" for k in range(6)], "draws": DRAWS}
    same = dynamics(curves(True), **asked)  # type: ignore[arg-type]
    assert same.parameters["concordance"].value > 0.95 and same.chance < 0.01 and same.order == [f"task{k}" for k in range(6)]
    apart = dynamics(curves(False), **asked)  # type: ignore[arg-type]
    assert apart.parameters["concordance"].value < 0.5 and any("no common order" in line for line in apart.warnings) == (
        apart.chance > 0.05
    )


# Pre-training and shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("informative", [True, False])
def test_pretraining_pays_where_factors_tell_of_labels(informative: bool, table: Any) -> None:
    rows = [
        (m, n, planted_risk(m, n, informative=informative, seed=seed))
        for m in (0, 200, 1000, 5000)
        for n in (60, 120, 240, 480)
        for seed in range(4)
    ]
    m, n, risk = map(list, zip(*rows, strict=True))
    found = advantage(table(m=m, n=n, risk=risk), unlabelled="m", labelled="n", risk="risk", draws=DRAWS)
    assert (found.parameters["ratio"].high < 0.5) == informative
    assert any("not informative" in line for line in found.warnings) != informative


def test_the_powers_of_a_bound_on_risk_are_found_where_asked(table: Any) -> None:
    rows = [(m, n, 8 / n if not m else 5 / m**0.5 + 2 / n) for m in (0, 400, 1600, 6400) for n in (60, 240, 960)]
    m, n, risk = map(list, zip(*rows, strict=True))
    columns = {"unlabelled": "m", "labelled": "n", "risk": "risk"}
    found = advantage(table(m=m, n=n, risk=risk), **columns, powers=True, draws=DRAWS).parameters
    assert [found[name].value for name in ("m_power", "n_power", "ratio")] == pytest.approx([0.5, 1.0, 0.25], rel=0.02)
    assert advantage(table(m=m, n=n, risk=risk), **columns, draws=DRAWS).parameters["m_power"].plain() == {"value": 1, "low": 1, "high": 1}


def test_the_cheaper_of_two_equal_shapes_wins(table: Any) -> None:
    path = table(name=["a", "a", "b", "b", "c", "c"], score=[0.7, 0.71, 0.7, 0.71, 0.8, 0.81], cost=[2, 2.02, 1, 1.01, 40, 40.1])
    found = under_cost(path, name="name", score="score", cost="cost", target=2.0)
    assert next(iter(found.shapes)) == "b" and [name for name, one in found.shapes.items() if not one.frontier] == ["a"]
    assert next(iter(under_cost(path, name="name", score="score", cost="cost", target=2.0, exponent=0.0).shapes)) == "c"
    with pytest.raises(UserError, match="must not be above 0"):
        under_cost(path, name="name", score="score", cost="cost", target=2.0, exponent=0.5)


def test_what_is_chosen_by_the_cost_is_judged_in_runs_that_nobody_chose_by(table: Any) -> None:
    """FLOPs say that the slow shape is cheap; a third that is best in one run only is chosen by nobody."""
    random = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"name": [], "score": [], "cost": [], "flops": [], "seed": []}
    for seed in range(5):
        for name, score, cost, flops in (("fast", 0.9, 1.0, 4.0), ("slow", 0.92, 4.0, 1.0), ("lucky", 0.5 + 0.6 * (seed == 2), 1.0, 4.0)):
            for column, value in zip(rows, (name, score * (1 + 1e-3 * random.standard_normal()), cost, flops, seed), strict=True):
                rows[column].append(value)
    columns = {"name": "name", "score": "score", "cost": "cost", "target": 1.0, "proxy": "flops"}
    found = under_cost(table(**rows), **columns, group="seed").choosing
    assert found is not None and (found.by_cost, found.by_proxy) == ("fast", "slow")
    assert found.gain.value == pytest.approx(0.9 / 0.92 * 4**0.07, rel=2e-3) and 1 < found.gain.low < found.gain.high < 1.1
    assert found.over_random.value > 1.05
    two = {column: cells[:6] for column, cells in rows.items()}
    with pytest.raises(UserError, match="needs three"):
        under_cost(table(**two), **columns, group="seed")
    with pytest.raises(UserError, match="group 4 has no run of lucky"):
        under_cost(table(**{column: cells[:-1] for column, cells in rows.items()}), **columns, group="seed")
    with pytest.raises(UserError, match="go together"):
        under_cost(table(**rows), **columns)
    with pytest.raises(UserError, match="'flops': numbers of the proxy must be positive"):
        under_cost(table(**{**rows, "flops": [0.0] * 15}), **columns, group="seed")


def test_every_form_predicts_what_it_was_planted_with() -> None:
    """One pattern for all: numbers in the order of the bounds, laws by rows, points by columns."""
    forms = [repeated.REPEATED, trajectory.TRAJECTORY, critical_batch.HYPERBOLA, downstream.SCORE, bits.CAPACITY, frequency.FREQUENCY]
    names = {"N": 1e8, "D": 1e9, "U": 5e8, "S": 1e3, "B": 1e5, "batch": 1e5, "loss": 2.0, "most": 1e9, "count": 10.0, "decades": 0.0}
    for form in [*forms, learning_curve.PATTERN]:
        assert isinstance(form, LawForm)
        law = np.array([[(low + min(high, 10 * abs(low) + 1)) / 2 for low, high in form.bounds.values()]] * 3)
        points = {name: np.full(2, value) for name, value in {**names, "units": 5.0}.items()}
        assert form.predict(law, points).shape == (3, 2)


# Strategies -----------------------------------------------------------------------------------------------------------------------


def test_when_tasks_are_known_by_heart_is_found(table: Any) -> None:
    truth = {"gain": 0.5, "rate": 0.6, "price": 0.8, "growth": 0.5}
    tasks, step = grid([4.0, 8.0, 16.0, 32.0, 64.0], np.geomspace(30, 3000, 8))
    gap = 0.3 - 0.02 * np.log2(tasks)
    weight = np.clip(STRATEGIES.at(truth, tasks=tasks, step=step, gap=gap) + 0.01 * np.random.default_rng(0).standard_normal(40), 0, 1)
    columns = {"step": "step", "tasks": "tasks", "weight": "weight", "gap": "gap"}
    found = strategies(table(step=step, tasks=tasks, weight=weight, gap=gap), **columns, draws=DRAWS)
    holds(found, truth, 0.2)
    assert found.explained > 0.98 and found.against_one < 0.2
    assert [one.tasks for one in found.crossings] == [4, 8, 16, 32, 64]
    measured = [one for one in found.crossings if one.step]
    assert len(measured) >= 3 and all(one.step == pytest.approx(one.law, rel=0.1) for one in measured)
    assert found.crossing_exponent == pytest.approx(0.5 / 0.6 + np.log(0.26 / 0.18) / np.log(16) / 0.6, abs=0.1)  # the gap falls too
    with pytest.raises(UserError, match="by more than 0 nats"):
        strategies(table(step=step, tasks=tasks, weight=weight, gap=-gap), **columns, draws=DRAWS)
    with pytest.raises(UserError, match="2 different tasks, and the law needs 3"):
        few = tasks < 16
        strategies(table(step=step[few], tasks=tasks[few], weight=weight[few], gap=gap[few]), **columns, draws=DRAWS)
    with pytest.raises(UserError, match="no row is of step 5000 or later"):
        strategies(table(step=step, tasks=tasks, weight=weight, gap=gap), **columns, since=5000, draws=DRAWS)
    with pytest.raises(UserError, match="every other square"):
        half = (np.unique(tasks, return_inverse=True)[1] + np.unique(step, return_inverse=True)[1]) % 2 == 0
        strategies(table(step=step[half], tasks=tasks[half], weight=weight[half], gap=gap[half]), **columns, draws=DRAWS)


def test_a_step_that_no_number_can_hold_is_cut_off() -> None:
    tasks, step = grid([4.0, 64.0], np.array([10.0, 1000.0]))
    law = {"gain": 1e-6, "rate": 0.01, "price": 1e6, "growth": 2.0}
    slow: Any = SimpleNamespace(parameters={name: Bounds(value=value, low=value, high=value) for name, value in law.items()})
    found = _crossings({"step": step, "tasks": tasks, "gap": np.ones(4)}, np.zeros(4), slow)
    assert [float(one.law) for one in found] == [pytest.approx(np.exp(LONG))] * 2


# What is told and forgotten ---------------------------------------------------------------------------------------------------------


def test_how_fast_what_was_told_is_forgotten_is_found(table: Any) -> None:
    random, rows = np.random.default_rng(1), []
    told = {"other": (2.0, 1.2, 0.2), "same": (4.0, 1.5, 0.4)}  # gain, level, decay
    for kind, (gain, level, decay) in told.items():
        for run in range(6):
            own, start = gain * (1 + 0.1 * random.standard_normal()), random.standard_normal()
            rows += [(0, start, kind, f"{kind}{run}"), (100, start + own, kind, f"{kind}{run}")]
            since = np.arange(20, 400, 20)
            rows += [(100 + one, start + own * (level - decay * np.log10(one)), kind, f"{kind}{run}") for one in since]
    path = table(**dict(zip(("at", "known", "kind", "run"), zip(*rows, strict=True), strict=True)))
    columns = {"at": "at", "known": "known", "kind": "kind", "run": "run", "begins": 50.0, "ends": 100.0}
    found = retention(path, **columns, against="other", draws=DRAWS)
    assert found.kinds["other"].decay.value == pytest.approx(0.2, abs=1e-6) and found.kinds["same"].straight > 0.999
    assert found.kinds["same"].lasts == pytest.approx(10 ** (1.5 / 0.4), rel=1e-4) and found.kinds["same"].gain.value == pytest.approx(
        4, rel=0.2
    )
    assert list(found.decays) == ["same"] and found.decays["same"].value == pytest.approx(2) and found.gains["same"].low > 1.5
    assert found.largest_left_out.error < 1e-6 and found.parameters["decay"].low <= 0.2 + 1e-6
    with pytest.raises(UserError, match="did you mean 'other'"):
        retention(path, **columns, against="othre", draws=DRAWS)
    twice = [*rows, (100, 9.0, "other", "other0")]
    with pytest.raises(UserError, match="two rows at the end of the telling"):
        retention(
            table(**dict(zip(("at", "known", "kind", "run"), zip(*twice, strict=True), strict=True))),
            **columns,
            against="other",
            draws=DRAWS,
        )
    with pytest.raises(UserError, match="needs one before and 5 after"):
        retention(path, **{**columns, "ends": 450.0}, against="other", draws=DRAWS)
    with pytest.raises(UserError, match="gained nothing by being told"):
        retention(path, **{**columns, "begins": 120.0, "ends": 140.0}, against="other", draws=DRAWS)
