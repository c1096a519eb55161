"""One view of every family: embeddings, blocks, attention, mlp, norms, head.

A part that grows, prunes or factorises weights is written once against this view. Matrices are shown as [out, in] whatever the
family stores: some fuse queries, keys and values into one matrix, some store matrices transposed or interleave the three kinds head
by head. Each family says where its modules stand (:meth:`windtunnel.slots.Family.places`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from windtunnel.models.init import family_of
from windtunnel.models.sizes import head_size_of, rows_of, sizes_of
from windtunnel.slots import AttentionPlace, BlockPlace, MlpPlace


@dataclass(frozen=True)
class Matrix:
    """One weight matrix, or the rows of a fused one, seen as [out, in].

    ``name`` is that of the module that holds it; ``rows`` are its rows within that module's matrix (None: all of them).
    ``rows_are`` and ``columns_are`` say what each side counts: ``width`` (the residual stream), ``heads`` or ``key_value_heads``
    (heads times the head size, one head after the other), ``intermediate`` or ``vocabulary``.
    """

    name: str
    module: nn.Module
    rows_are: str
    columns_are: str
    rows: Tensor | None = None

    @property
    def transposed(self) -> bool:
        """Whether the module stores [in, out]."""
        return transposed(self.module)

    @property
    def parameter(self) -> str:
        """The full name of the parameter that holds the values."""
        return f"{self.name}.weight"

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of this matrix."""
        out, inside = self._stored().shape
        return (out if self.rows is None else len(self.rows)), inside

    def get(self) -> Tensor:
        """A copy of the values, [out, in], without gradient."""
        stored = self._stored()
        return stored.clone() if self.rows is None else stored[self.rows.to(stored.device)]

    @torch.no_grad()
    def set(self, value: Tensor) -> None:
        """Write ``value`` [out, in] in place. Raises ValueError for another shape."""
        _put(self._stored(), self.rows, value, self.parameter)

    def bias(self) -> Tensor | None:
        """A copy of the bias [out], or None where the module has none."""
        bias = getattr(self.module, "bias", None)
        if bias is None:
            return None
        return bias.detach().clone() if self.rows is None else bias.detach()[self.rows.to(bias.device)]

    @torch.no_grad()
    def set_bias(self, value: Tensor) -> None:
        """Write the bias [out] in place. Raises ValueError for another shape or where there is none."""
        bias = getattr(self.module, "bias", None)
        if bias is None:
            raise ValueError(f"{self.name} has no bias")
        _put(bias.detach(), self.rows, value, f"{self.name}.bias")

    def _stored(self) -> Tensor:
        weight = self.module.weight.detach()  # type: ignore[union-attr, operator]
        return weight.T if self.transposed else weight


def _put(stored: Tensor, rows: Tensor | None, value: Tensor, name: str) -> None:
    expected = stored.shape if rows is None else (len(rows), *stored.shape[1:])
    if tuple(value.shape) != tuple(expected):
        raise ValueError(f"{name}: a value of shape {tuple(value.shape)} does not fit {tuple(expected)}")
    stored[slice(None) if rows is None else rows.to(stored.device)] = value.to(stored)


@dataclass(frozen=True)
class Attention:
    """One attention layer. ``norms`` are norms of queries and keys inside it (qwen3), ``bias`` t5's relative position table."""

    name: str
    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    heads: int
    key_value_heads: int
    head_size: int
    norms: dict[str, nn.Module] = field(default_factory=dict)
    bias: nn.Embedding | None = None


@dataclass(frozen=True)
class Mlp:
    """One feed-forward layer: ``down(activation(gate) * up)``, or ``down(activation(up))`` where ``gate`` is None."""

    name: str
    up: Matrix
    down: Matrix
    gate: Matrix | None = None


@dataclass(frozen=True)
class Block:
    """One transformer block: its ``name`` in the model, its ``index`` in its stack, and what it is made of.

    ``norms`` are the norms of the residual stream by the name of what follows them (``attention``, ``cross``, ``mlp``), or where
    the family normalises after the addition (``residual`` is ``post``) of what they follow. ``residual`` is ``pre``, ``post`` or
    ``parallel`` (gpt-neox: attention and mlp both read the same stream).
    """

    name: str
    index: int
    module: nn.Module
    residual: str
    attention: Attention
    mlp: Mlp
    norms: dict[str, nn.Module]
    cross: Attention | None = None


@dataclass(frozen=True)
class Anatomy:
    """What a model consists of. Every module is the model's own, so changing it changes the model.

    ``stacks`` maps the name of each list of blocks (an encoder's before its decoder's) to its blocks. ``embeddings`` are the tables
    that tokens, positions and segments are looked up in, by the parameter's name, tokens first. ``final_norms`` follow the stacks.
    ``head`` is the matrix that makes logits (None where there is no such matrix), ``head_transform`` the matrix before it (encoders).
    ``tied``: the head is the token embedding.
    """

    family: str
    kind: str
    width: int
    vocabulary: int
    embeddings: dict[str, nn.Embedding]
    embedding_norms: dict[str, nn.Module]
    stacks: dict[str, tuple[Block, ...]]
    final_norms: dict[str, nn.Module]
    head: Matrix | None
    tied: bool
    head_transform: Matrix | None = None
    head_norms: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, those of an encoder before those of its decoder."""
        return tuple(block for stack in self.stacks.values() for block in stack)


# Of any model -------------------------------------------------------------------------------------------------------------------


def anatomy(model: Any) -> Anatomy:
    """The view of ``model``. Raises UserError for a model of no family that there is."""
    model = getattr(model, "_orig_mod", model)  # a compiled model
    config = model.config
    family, sizes = family_of(config), {**sizes_of(config), "head_size": head_size_of(config)}
    places = family.places(config)
    of: Callable[[str], Any] = model.get_submodule
    stacks = {
        stack: tuple(_block({**sizes, **family.layer(config, i)}, place, f"{stack}.{i}", i, module) for i, module in enumerate(of(stack)))
        for stack, place in places.stacks.items()
    }
    head, transform = places.head, places.transform
    return Anatomy(
        family=family.name,
        kind=family.kind,
        width=sizes["width"],
        vocabulary=rows_of(config) or 0,
        embeddings={f"{name}.weight": of(name) for name in places.embeddings},
        embedding_norms={name: of(name) for name in places.embedding_norms},
        stacks=stacks,
        final_norms={name: of(name) for name in places.final},
        head=Matrix(head, of(head), "vocabulary", "width") if head else None,
        tied=head is not None and of(head).weight is of(places.embeddings[0]).weight,
        head_transform=Matrix(transform[0], of(transform[0]), "width", "width") if transform else None,
        head_norms={transform[1]: of(transform[1])} if transform else {},
    )


def _block(sizes: Mapping[str, Any], place: BlockPlace, name: str, index: int, module: nn.Module) -> Block:
    return Block(
        name=name,
        index=index,
        module=module,
        residual=place.residual,
        attention=_attention(sizes, name, module, place.attention),
        mlp=_mlp(name, module, place.mlp),
        # A first block may have no norm of its own, as the embeddings have just been normalised.
        norms={key: norm for key, path in place.norms.items() if not isinstance(norm := module.get_submodule(path), nn.Identity)},
        cross=_attention(sizes, name, module, place.cross) if place.cross else None,
    )


def _attention(sizes: Mapping[str, Any], block: str, module: nn.Module, place: AttentionPlace) -> Attention:
    path, inputs, output, by_head = place
    heads, shared, size = (int(sizes[key]) for key in ("heads", "key_value_heads", "head_size"))
    owner = module.get_submodule(path)
    kinds = ("heads", "key_value_heads", "key_value_heads")
    if len(inputs) == 3:
        q, k, v = (
            Matrix(f"{block}.{path}.{key}", owner.get_submodule(key), kind, "width") for key, kind in zip(inputs, kinds, strict=True)
        )
    else:
        index = torch.arange(3 * heads * size)
        parts = index.view(heads, 3, size).transpose(0, 1).reshape(3, -1) if by_head else index.view(3, -1)
        fused = owner.get_submodule(inputs[0])
        q, k, v = (Matrix(f"{block}.{path}.{inputs[0]}", fused, kind, "width", rows) for rows, kind in zip(parts, kinds, strict=True))
    return Attention(
        name=f"{block}.{path}",
        q=q,
        k=k,
        v=v,
        o=Matrix(f"{block}.{path}.{output}", owner.get_submodule(output), "width", "heads"),
        heads=heads,
        key_value_heads=shared,
        head_size=size,
        norms={key: norm for key in ("q_norm", "k_norm") if isinstance(norm := getattr(owner, key, None), nn.Module)},
        bias=getattr(owner, "relative_attention_bias", None),
    )


def _mlp(block: str, module: nn.Module, place: MlpPlace) -> Mlp:
    path, inputs, output = place
    owner = module.get_submodule(path)
    name = f"{block}.{path}".rstrip(".")

    def matrix(key: str, rows_are: str, columns_are: str, rows: Tensor | None = None) -> Matrix:
        return Matrix(f"{name}.{key}", owner.get_submodule(key), rows_are, columns_are, rows)

    gate = up = None
    if len(inputs) == 1 and inputs[0]:
        fused = matrix(inputs[0], "intermediate", "width")
        first, second = torch.arange(fused.shape[0]).chunk(2)
        gate, up = matrix(inputs[0], "intermediate", "width", first), matrix(inputs[0], "intermediate", "width", second)
    else:
        gate = matrix(inputs[0], "intermediate", "width") if inputs[0] else None
        up = matrix(str(inputs[1]), "intermediate", "width")
    return Mlp(name, up, matrix(output, "width", "intermediate"), gate)


# What every structure and optimizer asks ---------------------------------------------------------------------------------------


def transposed(module: nn.Module) -> bool:
    """Whether a module of :func:`linears` stores its weight as [in, out]."""
    return isinstance(module, Conv1D)


def linear(out: int, inside: int, stored_transposed: bool) -> nn.Module:
    """A module of the kind that :func:`linears` finds, whose weight and bias are to be put in their place."""
    return Conv1D(out, inside) if stored_transposed else nn.Linear(inside, out, bias=False)


def linears(model: Any) -> dict[str, nn.Module]:
    """Every weight matrix inside the blocks by the name of its module; :func:`transposed` tells which way it is stored."""
    found: dict[str, nn.Module] = {}
    for block in anatomy(model).blocks:
        for name, module in block.module.named_modules(prefix=block.name):
            if isinstance(module, (nn.Linear, Conv1D)):
                found[name] = module
    return found


def trained_matrices(model: Any) -> list[tuple[nn.Parameter, bool]]:
    """Every matrix inside the blocks that is trained, and whether it is stored as [in, out].

    What a structure has put in the place of a matrix (factors, an adapter, one that is rounded) has a field ``transposed``; its own
    matrices count.
    """
    plain, found = linears(model), []
    for block in anatomy(model).blocks:
        for name, module in block.module.named_modules(prefix=block.name):
            if name in plain:
                found.append((plain[name].weight, transposed(plain[name])))
            elif hasattr(module, "transposed"):
                own = module.named_parameters(recurse=False)
                found += [(weight, key == "weight" and bool(module.transposed)) for key, weight in own]
    return [(weight, stored) for weight, stored in found if isinstance(weight, nn.Parameter) and weight.requires_grad and weight.ndim == 2]


def parameters_count(model: Any) -> dict[str, int]:
    """How many numbers are trained: ``total``, ``embedding`` (all tables and an untied head) and ``non_embedding``; tied ones once."""
    view = anatomy(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = {id(table.weight): table.weight.numel() for table in view.embeddings.values()}
    if view.head is not None:
        tables[id(view.head.module.weight)] = view.head.module.weight.numel()  # type: ignore[union-attr, operator]
    embedding = sum(tables.values())
    return {"total": total, "embedding": embedding, "non_embedding": total - embedding}
