"""One network that learns to read and to write sentences, also with a triple of a knowledge graph beside them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BLANK, MASK, RELATIONS, FILLERS, VERBS, ENTITIES = 0, 1, 6, 10, 60, 30
RELATION, FILLER, VERB, ENTITY = 2, 2 + RELATIONS, 2 + RELATIONS + FILLERS, 2 + RELATIONS + FILLERS + VERBS  # first tokens of each kind
COUNT = ENTITY + ENTITIES
TRIPLE, LENGTH = 3, 8  # places of the triple, and of a row: the triple, then filler, entity, verb, entity, filler
FIRST, TELLS, LAST = 4, 5, 6  # places of the entities and of the verb
BATCH, CHOOSING, TESTED, TUNING, TUNED = 48, 120, 400, 40, (1e-3, 4e-3)
WIDTH = 48
TASKS = {"read": ("read",), "write": ("write",), "both": ("read", "write")} | dict.fromkeys(
    ("triples", "shuffled"), ("read", "write", "triple")
)


class SmallGraph(NamedTuple):
    """A knowledge graph: ``pairs`` of entities [pairs, 2], the relation of each, and the ``verbs`` [RELATIONS, verbs]."""

    pairs: np.ndarray
    relations: np.ndarray
    verbs: np.ndarray


class PairedTriples(Experiment, name="paired-triples"):
    """The share of sentences whose relation is told right, of pairs of entities that training never saw, after a few labelled ones.

    Sun et al. 2021 (ERNIE 3.0), arXiv:2107.02137: a trunk that tasks share, with a small network of its own for understanding, which sees
    both ways, and one for writing, which is causal; masked phrases and entities, next words, and universal knowledge-text prediction: a
    sentence behind its triple, where the relation is masked or something of the sentence. Then the understanding network is tuned.

    A sentence names two entities and, among fillers, one of ``verbs`` that tell their relation, drawn anew each time; every relation has
    verbs of its own. ``taught``: ``read`` masks an entity or the verb, ``write`` tells the next word,
    ``both`` does half of either, ``triples`` a third each with the triple, ``shuffled`` the same with the relations of the graph
    permuted among its pairs. Every arm sees as many sentences. Sentence reordering, sentence distance, growing batches and the trunk's
    recurrence are not here.

    ``labelled`` sentences about further pairs tune all weights and a new layer on the mean of states; of two learning rates that is
    taken which does better on 120 others. ``relation`` is judged on 400 more, chance is 1 in 6. ``read_loss`` and ``write_loss`` are nats
    on new sentences about pairs of training, before tuning.
    """

    trial = Trial({"steps": 2, "labelled": 6})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    taught: Literal["read", "write", "both", "triples", "shuffled"] = Field("both", description="what training tells")
    verbs: int = Field(10, ge=1, le=VERBS // RELATIONS, description="that tell a relation")
    pairs: int = Field(200, ge=1, description="of entities in training")
    labelled: int = Field(24, ge=1, description="sentences to tune on")
    steps: int = Field(300, ge=1, description="of training, 48 sentences each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``relation``, ``read_loss`` and ``write_loss``."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import descend

        random = np.random.default_rng(seed)
        world = drawn(self.pairs + self.labelled + CHOOSING + TESTED, self.verbs, random)
        every = np.arange(len(world.pairs))
        known, apart = every[: self.pairs], every[self.pairs :]
        further = sentences(apart, world, random), world.relations[apart]
        held = sentences(random.choice(known, TESTED), world, random)
        masks = np.random.default_rng([seed, 1])
        told = masks.permutation(world.relations[known]) if self.taught == "shuffled" else world.relations[known]
        network = two_headed(seed)

        def loss(step: int) -> torch.Tensor:
            which = random.choice(known, BATCH)
            rows, tasks = sentences(which, world, random), TASKS[self.taught]
            split = zip(tasks, np.array_split(rows, len(tasks)), np.array_split(which, len(tasks)), strict=True)
            losses = [_loss(network, task, some, world.pairs[own], told[own], masks) for task, some, own in split]
            return torch.stack(losses).mean()

        descend(network, loss, self.steps, self.rate)
        with torch.no_grad():
            nats = {f"{task}_loss": float(_loss(network, task, held, held[:, :2], held[:, 0], masks)) for task in ("read", "write")}
        return {"relation": _tuned(network, *further, self.labelled, seed), **nats}


def drawn(pairs: int, verbs: int, random: np.random.Generator) -> SmallGraph:
    """So many different pairs of entities with relations, and the verbs of each relation."""
    import numpy as np

    both = random.permutation(ENTITIES * ENTITIES)[:pairs]
    told = random.permutation(VERBS)[: RELATIONS * verbs].reshape(RELATIONS, verbs)
    return SmallGraph(np.stack([both // ENTITIES, both % ENTITIES], axis=1), random.integers(0, RELATIONS, pairs), told)


def sentences(which: np.ndarray, world: SmallGraph, random: np.random.Generator) -> np.ndarray:
    """A sentence about each of the pairs at ``which``, int64 [rows, LENGTH]; places of the triple are blank."""
    import numpy as np

    rows = random.integers(FILLER, FILLER + FILLERS, (len(which), LENGTH))
    rows[:, :TRIPLE] = BLANK
    rows[:, TELLS] = VERB + world.verbs[world.relations[which], random.integers(0, world.verbs.shape[1], len(which))]
    rows[:, [FIRST, LAST]] = ENTITY + world.pairs[which]
    return np.asarray(rows)


def masked(rows: np.ndarray, pairs: np.ndarray, relations: np.ndarray, triple: bool, random: np.random.Generator) -> np.ndarray:
    """``rows`` with an entity or the verb masked; with ``triple``, that stands before, and half lose its relation alone."""
    import numpy as np

    given = rows.copy()
    given[np.arange(len(rows)), random.choice([FIRST, TELLS, LAST], len(rows))] = MASK
    if triple:
        asked = random.random(len(rows)) < 0.5
        given[asked] = rows[asked]
        given[:, 0], given[:, 2] = ENTITY + pairs[:, 0], ENTITY + pairs[:, 1]
        given[:, 1] = np.where(asked, MASK, RELATION + relations)
    return given


def _loss(
    network: torch.nn.Module, task: str, rows: np.ndarray, pairs: np.ndarray, relations: np.ndarray, random: np.random.Generator
) -> torch.Tensor:
    """Nats of each target of a task."""
    import torch

    if task == "write":
        tokens = torch.from_numpy(rows[:, TRIPLE - 1 :])  # a blank begins a sentence
        return torch.nn.functional.cross_entropy(network(tokens[:, :-1], False).transpose(1, 2), tokens[:, 1:])
    given = masked(rows, pairs, relations, task == "triple", random)
    wanted = rows.copy()
    wanted[:, 1] = RELATION + relations
    wanted[given != MASK] = -100
    logits = network(torch.from_numpy(given), True)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.from_numpy(wanted))


def two_headed(seed: int) -> torch.nn.Module:
    """A trunk of two layers, and a layer and a head of its own for each way: logits [rows, places, COUNT] of rows, read or written."""
    import torch
    from torch import Tensor, nn

    from windtunnel.kits.small_decoder import SmallDecoder

    class TwoHeaded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = SmallDecoder(COUNT, 1, LENGTH, width=WIDTH, tokens=True, seed=seed)
            sizes = (WIDTH, 4, 2 * WIDTH, 0.0, "gelu")
            self.upper = nn.ModuleList(nn.TransformerEncoderLayer(*sizes, batch_first=True, norm_first=True) for _ in range(2))
            self.heads = nn.ModuleList(nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, COUNT)) for _ in range(2))

        def states(self, rows: Tensor, both_ways: bool) -> Tensor:
            mask = None if both_ways else nn.Transformer.generate_square_subsequent_mask(rows.shape[1])
            state = self.trunk.states(rows, both_ways)
            return torch.as_tensor(self.upper[int(both_ways)](state, src_mask=mask, is_causal=not both_ways))

        def forward(self, rows: Tensor, both_ways: bool) -> Tensor:
            return torch.as_tensor(self.heads[int(both_ways)](self.states(rows, both_ways)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TwoHeaded()


def _tuned(network: torch.nn.Module, rows: np.ndarray, relations: np.ndarray, labelled: int, seed: int) -> float:
    """The share of the last TESTED rows whose relation is told right, after tuning on the first ``labelled``."""
    import torch

    from windtunnel.kits.small_decoder import descend

    tokens, wanted = torch.from_numpy(rows), torch.from_numpy(relations)
    found = []
    for rate in TUNED:
        tuned = copy.deepcopy(network)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = torch.nn.Linear(WIDTH, RELATIONS)
        both = torch.nn.ModuleList([tuned, layer])

        def logits(some: torch.Tensor, tuned=tuned, layer=layer) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return torch.as_tensor(layer(tuned.states(some, True)[:, TRIPLE:].mean(dim=1)))

        def loss(step: int, logits=logits) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return torch.nn.functional.cross_entropy(logits(tokens[:labelled]), wanted[:labelled])

        descend(both, loss, TUNING, rate)
        with torch.no_grad():
            right = (logits(tokens[labelled:]).argmax(dim=1) == wanted[labelled:]).double()
        found.append((float(right[:CHOOSING].mean()), float(right[CHOOSING:].mean())))
    return max(found, key=lambda pair: pair[0])[1]
