"""How a step is computed: chosen by timing the real one, and worth the same as the usual way."""

from __future__ import annotations

import statistics
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from windtunnel.core.keys import Variant
from windtunnel.train import variant as variants
from windtunnel.train.run import fly
from windtunnel.train.variant import choose, fastest, scores_of, timed, trial

CPU = torch.device("cpu")
USUAL, PRODUCTS = Variant(), Variant(attention="products")
HALF, BOTH = Variant(precision="bfloat16"), Variant(precision="bfloat16", attention="products")


@pytest.fixture
def pace(monkeypatch):
    """A function that sets what a step takes, by variant, and compiling; it returns the list of what was timed."""
    used: list[Variant] = []

    def set_to(seconds: dict[Variant, float], compiling: tuple[float, float, float] = (30.0, 5.0, 1.0), rates: Any = None) -> list[Variant]:
        used.clear()
        now: list[Variant] = []
        monkeypatch.setattr(variants, "use", lambda _, variant: now.append(variant))
        monkeypatch.setattr(variants, "step_seconds", lambda *_, **__: used.append(now[-1]) or seconds[now[-1]])
        monkeypatch.setattr(variants, "timed_compiled", lambda *_: compiling)
        monkeypatch.setattr("windtunnel.train.machine.rates", lambda _: rates or {"float32": 1e10, "bfloat16": 6e10})
        return used

    return set_to


LONG = 1e13  # FLOPs that are worth timing


def test_the_fastest_step_is_chosen_and_a_near_tie_goes_to_the_usual_one():
    assert fastest({USUAL: 1.0, PRODUCTS: 0.98, HALF: 0.99}) == USUAL
    assert fastest({USUAL: 1.0, PRODUCTS: 0.9, HALF: 0.5, BOTH: 0.3}) == BOTH
    assert fastest({USUAL: 1.0, PRODUCTS: 0.51, HALF: 0.5}) == PRODUCTS


def test_what_is_auto_is_chosen_by_the_clock(pace, tiny, stream):
    open_recipe = tiny(precision="auto", compile="no")
    pace({USUAL: 1.0, PRODUCTS: 2.0, HALF: 1.5, BOTH: 0.4})
    assert choose(open_recipe, stream, CPU, flops=LONG) == BOTH
    assert choose(tiny(precision="float32", compile="auto"), stream, CPU, flops=LONG).precision == "float32"
    pace({USUAL: 1.0, PRODUCTS: 2.0, HALF: 1.5, BOTH: 3.0})
    assert choose(open_recipe, stream, CPU, flops=LONG) == USUAL


def test_a_machine_that_multiplies_bfloat16_slower_is_not_tried_with_it(pace, tiny, stream):
    used = pace({USUAL: 1.0, PRODUCTS: 0.5}, rates={"float32": 2e10, "bfloat16": 1e10})
    assert choose(tiny(precision="auto", compile="no"), stream, CPU, flops=LONG) == PRODUCTS
    assert set(used) == {USUAL, PRODUCTS} and len(used) == 2 * (variants.ROUNDS + 1)


@pytest.mark.parametrize(
    ("compiling", "runs", "expected"),
    [
        ((30.0, 5.0, 0.5), 1, True),
        ((30.0, 5.0, 0.99), 1, False),  # hardly faster
        ((30.0, 1e6, 0.5), 1, False),  # more seconds to compile than it saves
        ((30.0, 5.0, 0.5), 10**9, False),  # each of many runs compiles
    ],
)
def test_a_step_is_compiled_where_that_is_repaid(compiling, runs, expected, pace, tiny, stream, monkeypatch):
    monkeypatch.setattr(variants, "able_to_compile", lambda _: True)
    pace({USUAL: 1.0, PRODUCTS: 2.0}, compiling)
    recipe = tiny(precision="float32", compile="auto")
    assert choose(recipe, stream, CPU, flops=LONG, runs=runs).compiled is expected
    monkeypatch.setattr(variants, "able_to_compile", lambda _: False)
    assert not choose(recipe, stream, CPU, flops=LONG, runs=runs).compiled


def test_a_run_in_a_process_of_its_own_takes_longer_to_begin_than_it_did_here(pace, tiny, monkeypatch):
    monkeypatch.setattr(variants, "able_to_compile", lambda _: True)
    monkeypatch.setattr(variants, "candidates", lambda *_: [USUAL])
    pace({USUAL: 1.0}, (30.0, 5.0, 0.5))
    phase_run: Any = SimpleNamespace(cost=SimpleNamespace(step={"flops": 1.0}))
    recipe = tiny(precision="float32", compile="auto")
    chosen = {number: variants.by_the_clock(recipe, CPU, phase_run, 1000.0, 30, number).compiled for number in (10, 30)}
    assert chosen == {10: True, 30: False}, "500 seconds are saved; beginning takes 250 or 750"


def test_nothing_is_timed_where_nothing_is_open_or_training_is_short(tiny, stream, monkeypatch):
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(variants, "trial", never)
    assert choose(tiny(precision="bfloat16", compile="no"), stream, CPU, flops=LONG) == HALF
    assert choose(tiny(precision="auto", compile="auto"), stream, CPU, flops=1e9) == USUAL


def test_a_recipe_that_cannot_be_flown_is_left_to_its_runs(tiny, stream):
    recipe = tiny(optimizer={"galore": {"rank": 10**6}}, precision="auto", compile="no")
    assert choose(recipe, stream, CPU, flops=LONG) == USUAL


def test_timing_trains_a_model_of_its_own_and_leaves_the_random_numbers_alone(tiny, stream):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with trial(tiny(), stream, CPU) as phase_run:
        assert 0 < scores_of(phase_run) < variants.SCORES
        seconds = timed(phase_run, [USUAL, PRODUCTS])
        assert phase_run.run_state.step == 2 * (variants.ROUNDS + 1)
        assert phase_run.model.config._attn_implementation == "windtunnel-products"
    assert set(seconds) == {USUAL, PRODUCTS} and all(value > 0 for value in seconds.values())
    assert torch.equal(torch.rand(3), expected)


def test_every_variant_is_worth_the_same_within_the_noise_of_seeds(tiny, stream, tmp_path):
    """The quality floor: the loss at the end differs between variants by less than between seeds, for every seed."""
    recipe, seeds = tiny(budget={"steps": 20}, precision="auto"), (0, 1, 2)

    def losses(variant: Variant) -> list[float]:
        runs = [fly(recipe, seed, stream, tmp_path / f"{variant.precision}-{variant.attention}-{seed}", variant=variant) for seed in seeds]
        assert all(run.variant == variant for run in runs)
        return [run.test[run.primary] for run in runs]

    usual = losses(USUAL)
    noise = statistics.stdev(usual)
    for variant in (PRODUCTS, HALF, BOTH):
        assert losses(variant) == pytest.approx(usual, abs=noise), variant
