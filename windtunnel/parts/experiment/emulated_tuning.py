"""What tuning did to a small model, added to a large one that was never tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import torch

ANSWERS = 40
ANSWERED = 0.2  # of the texts of pre-training: how many answer the question, and do not ask another first
BATCH, RATE = 128, 0.01


class EmulatedTuning(Experiment, name="emulated-tuning"):
    """How often a question is answered in the form that tuning asks for and rightly, by large and small models and by their combination.

    Mitchell et al. 2023, arXiv:2310.12962: each token is drawn from log p(large) + ``strength`` (log p(small, tuned) - log p(small)),
    brought to sum 1, so that the large model's knowledge and the small one's manners meet with no tuning of the large one.

    A text is a question about one of ``facts`` things, then a word that either turns to the answer or turns away, and the answer, one of
    forty. In pre-training four of five texts turn away. Tuning, of the small model, is on texts about ``tuned`` things that all turn to the
    answer. Models are decoders of two layers. Numbers are the mean chance, when words are drawn, of turning to the answer (``format``), of
    its being right if so (``facts``), and of both: of the combination, of ``large``, ``small``, ``small_tuned`` and ``large_tuned``, and, a
    control, of ``shuffled``, where what tuning did is added to other words. Things that tuning was about are not asked.
    """

    trial = Trial({"facts": 30, "tuned": 10, "steps": 3, "tuning": 2, "large": 16})

    unit: ClassVar[str] = "chance of a right answer in form"
    better: ClassVar[str] = "higher"

    strength: float = Field(1.0, ge=0, description="of what tuning did")
    facts: int = Field(400, ge=4, description="things that are asked about")
    tuned: int = Field(100, ge=1, description="things that tuning is about")
    large: int = Field(64, ge=8, multiple_of=4, description="width of the large model")
    small: int = Field(4, ge=4, multiple_of=4, description="width of the small one")
    steps: int = Field(400, ge=1, description="of pre-training, 128 texts each")
    tuning: int = Field(60, ge=1, description="steps of tuning")

    @model_validator(mode="after")
    def _something_is_left_to_ask(self) -> Self:
        if self.tuned > self.facts // 2:
            raise ValueError(f"tuned: of {self.facts} things at most {self.facts // 2} can be tuned on; the others are asked")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``both``, ``format`` and ``facts``, and behind the name of another model the same of it."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        answers = random.integers(0, ANSWERS, self.facts)
        models = {}
        for name, width in (("large", self.large), ("small", self.small)):
            models[name] = self._pretrained(answers, width, random, seed)
            models[f"{name}_tuned"] = self._tuned(models[name], answers, random)
        asked = np.arange(self.tuned, self.facts)
        odds = {}
        with torch.no_grad():
            for name, model in models.items():
                odds[name] = self._odds(model, asked)
        found: dict[str, float] = {}
        delta = [one - other for one, other in zip(odds["small_tuned"], odds["small"], strict=True)]
        order = random.permutation(ANSWERS + 2 + self.facts)
        for name in ("", "large", "small", "small_tuned", "large_tuned", "shuffled"):
            logits = odds[name] if name in odds else odds["large"]
            if name not in odds:
                logits = [one + self.strength * (each[:, order] if name else each) for one, each in zip(logits, delta, strict=True)]
            first, last = (one.softmax(dim=1) for one in logits)
            form, right = first[:, ANSWERS], last[torch.arange(len(asked)), torch.from_numpy(answers[asked])]
            behind = f"{name}/" if name else ""
            found |= {
                f"{behind}both": float((form * right).mean()),
                f"{behind}format": float(form.mean()),
                f"{behind}facts": float(right.mean()),
            }
        return found

    def _texts(self, things: np.ndarray, turns: np.ndarray) -> torch.Tensor:
        """A question, and whether it ``turns`` to the answer (0) or away (1): int64 [texts, 2]."""
        import numpy as np
        import torch

        return torch.from_numpy(np.stack([ANSWERS + 2 + things, ANSWERS + turns], axis=1))

    def _loss(self, model: torch.nn.Module, things: np.ndarray, turns: np.ndarray, answers: np.ndarray) -> torch.Tensor:
        import torch

        texts = self._texts(things, turns)
        labels = torch.stack([texts[:, 1], torch.from_numpy(answers[things])], dim=1)
        return torch.nn.functional.cross_entropy(model(texts).flatten(0, 1), labels.flatten())

    def _pretrained(self, answers: np.ndarray, width: int, random: np.random.Generator, seed: int) -> torch.nn.Module:
        from windtunnel.kits.small_decoder import SmallDecoder, descend

        words = ANSWERS + 2 + self.facts
        model = SmallDecoder(words, words, 2, width=width, tokens=True, seed=seed)

        def loss(_: int) -> torch.Tensor:
            return self._loss(model, random.integers(0, self.facts, BATCH), (random.random(BATCH) >= ANSWERED).astype(int), answers)

        descend(model, loss, self.steps, RATE)
        return model

    def _tuned(self, model: torch.nn.Module, answers: np.ndarray, random: np.random.Generator) -> torch.nn.Module:
        """A copy that learned to turn to the answer."""
        import copy

        import numpy as np

        from windtunnel.kits.small_decoder import descend

        tuned = copy.deepcopy(model)

        def loss(_: int) -> torch.Tensor:
            return self._loss(tuned, random.integers(0, self.tuned, BATCH), np.zeros(BATCH, int), answers)

        descend(tuned, loss, self.tuning, RATE / 4)
        return tuned

    def _odds(self, model: torch.nn.Module, asked: np.ndarray) -> list[torch.Tensor]:
        """Logarithms of the chances of the word behind the question and of the one behind it where it turns to the answer."""
        import numpy as np

        found = model(self._texts(asked, np.zeros(len(asked), int))).log_softmax(dim=2)
        return [found[:, 0], found[:, 1]]
