"""Which graphs are worth learning from for others, foretold from how both look before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

NODES, HUBS, STEPS = 40, 10, 8  # of a graph, those of them with many edges, and a side of a step function
# The chance of an edge between two hubs, a hub and another node, and two others. Degrees are alike but in the last: 12 and 4.
KINDS = {"core": (0.6, 0.2, 0.067), "apart": (0.9, 0.1, 0.1), "across": (0.0, 0.4, 0.0), "chance": (0.15, 0.15, 0.15)}
MIXED = (("core", "across"), ("apart", "across"))  # targets that lie between two families
DISTANCES = ("graphon", "degrees", "spectrum", "density")
SMOOTH = 0.005  # entropy of couplings, in squared chances


class GraphSources(Experiment, name="graph-sources"):
    """The rank correlation of what a source of graphs is foretold to be worth for a target with what it is worth.

    Cao et al. 2023 (W2PGNN), arXiv:2303.16458: graphs of a source are fitted by step functions (graphons: nodes sorted by degree, the mean
    of the adjacency), and pre-training is feasible for a target as far as a mixture of the source's functions comes near to the target's in
    Gromov-Wasserstein distance. Here a source has two functions, of the sparser and of the denser half of its graphs, and mixtures are
    tried in quarters, where the paper descends along a gradient. Sources are four families, each in two densities; targets are these
    families and two between them. Families differ in who is joined with whom and, but for one, not in degrees, which are all that sorting
    nodes needs: what makes all nodes alike, such as communities of one density, no such function shows.

    What is learned is to tell edges that were taken out from pairs without an edge, by a logistic regression on eight numbers of a
    pair (degrees, paths of two and three) in the place of a graph network. From a source it learns on all pairs; for a target it goes
    on from there with ``labels`` labelled pairs. Worth is the accuracy on other pairs of the target, less that from nothing, the mean of
    ``draws`` of labelled pairs. The pull towards where it began is one of three, which
    each chooses on half of the other pairs, and the other half is judged.

    Numbers are rank correlations (Spearman) over all pairs of a source and a target, of worth with the nearness by ``graphon``; and by
    three that are simpler: ``degrees``, the distance of sorted mean degrees; ``spectrum``, of mean eigenvalues; ``density``, of shares of
    edges. ``chosen`` is the worth of the source that the graphon foretells to be best, mean over targets; ``best``, that of the one that
    is; ``anyone``, the mean over sources; and ``harmful``, the share of pairs with worth below 0.
    """

    trial = Trial({"graphs": 8, "draws": 2})

    unit: ClassVar[str] = "rank correlation"
    better: ClassVar[str] = "higher"

    graphs: int = Field(40, ge=8, description="of each family and density")
    labels: int = Field(12, ge=4, multiple_of=2, description="labelled pairs of a target")
    draws: int = Field(20, ge=1, description="of labels")

    def measure(self, seed: int) -> dict[str, float]:
        """Correlations of ``graphon``, ``degrees``, ``spectrum`` and ``density``; then ``chosen``, ``best``, ``anyone`` and ``harmful``."""
        import numpy as np
        from scipy.stats import spearmanr

        random, labelling = np.random.default_rng(seed).spawn(2)
        sources = [self._drawn([kind], dense, random) for kind in KINDS for dense in (0.75, 1.25)]
        targets = [self._drawn(kinds, 1.0, random) for kinds in (*([kind] for kind in KINDS), *MIXED)]
        worth = self._worth(sources, targets, labelling)
        near = {name: -np.array([[apart(name, source, target) for target in targets] for source in sources]) for name in DISTANCES}
        chosen = worth[near["graphon"].argmax(axis=0), np.arange(len(targets))]
        return {
            **{name: float(spearmanr(each.ravel(), worth.ravel()).statistic) for name, each in near.items()},
            "chosen": float(chosen.mean()),
            "best": float(worth.max(axis=0).mean()),
            "anyone": float(worth.mean()),
            "harmful": float((worth < 0).mean()),
        }

    def _drawn(self, kinds: Sequence[str], dense: float, random: np.random.Generator) -> np.ndarray:
        """Adjacencies [graphs, NODES, NODES] of the mean of ``kinds``, each graph a fifth denser or sparser than ``dense`` at most."""
        import numpy as np

        hub = np.arange(NODES) < HUBS
        place = 2 - hub[:, None].astype(int) - hub[None].astype(int)
        odds = np.mean([KINDS[kind] for kind in kinds], axis=0)[place]
        share = dense * random.uniform(0.8, 1.2, (self.graphs, 1, 1))
        upper = np.triu(random.random((self.graphs, NODES, NODES)) < np.minimum(odds * share, 1.0), 1)
        return (upper | upper.transpose(0, 2, 1)).astype(float)

    def _worth(self, sources: list[np.ndarray], targets: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
        """What each source is worth for each target [sources, targets]."""
        import numpy as np

        begun = [fitted(*pairs(source, random), np.zeros(WIDE), 1e-3) for source in sources]
        found = np.zeros((len(sources), len(targets)))
        for column, target in enumerate(targets):
            numbers, edge = pairs(target, random)
            sides = [np.flatnonzero(edge == one) for one in (False, True)]
            half = self.labels // 2
            draws = np.stack([np.concatenate([random.choice(side, half, replace=False) for side in sides]) for _ in range(self.draws)])
            nothing, *reached = (reached_from(start, numbers, edge, draws) for start in (np.zeros(WIDE), *begun))
            found[:, column] = np.array(reached) - nothing
        return found


def apart(name: str, source: np.ndarray, target: np.ndarray) -> float:
    """How far graphs of a source [graphs, NODES, NODES] are from those of a target, by the distance ``name``."""
    import numpy as np

    if name == "graphon":
        order = source.sum(axis=(1, 2)).argsort()
        halves = [graphon(source[part]) for part in np.array_split(order, 2)]
        wanted = graphon(target)
        share = np.linspace(0, 1, 5)[:, None, None]
        return float(moved(share * halves[0] + (1 - share) * halves[1], wanted).min())
    if name == "density":
        return float(abs(source.mean() - target.mean()))
    if name == "degrees":
        read = [np.sort(graphs.sum(axis=2), axis=1).mean(axis=0) for graphs in (source, target)]
    else:
        read = [np.linalg.eigvalsh(graphs).mean(axis=0) for graphs in (source, target)]
    return float(np.linalg.norm(read[0] - read[1]))


WIDE, PULLS = 8, (0.01, 0.1, 1.0)  # numbers of a pair, a constant included, and pulls to choose from


def pairs(graphs: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [pairs, WIDE] of pairs of nodes, standardised, and whether an edge between them was taken out.

    A fifth of all edges is taken out, and as many pairs have none.
    """
    import numpy as np

    numbers, edges = [], []
    for graph in graphs:
        one, other = np.triu_indices(NODES, 1)
        there, absent = np.flatnonzero(graph[one, other] > 0), np.flatnonzero(graph[one, other] == 0)
        out = random.permutation(there)[: max(len(there) // 5, 1)]
        chosen = np.concatenate([out, random.permutation(absent)[: len(out)]])
        left = graph.copy()
        left[one[out], other[out]] = left[other[out], one[out]] = 0
        rows, columns, degrees = one[chosen], other[chosen], np.log1p(left.sum(axis=1))
        twice = left @ left
        some = degrees[rows], degrees[columns]
        paths = np.log1p(twice)[rows, columns], np.log1p(twice @ left)[rows, columns]
        product = some[0] * some[1]
        numbers.append(
            np.stack([some[0] + some[1], product, abs(some[0] - some[1]), np.minimum(*some), *paths, paths[0] * product], axis=1)
        )
        edges.append(np.arange(len(chosen)) < len(out))
    found = np.concatenate(numbers)
    found = (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)
    return np.hstack([found, np.ones((len(found), 1))]), np.concatenate(edges)


def fitted(numbers: np.ndarray, edge: np.ndarray, start: np.ndarray, pull: float) -> np.ndarray:
    """Weights [..., WIDE] of logistic regressions on ``numbers`` [..., pairs, WIDE], by Newton's method.

    To the mean loss is added half of ``pull`` times the squared distance from ``start``.
    """
    import numpy as np

    weights = np.broadcast_to(start, (*numbers.shape[:-2], numbers.shape[-1])).copy()
    turned = np.swapaxes(numbers, -1, -2)
    for _ in range(15):
        odds = 1 / (1 + np.exp(-np.clip((numbers @ weights[..., None])[..., 0], -30, 30)))
        slope = (turned @ (odds - edge)[..., None])[..., 0] / edge.shape[-1] + pull * (weights - start)
        curve = turned @ (numbers * (odds * (1 - odds))[..., None]) / edge.shape[-1] + pull * np.eye(len(start))
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        weights -= step * np.minimum(1.0, 2.0 / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-9))
    return weights


def reached_from(start: np.ndarray, numbers: np.ndarray, edge: np.ndarray, draws: np.ndarray) -> float:
    """The accuracy of telling ``edge`` of pairs, going on from ``start`` with each of ``draws`` [draws, labels], mean over these.

    Even pairs choose the pull towards the start, odd ones are judged.
    """
    import numpy as np

    unseen = np.ones((len(draws), len(edge)), bool)
    np.put_along_axis(unseen, draws, False, axis=1)
    rights = []  # of the pairs to choose the pull by, and of those that are judged
    for pull in PULLS:
        right = ((fitted(numbers[draws], edge[draws], start, pull) @ numbers.T > 0) == edge) & unseen
        rights.append([float((right[:, side::2].sum(axis=1) / unseen[:, side::2].sum(axis=1)).mean()) for side in (0, 1)])
    return max(rights, key=lambda each: each[0])[1]


def graphon(graphs: np.ndarray) -> np.ndarray:
    """The step function [STEPS, STEPS] of graphs: nodes sorted by degree, the mean of all, in steps of as many nodes."""
    import numpy as np

    order = (-graphs.sum(axis=2)).argsort(axis=1, kind="stable")
    rows = np.take_along_axis(np.take_along_axis(graphs, order[:, :, None], axis=1), order[:, None, :], axis=2).mean(axis=0)
    side = NODES // STEPS
    return np.asarray(rows.reshape(STEPS, side, STEPS, side).mean(axis=(1, 3)))


def moved(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The Gromov-Wasserstein distance of step functions [..., STEPS, STEPS] with equal weights, of squares, with ``SMOOTH`` entropy.

    The problem is not convex: it begins from the coupling of all with all and from that of equals, and the smaller distance counts.
    """
    import numpy as np

    size = first.shape[-1]
    weight = np.full(size, 1 / size)
    fixed = (first**2 @ weight)[..., :, None] + (second**2 @ weight)[..., None, :]
    found = []
    for equal in (0.0, 0.9):
        coupling = np.broadcast_to((1 - equal) * np.outer(weight, weight) + equal * np.diag(weight), fixed.shape)
        for _ in range(20):
            cost = fixed - 2 * first @ coupling @ second.swapaxes(-1, -2)
            kernel = np.exp(-2 * (cost - cost.min(axis=(-1, -2), keepdims=True)) / SMOOTH) + 1e-200
            left = np.ones((*fixed.shape[:-1], 1))
            for _ in range(30):
                right = weight[:, None] / (kernel.swapaxes(-1, -2) @ left)
                left = weight[:, None] / (kernel @ right)
            coupling = left * kernel * right.swapaxes(-1, -2)
        found.append(((fixed - 2 * first @ coupling @ second.swapaxes(-1, -2)) * coupling).sum(axis=(-1, -2)))
    return np.minimum(*found)
