"""How many runs share an accelerator, and which of them will end in time: decided by what was measured on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

GAIN = 1.05  # times the rate of one run fewer that one more has to bring
SPARE = 1.2  # times the memory of a run that has to be free before one more begins


@dataclass
class Width:
    """How many runs fly side by side: one more as long as all together get faster by it.

    ``rates`` holds the FLOPs per second of all together, by their number.
    """

    most: int
    now: int = 1
    settled: bool = False
    rates: dict[int, float] = field(default_factory=dict)

    def measured(self, rate: float) -> None:
        """All runs together did ``rate`` FLOPs per second, ``now`` of them side by side."""
        self.rates[self.now] = rate
        if self.settled:
            return
        before = self.rates.get(self.now - 1, 0.0)
        if rate <= GAIN * before:
            self.now, self.settled = self.now - 1, True
        elif self.now < self.most:
            self.now += 1
        else:
            self.settled = True

    def out_of_memory(self, flying: int) -> None:
        """A run had no memory while ``flying`` of them flew: never so many again."""
        self.most = max(1, min(self.most, flying - 1))
        self.now = min(self.now, self.most)

    def room(self, free: float | None, each: float | None) -> bool:
        """Whether one more run finds memory, where ``free`` bytes are left and one takes ``each``; what is not known is no hindrance."""
        return free is None or each is None or free > SPARE * each


class Flown(NamedTuple):
    """How a run went: ``flops`` in ``seconds``, after ``begin`` seconds in which it only began."""

    flops: float
    seconds: float
    begin: float


@dataclass
class Throughput:
    """How fast runs fly here, by (study, arm): what the next ones are expected to take."""

    known: dict[tuple[str, str], Flown] = field(default_factory=dict)

    def learn(self, study: str, arm: str, flown: Flown) -> None:
        """What was measured last counts: the number of runs side by side changes."""
        if flown.flops > 0 and flown.seconds > 0:
            self.known[study, arm] = flown

    def seconds(self, study: str, arm: str, flops: float) -> float | None:
        """What a run of ``flops`` will take, its beginning included; None where nothing has flown yet.

        Where its arm has not flown, it is reckoned at the slowest rate of its study, and where that has not, of all.
        """
        alike: Mapping[tuple[str, str], Flown] = {key: one for key, one in self.known.items() if key == (study, arm)}
        alike = alike or {key: one for key, one in self.known.items() if key[0] == study} or self.known
        if not alike:
            return None
        return flops / min(one.flops / one.seconds for one in alike.values()) + max(one.begin for one in alike.values())
