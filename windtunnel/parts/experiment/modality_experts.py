"""Sequences of two kinds of tokens read by layers that both kinds share or that each has for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WINDOW, VALUES, EMBED = 6, 24, 12


class ModalityExperts(Experiment, name="modality-experts"):
    """The bits of the next token of text and of pictures, by whether layers are chosen by the kind of token.

    ``split`` gives each kind layers of its own, at the same arithmetic for a token (Liang et al. 2025, arXiv:2501.16295, split the
    projections of Mamba by modality); ``random`` chooses between as many layers by chance, a fixed choice for every token; ``wide`` shares
    layers of twice the width; ``general`` averages a layer of the kind's own with one that both share, each of half the width (Dai et
    al. 2022, arXiv:2205.06126); ``separate`` also has embeddings of its own for each kind, so that nothing is shared.

    ``tune`` and ``twin`` learn text alone first and then pictures alone: ``tune`` with all weights, ``twin`` with layers for pictures
    that begin as copies while those of text are frozen (Shi et al. 2024, arXiv:2412.15188, LlamaFusion); ``tune-both`` goes on
    with both kinds.

    A sequence is a stretch of text, whose first token also decides the rule of the picture that follows. Each next token follows, but for a
    tenth of noise, from two of those before by a table that the seed draws, another for each kind. The network reads the last six tokens
    and has two hidden layers. The numbers are ``image``, bits of a picture's token; ``text``, of text; ``text_rise``, how much more text
    costs after the second stage; and ``trained``, the numbers that the last stage trains.
    """

    trial = Trial({"steps": 4, "sequences": 20})

    unit: ClassVar[str] = "bits per token"

    layers: Literal["shared", "split", "random", "wide", "general", "separate", "tune", "twin", "tune-both"] = Field(
        "shared", description="how layers are chosen"
    )
    width: int = Field(48, ge=4, description="of a hidden layer; even")
    sequences: int = Field(1500, ge=20, description="of training, 12 tokens of each kind")
    steps: int = Field(600, ge=4, description="of training, all stages together, 256 tokens each")
    rate: float = Field(3e-3, gt=0, description="learning rate of Adam")

    def measure(self, seed: int) -> dict[str, float]:
        """``image``, ``text``, ``text_rise`` and ``trained``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        tables = random.integers(0, VALUES, (2, 2, VALUES, VALUES))
        known, unseen = (drawn_sequences(random, tables, count) for count in (self.sequences, 300))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = network(self.layers, self.width)
            staged = self.layers in ("tune", "twin", "tune-both")
            before = 0.0
            if staged:
                self._learned(model, known, (0,), list(model.parameters()), self.steps // 2, random)
                before = self._bits(model, unseen, 0)
                if self.layers == "twin":
                    model.second.load_state_dict(model.first.state_dict())
            trained = [*model.second.parameters(), model.embed[1]] if self.layers == "twin" else list(model.parameters())
            kinds = (1,) if self.layers in ("tune", "twin") else (0, 1)
            self._learned(model, known, kinds, trained, self.steps - staged * (self.steps // 2), random)
            text = self._bits(model, unseen, 0)
            image = self._bits(model, unseen, 1)
        count = sum(each.numel() for each in trained)
        return {"image": image, "text": text, "text_rise": text - before if staged else 0.0, "trained": float(count)}

    def _learned(self, model: Any, tokens: np.ndarray, kinds: tuple[int, ...], trained: list[Any], steps: int, random: Any) -> None:
        import torch

        inputs = [windows(tokens, kind) for kind in kinds]

        def loss_of(step: int) -> torch.Tensor:
            loss = torch.zeros(())
            for kind, (given, wanted) in zip(kinds, inputs, strict=True):
                rows = torch.from_numpy(random.integers(0, len(given), 256 // len(kinds)))
                loss = loss + torch.nn.functional.cross_entropy(model(given[rows], kind), wanted[rows]) / len(kinds)
            return loss

        take_steps(torch.optim.Adam(trained, self.rate, fused=True), loss_of, steps, falling)

    def _bits(self, model: Any, tokens: np.ndarray, kind: int) -> float:
        import math

        import torch

        given, wanted = windows(tokens, kind)
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(given, kind), wanted)) / math.log(2)


def drawn_sequences(random: np.random.Generator, tables: np.ndarray, count: int) -> np.ndarray:
    """Tokens [count, 24]: twelve of text and twelve of a picture, whose rule is one of two by the first token of text."""
    import numpy as np

    tokens = random.integers(0, VALUES, (count, 24))
    rule = tokens[:, 0] % 2
    for place in [*range(2, 12), *range(14, 24)]:
        last, older = tokens[:, place - 1], tokens[:, place - 2] % 3
        follows = tables[0, 0, last, older] if place < 12 else tables[1, rule, last, older]
        tokens[:, place] = np.where(random.random(count) < 0.9, follows, tokens[:, place])
    return tokens


def windows(tokens: np.ndarray, kind: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The six tokens before each token of a kind, numbers of pictures raised by 24, and that token; the first of text is always seen."""
    import numpy as np
    import torch

    raised = tokens + VALUES * (np.arange(24) >= 12)
    places = range(6, 12) if kind == 0 else range(14, 24)
    given = [np.concatenate([raised[:, :1], raised[:, place - WINDOW + 1 : place]], axis=1) for place in places]
    return torch.from_numpy(np.concatenate(given)), torch.from_numpy(np.concatenate([tokens[:, place] for place in places]))


def network(layers: str, width: int) -> Any:
    """Logits [rows, 24] of windows [rows, 6] of one kind of token."""
    import torch
    from torch import nn

    def stack(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(WINDOW * EMBED, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, VALUES))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            own = width // 2 if layers == "general" else width
            self.embed = nn.ParameterList(nn.Parameter(0.5 * torch.randn(2 * VALUES, EMBED)) for _ in range(2))
            self.first, self.second = stack(2 * width if layers == "wide" else own), stack(own)
            self.both = stack(own)

        def forward(self, given: torch.Tensor, kind: int) -> torch.Tensor:
            """As said."""
            embed = self.embed[kind if layers in ("separate", "twin") else 0]
            if layers == "twin":  # text keeps its own; what a picture reads of text is as text has it
                embed = torch.cat([self.embed[0][:VALUES], self.embed[1][VALUES:]])
            inputs = embed[given].flatten(1)
            if layers == "general":
                return (self.both(inputs) + (self.second if kind else self.first)(inputs)) / 2
            if layers == "random":
                chosen = (given.sum(dim=1) % 2 == 0)[:, None]
                return torch.where(chosen, self.first(inputs), self.second(inputs))
            own = layers in ("split", "separate", "twin") and kind
            found: torch.Tensor = (self.second if own else self.first)(inputs)
            return found

    return Network()
