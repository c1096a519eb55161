"""Vectors that are added to nodes of a graph before a frozen network reads it: to all nodes, or to few that a policy chooses."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

NODES, FEATURES, MOTIF = 18, 6, 6  # of a graph, of a node, and nodes of a motif
CHOOSING, HELD = 20, 200  # graphs of each class to choose a setting by, and to be judged on
RING = tuple((place, (place + 1) % MOTIF) for place in range(MOTIF))
STAR = (*((0, place) for place in range(1, MOTIF)), (1, 2))  # with one more edge, so that both motifs have six
CHORDS = 4
SPREAD, CLIP, ROUNDS = 0.3, 0.2, 3  # of drawn vectors, of ratios of chances, and steps of learning on each episode


class PromptedNodes(Experiment, name="prompted-nodes"):
    """The share of graphs named rightly from ``shots`` of each class, by what is added to the features of nodes before a frozen network.

    Zhu et al. 2025 (RELIEF), arXiv:2408.03195: it is enough to prompt few nodes, and which ones and with which vector is learned by
    reinforcement: step by step an actor chooses a node, another a vector, the reward is how far the loss falls (proximal policy
    optimisation with both, ratios clipped at 0.2), and in turn with it a head is trained. Left out are the ensemble of actors and its
    penalty. Graphs are made: a tree with chords that hangs on a ring of six nodes in one class and on a star of six with one more edge in
    the other, so that all have as many edges; features of nodes are a constant, the degree and noise. The network has two layers of sums
    over neighbours (GIN) and has learned to tell edges that were left out.

    ``prompt``: ``policy`` is the method; ``all``, one learned vector on every node (GPF; Fang et al. 2023, arXiv:2209.15240); ``random``,
    one learned vector on ``budget`` nodes that are drawn anew each time; ``greedy``, one learned vector on those that make the head surest,
    one after the other; ``none``, only a head; ``tuned``, no prompt, but the network moves as well. Every arm learns for as many steps
    and chooses its rate on ``CHOOSING`` other graphs of each class, with as many rates.

    Numbers are ``right``, on 200 graphs of each class; ``touched``, the share of nodes that are prompted; and ``on_motif``, the share of
    these that belong to the motif.
    """

    trial = Trial({"steps": 2, "before": 2, "shots": 3, "rates": (1e-2,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    prompt: Literal["policy", "all", "random", "greedy", "none", "tuned"] = Field("policy", description="what is added, and where")
    shots: int = Field(10, ge=2, description="labelled graphs of each class")
    budget: int = Field(5, ge=1, le=NODES, description="nodes of a graph that are prompted")
    before: int = Field(200, ge=1, description="steps of the network on edges")
    steps: int = Field(80, ge=1, description="of learning a head and prompts")
    rates: tuple[float, ...] = Field((3e-3, 1e-2, 3e-2), min_length=1, description="of which one is chosen")
    width: int = Field(16, ge=4, description="of the network")

    def measure(self, seed: int) -> dict[str, float]:
        """``right``, ``touched`` and ``on_motif``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        network = learned(MotifGraphs.drawn(200, random), self.width, self.before, random, seed)
        few, chosen, held = (MotifGraphs.drawn(count, random) for count in (self.shots, CHOOSING, HELD))

        def tried(rate: float) -> tuple[float, Any]:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed)
                own = Prompted.made(network, self.width, self.prompt, self.budget)
                own.learn(few, self.steps, rate)
                return own.told(chosen)[0], own

        own = max((tried(rate) for rate in self.rates), key=lambda each: each[0])[1]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            right, where = own.told(held)
        touched = where.sum()
        return {"right": right, "touched": float(where.mean()), "on_motif": float((where * held.motif).sum() / max(float(touched), 1.0))}


class MotifGraphs(NamedTuple):
    """``nodes`` [graphs, NODES, FEATURES], ``near`` [graphs, NODES, NODES], ``labels`` [graphs], ``motif`` [graphs, NODES]."""

    nodes: torch.Tensor
    near: torch.Tensor
    labels: torch.Tensor
    motif: torch.Tensor

    @classmethod
    def drawn(cls, count: int, random: np.random.Generator) -> MotifGraphs:
        """``count`` graphs of each of two classes."""
        import numpy as np
        import torch

        labels = np.arange(2 * count) % 2
        near = np.zeros((2 * count, NODES, NODES), np.float32)
        motif = np.zeros((2 * count, NODES), np.float32)
        for row, label in enumerate(labels.tolist()):
            order, edges = random.permutation(NODES), list(RING if label else STAR)
            edges += [(node, int(random.integers(node))) for node in range(MOTIF, NODES)]  # a tree that hangs on the motif
            free = sorted(set(itertools.combinations(range(MOTIF, NODES), 2)) - {(other, one) for one, other in edges})
            edges += [free[place] for place in random.permutation(len(free))[:CHORDS]]
            for one, other in edges:
                near[row, order[one], order[other]] = near[row, order[other], order[one]] = 1
            motif[row, order[:MOTIF]] = 1
        degree = near.sum(axis=2, keepdims=True)
        noise = random.standard_normal((2 * count, NODES, FEATURES - 2))
        nodes = np.concatenate([np.ones_like(degree), degree / 3, 0.3 * noise], axis=2).astype(np.float32)
        return cls(*(torch.from_numpy(each) for each in (nodes, near, labels, motif)))


def learned(graphs: MotifGraphs, width: int, steps: int, random: np.random.Generator, seed: int) -> Any:
    """A network of two layers of sums over neighbours that tells edges which were left out from pairs without an edge."""
    import torch
    from torch import nn

    from windtunnel.kits.small_decoder import descend

    class SumNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width))
            self.second = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

        def forward(self, nodes: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
            """States of nodes [graphs, NODES, width]."""
            between = torch.relu(self.first(nodes + near @ nodes))
            return torch.as_tensor(self.second(between + near @ between))

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = SumNetwork()

    def loss(step: int) -> torch.Tensor:
        some = torch.from_numpy(random.permutation(len(graphs.labels))[:32])
        near = graphs.near[some]
        upper = torch.triu(torch.from_numpy(random.random(near.shape)), 1)
        out = ((upper > 0.8) & (near > 0)).float()  # a fifth of the edges
        states = nn.functional.normalize(network(graphs.nodes[some], near - out - out.transpose(1, 2)), dim=-1)
        scores = 4 * states @ states.transpose(1, 2)
        odds = nn.functional.binary_cross_entropy_with_logits(scores, out, reduction="none")
        absent = ((upper > 0.9) & (near == 0)).float()
        return (odds * out).sum() / out.sum() + (odds * absent).sum() / absent.sum()

    descend(network, loss, steps, 1e-2)
    return network


class Prompted(NamedTuple):
    """A network with a head, and what is learned of prompts: one ``vector``, or two actors and a critic."""

    network: Any
    head: Any
    vector: Any
    choose: Any
    write: Any
    critic: Any
    prompt: str
    budget: int

    @classmethod
    def made(cls, network: Any, width: int, prompt: str, budget: int) -> Prompted:
        """Fresh, on a copy of ``network``, from torch's generator."""
        import copy

        import torch
        from torch import nn

        choose, write = (nn.Sequential(nn.Linear(2 * width, 32), nn.Tanh(), nn.Linear(32, out)) for out in (1, FEATURES))
        critic = nn.Sequential(nn.Linear(width, 32), nn.Tanh(), nn.Linear(32, 1))
        own = copy.deepcopy(network).requires_grad_(prompt == "tuned")
        return cls(own, nn.Linear(width, 2), nn.Parameter(torch.zeros(FEATURES)), choose, write, critic, prompt, budget)

    def said(self, nodes: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        """Logits [graphs, 2]."""
        import torch

        return torch.as_tensor(self.head(self.network(nodes, near).mean(dim=1)))

    def learn(self, graphs: MotifGraphs, steps: int, rate: float) -> None:
        """Steps on all ``graphs``, of the head and in turn of what prompts."""
        import torch

        simple = [*self.head.parameters(), self.vector] + (list(self.network.parameters()) if self.prompt == "tuned" else [])
        optimizer = torch.optim.AdamW(simple, rate)
        actors = torch.optim.AdamW([weight for each in (self.choose, self.write, self.critic) for weight in each.parameters()], rate)
        for _ in range(steps):
            if self.prompt == "policy":
                nodes = self._practise(graphs, actors)
            else:
                nodes = graphs.nodes + self.places(graphs)[..., None] * self.vector
            take_step(optimizer, torch.nn.functional.cross_entropy(self.said(nodes, graphs.near), graphs.labels))

    def places(self, graphs: MotifGraphs) -> torch.Tensor:
        """Which nodes get the one vector, [graphs, NODES]."""
        import torch

        count = {"all": NODES, "random": self.budget, "greedy": self.budget}.get(self.prompt, 0)
        if self.prompt != "greedy":
            order = torch.rand(graphs.motif.shape).argsort(dim=1)
            return (order < count).float()
        chosen = torch.zeros(graphs.motif.shape)
        single = torch.eye(NODES)
        with torch.no_grad():
            for _ in range(count):
                tried = torch.clamp(chosen[:, None] + single, max=1.0)  # [graphs, which one more, NODES]
                nodes = (graphs.nodes[:, None] + tried[..., None] * self.vector).flatten(0, 1)
                odds = self.said(nodes, graphs.near.repeat_interleave(NODES, 0)).log_softmax(dim=-1)
                surest = -(odds.exp() * odds).sum(dim=-1).view(-1, NODES) + 1e3 * chosen
                chosen.scatter_(1, surest.argmin(dim=1, keepdim=True), 1.0)
        return chosen

    def acted(self, nodes: torch.Tensor, near: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-chances of nodes [graphs, NODES], the mean vector for each [graphs, NODES, FEATURES] and what is foretold [graphs]."""
        import torch

        states = self.network(nodes, near)
        mean = states.mean(dim=1)
        beside = torch.cat([states, mean[:, None].expand_as(states)], dim=-1)
        return self.choose(beside)[..., 0].log_softmax(dim=1), self.write(beside), self.critic(mean)[:, 0]

    def _practise(self, graphs: MotifGraphs, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        """An episode on every graph and what the actors learn of it; the nodes at its end."""
        import torch

        rows, nodes, seen = torch.arange(len(graphs.labels)), graphs.nodes.clone(), []
        with torch.no_grad():
            before = torch.nn.functional.cross_entropy(self.said(nodes, graphs.near), graphs.labels, reduction="none")
            for _ in range(self.budget):
                odds, means, _ = self.acted(nodes, graphs.near)
                place = torch.multinomial(odds.exp(), 1)[:, 0]
                vector = means[rows, place] + SPREAD * torch.randn(len(rows), FEATURES)
                now, state = nodes.clone(), nodes
                now[rows, place] += vector
                after = torch.nn.functional.cross_entropy(self.said(now, graphs.near), graphs.labels, reduction="none")
                chance = log_chance(odds, means, place, vector)
                seen.append((state, place, vector, chance, (before - after).clamp(-1, 1)))
                nodes, before = now, after
            returns = torch.stack([each[4] for each in seen]).flip(0).cumsum(0).flip(0)
        for _ in range(ROUNDS):
            loss = torch.zeros(())
            for (state, place, vector, chance, _), wanted in zip(seen, returns, strict=True):
                odds, means, foretold = self.acted(state, graphs.near)
                gain = (wanted - foretold).detach()
                gain = (gain - gain.mean()) / (gain.std() + 1e-6)
                chances = log_chance(odds, means, place, vector)
                for old, new in zip(chance, chances, strict=True):  # of the node, and of the vector
                    ratio = (new - old).exp()
                    loss = loss - torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
                loss = loss + 0.5 * ((wanted - foretold) ** 2).mean() + 0.01 * (odds.exp() * odds).sum(dim=1).mean()
            take_step(optimizer, loss / self.budget)
        return nodes

    def told(self, graphs: MotifGraphs) -> tuple[float, torch.Tensor]:
        """The share of graphs named rightly, and which nodes were prompted [graphs, NODES]; the policy takes its likeliest."""
        import torch

        rows = torch.arange(len(graphs.labels))
        with torch.no_grad():
            if self.prompt == "policy":
                nodes, where = graphs.nodes.clone(), torch.zeros_like(graphs.motif)
                for _ in range(self.budget):
                    odds, means, _ = self.acted(nodes, graphs.near)
                    place = odds.argmax(dim=1)
                    nodes[rows, place] += means[rows, place]
                    where[rows, place] = 1
            else:
                where = self.places(graphs)
                nodes = graphs.nodes + where[..., None] * self.vector
            right = self.said(nodes, graphs.near).argmax(dim=1) == graphs.labels
        return float(right.float().mean()), where


def log_chance(odds: torch.Tensor, means: torch.Tensor, place: torch.Tensor, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-chances of the nodes chosen, and of the vectors up to a constant, each [graphs]."""
    import torch

    rows = torch.arange(len(place))
    return odds[rows, place], -((vector - means[rows, place]) ** 2).sum(dim=1) / (2 * SPREAD**2)
