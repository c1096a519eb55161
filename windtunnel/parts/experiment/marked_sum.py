"""Whether a recurrent network learns to add two marked numbers of a long sequence, and how far back its gradient reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch
    from torch import nn

GUESS = 1 / 6  # mean squared error of always saying 1, the mean of the sum of two uniform numbers
JUDGED = 1000  # sequences
SOLVED = 0.05  # mean squared error


class MarkedSum(Experiment, name="marked-sum"):
    """Squared error of the sum of two marked numbers of a sequence, over that of always guessing one.

    The adding problem of Hochreiter and Schmidhuber 1997, by which Lipton et al. 2015, arXiv:1506.00019, tell why gates are needed: of
    ``length`` numbers between 0 and 1 two are marked, one in each half, and their sum is asked for at the end. ``network`` is a recurrent
    network with tanh or a long short-term memory (torch's, one layer) with a linear answer; ``width`` is that of the first, and the second
    is as wide as its parameters allow within those of the first, so that neither is larger. ``recurrent`` is how the matrices between steps
    begin: as torch draws them, orthogonal, or as the identity (Le et al. 2015, arXiv:1504.00941; with tanh here, where the paper has
    rectifiers), because that a plain network fails depends on it. Adam, gradients clipped to a norm of ``clip`` or not at all.

    ``error`` is judged on new sequences. ``solved`` is 1 where the squared error itself is below 0.05. ``reach`` is the base-10 logarithm
    of how large the gradient of the answer is by the first input of the sequence, over that by the last one, before training, and
    ``reach_trained`` after it. ``diverged`` is 1 where a loss of training was not finite; such a run answers with a guess.
    """

    trial = Trial({"length": 8, "width": 8, "steps": 6, "batch": 8})

    unit: ClassVar[str] = "of guessing"
    better: ClassVar[str] = "lower"

    network: Literal["plain", "memory"] = Field("plain", description="a recurrent network with tanh, or a long short-term memory")
    recurrent: Literal["torch", "orthogonal", "identity"] = Field("torch", description="first weights between steps")
    length: int = Field(50, ge=2, description="numbers of a sequence")
    width: int = Field(64, ge=3, description="units of the plain network; a memory has as many parameters at most")
    steps: int = Field(1500, ge=1, description="of training")
    batch: int = Field(64, ge=1, description="sequences a step, all new")
    learning_rate: float = Field(0.002, gt=0, description="of Adam, constant")
    clip: float | None = Field(1.0, gt=0, description="norm of the gradient; null: not clipped")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above; ``error`` is the first."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, answer = self._networks()
        random = torch.Generator().manual_seed(seed)
        before = self._reach(network, answer, random)
        optimizer = torch.optim.Adam([*network.parameters(), *answer.parameters()], lr=self.learning_rate)
        diverged = False
        for _ in range(self.steps):
            inputs, targets = sequences(self.batch, self.length, random)
            loss = torch.nn.functional.mse_loss(answered(network, answer, inputs), targets)
            if not torch.isfinite(loss):
                diverged = True
                break
            take_step(optimizer, loss, clip=self.clip)
        with torch.no_grad():
            inputs, targets = sequences(JUDGED, self.length, random)
            error = float(torch.nn.functional.mse_loss(answered(network, answer, inputs), targets))
        # A network whose weights are no numbers says nothing; a guess is what is left.
        error = error if not diverged and error < float("inf") else GUESS
        found = {"error": error / GUESS, "solved": float(error < SOLVED), "reach": before, "diverged": float(diverged)}
        after = self._reach(network, answer, random)
        return {**found, "reach_trained": after} if after == after else found

    def _networks(self) -> tuple[nn.Module, nn.Module]:
        """The recurrent network, with what ``recurrent`` says of its first weights, and the linear answer upon its last state."""
        from torch import nn

        width = self.width if self.network == "plain" else memory_width(self.width)
        made: nn.Module = (nn.RNN if self.network == "plain" else nn.LSTM)(2, width, batch_first=True)
        if self.recurrent != "torch":
            begin = nn.init.orthogonal_ if self.recurrent == "orthogonal" else nn.init.eye_
            for block in made.weight_hh_l0.data.split(width):  # type: ignore[operator, union-attr]
                begin(block)
        return made, nn.Linear(width, 1)

    def _reach(self, network: nn.Module, answer: nn.Module, random: torch.Generator) -> float:
        """Base-10 logarithm of the gradient's norm at the first step over that at the last; not a number where either is none."""
        import torch

        inputs, _ = sequences(self.batch, self.length, random)
        (by_input,) = torch.autograd.grad(answered(network, answer, inputs.requires_grad_()).sum(), inputs)
        first, last = by_input[:, 0].double().norm(), by_input[:, -1].double().norm()
        smallest = torch.finfo(by_input.dtype).tiny
        return float(torch.log10(first.clamp(min=smallest) / last.clamp(min=smallest)))


def memory_width(width: int) -> int:
    """The widest long short-term memory that has no more parameters, its answer included, than a plain network of ``width``, at least 3."""
    allowed, found = width * width + 5 * width + 1, 1
    while 4 * ((found + 1) ** 2 + 4 * (found + 1)) + found + 2 <= allowed:
        found += 1
    return found


def sequences(count: int, length: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """``[count, length, 2]`` numbers and marks, and ``[count]`` sums of the two that are marked, one in each half."""
    import torch

    numbers, marks = torch.rand(count, length, generator=random), torch.zeros(count, length)
    half, each = length // 2, torch.arange(count)
    marks[each, torch.randint(half, (count,), generator=random)] = 1
    marks[each, half + torch.randint(length - half, (count,), generator=random)] = 1
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(dim=1)


def answered(network: nn.Module, answer: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """``[count]`` answers from the state after the last step."""
    states, _ = network(inputs)
    found: torch.Tensor = answer(states[:, -1])[:, 0]
    return found
