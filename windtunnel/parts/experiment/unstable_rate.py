"""Deep networks at learning rates that they hardly bear, and what keeps them: smaller gradients of embeddings, or larger shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

WORDS, LENGTH, BATCH, WINDOW, WIDTH, HEADS, BROKEN = 32, 16, 32, 20, 32, 4, 10.0
BETAS = (0.9, 0.95)


class UnstableRate(Experiment, name="unstable-rate"):
    """How far the loss of a deep transformer jumps in training, and at which loss it ends.

    Zeng et al. 2023 (GLM-130B), arXiv:2210.02414: jumps of the loss come with gradients of the embeddings that are far larger than those of
    other layers; embeddings a + (embeddings without gradient) (1 - a), with a = 0.1, shrinks these, and training went on. Norms stand
    behind the sum of a layer and its shortcut; with ``deep`` shortcuts are (2 layers)^0.5 times as large and initial weights smaller by as
    much (Wang et al. 2022, arXiv:2203.00555). ``post`` is without both, ``pre`` has the norms before the layers. For export each row of a
    matrix is scaled by its largest weight over 7 and rounded, embeddings, norms and the head left alone. AdamW has betas 0.9 and 0.95.
    Numbers are of single precision, whereas that model was trained in half precision; gaps are not filled, next words are told.

    Sequences are of a language whose next word depends on the last two. ``jump`` is the most that the loss of a step lies above the mean of
    the 20 before it, in nats (10 where it is no number), ``loss`` the mean of the last 20 steps, ``entropy`` what no model is below;
    ``embedding`` the gradient norm of the embeddings and ``others`` that of all else, medians over steps before clipping. ``fresh``
    is the loss on new sequences, ``rounded`` that with weights of 4 bits.
    """

    trial = Trial({"steps": 8, "layers": 2})

    unit: ClassVar[str] = "nats"

    norm: Literal["post", "deep", "pre"] = Field("deep", description="where norms stand; deep: post, with larger shortcuts")
    shrink: float = Field(1.0, gt=0, le=1, description="share of the gradient that reaches the embeddings")
    clip: float = Field(1.0, ge=0, description="largest norm of all gradients (0: none)")
    warm: int = Field(0, ge=0, description="steps in which the rate rises")
    layers: int = Field(12, ge=1, description="of the transformer")
    steps: int = Field(200, ge=8, description="of training, 32 sequences each")
    rate: float = Field(0.01, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """The seven numbers."""
        import numpy as np
        import torch

        from windtunnel.kits.text.windowed import chances, drawn, language

        random = np.random.default_rng(seed)
        odds = chances(language(WORDS, random, sharpness=1.5))
        fresh = drawn(odds, 8 * BATCH, LENGTH + 1, random)
        model = deep(self, seed)
        optimizer = torch.optim.AdamW(model.parameters(), self.rate, betas=BETAS, fused=True)
        losses, firsts, others = list[float](), list[float](), list[float]()
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * min(1.0, (step + 1) / (self.warm + 1))
            loss = nats(model, torch.from_numpy(drawn(odds, BATCH, LENGTH + 1, random)))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norms = {name: float(weight.grad.norm()) for name, weight in model.named_parameters() if weight.grad is not None}
            firsts.append(norms.pop("embedding.weight"))
            others.append(float(np.linalg.norm(list(norms.values()))))
            if self.clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip)
            optimizer.step()
            losses.append(float(loss.detach()))
        tokens = torch.from_numpy(fresh)
        with torch.no_grad():
            before = float(nats(model, tokens))
            rounded_to_four_bits(model)
            after = float(nats(model, tokens))
        return {
            "jump": jump(losses),
            "loss": float(np.mean(losses[-WINDOW:])),
            "embedding": float(np.median(firsts)),
            "others": float(np.median(others)),
            "fresh": before,
            "rounded": after,
            "entropy": float(-np.log(odds[fresh[:, :-2], fresh[:, 1:-1], fresh[:, 2:]]).mean()),
        }


def jump(losses: list[float]) -> float:
    """The most that one of ``losses``, from the sixth on, lies above the mean of the WINDOW before it; BROKEN where one is no number."""
    import numpy as np

    told = np.array(losses)
    if not np.isfinite(told).all():
        return BROKEN
    return max(float(told[place] - told[max(0, place - WINDOW) : place].mean()) for place in range(5, len(told)))


def nats(model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """The mean loss of the next word, from the third on, where the last two tell of it."""
    import torch

    return torch.nn.functional.cross_entropy(model(rows[:, :-1])[:, 1:].transpose(1, 2), rows[:, 2:])


def rounded_to_four_bits(model: torch.nn.Module) -> None:
    """Every matrix of the blocks, each row in steps of its largest weight over 7."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and name.startswith("blocks"):
                scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 7
                weight.copy_((weight / scale).round() * scale)


def deep(setting: UnstableRate, seed: int) -> torch.nn.Module:
    """A causal transformer with norms where ``setting`` says: logits [rows, places, WORDS] of tokens."""
    import torch
    from torch import Tensor, nn

    alpha = (2 * setting.layers) ** 0.5 if setting.norm == "deep" else 1.0

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixed, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
            self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            if setting.norm == "deep":  # queries and keys keep a gain of 1
                for weight in (self.mixed.weight[2 * WIDTH :], self.out.weight, self.up.weight, self.down.weight):
                    nn.init.xavier_normal_(weight.data, 1 / alpha)

        def attended(self, state: Tensor) -> Tensor:
            query, key, value = self.mixed(state).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            return torch.as_tensor(self.out(seen.transpose(1, 2).flatten(2)))

        def forward(self, state: Tensor) -> Tensor:
            if setting.norm == "pre":
                state = state + self.attended(self.first(state))
                return torch.as_tensor(state + self.down(nn.functional.gelu(self.up(self.second(state)))))
            state = self.first(alpha * state + self.attended(state))
            return torch.as_tensor(self.second(alpha * state + self.down(nn.functional.gelu(self.up(state)))))

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(setting.layers))
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)

        def forward(self, tokens: Tensor) -> Tensor:
            found = self.embedding(tokens)
            state = found * setting.shrink + found.detach() * (1 - setting.shrink) + self.places.weight[: tokens.shape[1]]
            for block in self.blocks:
                state = block(state)
            return torch.as_tensor(self.head(self.norm(state)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Deep()
