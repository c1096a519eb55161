"""Which experts answer for a training example, layer by layer, watched while a network goes from knowing by heart to the rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    Learner = torch.nn.Module

KNOWN = 0.99  # share of training examples right from which on they count as learned
EVERY = 25  # steps from one look to the next


class ExpertPathways(Experiment, name="expert-pathways"):
    """How well the paths of training examples through experts tell held-out accuracy, once training examples are known.

    Li, Fan and Zhou 2025, arXiv:2506.21551. The path of an example is the string of experts that its layers use: those whose routing
    weight, as a mean over tokens, is above ``least``, the largest first, layer after layer. ``distance`` is the mean edit distance of two
    training examples' paths over the longer one's length; ``complexity`` is one less the mean cosine, over consecutive layers, of the
    experts' vectors weighted by routing (here the rows of the router, as there is no code). Both are said to fall while held-out accuracy
    rises, though the training loss was low before.

    The task is addition modulo ``modulus`` of two numbers, of which ``share`` of all pairs are trained on, all in every step, with weight
    decay; a network of ``layers`` layers has ``experts`` small experts in each, of which the best two answer. With ``shuffled`` the labels
    belong to no rule, the control; with ``frozen`` routers stay as they were drawn.

    From the look at which 99 percent of training examples are right, numbers are: ``distance_tells``, ``complexity_tells`` and
    ``loss_tells``, less the rank correlation over looks of distance, complexity and training loss with held-out accuracy (0 where held-out
    accuracy stays the same); ``distance_fell`` and ``complexity_fell``, the share by which the mean of the last five looks lies below that
    of the first five; ``known``, the step from which training examples are known, ``accuracy`` and ``before``, held-out accuracy at the end
    and at that step.
    """

    trial = Trial({"modulus": 7, "steps": 30, "width": 16, "experts": 2})

    unit: ClassVar[str] = "rank correlation"
    better: ClassVar[str] = "higher"

    modulus: int = Field(23, ge=3, description="of sums")
    share: float = Field(0.6, gt=0, lt=1, description="of all pairs of numbers that are trained on")
    layers: int = Field(3, ge=2, description="of the network")
    experts: int = Field(6, ge=2, description="of a layer")
    width: int = Field(48, ge=8, multiple_of=8, description="of the network; experts have as many hidden numbers")
    steps: int = Field(800, ge=EVERY, description="of training, on all pairs at once")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW, constant")
    decay: float = Field(1.0, ge=0, description="of weights")
    least: float = Field(0.2, gt=0, lt=1, description="routing weight from which on an expert is part of a path")
    examples: int = Field(60, ge=2, description="training examples whose paths are compared")
    shuffled: bool = Field(False, description="whether labels are shuffled, a control")
    frozen: bool = Field(False, description="whether routers stay as they are drawn, a control")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above; ``known`` is the number of steps where training examples never were."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        pairs = np.stack(np.divmod(random.permutation(self.modulus**2), self.modulus), axis=1)
        labels = pairs.sum(axis=1) % self.modulus
        if self.shuffled:
            labels = random.permutation(labels)
        tokens = torch.from_numpy(np.hstack([pairs, np.full((len(pairs), 1), self.modulus)]))
        wanted, trained = torch.from_numpy(labels), round(self.share * len(pairs))
        model = network(self.modulus, self.layers, self.experts, self.width, seed)
        for name, weight in model.named_parameters():
            weight.requires_grad_(not (self.frozen and ".router" in name))
        optimizer = torch.optim.AdamW(model.parameters(), self.rate, betas=(0.9, 0.98), weight_decay=self.decay, fused=True)
        looks = list[RoutingLook]()
        for step in range(self.steps + 1):
            logits, _ = model(tokens[:trained])
            loss = torch.nn.functional.cross_entropy(logits, wanted[:trained])
            if step % EVERY == 0:
                looks.append(self._look(model, tokens, wanted, trained, step, float(loss.detach())))
            take_step(optimizer, loss)
        return told(looks)

    def _look(self, model: Learner, tokens: torch.Tensor, wanted: torch.Tensor, trained: int, step: int, loss: float) -> RoutingLook:
        import torch

        with torch.no_grad():
            logits, routing = model(tokens)
            right = (logits.argmax(dim=1) == wanted).double()
            weights = [one[: self.examples].mean(dim=1).numpy() for one in routing]
            routers = [block.router.weight.numpy() for block in model.blocks]  # type: ignore[union-attr]
        return RoutingLook(
            step,
            loss,
            float(right[:trained].mean()),
            float(right[trained:].mean()),
            distance(paths(weights, self.least)),
            complexity(weights, routers),
        )


class RoutingLook(NamedTuple):
    """What was seen of a network after ``step`` steps."""

    step: int
    loss: float
    trained: float
    held: float
    distance: float
    complexity: float


def told(looks: Sequence[RoutingLook]) -> dict[str, float]:
    """The numbers of the class from all looks."""
    import numpy as np

    first = next((place for place, look in enumerate(looks) if look.trained >= KNOWN), len(looks) - 1)
    since = looks[first:]
    held = [look.held for look in since]
    found = dict[str, float]()
    for name in ("distance", "complexity", "loss"):
        found[f"{name}_tells"] = falls_as([getattr(look, name) for look in since], held)
    for name in ("distance", "complexity"):
        values = [getattr(look, name) for look in since]
        begin = float(np.mean(values[:5]))
        found[f"{name}_fell"] = 1 - float(np.mean(values[-5:])) / begin if begin else 0.0
    return {**found, "known": float(since[0].step), "accuracy": since[-1].held, "before": since[0].held}


def falls_as(values: Sequence[float], held: Sequence[float]) -> float:
    """Less the rank correlation, 0 where one of both does not vary."""
    from scipy.stats import spearmanr

    if len(set(values)) < 2 or len(set(held)) < 2:
        return 0.0
    return -float(spearmanr(values, held).statistic)


def paths(weights: Sequence[np.ndarray], least: float) -> list[tuple[tuple[int, int], ...]]:
    """Of each example its layers and experts, by routing weights [examples, experts] of each layer; the largest first."""
    found = []
    for row in range(len(weights[0])):
        chosen = [[(layer, int(place)) for place in (-one[row]).argsort() if one[row, place] >= least] for layer, one in enumerate(weights)]
        found.append(tuple(each for one in chosen for each in one))
    return found


def distance(some: Sequence[tuple[tuple[int, int], ...]]) -> float:
    """The mean over pairs of the edit distance over the length of the longer path."""
    import itertools
    from collections import Counter

    often, total = Counter(some), 0.0
    for (one, times), (other, more) in itertools.combinations(often.items(), 2):
        total += times * more * edits(one, other) / max(len(one), len(other))
    return total / (len(some) * (len(some) - 1) / 2)


def edits(one: Sequence[object], other: Sequence[object]) -> int:
    """Insertions, deletions and changes that make ``other`` of ``one`` (Levenshtein)."""
    row = list(range(len(other) + 1))
    for place, each in enumerate(one, start=1):
        before, row[0] = row[0], place
        for there, letter in enumerate(other, start=1):
            before, row[there] = row[there], min(row[there] + 1, row[there - 1] + 1, before + (each != letter))
    return row[-1]


def complexity(weights: Sequence[np.ndarray], routers: Sequence[np.ndarray]) -> float:
    """One less the mean cosine of the experts' vectors [experts, width], weighted by routing, of consecutive layers."""
    import itertools

    import numpy as np

    vectors = [one @ rows for one, rows in zip(weights, routers, strict=True)]
    cosines = [
        (one * other).sum(axis=1) / np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1e-12)
        for one, other in itertools.pairwise(vectors)
    ]
    return 1 - float(np.mean(cosines))


def network(modulus: int, layers: int, experts: int, width: int, seed: int) -> Learner:
    """Of tokens [rows, 3] the logits of the answer [rows, modulus], and routing weights [rows, 3, experts] of each layer."""
    import torch
    from torch import Tensor, nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.mixed, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.norm, self.router = nn.LayerNorm(width), nn.Linear(width, experts, bias=False)
            self.up, self.down = (nn.Parameter(torch.randn(experts, width, width) / width**0.5) for _ in range(2))

        def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
            query, key, value = self.mixed(self.first(state)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            state = state + self.out(seen.transpose(1, 2).flatten(2))
            given = self.norm(state)
            routing = self.router(given).softmax(dim=-1)
            best = routing.topk(2, dim=-1)
            chosen = torch.zeros_like(routing).scatter(-1, best.indices, best.values / best.values.sum(dim=-1, keepdim=True))
            inside = nn.functional.gelu(torch.einsum("rtw,ewh->rteh", given, self.up)) * chosen[..., None]
            return state + torch.einsum("rteh,ehw->rtw", inside, self.down), routing

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(modulus + 1, width), nn.Parameter(torch.randn(3, width) / width**0.5)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, modulus)

        def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
            state, routing = self.tokens(tokens) + self.places, []
            for block in self.blocks:
                state, one = block(state)
                routing.append(one)
            return self.head(self.norm(state[:, -1])), routing

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()
