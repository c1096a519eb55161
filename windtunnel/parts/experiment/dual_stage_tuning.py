"""A special ability tuned before a general one, and what is left of it by how much of it is mixed into the second stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

MODULUS, FORMS, KEYS = 13, 3, 40  # of sums; kinds of general questions and what they ask about
BEGIN = 0  # the first token of every question
FORM = 1
NUMBER = FORM + FORMS
KEY = NUMBER + MODULUS
VALUE = KEY + KEYS
VALUES = 30
SIZE = VALUE + VALUES
BATCH, RATE = 64, 0.004


class DualStageTuning(Experiment, name="dual-stage-tuning"):
    """How well a small decoder adds and how well it answers general questions, after tuning on both in several orders and shares.

    Dong et al. 2024, arXiv:2310.05492 (DMT): special abilities first, then the general one with a small share k of the special data,
    against both at once (``together``), one after the other (``in-turn``: k is 0), and the special ones mixed first, which with a single
    special ability is the same as in turn. ``special-alone`` and ``general-alone`` are one stage only, what can be had of each.

    The special ability is the sum of two numbers modulo 13; four fifths of all sums are in training and those left out are ``unseen``. The
    general one answers three forms of question about forty keys, learned by heart. Stages have ``first`` and ``second`` steps, and
    `together` has as many as both. The decoder is pre-trained on neither.
    """

    trial = Trial({"first": 3, "second": 2, "width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    way: Literal["dual", "in-turn", "together", "special-alone", "general-alone"] = Field("dual", description="what is tuned on, in order")
    share: float = Field(1 / 16, ge=0, le=1, description="of the second stage's questions that are sums, where the way is dual")
    first: int = Field(500, ge=1, description="steps of the first stage, 64 questions each")
    second: int = Field(250, ge=1, description="steps of the second")
    width: int = Field(48, ge=8, multiple_of=4, description="of the decoder of two layers")

    def measure(self, seed: int) -> dict[str, float]:
        """``special`` on sums of training, ``general``, and ``unseen`` on sums that were left out."""
        import numpy as np

        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random = np.random.default_rng(seed)
        values = random.integers(0, VALUES, (FORMS, KEYS))
        sums = random.permutation(MODULUS**2)
        known, unseen = sums[: MODULUS**2 * 4 // 5], sums[MODULUS**2 * 4 // 5 :]
        model = SmallDecoder(SIZE, SIZE, 3, width=self.width, tokens=True, seed=seed)

        def stage(steps: int, share: float) -> None:
            """Train on questions of which so large a share are sums."""

            def loss(_: int) -> torch.Tensor:
                special = int(random.binomial(BATCH, share))
                asked = [added(random.choice(known, special)), general(random.integers(0, FORMS * KEYS, BATCH - special), values)]
                return nats(model, np.concatenate([one for one, _ in asked]), np.concatenate([right for _, right in asked]))

            descend(model, loss, steps, RATE)

        total = self.first + self.second
        shares = {"dual": (1.0, self.share), "in-turn": (1.0, 0.0), "special-alone": (1.0, None), "general-alone": (None, 0.0)}
        if self.way == "together":
            stage(total, self.first / total)
        else:
            for steps, share in zip((self.first, self.second), shares[self.way], strict=True):
                if share is not None:
                    stage(steps, share)
        return {
            "special": right_share(model, *added(known)),
            "general": right_share(model, *general(np.arange(FORMS * KEYS), values)),
            "unseen": right_share(model, *added(unseen)),
        }


def added(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Questions int64 [questions, 3] and answers [questions]; a sum is a number below the square of the modulus."""
    import numpy as np

    one, two = sums // MODULUS, sums % MODULUS
    return np.stack([np.full(len(sums), BEGIN), NUMBER + one, NUMBER + two], axis=1), NUMBER + (one + two) % MODULUS


def general(questions: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of general questions, numbers below FORMS x KEYS; ``values`` [FORMS, KEYS] are what they are answered by."""
    import numpy as np

    form, key = questions // KEYS, questions % KEYS
    return np.stack([np.full(len(questions), BEGIN), FORM + form, KEY + key], axis=1), VALUE + values[form, key]


def nats(model: torch.nn.Module, asked: np.ndarray, right: np.ndarray) -> torch.Tensor:
    """Mean cross entropy of the answers, over all tokens there are."""
    import torch

    return torch.nn.functional.cross_entropy(model(torch.from_numpy(asked))[:, -1], torch.from_numpy(right))


def right_share(model: torch.nn.Module, asked: np.ndarray, right: np.ndarray) -> float:
    """How many of the likeliest tokens are the answers."""
    import torch

    with torch.no_grad():
        return float((model(torch.from_numpy(asked))[:, -1].argmax(dim=1).numpy() == right).mean())
