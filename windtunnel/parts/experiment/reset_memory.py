"""What a memory recalls of the beginning of an episode, where many episodes stand in one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch


class ResetMemory(Experiment, name="reset-memory"):
    """How often a network says at the end of an episode which of four cues it saw first, with episodes of many lengths in a row.

    Lu et al. 2023, arXiv:2303.03982: the scan of a state-space model whose elements also say where an episode begins, so that rows of
    many episodes are read at once and nothing is carried over. ``reset`` is a diagonal recurrence with learned rates and that scan,
    ``carry`` the same without resets, ``gru`` a gated unit that is set to zero at each beginning, one place after the other. All learn
    from the same rows by imitation. The numbers are ``recalled``; ``leak``, how much what was before an episode changes what is said in
    it; and ``apart``, the largest difference between the scan and the recurrence one place after the other.
    """

    trial = Trial({"steps": 2, "places": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    memory: Literal["reset", "carry", "gru"] = Field("reset", description="what remembers")
    places: int = Field(48, ge=8, description="of a row")
    longest: int = Field(16, ge=2, description="steps of an episode at most")
    width: int = Field(32, ge=1, description="numbers of the state")
    steps: int = Field(150, ge=1, description="of training, 32 rows each")

    def measure(self, seed: int) -> dict[str, float]:
        """``recalled``, ``leak`` and ``apart``."""
        import torch

        from windtunnel.kits.memory import Memory
        from windtunnel.kits.scan import scanned

        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = Memory(self.memory, self.width)

            def loss(step: int) -> torch.Tensor:
                inputs, begun, cue, ends = self.rows(32)
                return torch.nn.functional.cross_entropy(model(inputs, begun)[ends], cue[ends])

            take_steps(torch.optim.Adam(model.parameters(), 1e-2, fused=True), loss, self.steps)
            inputs, begun, cue, ends = self.rows(256)
            with torch.no_grad():
                said = model(inputs, begun)
                other = inputs.clone()
                first = begun[:, :, 0].cumsum(dim=1) == 1  # the first episode of each row
                other[first] = torch.randn_like(other[first])
                leak = (model(other, begun) - said)[~first].abs().max()
            kept, added = torch.rand(4, self.places, 3), torch.randn(4, self.places, 3)
            quick, state, slow = scanned(kept, added, begun[:4]), torch.zeros(4, 3), []
            for place in range(self.places):
                state = torch.where(begun[:4, place].bool(), added[:, place], kept[:, place] * state + added[:, place])
                slow.append(state)
        right = (said[ends].argmax(dim=1) == cue[ends]).double().mean()
        return {"recalled": float(right), "leak": float(leak), "apart": float((quick - torch.stack(slow, dim=1)).abs().max())}

    def rows(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs [rows, places, 6], beginnings [rows, places, 1], the cue of the episode and whether it ends here [rows, places]."""
        import torch

        begun = torch.zeros(count, self.places)
        begun[:, 0] = 1
        lengths = torch.randint(2, self.longest + 1, (count, self.places)).cumsum(dim=1)
        for row in range(count):
            begun[row, lengths[row][lengths[row] < self.places]] = 1
        episode = begun.cumsum(dim=1).long()
        cue = torch.randint(0, 4, (count, self.places + 1)).gather(1, episode)
        shown = torch.nn.functional.one_hot(cue, 4) * begun[:, :, None]
        inputs = torch.cat([shown, 0.5 * torch.randn(count, self.places, 2)], dim=2)
        ends = torch.cat([begun[:, 1:], torch.ones(count, 1)], dim=1).bool()
        return inputs, begun[:, :, None], cue, ends
