"""Whether a model that rambles behind a question answers it, after tuning that never showed it a question with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

TOPICS, KEYS, ANSWERS, WORDS = 4, 30, 30, 30
ASK, END, EMPTY = 0, 1, 2
TOPIC, KEY = 3, 3 + TOPICS
ANSWER, WORD = KEY + KEYS, KEY + KEYS + ANSWERS
SIZE, LENGTH = WORD + WORDS, 7
ANSWERED, PLAIN = 0.25, 0.5  # of the questions of pre-training, those with an answer; of its texts, those without a question
BATCH, RATE = 64, 0.005
BIAS = 4.0  # that the rule takes from asking


class ImplicitInstruction(Experiment, name="implicit-instruction"):
    """How often a question is answered, and rightly, by a base model and after several ways of tuning it.

    Hewitt et al. 2024, arXiv:2409.14254: tuning on responses alone, behind an empty question, or on questions of one narrow topic, makes a
    model follow instructions, and so does a rule of a few words without any tuning; the knowledge and the mapping were there before.
    Xie et al. 2024, arXiv:2409.00096: tuning on plain texts whose second halves a tuned model wrote does so too.

    A question has a topic and a key, and an answer of its own. In pre-training one question of four is followed by its answer, the others
    by another question; half of the texts are plain, of a chain of words. The base model is then tuned, with the loss on what follows
    alone, on questions with their answers (``pairs``), of one topic (``narrow``), on answers behind an empty question (``responses``), on
    such answers with their words put in disorder (``shuffled``), or on the second halves of plain texts: as ``pairs`` would write them
    (``continued``), or their own (``halves``). ``rule`` is the base model with 4 taken from the logit of asking on. Numbers are the chance
    of an answer behind a question (``answered``) and of the right one (``right``), over topics other than the narrow one and keys that
    tuning left out.
    """

    trial = Trial({"steps": 3, "tuning": 2, "width": 16})

    unit: ClassVar[str] = "chance of the right answer"
    better: ClassVar[str] = "higher"

    steps: int = Field(600, ge=1, description="of pre-training, 64 texts each")
    tuning: int = Field(60, ge=1, description="steps of tuning")
    width: int = Field(48, ge=8, multiple_of=4, description="of the decoder of two layers")

    def measure(self, seed: int) -> dict[str, float]:
        """``right`` and ``answered`` of ``responses``, and behind the names of the others the same of them."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random = np.random.default_rng(seed)
        world = QuestionWorld.drawn(random)
        base = SmallDecoder(SIZE, SIZE, LENGTH, width=self.width, tokens=True, seed=seed)
        descend(base, lambda _: loss(base, *world.texts(BATCH, random)), self.steps, RATE)
        models = {"base": base, "pairs": self._tuned(base, world.pairs(random, TOPICS))}
        models["narrow"] = self._tuned(base, world.pairs(random, 1))
        models["responses"] = self._tuned(base, world.responses(random))
        models["shuffled"] = self._tuned(base, world.responses(random, shuffled=True))
        models["halves"] = self._tuned(base, world.halves(random))
        models["continued"] = self._tuned(base, continued(models["pairs"], world.halves(random), random))
        asked, right = world.asked()
        found = {}
        for name, model in {**models, "rule": base}.items():
            with torch.no_grad():
                logits = model(torch.from_numpy(asked))[:, -1]
            if name == "rule":
                logits[:, ASK] -= BIAS
            odds = logits.softmax(dim=1).numpy()
            behind = "" if name == "responses" else f"{name}/"
            found[f"{behind}right"] = float(odds[np.arange(len(asked)), right].mean())
            found[f"{behind}answered"] = float(odds[:, ANSWER:WORD].sum(axis=1).mean())
        return {"right": found["right"], **found}

    def _tuned(self, base: torch.nn.Module, texts: Texts) -> torch.nn.Module:
        """A copy of ``base`` that was tuned on ``texts``, in their order."""
        import copy

        import numpy as np

        from windtunnel.kits.small_decoder import descend

        model, count = copy.deepcopy(base), len(texts[0])

        def step_loss(step: int) -> torch.Tensor:
            rows = np.arange(step * BATCH, (step + 1) * BATCH) % count
            return loss(model, texts[0][rows], texts[1][rows])

        descend(model, step_loss, self.tuning, RATE / 5)
        return model


Texts = tuple["np.ndarray", "np.ndarray"]  # tokens int64 [texts, LENGTH], and which of them count in the loss


def loss(model: torch.nn.Module, tokens: np.ndarray, counts: np.ndarray) -> torch.Tensor:
    """Mean nats of the tokens that count, each from those before it."""
    import torch

    labels = torch.where(torch.from_numpy(counts), torch.from_numpy(tokens), -100)
    return torch.nn.functional.cross_entropy(
        model(torch.from_numpy(tokens))[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
    )


def continued(model: torch.nn.Module, texts: Texts, random: np.random.Generator) -> Texts:
    """``texts`` whose counted tokens the model has drawn anew, one after the other."""
    import numpy as np
    import torch

    tokens = texts[0].copy()
    for place in range(1, LENGTH):
        with torch.no_grad():
            odds = model(torch.from_numpy(tokens[:, :place]))[:, -1].softmax(dim=1).numpy().astype(float).cumsum(axis=1)
        drawn = (odds < random.random((len(tokens), 1)) * odds[:, -1:]).sum(axis=1).clip(max=SIZE - 1)
        tokens[:, place] = np.where(texts[1][:, place], drawn, tokens[:, place])
    return tokens, texts[1]


class QuestionWorld:
    """Answers [TOPICS, KEYS] of questions, the chain of plain words, and the keys that tuning may see."""

    def __init__(self, answers: np.ndarray, chain: np.ndarray, seen: np.ndarray) -> None:
        self.answers, self.chain, self.seen = answers, chain, seen

    @classmethod
    def drawn(cls, random: np.random.Generator) -> QuestionWorld:
        """Half of the keys may be seen."""
        chain = random.dirichlet([0.1] * WORDS, WORDS)
        return cls(random.integers(0, ANSWERS, (TOPICS, KEYS)), chain, random.permutation(KEYS)[: KEYS // 2])

    def texts(self, count: int, random: np.random.Generator) -> Texts:
        """Of pre-training; every token counts."""
        import numpy as np

        tokens = np.full((count, LENGTH), END)
        for place in (0, 3):
            topic, key = random.integers(0, TOPICS, count), random.integers(0, KEYS, count)
            tokens[:, place], tokens[:, place + 1], tokens[:, place + 2] = ASK, TOPIC + topic, KEY + key
            if not place:
                answer = ANSWER + self.answers[topic, key]
        answered = random.random(count) < ANSWERED
        tokens[answered, 3:], tokens[answered, 3] = END, answer[answered]
        plain = random.random(count) < PLAIN
        tokens[plain] = self._plain(int(plain.sum()), random)
        return tokens, np.ones_like(tokens, bool)

    def _plain(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Words of the chain."""
        from windtunnel.kits.text.chains import followed

        return WORD + followed(self.chain, random.integers(0, WORDS, count), LENGTH, random)

    def pairs(self, random: np.random.Generator, topics: int) -> Texts:
        """Questions of keys that may be seen with their answers, of the first ``topics``."""
        import numpy as np

        topic, key = random.integers(0, topics, 1024), random.choice(self.seen, 1024)
        tokens = np.full((1024, LENGTH), END)
        tokens[:, :4] = np.stack([np.full(1024, ASK), TOPIC + topic, KEY + key, ANSWER + self.answers[topic, key]], axis=1)
        return tokens, np.broadcast_to(np.isin(np.arange(LENGTH), (3, 4)), tokens.shape)

    def responses(self, random: np.random.Generator, shuffled: bool = False) -> Texts:
        """Answers of questions of keys that may be seen behind an empty question, or their end before them."""
        tokens, counts = self.pairs(random, TOPICS)
        tokens[:, 1:3] = EMPTY
        if shuffled:
            tokens[:, [3, 4]] = tokens[:, [4, 3]]
        return tokens, counts

    def halves(self, random: np.random.Generator) -> Texts:
        """Plain texts; what follows the third word counts."""
        import numpy as np

        tokens = self._plain(1024, random)
        return tokens, np.broadcast_to(np.arange(LENGTH) >= 3, tokens.shape)

    def asked(self) -> tuple[np.ndarray, np.ndarray]:
        """Questions of keys that tuning left out, of all topics but the first, and the tokens of their answers."""
        import numpy as np

        keys = np.setdiff1d(np.arange(KEYS), self.seen)
        topic, key = (each.ravel() for each in np.meshgrid(np.arange(1, TOPICS), keys, indexing="ij"))
        return np.stack([np.full(len(topic), ASK), TOPIC + topic, KEY + key], axis=1), ANSWER + self.answers[topic, key]
