"""Graphs written by a model that learned from few, with graphs that are no answers to tell them from."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BLANK, GOES, END, CONCEPTS, RELATIONS, EDGES = 0, 1, 2, 10, 2, 3
ACTIVE = 3  # first of the tokens of relations; the same relations told from the other end, and concepts, follow
PASSIVE, CONCEPT = ACTIVE + RELATIONS, ACTIVE + 2 * RELATIONS
COUNT = CONCEPT + CONCEPTS
PROMPT, TARGET = 3 * EDGES + 1, 3 * EDGES + 1
BATCH, CHOOSING, TESTED, WIDTH = 32, 100, 400, 48
MARGIN, TEMPERATURE = 1.0, 0.1


class ContrastedGraphs(Experiment, name="contrasted-graphs"):
    """The share of graphs that a small model writes which are connected and have no cycle, after training on few.

    Saha, Yadav and Bansal 2022 (ExplaGraphGen), arXiv:2204.04813: a sequence-to-sequence model writes a graph as edges, a concept, a
    relation and a concept each, and learns beside the likelihood of the right graph that it is better than perturbed ones. ``contrast``:
    ``margin`` adds, for each written token, max(0, log p of the negative's token - log p of the positive's + 1), on average, times
    ``weight``; ``states`` adds InfoNCE between the mean states of the right graph, of the same graph with its edges in another order, and
    of negatives, its own and those of the batch, at temperature 0.1, as in the released code; ``positives`` trains on the right graph in
    other orders as well, half of the time (more data without contrast), ``none`` on the right graph alone.

    A text is three clauses in random order, each a concept, a relation and a concept, or the same told from the other end by another token.
    The graph is a tree of four concepts, its edges in the order of the text. A negative has one concept of one edge replaced, by one from
    outside or by one of the graph, so that the graph is not connected any more or has a cycle. ``valid`` is judged greedily on 400 texts:
    edges and an end, all connected, no cycle, no edge twice, and no concept but those of the text. ``edges`` is the F1 of edges, ``whole``
    the share of graphs with just the right edges. Of ``rates`` the one is taken that has most valid graphs on 100 other texts. The model
    reads in both directions and writes; it was not pre-trained, and errors of people as negatives are not here.
    """

    trial = Trial({"steps": 2, "examples": 8, "rates": [1e-3]})

    unit: ClassVar[str] = "share valid"
    better: ClassVar[str] = "higher"

    contrast: Literal["margin", "states", "positives", "none"] = Field("margin", description="what is learned beside the right graph")
    weight: float = Field(1.0, ge=0, description="of the contrast")
    examples: int = Field(400, ge=BATCH // 4, description="texts with their graphs to learn from")
    steps: int = Field(400, ge=1, description="of training, 32 examples each")
    rates: tuple[float, ...] = Field((2e-3, 4e-3), min_length=1, description="learning rates of AdamW that are tried")

    def measure(self, seed: int) -> dict[str, float]:
        """``valid``, ``edges`` and ``whole``."""
        import numpy as np

        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random = np.random.default_rng(seed)
        texts, graphs = drawn(self.examples + CHOOSING + TESTED, random)
        order = [random.permutation(self.examples)[:BATCH] for _ in range(self.steps)]
        first = SmallDecoder(COUNT, COUNT, PROMPT + TARGET, width=WIDTH, tokens=True, seed=seed)
        choosing, tested = slice(self.examples, self.examples + CHOOSING), slice(self.examples + CHOOSING, None)
        found = list[tuple[float, SmallDecoder]]()
        for rate in self.rates:
            model, own = copy.deepcopy(first), np.random.default_rng(seed)

            def loss(step: int, model: SmallDecoder = model, own: np.random.Generator = own) -> torch.Tensor:
                return self._loss(model, texts[order[step]], graphs[order[step]], own)

            descend(model, loss, self.steps, rate)
            found.append((judged(model, texts[choosing], graphs[choosing])["valid"], model))
        return judged(max(found, key=lambda pair: pair[0])[1], texts[tested], graphs[tested])

    def _loss(self, model: torch.nn.Module, texts: np.ndarray, graphs: np.ndarray, random: np.random.Generator) -> torch.Tensor:
        """The likelihood of ``graphs`` and what ``contrast`` adds."""
        import torch

        if self.contrast == "positives":
            turned = random.random(len(graphs)) < 0.5
            graphs = graphs.copy()
            graphs[turned] = reordered(graphs[turned], random)
        if self.contrast in ("positives", "none"):
            return -told(model, texts, graphs)[0].mean()
        right, states = told(model, texts, graphs)
        wrong, negative = told(model, texts, perturbed(graphs, random))
        if self.contrast == "margin":
            return -right.mean() + self.weight * torch.relu(wrong - right + MARGIN).mean()
        positive = told(model, texts, reordered(graphs, random))[1]
        both = torch.nn.functional.normalize(torch.cat([positive, negative]), dim=1)
        near = torch.nn.functional.normalize(states, dim=1) @ both.T / TEMPERATURE
        return -right.mean() + self.weight * torch.nn.functional.cross_entropy(near, torch.arange(len(states)))


def drawn(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texts, int64 [count, PROMPT], and graphs, int64 [count, EDGES, 3]: a concept, a relation and a concept as tokens."""
    import numpy as np

    concepts = CONCEPT + random.permuted(np.tile(np.arange(CONCEPTS), (count, 1)), axis=1)[:, : EDGES + 1]
    graphs = np.empty((count, EDGES, 3), np.int64)
    for edge in range(EDGES):  # each further concept hangs on one of those before it
        other = concepts[np.arange(count), random.integers(0, edge + 1, count)]
        turned = random.random(count) < 0.5
        graphs[:, edge, 0] = np.where(turned, concepts[:, edge + 1], other)
        graphs[:, edge, 2] = np.where(turned, other, concepts[:, edge + 1])
    graphs[..., 1] = ACTIVE + random.integers(0, RELATIONS, (count, EDGES))
    graphs = reordered(graphs, random)
    passive = random.random((count, EDGES)) < 0.5
    clauses = np.where(passive[..., None], graphs[..., ::-1], graphs)
    clauses[..., 1] += np.where(passive, RELATIONS, 0)
    return np.concatenate([clauses.reshape(count, -1), np.full((count, 1), GOES)], axis=1), graphs


def reordered(graphs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same ``graphs``, their edges in another order."""
    import numpy as np

    order = np.argsort(random.random(graphs.shape[:2]), axis=1)
    return np.take_along_axis(graphs, order[..., None], axis=1)


def perturbed(graphs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """``graphs`` with one concept replaced each, so that they are not connected or have a cycle."""
    found = graphs.copy()
    for graph in found:
        own = {int(concept) for concept in graph[:, [0, 2]].ravel()}
        while sound(graph, own):
            edge, end = int(random.integers(EDGES)), 2 * int(random.integers(2))
            before = graph[edge, end]
            graph[edge, end] = random.choice(sorted(own)) if random.random() < 0.5 else CONCEPT + random.integers(CONCEPTS)
            if sound(graph, {int(concept) for concept in graph[:, [0, 2]].ravel()}):
                graph[edge, end] = before
    return found


def sound(edges: np.ndarray, allowed: set[int]) -> bool:
    """Whether ``edges`` [edges, 3] are connected without a cycle, even if their directions are forgotten, and only of ``allowed``.

    A tree of one edge less than concepts; so an edge twice, a concept with itself and a cycle of any direction are none.
    """
    concepts = {int(concept) for concept in edges[:, [0, 2]].ravel()}
    if not len(edges) or not concepts <= allowed or len(concepts) != len(edges) + 1:
        return False
    reached, more = {int(edges[0, 0])}, True
    while more:
        near = {int(other) for one, _, two in edges for here, other in ((one, two), (two, one)) if int(here) in reached}
        more = not near <= reached
        reached |= near
    return reached == concepts


def told(model: torch.nn.Module, texts: np.ndarray, graphs: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-likelihoods of written tokens, [rows, TARGET], and the mean states at which they were written, [rows, width]."""
    import numpy as np
    import torch

    ends = np.full((len(texts), 1), END)
    tokens = torch.from_numpy(np.concatenate([texts, graphs.reshape(len(texts), -1), ends], axis=1))
    states = model.states(tokens[:, :-1], PROMPT)[:, PROMPT - 1 :]  # type: ignore[operator]
    logits = model.write(states).log_softmax(dim=2)  # type: ignore[operator]
    return logits.gather(2, tokens[:, PROMPT:, None])[..., 0], states.mean(dim=1)


def judged(model: torch.nn.Module, texts: np.ndarray, graphs: np.ndarray) -> dict[str, float]:
    """``valid``, ``edges`` and ``whole`` of what ``model`` writes for ``texts``."""
    import numpy as np

    from windtunnel.kits.text.small import written

    outputs = written(lambda rows: model(rows, PROMPT), texts, TARGET)
    valid, common, whole = list[bool](), list[float](), list[bool]()
    for text, output, graph in zip(texts, outputs, graphs, strict=True):
        edges = parsed(output)
        allowed = {int(token) for token in text if token >= CONCEPT}
        valid.append(edges is not None and sound(edges, allowed))
        one, other = set(map(tuple, [] if edges is None else edges.tolist())), set(map(tuple, graph.tolist()))
        common.append(2 * len(one & other) / (len(one) + len(other)))
        whole.append(one == other)
    return {"valid": float(np.mean(valid)), "edges": float(np.mean(common)), "whole": float(np.mean(whole))}


def parsed(tokens: np.ndarray) -> np.ndarray | None:
    """The edges [edges, 3] before the end; None where there is no end, or something that is no edge."""
    ends = (tokens == END).nonzero()[0]
    if not len(ends) or not ends[0] or ends[0] % 3:
        return None
    edges = tokens[: ends[0]].reshape(-1, 3)
    relations = (edges[:, 1] >= ACTIVE) & (edges[:, 1] < PASSIVE)
    return edges if relations.all() and (edges[:, [0, 2]] >= CONCEPT).all() else None
