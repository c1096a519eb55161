"""Patients as sequences of codes: what a network that foretells the next code knows of what comes, from few cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

CODES, STATES = 60, 8


class CodedVisits(Experiment, name="coded-visits"):
    """The area under the curve of a regression that tells from few patients which of them are in a state of illness at the end.

    Wornow et al. 2023, arXiv:2307.02028 (EHRSHOT): a transformer learns the next code of 2.57 million patients, and its frozen state is
    read with ``positives`` cases and as many others; baselines read how often each code occurred. Simulated patients go through eight
    hidden states that last ten codes and follow each other by a chain which the seed draws; every state has codes of its own among common
    ones. ``reads``: ``counts`` of codes, ``recent`` codes (counts that fade at three speeds), or the ``state`` of a network that reads the
    latter and has learned to foretell the next code. Asked is whether a patient is in one of three states now.

    The number is ``auroc`` of a ridge regression, the mean of ten draws of cases, at the strength that has the largest on patients that are
    neither among the cases nor judged.
    """

    trial = Trial({"patients": 60, "steps": 4, "positives": 2})

    unit: ClassVar[str] = "AUROC"
    better: ClassVar[str] = "higher"

    reads: Literal["counts", "recent", "state"] = Field("counts", description="what the regression reads")
    positives: int = Field(4, ge=1, description="cases, and as many others")
    patients: int = Field(1500, ge=50, description="to learn the next code from")
    length: int = Field(50, ge=5, description="codes of a patient")
    width: int = Field(16, ge=2, description="numbers of the state")
    steps: int = Field(500, ge=1, description="of learning, 256 codes each")
    strengths: tuple[float, ...] = Field((0.03, 0.3, 3.0, 30.0), min_length=1, description="of the ridge, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``auroc``."""
        import numpy as np
        import torch

        from windtunnel.kits.detection import auroc
        from windtunnel.kits.ridge import applied, ridge_with_constant

        random = np.random.default_rng(seed)
        chain = random.dirichlet(np.full(STATES, 0.3), STATES)
        emits = 0.5 * random.dirichlet(np.full(CODES, 0.1), STATES) + 0.5 * random.dirichlet(np.full(CODES, 1.0))
        known, _ = drawn_patients(random, chain, emits, self.patients, self.length)
        codes, last = drawn_patients(random, chain, emits, 1200, self.length)
        ill = np.isin(last, random.choice(STATES, 3, replace=False))
        features = faded(codes)[:, -1] if self.reads != "counts" else np.eye(CODES)[codes].sum(axis=1)
        if self.reads == "state":
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed)
                features = self._state(known, features, random)
        features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
        draws, cases, others = [], np.nonzero(ill[:600])[0], np.nonzero(~ill[:600])[0]
        few = min(self.positives, len(cases) - 1, len(others) - 1)
        for _ in range(10):
            rows = np.concatenate([random.choice(cases, few, replace=False), random.choice(others, few, replace=False)])
            draws.append((rows, np.setdiff1d(np.arange(600), rows)))

        def area(strength: float, judged: list[np.ndarray]) -> float:
            found = []
            for (rows, _), asked in zip(draws, judged, strict=True):
                weights = ridge_with_constant(features[rows], np.where(ill[rows], 1.0, -1.0), strength)
                scores = applied(weights, features[asked])
                found.append(auroc(scores[ill[asked]], scores[~ill[asked]]))
            return float(np.mean(found))

        strength = max(self.strengths, key=lambda one: area(one, [rest for _, rest in draws]))
        return {"auroc": area(strength, [np.arange(600, 1200)] * 10)}

    def _state(self, known: np.ndarray, asked: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The second of two hidden layers of a network that foretells the next code, from faded counts [rows, 3 * codes]."""
        import torch
        from torch import nn

        inputs = torch.from_numpy(faded(known)[:, :-1].reshape(-1, 3 * CODES)).float()
        wanted = torch.from_numpy(known[:, 1:].reshape(-1))
        body, head = nn.Sequential(nn.Linear(3 * CODES, 64), nn.ReLU(), nn.Linear(64, self.width), nn.Tanh()), nn.Linear(self.width, CODES)

        def loss(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(inputs), 256))
            return nn.functional.cross_entropy(head(body(inputs[rows])), wanted[rows])

        take_steps(torch.optim.Adam([*body.parameters(), *head.parameters()], 3e-3, fused=True), loss, self.steps)
        with torch.no_grad():
            return body(torch.from_numpy(asked).float()).double().numpy()


def drawn_patients(
    random: np.random.Generator, chain: np.ndarray, emits: np.ndarray, count: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes [count, length] and the state [count] at the end; states last ten codes in the mean."""
    import numpy as np

    from windtunnel.kits.vectors import picked

    state, codes = random.integers(0, STATES, count), np.zeros((count, length), np.int64)
    for place in range(length):
        state = np.where(random.random(count) < 0.1, picked(chain[state], random), state)
        codes[:, place] = picked(emits[state], random)
    return codes, state


def faded(codes: np.ndarray) -> np.ndarray:
    """Counts of codes up to each place [patients, length, 3 * codes], where older ones count less: by 0.5, 0.85 and 0.97 a place."""
    import numpy as np

    kept = np.zeros((len(codes), 3, CODES))
    found = np.zeros((*codes.shape, 3 * CODES), np.float32)
    rates = np.array([0.5, 0.85, 0.97])
    for place in range(codes.shape[1]):
        kept = kept * rates[:, None]
        kept[np.arange(len(codes)), :, codes[:, place]] += 1 - rates
        found[:, place] = kept.reshape(len(codes), -1)
    return found
