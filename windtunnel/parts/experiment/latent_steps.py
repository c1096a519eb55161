"""Learning from answers alone, with steps in between that the model itself supplies and weighs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

MODULUS = 5  # of sums
JUDGED = 300  # sums
PRIOR, POSTERIOR, PLAIN = MODULUS, MODULUS + 1, MODULUS + 2  # tokens that say how the rest is written


class LatentSteps(Experiment, name="latent-steps"):
    """The share of sums that a model gets right which saw the steps of few and the answers of many.

    Ruan et al. 2025 (BoLT), arXiv:2503.18866: one model learns thoughts before the text, p(z, x), and after it, q(z | x). For each text K
    thoughts are drawn from q, one is kept with a chance in proportion to p(z, x) / q(z | x), and the model is trained anew on texts with
    these; and so on. A text is the sum of ``terms`` numbers modulo 5, of which the answer alone is told; the thought is the running sums.
    ``seeds`` texts have their thought.

    ``em`` does that with ``samples`` thoughts each; ``uniform`` keeps any of them; ``shuffled`` gives each text the thought of another, the
    control; ``seeds`` trains on texts with thoughts alone, and ``answers`` on texts without; ``told`` has the thoughts of all, the bound.
    Each iteration starts from the same weights and takes as many steps. ``accuracy`` is the share of new sums that are right, written with
    steps, without for ``answers``; ``thoughts`` the share of thoughts kept that are right; ``written`` how many thoughts were drawn.
    """

    trial = Trial({"texts": 60, "seeds": 20, "steps": 4, "iterations": 1})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    how: Literal["em", "uniform", "shuffled", "seeds", "answers", "told"] = Field("em", description="where steps come from")
    terms: int = Field(5, ge=3, le=9, description="numbers of a sum")
    texts: int = Field(800, ge=10, description="sums whose answer is told")
    seeds: int = Field(80, ge=2, description="of them that have their steps")
    samples: int = Field(4, ge=1, description="thoughts drawn for each text and iteration")
    iterations: int = Field(2, ge=1, description="of drawing and training")
    steps: int = Field(400, ge=1, description="of training in each iteration, 64 sums each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``thoughts`` and ``written``.

        Raises:
            PartError: for more ``seeds`` than texts, or more texts than there are sums beside those that are judged.
        """
        import numpy as np

        from windtunnel.kits.text.small import learn, made

        if self.seeds > self.texts:
            raise PartError(f"{self.name}: seeds {self.seeds}: there are {self.texts} texts; lower it")
        random = np.random.default_rng(seed)
        count = MODULUS**self.terms
        if self.texts + JUDGED > count:
            raise PartError(f"{self.name}: texts {self.texts}: {count - JUDGED} sums of {self.terms} numbers are not judged; raise terms")
        # Each sum once, so that none that is judged was learned by heart with its answer.
        sums = random.choice(count, self.texts + JUDGED, replace=False)[:, None] // MODULUS ** np.arange(self.terms) % MODULUS
        running = sums.cumsum(axis=1)[:, 1:] % MODULUS
        answers, truth = running[:, -1:], running[:, :-1]
        texts, held = slice(0, self.texts), slice(self.texts, None)

        def trained(rows: np.ndarray, counted: np.ndarray) -> object:
            model = made(seed, MODULUS + 3, self.length(), width=48)
            learn(model, rows, counted, random, steps=self.steps, rate=self.rate)
            return model

        few = slice(0, self.texts if self.how == "told" else self.seeds)
        drawn, share = 0, 1.0
        if self.how == "answers":
            model = trained(*self._rows(sums[texts], None, answers[texts]))
        else:
            model = trained(*self._rows(sums[few], truth[few], answers[few]))
        for _ in range(self.iterations if self.how in ("em", "uniform", "shuffled") else 0):
            kept = self._thoughts(model, sums[texts], answers[texts], random)
            kept[: self.seeds] = truth[: self.seeds]
            share, drawn = float((kept == truth[texts]).all(axis=1).mean()), drawn + self.samples * self.texts
            if self.how == "shuffled":
                kept = random.permutation(kept)
            model = trained(*self._rows(sums[texts], kept, answers[texts]))
        right = self._written(model, sums[held]) == answers[held][:, 0]
        return {"accuracy": float(right.mean()), "thoughts": share, "written": float(drawn)}

    def length(self) -> int:
        """Of a row: how it is written, the numbers, the thought and the answer."""
        return 1 + self.terms + (self.terms - 2) + 1

    def _rows(self, sums: np.ndarray, thoughts: np.ndarray | None, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows with the thought before the answer, then as many with it behind; without thoughts, the answer alone. And what is learned."""
        import numpy as np

        def marked(sign: int, *parts: np.ndarray) -> np.ndarray:
            row = np.hstack([np.full((len(sums), 1), sign), sums, *parts])
            return np.hstack([row, np.zeros((len(row), self.length() - row.shape[1]), row.dtype)])

        if thoughts is None:
            rows = marked(PLAIN, answers)
            counted = np.zeros(rows.shape, bool)
            counted[:, 1 + self.terms] = True
            return rows, counted
        rows = np.concatenate([marked(PRIOR, thoughts, answers), marked(POSTERIOR, answers, thoughts)])
        counted = np.zeros(rows.shape, bool)
        counted[: len(sums), 1 + self.terms :] = True
        counted[len(sums) :, 2 + self.terms :] = True
        return rows, counted

    def _thoughts(self, model: object, sums: np.ndarray, answers: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One thought of each text [texts, terms - 2], of several that the model draws behind the answer."""
        import numpy as np
        import torch

        from windtunnel.kits.text.small import losses, written

        count, size = self.samples, self.terms - 2
        many, goal = np.repeat(sums, count, axis=0), np.repeat(answers, count, axis=0)
        prompts = np.hstack([np.full((len(many), 1), POSTERIOR), many, goal])
        found = written(model, prompts, size, random).clip(max=MODULUS - 1)
        weights = np.zeros((len(sums), count))
        if self.how != "uniform":
            before = np.hstack([np.full((len(many), 1), PRIOR), many, found, goal])
            with torch.no_grad():
                told = losses(model, torch.from_numpy(before))[:, self.terms :].sum(dim=1)
                guessed = losses(model, torch.from_numpy(np.hstack([prompts, found])))[:, self.terms + 1 :].sum(dim=1)
            weights = (guessed - told).double().numpy().reshape(len(sums), count)
        chosen = (weights + random.gumbel(size=weights.shape)).argmax(axis=1)
        return np.asarray(found.reshape(len(sums), count, size)[np.arange(len(sums)), chosen])

    def _written(self, model: object, sums: np.ndarray) -> np.ndarray:
        """The answers that the model writes, behind steps if it learned any."""
        import numpy as np

        from windtunnel.kits.text.small import written

        sign, steps = (PLAIN, 1) if self.how == "answers" else (PRIOR, self.terms - 1)
        return written(model, np.hstack([np.full((len(sums), 1), sign), sums]), steps)[:, -1]
