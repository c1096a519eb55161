"""Titles of jobs that are found to mean the same, learned from the skills that stand beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

NAMES = 4  # words that may name a job in its title; every fourth of them names another job too
OWN, COMMON = 8, 30  # skills of a job, of which half are of its neighbour too, and skills that any job may ask for
FILLERS = 12  # words of titles that say nothing of the job
SKILLS = 6  # of an advert, a third of them common
WIDTH, TEMPERATURE, RATE = 32, 0.1, 0.02


class TitlesAndSkills(Experiment, name="titles-and-skills"):
    """How often a title of a job finds the canonical one, by an encoder that learned from titles and skills of adverts.

    Bocharova et al. 2023, arXiv:2307.16638 (VacancySBERT): one encoder for both, and a title has to find the skills of its own advert
    among those of the others in the batch. Titles that nobody wrote in the same words then lie close if their adverts ask for the same.
    The encoder is the mean of vectors of words, of length 1. ``untrained`` has vectors as they were drawn, ``tf-idf`` weights words that
    agree by how rare they are, ``shuffled`` learned from skills of other adverts. ``with_skills`` asks with title and skills together.

    Adverts are made: each of ``jobs`` has four names and eight skills, some of which are of another job too; a title is a name between
    words that say nothing, and the canonical title is the first name. Adverts that are asked with were not learned from.
    """

    trial = Trial({"jobs": 8, "adverts": 64, "steps": 4, "queries": 30})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    encoder: Literal["trained", "untrained", "tf-idf", "shuffled"] = Field("trained", description="how titles are compared")
    with_skills: bool = Field(False, description="whether the query has the advert's skills beside its title")
    jobs: int = Field(60, ge=4, description="kinds of jobs")
    adverts: int = Field(3000, ge=64, description="that are learned from")
    steps: int = Field(400, ge=1, description="of training, 64 adverts each")
    queries: int = Field(500, ge=10, description="adverts that are asked with")

    def measure(self, seed: int) -> dict[str, float]:
        """``recall``: the canonical title of the job comes first; ``among_five``."""
        import numpy as np

        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        world = World.drawn(self.jobs, random)
        known, asked = (world.adverts(count, random) for count in (self.adverts, self.queries))
        gallery = np.zeros((self.jobs, world.words), np.float32)
        gallery[np.arange(self.jobs), world.names[:, 0]] = 1
        query = asked.titles + asked.skills if self.with_skills else asked.titles
        if self.encoder == "tf-idf":
            among = (known.titles + known.skills > 0).sum(axis=0)
            vectors = np.diag(np.log((1 + self.adverts) / (1 + among))).astype(np.float32)
        else:
            vectors = random.standard_normal((world.words, WIDTH)).astype(np.float32)
            if self.encoder in ("trained", "shuffled"):
                skills = known.skills if self.encoder == "trained" else known.skills[random.permutation(self.adverts)]
                vectors = trained(vectors, known.titles, skills, self.steps, random)
        scores = unit(query @ vectors) @ unit(gallery @ vectors).T
        own = scores[np.arange(len(scores)), asked.jobs]
        rank = (~(scores < own[:, None])).sum(axis=1) - 1  # what ties counts against it
        return {"recall": float((rank == 0).mean()), "among_five": float((rank < 5).mean())}


class Adverts(NamedTuple):
    """Which words stand in titles and which skills are asked for, [adverts, words], and the number of the job, [adverts]."""

    titles: np.ndarray
    skills: np.ndarray
    jobs: np.ndarray


class World(NamedTuple):
    """``names`` [jobs, NAMES] and ``skills`` [jobs, OWN] of each job as numbers of words, of which there are ``words``."""

    names: np.ndarray
    skills: np.ndarray
    words: int

    @classmethod
    def drawn(cls, jobs: int, random: np.random.Generator) -> World:
        """So many jobs. The last name is one of another job, and the last half of the skills are of the next one."""
        import numpy as np

        names = np.arange(jobs * NAMES).reshape(jobs, NAMES)
        names[:, -1] = names[random.permutation(jobs), 1]
        skills = jobs * NAMES + np.arange(jobs * OWN).reshape(jobs, OWN)
        skills[:, OWN // 2 :] = np.roll(skills[:, : OWN // 2], 1, axis=0)
        return cls(names, skills, jobs * (NAMES + OWN) + COMMON + FILLERS)

    def adverts(self, count: int, random: np.random.Generator) -> Adverts:
        """So many, of jobs drawn at random."""
        import numpy as np

        jobs, rows = random.integers(0, len(self.names), count), np.arange(count)
        titles, skills = (np.zeros((count, self.words), np.float32) for _ in range(2))
        titles[rows, self.names[jobs, random.integers(0, NAMES, count)]] = 1
        for _ in range(2):
            titles[rows, self.words - 1 - random.integers(0, FILLERS, count)] = 1
        for place in range(SKILLS):
            own = self.skills[jobs, random.integers(0, OWN, count)]
            skills[rows, own if place % 3 else self.words - FILLERS - 1 - random.integers(0, COMMON, count)] = 1
        return Adverts(titles, skills, jobs)


def trained(vectors: np.ndarray, titles: np.ndarray, skills: np.ndarray, steps: int, random: np.random.Generator) -> np.ndarray:
    """``vectors`` of words [words, width] after steps in which each of ``titles`` finds its ``skills`` in the batch, and the reverse."""
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy, normalize

    weights = torch.nn.Parameter(torch.from_numpy(vectors.copy()))
    own = torch.arange(64)

    def loss(step: int) -> torch.Tensor:
        batch = random.integers(0, len(titles), 64)
        one, two = (normalize(torch.from_numpy(each[batch]) @ weights, dim=1) for each in (titles, skills))
        scores = one @ two.T / TEMPERATURE
        return cross_entropy(scores, own) + cross_entropy(scores.T, own)

    take_steps(torch.optim.AdamW([weights], RATE), loss, steps)
    return np.asarray(weights.detach().numpy())
