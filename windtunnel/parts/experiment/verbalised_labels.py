"""Labels said by words that a model knows, or by a new head, from few examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

DOMAINS, ASKED = 4, 3  # the last domain is asked about; all four are in what the model was trained on


class VerbalisedLabels(Experiment, name="verbalised-labels"):
    """Accuracy on made-up reviews after tuning on ``shots`` of each label, by what answers and what comes before.

    A small model has learned to guess masked words of reviews, half of which end with a verdict. ``answer``: ``words``, the logits of the
    two verdicts at a mask behind the review (a cloze with a verbaliser: Schick and Schütze 2021; in Raman et al. 2023, arXiv:2303.07320,
    it is what makes models robust, and in Rieger et al. 2024 adapters are tuned with it); ``fresh``, a new head of small random numbers;
    ``probed``, a new head that has been trained alone first. ``trains``: ``all`` weights or an ``adapter``, a bottleneck of 4 behind the
    layer.

    ``before``: what the model learns ahead of that from ``texts`` reviews without labels, with as many steps each: ``nothing``;
    ``texts``, masked words of them; ``filled``, masked words of them with the verdict behind that the tuned model gives (prompt-based
    continued pre-training: Shi and Lipani 2023, arXiv:2305.01711); ``shuffled``, the same with these verdicts shuffled; ``guesses``, no
    masks but these verdicts as labels.

    ``robust`` is the share of reviews that are right, also after each way of exchanging one word of feeling for one of ten of the same
    feeling in that domain; ``accuracy`` without. The rate of tuning is chosen on 200 reviews.
    """

    trial = Trial({"training": 3, "steps": 3, "texts": 20, "tuning": 3, "rates": (1e-2,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    answer: Literal["words", "fresh", "probed"] = Field("words", description="what says the label")
    trains: Literal["all", "adapter"] = Field("all", description="what tuning moves")
    before: Literal["nothing", "texts", "filled", "shuffled", "guesses"] = Field("nothing", description="what is learned without labels")
    shots: int = Field(8, ge=1, description="labelled reviews of each of both labels")
    texts: int = Field(400, ge=1, description="reviews without labels")
    training: int = Field(600, ge=1, description="steps of the model's training")
    steps: int = Field(150, ge=1, description="on reviews without labels")
    tuning: int = Field(60, ge=1, description="steps of tuning")
    rates: tuple[float, ...] = Field((1e-3, 3e-3, 1e-2, 3e-2), min_length=1, description="of tuning, of which one is chosen")
    width: int = Field(32, ge=4, description="numbers of a word")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``robust``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, share_right, trained
        from windtunnel.kits.text.reviews import BAD, GOOD, guesser, masked_loss, reviews, vocabulary

        random = np.random.default_rng(seed)
        words, even = vocabulary(DOMAINS), torch.ones(vocabulary(DOMAINS))

        def texts(domain: int, labels: np.ndarray, told: float = 0.0) -> Tensor:
            return torch.from_numpy(reviews(random, domain, labels, shared=0.1, told=told))

        def masked(weights: Weights, given: Tensor, steps: int, rate: float) -> Weights:
            return trained(
                weights, lambda held, rows: masked_loss(held, given[rows], even, random), len(given), steps, rate, random, batch=64
            )

        given = torch.cat([texts(domain, random.integers(2, size=1000), 0.5) for domain in range(DOMAINS)])
        weights = masked(guesser(words, self.width, seed), given, self.training, 1e-2)
        labels = [np.tile([0, 1], self.shots), *(random.integers(2, size=count) for count in (200, 500, self.texts))]
        few, chosen, held, unlabelled = (texts(ASKED, each) for each in labels)
        wanted = [torch.from_numpy(each) for each in labels]

        def tuned(weights: Weights, given: Tensor, answers: Tensor) -> Weights:
            return best(
                self.rates,
                lambda rate: self._tuned(weights, given, answers, rate, np.random.default_rng((seed, 1))),
                lambda one: share_right(self.answers(one, chosen), wanted[1]),
            )

        if self.before == "texts":
            weights = masked(weights, unlabelled, self.steps, 3e-3)
        elif self.before != "nothing":
            guess = self.answers(tuned(weights, few, wanted[0]), unlabelled).detach().argmax(dim=1)
            if self.before == "shuffled":
                guess = guess[torch.from_numpy(random.permutation(len(guess)))]
            if self.before == "guesses":
                said = self.model_copy(update={"answer": "words"})  # of which a head that is yet to come is none

                def of_verdicts(held: Weights, rows: Tensor) -> Tensor:
                    return torch.nn.functional.cross_entropy(said.answers(held, unlabelled[rows]), guess[rows])

                weights = trained(weights, of_verdicts, len(unlabelled), self.steps, 3e-3, random, batch=64)
            else:
                verdict = torch.where(guess == 1, GOOD, BAD)[:, None]
                weights = masked(weights, torch.cat([unlabelled, verdict], dim=1), self.steps, 3e-3)
        found = tuned(weights, few, wanted[0])
        with torch.no_grad():
            right = self.answers(found, held).argmax(dim=1) == wanted[2]
            safe = right.clone()
            for other in attacked(held, labels[2], ASKED):
                safe &= self.answers(found, other).argmax(dim=1) == wanted[2]
        return {"accuracy": float(right.float().mean()), "robust": float(safe.float().mean())}

    def answers(self, weights: Weights, given: Tensor) -> Tensor:
        """Logits [N, 2] of bad and good."""
        import torch

        from windtunnel.kits.text.reviews import BAD, GOOD, MASK, read

        found = read(weights, torch.cat([given, torch.full((len(given), 1), MASK)], dim=1))
        if "down" in weights:
            found = found + torch.relu(found @ weights["down"].T) @ weights["up"].T
        if self.answer == "words":
            return found @ weights["embedding"][[BAD, GOOD]].T + weights["bias"][[BAD, GOOD]]
        return found @ weights["head"].T + weights["offset"]

    def _tuned(self, weights: Weights, given: Tensor, labels: Tensor, rate: float, random: np.random.Generator) -> Weights:
        import torch

        from windtunnel.kits.image.tiny import trained

        generator = torch.Generator().manual_seed(int(random.integers(1 << 31)))
        begun, head = dict(weights), {"head", "offset"}
        if self.answer != "words":
            begun |= {"head": 0.02 * torch.randn(2, self.width, generator=generator), "offset": torch.zeros(2)}
        if self.trains == "adapter":
            begun |= {"down": torch.randn(4, self.width, generator=generator) / self.width**0.5, "up": torch.zeros(self.width, 4)}

        def loss(held: Weights, rows: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(self.answers(held, given[rows]), labels[rows])

        if self.answer == "probed":
            begun = trained(begun, loss, len(given), self.tuning, 3e-2, random, only=head)
        moving = None if self.trains == "all" else {"down", "up", *(head & set(begun))}
        return trained(begun, loss, len(given), self.tuning, rate, random, only=moving)


def attacked(words: Tensor, labels: np.ndarray, domain: int) -> list[Tensor]:
    """Reviews with one word exchanged: each of the first four for each of ten words of the same feeling in that domain."""
    import torch

    from windtunnel.kits.text.reviews import FEELING, SHARED, feelings

    other = torch.from_numpy(feelings(domain)[labels])
    found = []
    for place in range(FEELING):
        for which in range(10):
            changed = words.clone()
            changed[:, place] = other[:, SHARED + which]
            found.append(changed)
    return found
