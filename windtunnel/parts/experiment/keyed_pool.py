"""Tasks that come one after the other, each learned by one of a pool of experts that keys choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from windtunnel.kits.routing import Array


class KeyedPool(Experiment, name="keyed-pool"):
    """The squared error over all tasks after the last one, by who learns and answers.

    Schmied et al. 2023, "Learning to Modulate pre-trained Models in RL", arXiv:2306.14884 (L2M): a query, the mean of what a sequence
    embeds, chooses the modulator of the nearest key by cosine; in training after the first task (cosine + 1) / 2 is divided by how often
    a key has been chosen; the key moves to the query, and the modulator learns. Tasks are domains of inputs with a matrix of low rank
    that each needs (kits ``routing``), experts are matrices that begin at zero and learn by normalised least mean squares, a sequence has
    ``length`` inputs.

    ``way``: ``keys``, so; ``uncounted``, without counts; ``means``, an expert and the mean input of each task, told where tasks begin in
    training alone; ``one`` expert for all; ``told``, the task is told always. ``error`` is relative to no expert's; ``used`` how many
    experts answer; ``old`` the error on the first task, over that when it had just been learned.
    """

    trial = Trial({"sequences": 6})

    unit: ClassVar[str] = "share of the error of none"
    better: ClassVar[str] = "lower"

    way: Literal["keys", "uncounted", "means", "one", "told"] = Field("keys", description="who learns and answers")
    tasks: int = Field(6, ge=2, description="one after the other")
    pool: int = Field(30, ge=1, description="experts with keys")
    sequences: int = Field(80, ge=1, description="of each task")
    length: int = Field(8, ge=1, description="inputs of a sequence")
    width: int = Field(32, ge=4, description="numbers of an input")
    apart: float = Field(3.0, ge=0, description="length of the mean of a task's inputs")
    pull: float = Field(0.1, ge=0, le=1, description="share of the way to the query that a chosen key moves")
    rate: float = Field(0.5, gt=0, le=1, description="of normalised least mean squares")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``used`` and ``old``."""
        import numpy as np

        from windtunnel.kits.routing import Domain
        from windtunnel.kits.vectors import unit

        random, size = np.random.default_rng(seed), self.width
        domains = [Domain(random, width=size, inside=size // 4, louder=2.0, apart=self.apart, rank=size // 8) for _ in range(self.tasks)]
        many = {"keys": self.pool, "uncounted": self.pool, "one": 1}.get(self.way, self.tasks)
        experts, keys, counts = np.zeros((many, size, size)), random.uniform(0, 1, (many, size)), np.ones(many)
        if self.way == "means":
            keys = np.zeros((many, size))
        just_learned = 1.0
        for task, domain in enumerate(domains):
            for _ in range(self.sequences):
                given = domain.inputs(self.length)
                query = given.mean(axis=0)
                place = (
                    task if self.way == "means" else self._chosen(query, keys, counts if task and self.way == "keys" else None, task, unit)
                )
                counts[place] += 1
                pull = 1 / (counts[place] - 1) if self.way == "means" else self.pull
                keys[place] += pull * (query - keys[place])
                off = given @ (domain.needs - experts[place]).T
                experts[place] += self.rate * off.T @ given / (given**2).sum()
            if not task:
                just_learned = self._error(domain, 0, experts, keys, unit)[0]
        found = [self._error(domain, task, experts, keys, unit) for task, domain in enumerate(domains)]
        return {
            "error": float(np.mean([error for error, _ in found])),
            "used": float(len(set.union(*(places for _, places in found)))),
            "old": found[0][0] / max(just_learned, 1e-12),
        }

    def _chosen(self, query: Array, keys: Array, counts: Array | None, task: int, unit) -> int:  # type: ignore[no-untyped-def]
        if self.way in ("one", "told"):
            return 0 if self.way == "one" else task
        scores = unit(keys) @ unit(query[None])[0]
        if counts is not None:
            scores = (scores + 1) / 2 / counts
        return int(scores.argmax())

    def _error(self, domain, task: int, experts: Array, keys: Array, unit) -> tuple[float, set[int]]:  # type: ignore[no-untyped-def]
        """On 40 new sequences, and the experts that answer."""
        import numpy as np

        off, whole, places = 0.0, 0.0, set()
        for _ in range(40):
            given = domain.inputs(self.length)
            place = self._chosen(given.mean(axis=0), keys, None, task, unit)
            places.add(place)
            off += float(np.square(given @ (domain.needs - experts[place]).T).sum())
            whole += float(np.square(given @ domain.needs.T).sum())
        return off / whole, places
