"""What a run and its phases have spent, and how far a phase has to go: by steps, or by the clock where the budget is in seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.recipe import Budget


@dataclass
class Account:
    """What has been spent: tokens, FLOPs, effective FLOPs (what hardware that exploits sparsity would execute), seconds and CPU seconds
    (of all threads of the process, which other work on the machine hardly changes).
    """

    tokens: int = 0
    flops: float = 0.0
    effective_flops: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def pay(self, cost: Mapping[str, float]) -> None:
        """Add ``cost``, by unit."""
        self.tokens += int(cost.get("tokens", 0))
        self.flops += cost.get("flops", 0.0)
        self.effective_flops += cost.get("effective_flops", 0.0)
        self.seconds += cost.get("seconds", 0.0)
        self.cpu_seconds += cost.get("cpu_seconds", 0.0)

    def standing(self) -> Account:
        """A copy of what it holds now."""
        return Account(self.tokens, self.flops, self.effective_flops, self.seconds, self.cpu_seconds)

    def since(self, before: Account) -> dict[str, float]:
        """What has been spent since it held ``before``, by unit."""
        return {unit: amount - getattr(before, unit) for unit, amount in asdict(self.standing()).items()}


@dataclass
class PhaseCost:
    """What a phase costs. ``step`` is what :func:`windtunnel.train.measure.measure` found; ``ahead`` what was spent before the first step,
    by unit; ``before`` what the run had spent when the phase began. Plain data, which a checkpoint holds.
    """

    step: dict[str, Any]
    ahead: dict[str, float]
    before: Account

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PhaseCost:
        """What ``dataclasses.asdict`` made of one."""
        return cls(state["step"], state["ahead"], Account(**state["before"]))


@dataclass(frozen=True)
class Horizon:
    """How far a phase goes: ``steps``, or where only the clock can tell (None) ``seconds``.

    ``seconds_per_step`` is what the counted step took.
    """

    steps: int | None
    seconds: float
    seconds_per_step: float

    @classmethod
    def of(cls, budget: Budget, share: float, cost: PhaseCost, step_tokens: int) -> Horizon:
        """What ``share`` of ``budget`` buys. Raises UserError where that is not a single step."""
        each = {"flops": cost.step["flops"], "effective_flops": cost.step["effective_flops"], "tokens": step_tokens}
        return cls(steps_of(budget, share, **each, ahead=cost.ahead), budget.amount * share, cost.step["seconds"])

    def done(self, step: int, seconds: float) -> float:
        """The share of the phase that is behind after ``step`` steps and ``seconds`` of it."""
        return step / self.steps if self.steps else min(1.0, seconds / self.seconds)

    def reckoned(self, step: int, done: float) -> int:
        """How many steps the phase has. By the clock it is a guess, at first from the step that was counted: a warm-up must not begin at
        its end.
        """
        return self.steps or max(step + 1, round(step / done if done else self.seconds / self.seconds_per_step))

    @property
    def every(self) -> int:
        """Steps from one line of the log to the next."""
        return max(1, (self.steps or 1000) // 100)


@dataclass
class Stopwatch:
    """Seconds and CPU seconds of training: what lies between a restart and the next lap."""

    began: tuple[float, float] = field(default_factory=lambda: _clocks())

    def restart(self) -> None:
        """Leave out what has passed since the last lap."""
        self.began = _clocks()

    def lap(self) -> dict[str, float]:
        """Seconds and CPU seconds since the last lap or restart, by unit."""
        before, self.began = self.began, _clocks()
        return {unit: now - then for unit, now, then in zip(("seconds", "cpu_seconds"), self.began, before, strict=True)}


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def steps_of(
    budget: Budget, share: float, *, flops: float, effective_flops: float, tokens: int, ahead: Mapping[str, float] | None = None
) -> int | None:
    """How many whole steps ``share`` of ``budget`` buys, by what one costs; None where only the clock can tell (a budget in seconds).

    ``ahead`` is what has been spent of it before the first step, by unit.

    Raises:
        UserError: when it does not buy a single step.
    """
    if budget.unit == "seconds":
        return None
    cost = {"flops": flops, "effective_flops": effective_flops, "tokens": float(tokens), "steps": 1.0}[budget.unit]
    spent = (ahead or {}).get(budget.unit, 0.0)
    steps = int((budget.amount * share - spent) / cost + 1e-9)
    if steps < 1:
        before = f" after {spent:.3g} that its parts spent before the first" if spent else ""
        raise UserError(
            f"the budget of {budget.amount:g} {budget.unit} is too small: a share of {share:g} is {budget.amount * share:.3g} "
            f"{budget.unit}, and one step costs {cost:.3g}{before}; raise the budget, or lower batch, context or depth"
        )
    return steps


def left_of(budget: Budget, charged: Mapping[str, float]) -> Budget:
    """What remains of ``budget`` once what other models cost (``charged``, by unit) is paid.

    Raises:
        UserError: when nothing remains.
    """
    cost = charged.get(budget.unit, 0.0)
    if cost >= budget.amount:
        raise UserError(
            f"the models this recipe needs cost {cost:.3g} {budget.unit} of its budget of {budget.amount:.3g}, and nothing is left to "
            "train with; give them a smaller budget or share"
        )
    return budget if not cost else Budget(**{budget.unit: type(budget.amount)(budget.amount - cost)})
