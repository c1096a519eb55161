"""Transport: potentials are those of the linear programme, and what is kept is what the target has and the pool lacks."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from scipy.optimize import linprog

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.judging import numbered, of_source
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text import transport
from windtunnel.slots import Curator, CuratorContext

CATS, DOGS = ([f"{first}{n}" for n in range(40)] for first in ("cat", "dog"))


def text(words: list[str], seed: int, size: int = 40) -> str:
    return " ".join(random.Random(seed).choices(words, k=size))


@pytest.fixture
def both(tmp_path: Path) -> dict:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(text(DOGS if number % 2 else CATS, 1000 + number))
    return {"files": {"path": str(tmp_path)}}


def kept(part: Curator, texts: list[str]) -> list[int]:
    form = pyarrow.large_string()
    batch = pyarrow.record_batch({"text": pyarrow.array(texts, form), "origin": pyarrow.array([str(n) for n in range(len(texts))], form)})
    rows = list(numbered(of_source(iter([batch.slice(0, 9), batch.slice(9)]), "pool")))
    found = part.decide([part.scan(one) for one in rows], CuratorContext(Tally("x")))
    why = [reason for one in rows for reason in part.judge(one, found)[1]]
    return [number for number, reason in enumerate(why) if reason is None]


def test_potentials_are_those_of_the_linear_programme(monkeypatch):
    chance = np.random.default_rng(80)
    points, wanted = (chance.standard_normal((count, 3)) for count in (6, 4))
    points, wanted = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (points, wanted))
    masses = chance.integers(1, 9, 6).astype(float)
    ends = np.zeros((10, 24))
    for one in range(6):
        for other in range(4):
            ends[[one, 6 + other], one * 4 + other] = 1
    exact = linprog((1 - points @ wanted.T).ravel(), A_eq=ends, b_eq=[*(masses / masses.sum()), *[0.25] * 4], method="highs")
    right = exact.eqlin.marginals[:6]
    found = transport.potentials(points, masses, wanted, blur=0.002, most=20_000, close=1e-9)
    assert found - found.mean() == pytest.approx(right - right.mean(), abs=0.02)
    monkeypatch.setattr(transport, "CHUNK", 8)  # two points at once
    found = transport.potentials(points, masses, wanted, most=50, close=0.0)
    assert found == pytest.approx(potentials_at_once(points, masses, wanted, 50), abs=1e-9)


def potentials_at_once(points: np.ndarray, masses: np.ndarray, wanted: np.ndarray, most: int) -> np.ndarray:
    """Sinkhorn's iterations as a book has them, on the matrix itself."""
    cost = 1 - points @ wanted.T
    share = masses / masses.sum()
    scale = 0.05 * float(share @ cost @ np.full(4, 0.25))
    kernel, other = np.exp(-cost / scale), np.ones(4)
    for _ in range(most):
        own = 1 / (kernel @ (other / 4))
        other = 1 / (kernel.T @ (share * own))
    found: np.ndarray = scale * np.log(own)
    return found


def test_it_keeps_what_the_target_has_and_the_pool_lacks(both):
    pool = [text(DOGS if number % 15 == 7 else CATS, number, 80 if number % 2 else 30) for number in range(60)]
    dogs = [number for number in range(60) if number % 15 == 7]
    share = sum(len(pool[number]) for number in dogs) / sum(map(len, pool))
    knobs = {"target": both, "keep": share, "buckets": 1024, "rank": 4}
    assert kept(make(Curator, {"transport": knobs}), pool) == dogs


def test_a_target_in_the_pool_is_refused_and_documents_that_are_all_alike_cannot_be_told_apart(both):
    with pytest.raises(PartError, match="1 documents of the target are in the pool"):
        kept(make(Curator, {"transport": {"target": both, "keep": 0.5}}), [text(CATS, 1000), text(CATS, 1)])
    alike = make(
        Curator, {"transport": {"target": {"files": {"path": both["files"]["path"], "glob": "0.txt"}}, "keep": 0.5, "overlap": True}}
    )
    with pytest.raises(PartError, match="do not tell them apart"):
        kept(alike, [text(CATS, 1000)] * 3)
