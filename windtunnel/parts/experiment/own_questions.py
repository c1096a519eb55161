"""A model that asks itself questions of one domain, answers them with or without its texts at hand, and learns from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    Learner = torch.nn.Module

SUBJECTS, ASPECTS, VALUES = 60, 3, 10  # of each domain; values of an aspect
DOMAINS, GENERAL, OWN = 2, 0, 1
FACT, ANSWER, ASK = range(3)  # the first token of a fact, the one before an answer, and the first of a question, one for each domain
SUBJECT, ASPECT = ASK + DOMAINS, ASK + DOMAINS + DOMAINS * SUBJECTS
VALUE = ASPECT + DOMAINS * ASPECTS
BLANK = VALUE + DOMAINS * ASPECTS * VALUES
TOLD = 3  # facts that stand before a question
LENGTH = 4 * TOLD + 5
BATCH = 48


class OwnQuestions(Experiment, name="own-questions"):
    """The share of questions of a domain that a model answers rightly with nothing at hand, by what it was tuned on.

    Kang et al. 2023 (self-specialization), arXiv:2310.00160: from a few questions and answers of a domain, a model writes more questions
    itself, answers them with texts of the domain that are retrieved, and is tuned on questions and answers without the texts; no stronger
    model is asked.

    Facts are a subject, an aspect and a value, in a general domain and in the own one, which have no token of subjects, aspects and values
    in common. The base reads texts of both, three facts of which one is said again, questions of the general domain behind three facts of
    which one answers, and ``general`` of these questions without facts; of the own domain ``few`` questions with answers. Then it draws
    questions of the own domain after the sign that begins them; those that are no question, come twice, or are of the last half of the
    subjects are dropped. ``retrieved`` answers them behind the fact of the domain's texts with the same subject and aspect and two others,
    ``recalled`` with nothing at hand; ``generic`` is tuned on true answers of general questions, as many; ``gold`` on the same own
    questions with true answers, the bound. All take the same steps from the same base, all weights of it, where the paper has LoRA, at a
    rate that is chosen by the loss on the last fifth of what they are tuned on, which is left out of it.

    Judged are questions about the last half of the subjects: only their facts were read. ``base`` is that of the base, ``labels`` and
    ``labels_recalled`` the shares of own answers that are true, ``asked`` how many own questions are kept.
    """

    trial = Trial({"steps": 20, "tuning": 2, "drawn": 8000, "width": 16, "rates": [0.001]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    few: int = Field(12, ge=2, le=60, description="questions of the own domain that the base reads with answers")
    general: int = Field(60, ge=1, le=180, description="general questions without facts that the base reads")
    drawn: int = Field(400, ge=10, description="questions that the base draws")
    steps: int = Field(1200, ge=1, description="of the base, 48 texts each")
    tuning: int = Field(120, ge=1, description="steps of tuning, 48 questions each")
    width: int = Field(64, ge=8, multiple_of=4, description="of the model")
    rates: tuple[float, ...] = Field((3e-4, 1e-3), min_length=1, description="learning rates of AdamW in tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above, ``retrieved`` first. Raises PartError where the base draws fewer than five questions that can be kept."""
        import numpy as np

        from windtunnel.kits.text.small import learn, made

        random = np.random.default_rng(seed)
        world = random.integers(VALUES, size=(DOMAINS, SUBJECTS, ASPECTS))
        every = np.stack(np.divmod(np.arange(SUBJECTS * ASPECTS), ASPECTS), axis=1)
        known, new = every[every[:, 0] < SUBJECTS // 2], every[every[:, 0] >= SUBJECTS // 2]
        general = every[random.permutation(len(every))]
        base = made(seed, BLANK + 1, LENGTH, width=self.width)
        texts = [
            *(facts(world, domain, every, random) for domain in range(DOMAINS) for _ in range(3)),
            *(questions(world, GENERAL, general, random, told=True) for _ in range(4)),
            questions(world, GENERAL, general[: self.general], random),
            questions(world, OWN, known[random.permutation(len(known))[: self.few]], random),
        ]
        rows = np.concatenate(texts)
        learn(base, rows, rows != BLANK, random, steps=self.steps, rate=3e-3, batch=BATCH)
        asked = self._asked(base, random)
        if len(asked) < 5:
            raise PartError(f"{self.name}: the base draws {len(asked)} questions that can be kept; raise steps, few or drawn")
        behind = questions(world, OWN, asked, random, told=True)
        own = {"retrieved": answered(base, behind), "recalled": answered(base, questions(world, OWN, asked, random))}
        sets = {
            **{name: with_answers(questions(world, OWN, asked, random), told) for name, told in own.items()},
            "generic": questions(world, GENERAL, general[: len(asked)], random),
            "gold": questions(world, OWN, asked, random),
        }
        judged = questions(world, OWN, new, random)
        found = {name: right(self._tuned(base, some, seed), judged) for name, some in sets.items()}
        true = sets["gold"][:, -1]
        labels = {name: float((told == true).mean()) for name, told in own.items()}
        numbers = {"base": right(base, judged), "labels": labels["retrieved"], "labels_recalled": labels["recalled"]}
        return {**found, **numbers, "asked": float(len(asked))}

    def _asked(self, base: Learner, random: np.random.Generator) -> np.ndarray:
        """Subjects and aspects of the own questions that are kept, [questions, 2]."""
        import numpy as np

        from windtunnel.kits.text.small import written

        begun = np.full((self.drawn, LENGTH - 4), BLANK)
        begun[:, -1] = ASK + OWN
        found = written(base, begun, 2, random)
        aspects, subjects = found[:, 0] - ASPECT - OWN * ASPECTS, found[:, 1] - SUBJECT - OWN * SUBJECTS
        kept = (aspects >= 0) & (aspects < ASPECTS) & (subjects >= 0) & (subjects < SUBJECTS // 2)
        return np.unique(np.stack([subjects, aspects], axis=1)[kept], axis=0)

    def _tuned(self, base: Learner, rows: np.ndarray, seed: int) -> Learner:
        """A copy of the base that learned the answers of ``rows``, at the best rate."""
        import copy

        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.text.small import learn, losses

        order = np.random.default_rng((seed, 1)).permutation(len(rows))
        left, taught = rows[order[: len(rows) // 5]], rows[order[len(rows) // 5 :]]
        counted = np.zeros(taught.shape, bool)
        counted[:, -1] = True

        def tuned(rate: float) -> Learner:
            model = copy.deepcopy(base)
            learn(model, taught, counted, np.random.default_rng((seed, 2)), steps=self.tuning, rate=rate, batch=BATCH)
            return model

        def fit(model: Learner) -> float:
            with torch.no_grad():
                return -float(losses(model, torch.from_numpy(left))[:, -1].mean())

        return best(self.rates, tuned, fit)


def facts(world: np.ndarray, domain: int, which: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Texts of three facts, the sign, subject, aspect and value of each, and then again the one of ``which`` [rows, 2]."""
    rows = questions(world, domain, which, random, told=True)
    rows[:, -5], rows[:, -4:] = BLANK, fact(world, domain, which)
    return rows


def fact(world: np.ndarray, domain: int, which: np.ndarray) -> np.ndarray:
    """The tokens of a fact, [rows, 4]."""
    import numpy as np

    subject, aspect = which.T
    kind = domain * ASPECTS + aspect
    value = VALUE + kind * VALUES + world[domain, subject, aspect]
    return np.stack([np.full(len(which), FACT), SUBJECT + domain * SUBJECTS + subject, ASPECT + kind, value], axis=1)


def questions(world: np.ndarray, domain: int, which: np.ndarray, random: np.random.Generator, *, told: bool = False) -> np.ndarray:
    """Sign, aspect, subject, sign and answer in the last five places; with ``told`` behind three facts, one of which answers."""
    import numpy as np

    rows = np.full((len(which), LENGTH), BLANK)
    own = fact(world, domain, which)
    rows[:, -5], rows[:, -4], rows[:, -3], rows[:, -2], rows[:, -1] = ASK + domain, own[:, 2], own[:, 1], ANSWER, own[:, 3]
    if told:
        others = np.stack([random.integers(SUBJECTS, size=(len(which), TOLD)), random.integers(ASPECTS, size=(len(which), TOLD))], axis=2)
        others[np.arange(len(which)), random.integers(TOLD, size=len(which))] = which
        for place in range(TOLD):
            rows[:, 4 * place : 4 * place + 4] = fact(world, domain, others[:, place])
    return rows


def with_answers(rows: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Questions whose answers are those ``told``."""
    rows = rows.copy()
    rows[:, -1] = told
    return rows


def answered(model: Learner, rows: np.ndarray) -> np.ndarray:
    """The likeliest answers to questions, [rows]."""
    from windtunnel.kits.text.small import written

    return written(model, rows[:, :-1], 1)[:, 0]


def right(model: Learner, rows: np.ndarray) -> float:
    """The share of questions answered as ``rows`` end."""
    return float((answered(model, rows) == rows[:, -1]).mean())
