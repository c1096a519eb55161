"""Choosing texts by the skills of a reference set, weighted by how skills occur together."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WIDTH, NOISE = 32, 0.15  # of a skill's vector, and what is added to that of a text


class SkillsOfTexts(Experiment, name="skills-of-texts"):
    """What a learner gets right that was given the share of a pool which a score by skills took; a reconstruction.

    Li et al. 2025 (MASS), arXiv:2503.14917, whose code is not released: skills are nodes, weighted by how often the reference has them;
    edges say how often two occur in one text; a text's score is sum_j s_j sum_k A_jk, where s_j is the cosine of the text and the skill,
    and nodes and edges are each normalised to a sum of 1. If so, the graph acts through one number a skill.

    Skills are random unit vectors, a text is the mean of those of its skills with noise. Reference texts have two to four skills that
    follow one another in a ring of neighbours, some skills more often than others. Of the pool a quarter is of that kind; a quarter has
    the same skills in combinations that never occur; a quarter has one skill alone; the rest are skills of another subject. A learner is
    a ridge regression on pairs of skills that are present, of answers that are a sum over such pairs: pairs that it never saw are wrong.

    ``graph`` is the score above, ``nodes`` leaves edges out, ``edges`` leaves nodes out, ``centre`` is the cosine to the mean of the
    reference, ``pairs`` scores s_j A_jk s_k, in which combinations count, and ``random`` draws. ``unexplained`` is the learner's squared
    error on new texts like the reference over the variance; ``fitting`` the share of the chosen that is like the reference; ``like_nodes``
    and ``like_centre`` are the rank correlations of the score with these two.
    """

    trial = Trial({"pool": 200, "reference": 40})

    unit: ClassVar[str] = "share of variance"

    how: Literal["graph", "nodes", "edges", "centre", "pairs", "random"] = Field("graph", description="the score")
    share: float = Field(0.25, gt=0, le=1, description="of the pool that is learned from")
    pool: int = Field(2400, ge=100, description="texts to choose from")
    reference: int = Field(300, ge=10, description="texts that skills are known of")
    skills: int = Field(24, ge=6, description="of the subject, and as many of another")

    def measure(self, seed: int) -> dict[str, float]:
        """``unexplained``, ``fitting``, ``like_nodes`` and ``like_centre``."""
        import numpy as np
        from scipy.stats import spearmanr

        from windtunnel.kits.vectors import unit

        random, skills = np.random.default_rng(seed), self.skills
        vectors = unit(random.standard_normal((2 * skills, WIDTH)))
        worth = np.triu(random.standard_normal((2 * skills, 2 * skills)))
        often = 1 / (1 + np.arange(skills))
        often = random.permutation(often / often.sum())

        def seen(members: np.ndarray) -> np.ndarray:
            return unit(members @ vectors / members.sum(axis=1, keepdims=True) + NOISE * random.standard_normal((len(members), WIDTH)))

        reference = linked(self.reference, skills, often, random)
        kinds = [linked(self.pool // 4, skills, often, random)]
        mixed = kinds[0].copy()
        for row in mixed:  # the same number of skills of the subject, strewn
            row[:skills] = random.permutation(row[:skills])
        alone = np.eye(2 * skills)[random.choice(skills, self.pool // 4, p=often)]
        kinds += [mixed, alone, np.roll(linked(self.pool // 4, skills, often, random), skills, axis=1)]
        pool = np.concatenate(kinds)
        texts, known = seen(pool), seen(reference)
        nodes, edges = graph(reference[:, :skills])
        near = np.maximum(texts @ vectors[:skills].T, 0)
        scores = {
            "graph": near @ (nodes + edges.sum(axis=1)),
            "nodes": near @ nodes,
            "edges": near @ edges.sum(axis=1),
            "centre": texts @ unit(known.mean(axis=0)[None])[0],
            "pairs": ((near @ edges) * near).sum(axis=1),
            "random": random.random(len(pool)),
        }
        chosen = np.argsort(-scores[self.how], kind="stable")[: round(self.share * len(pool))]
        held = linked(500, skills, often, random)
        error = unexplained(pool[chosen], held, worth)
        like = {other: spearmanr(scores[self.how], scores[other]).statistic for other in ("nodes", "centre")}
        return {"unexplained": error, "fitting": float((chosen < len(kinds[0])).mean())} | {
            f"like_{other}": float(value) for other, value in like.items()
        }


def linked(count: int, skills: int, often: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Which skills texts have, [count, 2 x skills] of 0 and 1: two to four neighbours on a ring, the first drawn by ``often``."""
    import numpy as np

    found = np.zeros((count, 2 * skills))
    first, length = random.choice(skills, count, p=often), random.integers(2, 5, count)
    for step in range(4):
        found[np.arange(count)[length > step], ((first + step) % skills)[length > step]] = 1
    return found


def graph(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each skill and of each pair [skills, skills] in texts that have ``members`` [texts, skills]; each sums to 1."""
    import numpy as np

    together = members.T @ members
    nodes = np.diag(together).copy()
    np.fill_diagonal(together, 0)
    return nodes / nodes.sum(), together / max(together.sum(), 1.0)


def unexplained(learned: np.ndarray, held: np.ndarray, worth: np.ndarray) -> float:
    """The mean squared error on ``held``, over the variance there, of a ridge regression on pairs of skills of ``learned``."""
    import numpy as np

    upper = np.triu_indices(len(worth), 1)

    def pairs(members: np.ndarray) -> np.ndarray:
        return members[:, upper[0]] * members[:, upper[1]]

    inputs, others = pairs(learned), pairs(held)
    weights = ridge(inputs, inputs @ worth[upper], 0.1)
    true = others @ worth[upper]
    return float(((others @ weights - true) ** 2).mean() / true.var())
