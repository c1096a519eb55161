"""Reviews of a domain without labels, judged by a model that has labels of another: what continued training, and on which words, brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

OLD, SOURCE, TARGET, DOMAINS = 0, 1, 2, 3


class AdaptedReviews(Experiment, name="adapted-reviews"):
    """Accuracy on a domain without labels, after masked words of it and then labels of another domain.

    Uppaal et al. 2024, arXiv:2401.17514: continued pre-training on texts of both domains, then tuning on the labels of the source, against
    tuning with a penalty that makes the features of both domains alike; and continued pre-training that masks only words which tell the
    label, or only those which do not. A model has learned made-up reviews of a third domain. Feelings are told by words of each domain
    alone and, in ``shared`` of the cases, by words of all domains.

    ``masks``: ``nothing``, no continued training; ``any`` words; ``telling``, words of feeling of both domains, which are known because
    they were planted; ``labelled``, the words that differ most between good and bad among the labelled reviews of the source, which needs
    no label of the target; ``untelling``, words without feeling. ``domains`` says whose texts are continued on. ``alike`` above 0 is the
    weight of the squared distance of both domains' kernel means in tuning (maximum mean discrepancy, three Gaussian kernels, of 64
    reviews each). Tuning teaches the verdict behind a review; its rate is chosen on reviews of the source.

    Numbers are ``target`` and ``source``, the accuracies.
    """

    trial = Trial({"training": 3, "steps": 3, "texts": 40, "labels": 20, "tuning": 3, "rates": (1e-2,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    masks: Literal["nothing", "any", "telling", "labelled", "untelling"] = Field(
        "nothing", description="which words continued training masks"
    )
    domains: Literal["both", "target", "source"] = Field("both", description="whose texts continued training reads")
    alike: float = Field(0.0, ge=0, description="weight of the distance between the domains' features in tuning")
    shared: float = Field(0.3, ge=0, le=1, description="share of words of feeling that all domains have")
    labels: int = Field(200, ge=4, description="labelled reviews of the source")
    texts: int = Field(1500, ge=10, description="reviews without labels of each domain")
    training: int = Field(400, ge=1, description="steps of the first training")
    steps: int = Field(1200, ge=1, description="of continued training")
    tuning: int = Field(100, ge=1, description="steps of tuning")
    rates: tuple[float, ...] = Field((3e-3, 1e-2), min_length=1, description="of tuning, of which one is chosen")
    width: int = Field(32, ge=4, description="numbers of a word")

    def measure(self, seed: int) -> dict[str, float]:
        """``target`` and ``source``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, share_right, trained
        from windtunnel.kits.text.reviews import guesser, masked_loss, reviews, vocabulary

        random, words = np.random.default_rng(seed), vocabulary(DOMAINS)

        def drawn(domain: int, count: int) -> tuple[Tensor, Tensor]:
            labels = np.arange(count) % 2
            return torch.from_numpy(reviews(random, domain, labels, shared=self.shared, told=0.0)), torch.from_numpy(labels)

        old, source, target = (drawn(domain, self.texts)[0] for domain in (OLD, SOURCE, TARGET))
        few, chosen, near, far = drawn(SOURCE, self.labels), drawn(SOURCE, 300), drawn(SOURCE, 1000), drawn(TARGET, 1000)

        def masked(weights: Weights, texts: Tensor, weight: Tensor, steps: int, rate: float) -> Weights:
            return trained(
                weights, lambda held, rows: masked_loss(held, texts[rows], weight, random), len(texts), steps, rate, random, batch=64
            )

        weights = masked(guesser(words, self.width, seed), old, torch.ones(words), self.training, 1e-2)
        if self.masks != "nothing":
            texts = {"both": torch.cat([source, target]), "target": target, "source": source}[self.domains]
            weights = masked(weights, texts, self._weight(*few), self.steps, 1e-2)
        random = np.random.default_rng((seed, 1))

        def flown(rate: float) -> Weights:
            def loss(held: Weights, rows: Tensor) -> Tensor:
                found = torch.nn.functional.cross_entropy(answers(held, few[0][rows]), few[1][rows])
                if self.alike:
                    draw = (torch.from_numpy(random.integers(self.texts, size=64)) for _ in range(2))
                    found = found + self.alike * discrepancy(
                        *(state(held, each[row]) for each, row in zip((source, target), draw, strict=True))
                    )
                return found

            return trained(weights, loss, self.labels, self.tuning, rate, random)

        found = best(self.rates, flown, lambda one: share_right(answers(one, chosen[0]), chosen[1]))
        return {"target": share_right(answers(found, far[0]), far[1]), "source": share_right(answers(found, near[0]), near[1])}

    def _weight(self, few: Tensor, labels: Tensor) -> Tensor:
        """How likely each word of the vocabulary is to be the masked one."""
        import torch

        from windtunnel.kits.text.reviews import feelings, vocabulary

        words = vocabulary(DOMAINS)
        telling = torch.zeros(words)
        telling[torch.from_numpy(feelings(SOURCE)).flatten()] = 1
        telling[torch.from_numpy(feelings(TARGET)).flatten()] = 1
        if self.masks == "labelled":
            return told_by(few, labels, words)
        return {"any": torch.ones(words), "telling": telling, "untelling": 1 - telling}[self.masks]


def told_by(texts: Tensor, labels: Tensor, words: int, most: int = 60) -> Tensor:
    """1 for the ``most`` words whose counts differ most between both labels, by the logarithm of their ratio with one added to each."""
    import torch

    counts = torch.stack([torch.bincount(texts[labels == one].flatten(), minlength=words) for one in (0, 1)]).double() + 1
    apart = (counts[0].log() - counts[1].log()).abs()
    return torch.zeros(words).scatter(0, apart.topk(min(most, words)).indices, 1.0)


def state(weights: Weights, texts: Tensor) -> Tensor:
    """What the model makes of reviews with a mask behind them, [N, width]."""
    import torch

    from windtunnel.kits.text.reviews import MASK, read

    return read(weights, torch.cat([texts, torch.full((len(texts), 1), MASK)], dim=1))


def answers(weights: Weights, texts: Tensor) -> Tensor:
    """Logits [N, 2] of the verdicts bad and good behind reviews."""
    from windtunnel.kits.text.reviews import BAD, GOOD

    return state(weights, texts) @ weights["embedding"][[BAD, GOOD]].T + weights["bias"][[BAD, GOOD]]


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """The squared distance of the kernel means of two sets of vectors: Gaussian kernels of a half, one and two median distances."""
    import torch

    both = torch.cat([first, second])
    apart = (both[:, None] - both[None]).square().sum(dim=2)  # no roots, whose gradient at 0 has no value
    middle = apart.detach().median() + 1e-9
    kernel = sum((torch.exp(-apart / (2 * middle * scale**2)) for scale in (0.5, 1.0, 2.0)), torch.zeros(())) / 3
    size = len(first)
    return kernel[:size, :size].mean() + kernel[size:, size:].mean() - 2 * kernel[:size, size:].mean()
