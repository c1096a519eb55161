"""Networks that read sets, whose order means nothing: the rows of a table, the cells of a row, the nodes of a graph.

All are one stack of transformer blocks; they differ in what becomes a position and which position sees which. transformers has none of
them, so an exported model takes this file with it, and ``AutoModel.from_pretrained(folder, trust_remote_code=True)`` loads it. That is why
this file imports nothing but torch and transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

FARTHEST = 15  # edges of a node above which its degree is not told apart


class SetConfig(PreTrainedConfig):
    """Sizes of the stack, and ``classes`` of labels; the subclasses add what their positions are made of."""

    model_type = "set"

    def __init__(
        self,
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 2,
        intermediate_size: int = 256,
        hidden_dropout_prob: float = 0.0,
        initializer_range: float = 0.02,
        classes: int = 2,
        **others: Any,
    ) -> None:
        self.hidden_size, self.num_hidden_layers, self.num_attention_heads = hidden_size, num_hidden_layers, num_attention_heads
        self.intermediate_size, self.hidden_dropout_prob, self.initializer_range = intermediate_size, hidden_dropout_prob, initializer_range
        self.classes = classes
        super().__init__(**others)


class PfnConfig(SetConfig):
    """``features``: numbers in a row."""

    model_type = "pfn"

    def __init__(self, features: int = 4, **others: Any) -> None:
        self.features = features
        super().__init__(**others)


class CellsConfig(SetConfig):
    """``numbers``: columns of numbers; ``categories``: values of each column of categories, the unknown one and none included."""

    model_type = "cells"

    def __init__(self, numbers: int = 1, categories: tuple[int, ...] = (), **others: Any) -> None:
        self.numbers, self.categories = numbers, list(categories)
        super().__init__(**others)


class GraphConfig(SetConfig):
    """``features``: numbers of a node."""

    model_type = "graph-attention"

    def __init__(self, features: int = 4, **others: Any) -> None:
        self.features = features
        super().__init__(**others)


# The stack ------------------------------------------------------------------------------------------------------------------------


class SetAttention(nn.Module):
    """Attention among the positions of a set; ``seen`` bool [B, 1, T, T] says which position (third axis) sees which."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.hidden_dropout_prob
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(config.hidden_size, config.hidden_size) for _ in range(4))

    def forward(self, states: Tensor, seen: Tensor | None, weights: bool) -> tuple[Tensor, Tensor | None]:
        """What every position gathers [B, T, width], and with ``weights`` how much of which [B, heads, T, T]."""
        q, k, v = (project(states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        shares = None
        if weights:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            shares = (scores if seen is None else scores.masked_fill(~seen, torch.finfo(scores.dtype).min)).softmax(dim=-1)
            found = shares @ v
        else:
            found = scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=self.dropout if self.training else 0.0)
        return self.o_proj(found.transpose(1, 2).flatten(2)), shares


class SetMlp(nn.Module):
    """Two layers, on each position by itself."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """[B, T, width], as it comes in."""
        return self.fc2(gelu(self.fc1(states)))


class SetBlock(nn.Module):
    """Attention and a feed-forward layer, each behind a norm and added to what comes in."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm_before, self.norm_after = nn.LayerNorm(config.hidden_size), nn.LayerNorm(config.hidden_size)
        self.attention, self.mlp = SetAttention(config), SetMlp(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states: Tensor, seen: Tensor | None, weights: bool) -> tuple[Tensor, Tensor | None]:
        """As :class:`SetAttention`."""
        gathered, shares = self.attention(self.norm_before(states), seen, weights)
        states = states + self.dropout(gathered)
        return states + self.dropout(self.mlp(self.norm_after(states))), shares


class SetModel(PreTrainedModel):
    """The stack; the subclasses make positions and read answers off them."""

    config_class: Any = SetConfig
    base_model_prefix = "set"
    _supports_sdpa = True
    _no_split_modules = ["SetBlock"]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(SetBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)

    def encoded(self, states: Tensor, seen: Tensor | None, options: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The states [B, T, width] behind the stack and its norm, and the outputs that ``options`` ask to be kept."""
        weights = bool(options.get("output_attentions"))
        every, shares = [states], []
        for layer in self.layers:
            states, mine = layer(states, seen, weights)
            every.append(states)
            shares.append(mine)
        states = self.norm(states)
        every[-1] = states
        kept: dict[str, Any] = {"hidden_states": tuple(every)} if options.get("output_hidden_states") else {}
        return states, kept | ({"attentions": tuple(shares)} if weights else {})


# What they read -------------------------------------------------------------------------------------------------------------------


class PfnModel(SetModel):
    """Rows of a table are positions: those with a known label are seen by all, the others see themselves besides.

    Mueller et al. 2022, arXiv:2112.10510.
    """

    config_class = PfnConfig
    main_input_name = "cells"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.row = nn.Linear(config.features, config.hidden_size)
        self.label = nn.Embedding(config.classes + 1, config.hidden_size)  # the last one: not known
        self.head = nn.Linear(config.hidden_size, config.classes)
        self.post_init()

    def forward(self, cells: Tensor, known: Tensor, return_dict: bool = True, **options: Any) -> Any:
        """``logits`` [B, rows, classes].

        Args:
            cells: float [B, rows, features].
            known: int [B, rows], the label of a row, -1 where it is to be told.
            return_dict: taken for the sake of transformers; there is no other form.
            options: ``output_hidden_states`` and ``output_attentions``.
        """
        states = self.row(cells) + self.label(known.where(known >= 0, self.config.classes))
        itself = torch.eye(known.shape[1], dtype=torch.bool, device=known.device)
        seen = ((known >= 0)[:, None, :] | itself)[:, None]
        states, kept = self.encoded(states, seen, options)
        return TokenClassifierOutput(logits=self.head(states), **kept)


class CellsModel(SetModel):
    """Cells of a row are positions, behind one that gathers them; all see each other.

    A number is its column's vector times it, a category a vector of its own, and both add a vector of the column. Gorishniy et al. 2021,
    arXiv:2106.11959.
    """

    config_class = CellsConfig
    main_input_name = "numbers"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        columns = config.numbers + len(config.categories)
        self.column = nn.Embedding(columns + 1, config.hidden_size)  # the last one: what gathers
        self.slope = nn.Embedding(max(1, config.numbers), config.hidden_size)
        self.missing = nn.Embedding(2, config.hidden_size)  # of a number that is not there, and of a cell that is hidden
        self.category = nn.Embedding(max(1, sum(config.categories)), config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.classes)
        self.post_init()

    def forward(self, numbers: Tensor, categories: Tensor, hidden: Tensor | None = None, return_dict: bool = True, **options: Any) -> Any:
        """``logits`` [B, classes]; besides ``features`` [B, width], the position that gathers.

        Args:
            numbers: float [B, columns of numbers], NaN where there is none.
            categories: int [B, columns of categories], from 0 within each column.
            hidden: bool [B, columns], cells that are not read, numbers first.
            return_dict: taken for the sake of transformers; there is no other form.
            options: ``output_hidden_states`` and ``output_attentions``.
        """
        gone, sizes = numbers.isnan(), self.config.categories
        begins = torch.tensor([sum(sizes[:place]) for place in range(len(sizes))], dtype=torch.long, device=numbers.device)
        values = torch.where(
            gone[..., None], self.missing.weight[0], numbers.nan_to_num()[..., None] * self.slope.weight[: numbers.shape[1]]
        )
        cells = torch.cat([values, self.category(categories + begins)], dim=1)
        if hidden is not None:
            cells = torch.where(hidden[..., None], self.missing.weight[1], cells)
        cells = torch.cat([cells, cells.new_zeros(len(cells), 1, cells.shape[-1])], dim=1) + self.column.weight
        states, kept = self.encoded(cells, None, options)
        found = TokenClassifierOutput(logits=self.head(states[:, -1]), **kept)
        found.features = states[:, -1]
        return found


class GraphModel(SetModel):
    """Nodes of a graph are positions, and each sees itself and its neighbours: messages pass along edges, weighted by attention.

    Attention over neighbours is that of Velickovic et al. 2018, arXiv:1710.10903, in blocks of a transformer. A mean over neighbours cannot
    count them, so a vector of the degree is added, as Ying et al. 2021, arXiv:2106.05234, do. A graph is named by the mean of its nodes.
    """

    config_class = GraphConfig
    main_input_name = "nodes"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.node = nn.Linear(config.features, config.hidden_size)
        self.hidden = nn.Embedding(1, config.hidden_size)  # stands for a node whose features are not read
        self.degree = nn.Embedding(FARTHEST + 1, config.hidden_size)
        self.draw = nn.Linear(config.hidden_size, config.features)
        self.head = nn.Linear(config.hidden_size, max(1, config.classes))
        self.post_init()

    def forward(
        self, nodes: Tensor, edges: Tensor, there: Tensor, hidden: Tensor | None = None, return_dict: bool = True, **options: Any
    ) -> Any:
        """``logits`` [B, classes] of the graphs; besides ``states`` of nodes [B, nodes, width], what is
        ``drawn`` of them [B, nodes, features], and their mean, ``features`` [B, width].

        Args:
            nodes: float [B, nodes, features].
            edges: int [B, edges, 2], places of nodes, in one direction; -1 where there is none.
            there: bool [B, nodes], false for padding.
            hidden: bool [B, nodes], whose features are not read.
            return_dict: taken for the sake of transformers; there is no other form.
            options: ``output_hidden_states`` and ``output_attentions``.
        """
        near = neighbours(edges, nodes.shape[1])
        states = self.node(nodes)
        if hidden is not None:
            states = torch.where(hidden[..., None], self.hidden.weight[0], states)
        states = states + self.degree(near.sum(dim=-1).clamp(max=FARTHEST))
        seen = near | torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
        states, kept = self.encoded(states, seen[:, None], options)
        mean = (states * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        found = TokenClassifierOutput(logits=self.head(mean), **kept)
        found.drawn, found.features, found.states = self.draw(states), mean, states
        return found


def neighbours(edges: Tensor, nodes: int) -> Tensor:
    """Which node has an edge to which, in either direction: bool [B, nodes, nodes], of ``edges`` int [B, edges, 2] with -1 for none."""
    real = edges[..., 0] >= 0
    places = (edges[..., 0] * nodes + edges[..., 1]).where(real, nodes * nodes)  # what is none goes to one place more
    flat = torch.zeros(len(edges), nodes * nodes + 1, dtype=torch.bool, device=edges.device).scatter(1, places, torch.ones_like(real))
    near = flat[:, :-1].unflatten(1, (nodes, nodes))
    return near | near.transpose(1, 2)


for _config, _model in ((PfnConfig, PfnModel), (CellsConfig, CellsModel), (GraphConfig, GraphModel)):
    _config.register_for_auto_class()
    _model.register_for_auto_class("AutoModel")
