"""Width growth: which old unit each new unit is, and weights that follow such maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.kits.weights.grow import depths, grown_config
from windtunnel.models.anatomy import Anatomy, Attention, Matrix, Mlp, anatomy
from windtunnel.models.forward import forward
from windtunnel.models.init import family_of, fresh, generator
from windtunnel.models.sizes import rows_of

GROWN = frozenset({"layers", "width", "heads", "key_value_heads", "intermediate", "head_size"})


# Maps ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Units:
    """Which of ``old`` units each new unit is: ``index`` int64 [new]. Old units stand for themselves first, then come copies."""

    index: Tensor
    old: int

    @cached_property
    def copies(self) -> Tensor:
        """How often the old unit behind each new one was taken, itself included: int64 [new]."""
        return torch.bincount(self.index, minlength=self.old)[self.index]

    @cached_property
    def later(self) -> Tensor:
        """Which new units are not the first of their old unit: bool [new]."""
        order = torch.arange(len(self.index))
        first = torch.full((self.old,), len(order)).scatter_reduce(0, self.index, order, "amin")
        return first[self.index] != order

    def spread(self, size: int) -> Units:
        """The map of ``size`` numbers for each unit, one unit after the other."""
        return Units((self.index[:, None] * size + torch.arange(size)).flatten(), self.old * size)


def unit_map(old: int, new: int, mapping: str, draw: torch.Generator) -> Units:
    """Old units 0 to ``old`` for themselves, then copies up to ``new``.

    ``random``: each copy is of a unit drawn uniformly (the map of bert2BERT). ``even``: whole rounds of all units, then a last round
    of some of them, drawn without replacement, so that no unit is copied more than once oftener than another.
    """
    if mapping == "random":
        return Units(torch.cat([torch.arange(old), torch.randint(old, (new - old,), generator=draw)]), old)
    rest = torch.randperm(old, generator=draw)[: new % old].sort().values
    return Units(torch.cat([torch.arange(old).repeat(new // old), rest]), old)


def head_maps(old: tuple[int, int], new: tuple[int, int], mapping: str, draw: torch.Generator) -> tuple[Units, Units]:
    """Maps of query heads and of key/value heads; ``old`` and ``new`` are (query heads, key/value heads).

    A query head stays with its own key/value head or with a copy of that one. Within each new group the old query heads come first.
    """
    groups = unit_map(old[1], new[1], mapping, draw)
    before, after = old[0] // old[1], new[0] // new[1]
    rows = [group * before + unit_map(before, after, mapping, draw).index for group in groups.index.tolist()]
    return Units(torch.cat(rows), old[0]), groups


def layer_map(old: int, new: int) -> list[int]:
    """Which old layer each new one is: whole copies of the stack one upon the other, then its top layers (bert2BERT)."""
    return [*range(old)] * (new // old) + [*range(old - new % old, old)]


# Weights ------------------------------------------------------------------------------------------------------------------------


def columns_split(weight: Tensor, columns: Units, noise: float = 0.0, draw: torch.Generator | None = None) -> Tensor:
    """``weight`` [out, old in] for inputs that were copied: each column divided by how often its input exists, [out, new in].

    With ``noise`` the copies of a column differ by Gaussian noise, of that many times the standard deviation of the result, which
    adds up to zero over the copies of a column. So equal copies of an input still give the same output.
    """
    copies = columns.copies.to(weight.dtype)
    split = weight.index_select(1, columns.index).div_(copies)
    if noise:
        size = ((weight.square().mean(0)[columns.index] / copies.square()).mean()).sqrt()
        drawn = torch.randn(split.shape, generator=draw).to(split)
        sums = torch.zeros_like(weight).index_add_(1, columns.index, drawn)
        drawn -= sums.index_select(1, columns.index).div_(copies)
        # Taking the mean away leaves 1 - 1/copies of the variance, and nothing where there is only one.
        split += drawn.mul_(noise * size * (copies / (copies - 1).clamp(min=1)).sqrt())
    return split


def rows_taken(weight: Tensor, rows: Units, above: Tensor | None = None, rows_above: Units | None = None) -> Tensor:
    """The rows (or entries of a bias) that ``rows`` names; those of copies from the layer ``above`` by its own map, if it is given."""
    taken = weight.index_select(0, rows.index)
    if above is not None and rows_above is not None:
        taken[rows.later] = above[rows_above.index[rows.later]]
    return taken


@dataclass
class Filler:
    """Fills a network with the weights of a narrower one. ``written`` are the parameters that have their values, by identity."""

    width: Units
    noise: float
    seed: int
    written: set[int] = field(default_factory=set)

    def matrix(
        self,
        target: Matrix,
        source: Matrix,
        rows: Units | None,
        columns: Units,
        above: Matrix | None = None,
        rows_above: Units | None = None,
    ) -> None:
        """Fill ``target`` and its bias: columns split by ``columns``, then rows taken by ``rows`` (None: all)."""
        weight, bias = self._split(source, columns), source.bias()
        if rows is not None:
            upper = above.bias() if above is not None else None
            weight = rows_taken(weight, rows, self._split(above, columns) if above is not None else None, rows_above)
            bias = None if bias is None else rows_taken(bias.cpu(), rows, None if upper is None else upper.cpu(), rows_above)
        target.set(weight)
        if bias is not None:
            target.set_bias(bias)
        self.mark(target.module)

    def _split(self, source: Matrix, columns: Units) -> Tensor:
        part = source.name if source.rows is None else f"{source.name}.{int(source.rows[0])}"
        return columns_split(source.get().cpu(), columns, self.noise, generator(self.seed, part) if self.noise else None)

    def norm(self, target: nn.Module, source: nn.Module | None, units: Units | None, scale: Tensor | float = 1.0) -> None:
        """Fill a norm, its gain and bias indexed by ``units`` and times ``scale``. Without a source it gets gains of one."""
        for name, weight in target.named_parameters(recurse=False):
            if source is None:
                weight.fill_(1.0 if name == "weight" else 0.0)
                continue
            value = source.get_parameter(name).detach().cpu()
            weight.copy_((value if units is None else value[units.index]) * scale)
        self.mark(target)

    def table(self, target: nn.Module, source: nn.Module, units: Units) -> None:
        """Fill an embedding: each row spread by ``units``."""
        weight: Any = target.weight
        weight.copy_(source.weight.detach().cpu().index_select(1, units.index))  # type: ignore[union-attr, operator]
        self.mark(target)

    def mark(self, module: nn.Module) -> None:
        """Note that the weights of ``module`` have their values."""
        self.written |= {id(weight) for weight in module.parameters(recurse=False)}


@torch.no_grad()
def widened(previous: PreTrainedModel, config: Any, *, advanced: bool, mapping: str, noise: float, seed: int) -> PreTrainedModel:
    """A network of the sizes of ``config``, which must fit, that continues ``previous``; on the CPU, in the old model's precision.

    ``advanced``: copies of heads and of inner units of the MLP are taken from the layer above (AKI), except in the top layer.
    """
    zero = torch.zeros(())
    layers = {stack: layer_map(old, new) for stack, (old, new) in depths(previous, config).items()}
    sized = grown_config(previous.config, config, GROWN, layers)
    model: Any = fresh(sized, 0, given=lambda _, shape: zero.expand(shape))  # nothing is drawn
    model.to(previous.dtype)
    old, new = anatomy(previous), anatomy(model)
    width = unit_map(old.width, new.width, mapping, generator(seed, "width"))
    fill = Filler(width, noise, seed)
    for stack, blocks in new.stacks.items():
        below = old.stacks[stack]
        heads, inner = {}, {}
        before, after = ((one[0].attention.heads, one[0].attention.key_value_heads) for one in (below, blocks))
        shared = below[0].attention.bias is not None  # t5: one table of position biases for the heads of all layers
        sizes = below[0].mlp.up.shape[0], blocks[0].mlp.up.shape[0]
        for block in below:
            for kind in ("", ".cross"):
                place = block.name + kind
                heads[place] = head_maps(before, after, mapping, generator(seed, stack if shared and not kind else place))
            inner[block.name] = unit_map(*sizes, mapping, generator(seed, f"{block.name}.intermediate"))
        for block, number in zip(blocks, layers[stack], strict=True):
            source = below[number]
            upper = below[number + 1] if advanced and number + 1 < len(below) else None
            for kind, to, one, above in (
                ("", block.attention, source.attention, upper.attention if upper else None),
                (".cross", block.cross, source.cross, upper.cross if upper else None),
            ):
                if to is not None and one is not None:
                    _fill_attention(fill, to, one, heads[source.name + kind], above, heads[upper.name + kind] if upper else None)
            _fill_mlp(fill, block.mlp, source.mlp, inner[source.name], upper.mlp if upper else None, inner[upper.name] if upper else None)
            for key, norm in block.norms.items():  # modernbert's first block has none before its attention
                fill.norm(norm, source.norms.get(key), width)
    _fill_ends(fill, new, old, family_of(config).head_power)
    for name, weight in model.named_parameters():
        if id(weight) not in fill.written:
            if weight.shape != (new.vocabulary,):
                raise PartError(f"widen: no rule says how {name} of {new.family} grows")
            weight.copy_(previous.get_parameter(name))  # biases of the head
    return model.train()


def _fill_attention(
    fill: Filler,
    target: Attention,
    source: Attention,
    maps: tuple[Units, Units],
    above: Attention | None,
    maps_above: tuple[Units, Units] | None,
) -> None:
    size = source.head_size
    queries, keys = (units.spread(size) for units in maps)
    queries_above, keys_above = (units.spread(size) for units in maps_above) if maps_above else (None, None)
    fill.matrix(target.q, source.q, queries, fill.width, above.q if above else None, queries_above)
    fill.matrix(target.k, source.k, keys, fill.width, above.k if above else None, keys_above)
    fill.matrix(target.v, source.v, keys, fill.width, above.v if above else None, keys_above)
    fill.matrix(target.o, source.o, fill.width, queries)
    for key, norm in target.norms.items():
        fill.norm(norm, source.norms[key], None)
    if target.bias is not None and source.bias is not None:
        fill.table(target.bias, source.bias, maps[0])


def _fill_mlp(fill: Filler, target: Mlp, source: Mlp, units: Units, above: Mlp | None, units_above: Units | None) -> None:
    fill.matrix(target.up, source.up, units, fill.width, above.up if above else None, units_above)
    if target.gate is not None and source.gate is not None:
        fill.matrix(target.gate, source.gate, units, fill.width, above.gate if above else None, units_above)
    fill.matrix(target.down, source.down, fill.width, units)


def _fill_ends(fill: Filler, new: Anatomy, old: Anatomy, head_power: float) -> None:
    """Embeddings, the norms around them, final norms and head.

    A tied head cannot be divided by the number of copies, as it is the embedding; so the gain and bias of the norm before it are.
    ``head_power``: the family multiplies what a tied head reads with the width to this power.
    """
    width = fill.width
    for name, table in new.embeddings.items():
        fill.table(table, old.embeddings[name], width)
    for name, norm in new.embedding_norms.items():
        fill.norm(norm, old.embedding_norms[name], width)
    last = next(reversed([*new.final_norms, *new.head_norms]), None)
    divided: Tensor | float = 1.0
    if new.tied:
        divided = (new.width / old.width) ** -head_power / width.copies.double()
    for norms, others in ((new.final_norms, old.final_norms), (new.head_norms, old.head_norms)):
        for name, norm in norms.items():
            fill.norm(norm, others[name], width, divided if name == last else 1.0)
    if new.head_transform is not None and old.head_transform is not None:
        fill.matrix(new.head_transform, old.head_transform, width, width)
    if not new.tied and new.head is not None and old.head is not None:
        fill.matrix(new.head, old.head, None, width)


# How far it is from the old one ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def deviation(old: PreTrainedModel, new: PreTrainedModel, seed: int = 0) -> float:
    """The largest difference of their logits on a fixed random batch of tokens, relative to the standard deviation of the old logits."""
    tokens = torch.randint(rows_of(old.config) or 0, (2, 16), generator=generator(seed, "tokens"))
    logits = []
    kind = anatomy(old).kind
    for model in (old, new):
        training, here = model.training, tokens.to(model.device)
        outputs = forward(model.eval(), here, causal=kind != "encoder", decoder_tokens=here if kind == "encoder-decoder" else None)
        logits.append(outputs.logits.double().cpu())
        model.train(training)
    return float((logits[1] - logits[0]).abs().max() / logits[0].std())
