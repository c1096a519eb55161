"""Numbers that enter and leave a network as vectors, or as digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class ScalarTokens(Experiment, name="scalar-tokens"):
    """The error of a number that a network says of a sequence and another number, by the form in which numbers stand.

    Shoshan et al. 2024, arXiv:2410.22367 (MAMMAL): a number in a prompt is a vector, a learned direction times its value, and a number in
    an answer comes from a head on the encoder, by least squares; other models write digits. A sequence has eight letters of ten, a dose
    from 0 to 1, and the answer is the mean worth of its letters times a curve of the dose, in which neighbouring letters count too.

    ``inputs`` and ``outputs`` are ``vector`` or ``digits``: two digits, each a token, of which outputs are said one after the other, the
    second from the first. The numbers are ``error``, the root of the squared error over the deviation of answers, and ``far``, the share of
    answers that are off by more than a deviation.
    """

    trial = Trial({"sequences": 100, "steps": 4})

    unit: ClassVar[str] = "share of the deviation"

    inputs: Literal["vector", "digits"] = Field("digits", description="how the dose stands")
    outputs: Literal["vector", "digits"] = Field("digits", description="how the answer stands")
    sequences: int = Field(2000, ge=50, description="of training")
    steps: int = Field(600, ge=1, description="of training, 64 sequences each")
    noise: float = Field(0.05, ge=0, description="of answers, in deviations")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``far``."""
        import numpy as np
        import torch
        from torch import nn

        random = np.random.default_rng(seed)
        worth, pairs = random.standard_normal(10), 0.5 * random.standard_normal((10, 10))
        letters, dose, true = drawn_sequences_of_doses(random, worth, pairs, self.sequences)
        asked, at, wanted = drawn_sequences_of_doses(random, worth, pairs, 1000)
        mean, spread = true.mean(), true.std()
        answers = (true - mean) / spread + self.noise * random.standard_normal(len(true))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            embed, one, digit = nn.Embedding(10, 12), nn.Parameter(torch.randn(16)), nn.Embedding(20, 8)
            body = nn.Sequential(nn.Linear(112, 96), nn.GELU(), nn.Linear(96, 96), nn.GELU())
            scalar, first, second = nn.Linear(96, 1), nn.Linear(96, 10), nn.Linear(106, 10)
            modules = (embed, digit, body, scalar, first, second)

            def read(letters: torch.Tensor, dose: torch.Tensor) -> torch.Tensor:
                number = dose[:, None] * one if self.inputs == "vector" else digit(split(dose) + torch.tensor([0, 10])).flatten(1)
                found: torch.Tensor = body(torch.cat([embed(letters).flatten(1), number], dim=1))
                return found

            targets = torch.from_numpy(answers).float()

            def loss(step: int) -> torch.Tensor:
                rows = torch.from_numpy(random.integers(0, self.sequences, 64))
                vectors = read(letters[rows], dose[rows])
                if self.outputs == "vector":
                    return (scalar(vectors)[:, 0] - targets[rows]).square().mean()
                digits = split(squashed(targets[rows]))
                follows = second(torch.cat([vectors, nn.functional.one_hot(digits[:, 0], 10)], dim=1))
                return nn.functional.cross_entropy(first(vectors), digits[:, 0]) + nn.functional.cross_entropy(follows, digits[:, 1])

            optimizer = torch.optim.Adam([one, *(each for module in modules for each in module.parameters())], 3e-3, fused=True)
            take_steps(optimizer, loss, self.steps, falling)
            with torch.no_grad():
                vectors = read(asked, at)
                if self.outputs == "vector":
                    found = scalar(vectors)[:, 0]
                else:
                    tens = first(vectors).argmax(dim=1)
                    ones = second(torch.cat([vectors, nn.functional.one_hot(tens, 10)], dim=1)).argmax(dim=1)
                    found = ((tens * 10 + ones + 0.5) / 100 - 0.5) * 8
        apart = found.double().numpy() - (wanted - mean) / spread
        return {"error": float(np.sqrt((apart**2).mean())), "far": float((abs(apart) > 1).mean())}


def drawn_sequences_of_doses(
    random: np.random.Generator, worth: np.ndarray, pairs: np.ndarray, count: int
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Letters [count, 8], doses [count] and answers [count], by the worth of letters and of neighbouring ``pairs``."""
    import numpy as np
    import torch

    letters, dose = random.integers(0, 10, (count, 8)), random.random(count)
    value = worth[letters].mean(axis=1) + pairs[letters[:, :-1], letters[:, 1:]].mean(axis=1)
    return torch.from_numpy(letters), torch.from_numpy(dose).float(), value * (0.3 + np.sin(3 * dose) ** 2)


def split(values: torch.Tensor) -> torch.Tensor:
    """The first two digits after the point [rows, 2] of numbers from 0 to 1."""
    import torch

    hundredths = (values * 100).floor().clamp(0, 99).long()
    return torch.stack([hundredths // 10, hundredths % 10], dim=1)


def squashed(values: torch.Tensor) -> torch.Tensor:
    """Numbers from -4 to 4 as numbers from 0 to 1."""
    return (values / 8 + 0.5).clamp(0, 0.999)
