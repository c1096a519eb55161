"""What the curators of a corpus are handed, and what they spend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from windtunnel.core import registry
from windtunnel.core.errors import PartError
from windtunnel.data.corpus.fields import ORIGIN, SOURCE
from windtunnel.slots import Curator, CuratorContext
from windtunnel.slots.curator import ROW

OWN = "curators"  # what they have spent themselves
SPENT = ("steps", "tokens", "flops", "effective_flops", "seconds")


def _alone(curator: Curator, tally: Any) -> CuratorContext:
    return CuratorContext(tally)


@dataclass
class Curation:
    """How curators are handed what they may use besides documents, and the books of it. By default they hold no models.

    ``runs`` is what each run has cost whose model they hold, by its name, in the units of :data:`SPENT`; ``spent`` is what they have
    spent themselves so far.
    """

    context: Callable[[Curator, Any], CuratorContext] = _alone
    runs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    def costs(self) -> dict[str, dict[str, float]]:
        """What the corpus has cost to curate, by what was paid for: every run, and under :data:`OWN` their own work."""
        own = {OWN: dict.fromkeys(SPENT, 0.0) | self.spent} if any(self.spent.values()) else {}
        return {name: dict(cost) for name, cost in self.runs.items()} | own


def refuse_without_fields(curator: Curator, known: Mapping[str, Collection[str]]) -> None:
    """Raise PartError where ``curator`` would find nothing to act on, given the fields ``known`` of the documents of each source."""
    asked = [name for name in getattr(curator, "sources", ()) if name in known] or list(known)
    there = {field for name in asked for field in known[name]}
    lacking = [field for field in curator.fields if field not in there]
    if not lacking:
        return
    parts = {name: registry.find(Curator, name) for name in registry.known(Curator)}
    able = sorted(name for name, part in parts.items() if part is not None and {*getattr(part, "fields", ())} <= there)
    shown = ", ".join(sorted(there - {ORIGIN, SOURCE, ROW})) or "none"
    raise PartError(
        f"curators: {curator.name} works on {' and '.join(lacking)}, and the documents of {', '.join(asked)} have none (their fields: "
        f"{shown}), so it would do nothing; leave it out; of the others these need no {lacking[0]}: {', '.join(able)}"
    )


def decisive(costs: Mapping[str, Mapping[str, float]]) -> list[Any]:
    """What of ``costs`` belongs to the identity of a corpus: everything but seconds, which differ by machine and day."""
    spent = [[name, *(cost[unit] for unit in SPENT if unit != "seconds")] for name, cost in costs.items()]
    return sorted(entry for entry in spent if entry[0] != OWN or any(entry[1:]))
