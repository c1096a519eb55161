"""Pictures made of noise under conditions told apart or as one: pairs that training lacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

HEADS, BODIES, SCENES, NUMBERS = 8, 6, 4, 16


class FactoredSamples(Experiment, name="factored-samples"):
    """How near pictures of unseen pairs are to what they should show, by how the network is told of them.

    A picture is two regions, one that shows a head and one that shows a body, curved and each coloured a little by the other, and a scene
    that lies behind both. A quarter of the pairs of head and body is left out of training.

    ``factored`` tells head, body and scene each by a code of its own (Men et al. 2025, arXiv:2409.16160, MIMO: identity, motion and scene);
    ``joint`` has one code, of as many numbers drawn at random, for every pair; ``no-scene`` does not tell the scene. ``masked`` tells the
    network, trained as ``bag`` on captions of which one word in three is left out, each part in a run of its own and takes of every run
    the region of that part at every step (Rangwani et al. 2024, arXiv:2406.10197, with the regions given); ``bag`` tells all words at once.

    The numbers are ``unseen``, the squared distance of the mean of eight samples from the truth of a left-out pair, over the variance of
    pictures; ``seen``, the same of pairs in training; and ``right``, the share of samples of left-out pairs whose nearest true picture in
    the same scene is theirs.
    """

    trial = Trial({"pictures": 100, "steps": 4})

    unit: ClassVar[str] = "share of the variance"

    told: Literal["factored", "joint", "no-scene", "bag", "masked"] = Field("factored", description="how conditions are told")
    pictures: int = Field(2000, ge=50, description="of training")
    mixing: float = Field(0.5, ge=0, description="how much one region depends on the other part")
    steps: int = Field(800, ge=1, description="of training, 128 pictures each")

    def measure(self, seed: int) -> dict[str, float]:
        """``unseen``, ``seen`` and ``right``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        left_out = random.permutation(HEADS * BODIES)[: HEADS * BODIES // 4]
        allowed = np.setdiff1d(np.arange(HEADS * BODIES), left_out)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            shown = torch.randn(HEADS, NUMBERS // 2), torch.randn(BODIES, NUMBERS // 2), torch.randn(SCENES, NUMBERS)

            def true(pair: np.ndarray, scene: np.ndarray) -> torch.Tensor:
                head, body = shown[0][pair // BODIES], shown[1][pair % BODIES]
                parts = torch.cat([(head + self.mixing * body).tanh(), (body + self.mixing * head).tanh()], dim=1)
                return parts + 0.3 * shown[2][scene]

            pair, scene = random.choice(allowed, self.pictures), random.integers(0, SCENES, self.pictures)
            data = true(pair, scene) + 0.05 * torch.randn(self.pictures, NUMBERS)
            codes = torch.randn(HEADS * BODIES, HEADS + BODIES)
            condition = self._told(pair, scene, codes)
            if self.told in ("bag", "masked"):
                condition = self._dropped(condition)
            made = {}
            learned = self._learned(data, condition, random)
            for name, pairs in (("unseen", left_out), ("seen", allowed)):
                asked, where = np.repeat(pairs, 8), np.repeat(random.integers(0, SCENES, len(pairs)), 8)
                made[name] = (learned(self._told(asked, where, codes)), asked, where)
            every = np.arange(HEADS * BODIES)
            numbers, spread = {}, float(data.var(dim=0).mean())
            for name, (samples, asked, where) in made.items():
                mean = samples.view(-1, 8, NUMBERS).mean(dim=1)
                numbers[name] = float((mean - true(asked[::8], where[::8])).square().mean()) / spread
            samples, asked, where = made["unseen"]
            near = torch.stack([(true(every, np.full(len(every), at)) - one).norm(dim=1) for one, at in zip(samples, where, strict=True)])
        return {**numbers, "right": float((near.argmin(dim=1).numpy() == asked).mean())}

    def _told(self, pair: np.ndarray, scene: np.ndarray, codes: torch.Tensor) -> torch.Tensor:
        """Conditions [rows, 18]."""
        import torch

        parts = torch.cat([torch.eye(HEADS)[pair // BODIES], torch.eye(BODIES)[pair % BODIES]], dim=1)
        place = torch.eye(SCENES)[scene] * (self.told != "no-scene")
        return torch.cat([codes[pair] if self.told == "joint" else parts, place], dim=1)

    def _dropped(self, condition: torch.Tensor) -> torch.Tensor:
        """A third of the words of head and of body left out."""
        import torch

        kept = (torch.rand(len(condition), 2) > 1 / 3).float()
        wide = torch.cat([kept[:, :1].expand(-1, HEADS), kept[:, 1:].expand(-1, BODIES), torch.ones(len(condition), SCENES)], dim=1)
        return condition * wide

    def _learned(self, data: torch.Tensor, condition: torch.Tensor, random: np.random.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from conditions to samples."""
        import torch

        from windtunnel.kits.flow import Flow

        flow = Flow(NUMBERS, condition.shape[1], 96).learn(data, condition, self.steps, random)
        if self.told != "masked":
            return lambda asked: flow.sample(asked, NUMBERS)

        @torch.no_grad()
        def merged(asked: torch.Tensor) -> torch.Tensor:
            head, body = asked.clone(), asked.clone()
            head[:, HEADS : HEADS + BODIES] = 0
            body[:, :HEADS] = 0
            found, region = torch.randn(len(asked), NUMBERS), torch.arange(NUMBERS) < NUMBERS // 2
            for step in range(20, 0, -1):
                time = torch.full((len(asked), 1), step / 20)
                found = found - torch.where(region, flow(found, time, head), flow(found, time, body)) / 20
            return found

        return merged
