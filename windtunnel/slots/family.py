"""The contract of model families: what a family is handed, where it says that its modules stand, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

SIZES = ("layers", "width", "heads", "key_value_heads", "intermediate", "tied")  # those that two models of one shape must agree in


class Sizes(NamedTuple):
    """Every size of a network, filled in: ``layers`` of each stack, ``width`` of the residual stream, heads, inner size of the MLP."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    intermediate: int
    tied: bool = True
    dropout: float = 0.0
    initializer_range: float | None = None  # standard deviation of the first weights; None: the family's own

    @property
    def head_size(self) -> int:
        """Numbers in one head."""
        return self.width // self.heads


class Inputs(NamedTuple):
    """How a model reads a sequence: as a ``number`` of inputs that do not see each other, each of ``positions``."""

    number: int
    positions: int


def found_in(config: Any, name: str) -> Any:
    """What ``config``, an object or the content of its file, has under ``name``, with dots between configurations; None: nothing."""
    for key in name.split("."):
        config = config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)
    return config


# Where things stand ---------------------------------------------------------------------------------------------------------------


class AttentionPlace(NamedTuple):
    """Where an attention layer stands within its block.

    ``inputs`` are query, key and value, or the one matrix that holds all three: all queries first, then keys, then values, unless
    ``by_head`` (query, key and value of the first head, then of the second).
    """

    path: str
    inputs: tuple[str, ...]
    output: str
    by_head: bool = False


class MlpPlace(NamedTuple):
    """Where a feed-forward layer stands within its block.

    ``inputs`` are gate and up (gate None: there is none), or the one matrix that holds both: what goes through the activation first.
    """

    path: str
    inputs: tuple[str | None, ...]
    output: str


class BlockPlace(NamedTuple):
    """What a block is made of, by paths within it. ``norms`` and ``residual`` are as in :class:`windtunnel.models.anatomy.Block`."""

    attention: AttentionPlace
    mlp: MlpPlace
    norms: Mapping[str, str]
    cross: AttentionPlace | None = None
    residual: str = "pre"


@dataclass(frozen=True)
class Places:
    """Where a family keeps its modules, by their paths in the model.

    ``stacks``: each list of blocks with what its blocks are made of, an encoder before its decoder. ``embeddings``: the tables that
    are looked up in, tokens first. ``final``: the norms after the stacks. ``head``: the matrix that makes logits, if there is one.
    ``transform``: the matrix before the head and its norm.
    """

    stacks: Mapping[str, BlockPlace]
    embeddings: tuple[str, ...] = ()
    embedding_norms: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    head: str | None = None
    transform: tuple[str, str] | None = None


@dataclass(frozen=True)
class Call:
    """How a forward pass is asked for: ``causal`` (a position sees only itself and what is before it); ``additive`` (masks are numbers
    that are added to the scores, not bools); ``options``: keywords that the model is called with.
    """

    causal: bool = True
    additive: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


# The contract ---------------------------------------------------------------------------------------------------------------------


class Family(Part):
    """One architecture whole. Its name is the ``model_type`` of its transformers configuration, with hyphens.

    Its fields stand flat beside the sizes: ``model: {family: vit, depth: 4, patch: 2}``. Reading a recipe imports this file and must
    import neither torch nor transformers, so both are imported inside the methods.

    ``kind`` is what objectives ask for: decoder, encoder, encoder-decoder, image-encoder. ``reads`` are the arrays that
    :meth:`forward` takes. ``auto_class`` is the class of transformers that loads an exported model. ``names`` says how the
    configuration calls each size and each field (and ``rows`` of the embedding, ``positions``, ``head_size``), where there are two
    stacks once for each, and with a dot where a configuration holds another; sizes it has no name for cannot be chosen. ``gated`` (the MLP
    has a gate) and ``rotary`` (positions rotate pairs of dimensions) decide what sizes are usual and possible. ``head_power``: what
    the head reads is multiplied with the width to this power where the head is tied. ``initializer_range``: whether one standard
    deviation sets the scale of the first weights. ``uncut``: why several ranks cannot compute a layer between them; "": they can, as
    :meth:`cut` says.
    """

    kind: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ("tokens", "documents", "positions", "prefix", "seen")
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "layers": ("num_hidden_layers",),
        "width": ("hidden_size",),
        "heads": ("num_attention_heads",),
        "intermediate": ("intermediate_size",),
        "tied": ("tie_word_embeddings",),
        "rows": ("vocab_size",),
        "positions": ("max_position_embeddings",),
        "head_size": ("head_dim",),
    }
    gated: ClassVar[bool] = False
    rotary: ClassVar[bool] = False
    head_power: ClassVar[float] = 0.0
    initializer_range: ClassVar[bool] = True
    uncut: ClassVar[str] = "it does not say how its layers are cut"

    # Configurations

    def unable(self, sizes: Sizes) -> dict[str, str]:
        """The sizes among ``sizes`` that this family cannot have, each with the reason."""
        found = {}
        if self.rotary and sizes.head_size % 2:
            found["heads"] = (
                f"{self.name} rotates pairs of dimensions, so a head needs an even size; "
                f"width {sizes.width} / {sizes.heads} heads = {sizes.head_size}"
            )
        if "key_value_heads" not in self.names and sizes.key_value_heads != sizes.heads:
            found["key_value_heads"] = f"{self.name} has as many heads of keys and values as heads ({sizes.heads})"
        if "tied" not in self.names and not sizes.tied:
            found["tied"] = f"{self.name} has no table that its head could be"
        if sizes.initializer_range is not None and not self.initializer_range:
            found["initializer_range"] = f"{self.name} scales the first weights of each matrix by its own rule"
        return found

    @required
    def config(self, sizes: Sizes, facts: Any, context: int) -> PreTrainedConfig:
        """The transformers configuration, plain enough that AutoModel loads it.

        Everything that ``sizes`` and the fields do not say (epsilon of norms, base of the rotation, scale of the first weights) is the
        family's own default.

        Args:
            sizes: every size, possible by :meth:`unable`.
            facts: what the encoding tells of what the model reads; of tokens a
                :class:`windtunnel.kits.text.vocabulary.Vocabulary`, of which families ask ``size``, ``document`` and ``pad``.
            context: units of a sequence.
        """
        raise NotImplementedError

    @classmethod
    def of(cls, config: Any) -> Self:
        """The family with the fields that a transformers configuration has."""
        return cls(**{key: found_in(config, cls.names[key][0]) for key in cls.model_fields})

    @classmethod
    def written(cls, config: Any) -> dict[str, Any]:
        """The sizes and fields of a configuration, an object or the content of its file, as a recipe writes them.

        None stands for what a file leaves to the defaults of the configuration's class.
        """
        found = {key: found_in(config, cls.names[key][0]) for key in (*SIZES, *cls.model_fields) if key in cls.names}
        if "key_value_heads" not in cls.names:
            found["key_value_heads"] = found["heads"]
        return {key: found[key] for key in (*SIZES, *cls.model_fields) if key in found}

    def layer(self, config: Any, number: int) -> dict[str, int]:
        """``heads`` and ``key_value_heads`` of layer ``number`` of each stack where layers differ; empty: all have those of the model."""
        return {}

    def positions(self, config: Any) -> int | None:
        """How many positions a model of ``config`` has learned; None where positions are computed, so that any number of them will do."""
        return None

    def first_value(self, config: Any, name: str) -> float | None:
        """What every number of the weight ``name`` begins with, where transformers' rule for first weights leaves it out; else None."""
        return None

    # Models

    @required
    def model_class(self) -> type[PreTrainedModel]:
        """The class of transformers that its models are of."""
        raise NotImplementedError

    @classmethod
    def config_class(cls) -> Any:
        """The class of its configurations where transformers has none of its ``model_type``; None: it has."""
        return None

    @required
    def places(self, config: Any) -> Places:
        """Where a model of ``config`` keeps its modules, for :func:`windtunnel.models.anatomy.anatomy`."""
        raise NotImplementedError

    def sharded(self, model: Any) -> list[Any]:
        """The modules whose weights are put together at a time where ranks hold ``model`` in shards, inner ones first: every block.

        What is in none of them belongs to the model itself, whose weights are whole from the forward pass to the end of the backward pass.
        """
        return [block for stack in self.places(model.config).stacks for block in model.get_submodule(stack)]

    def cut(self, model: Any) -> dict[str, str]:
        """How the modules in the blocks of ``model`` are cut where several ranks compute a layer between them, by path: ``columns`` (of
        the product), ``rows`` (of the matrix, whose products are added up) or ``heads`` (what acts on each head by itself).
        """
        found: dict[str, str] = {}
        for stack, block in self.places(model.config).stacks.items():
            for number in range(len(model.get_submodule(stack))):
                for place in (block.attention, block.mlp):
                    within = f"{stack}.{number}.{place.path}"
                    found |= {f"{within}.{name}": "columns" for name in place.inputs if name}
                    found[f"{within}.{place.output}"] = "rows"
        return found

    @required
    def forward(self, model: Any, arrays: Mapping[str, torch.Tensor], call: Call) -> Any:
        """The outputs of ``model``, with ``logits`` for every unit, for those of ``arrays`` (named as ``reads``) that are given.

        For sequences of documents :func:`windtunnel.models.forward.one_stack` does it.
        """
        raise NotImplementedError

    # What a step takes. The FLOPs are an estimate from sizes alone; a run counts them on its real step

    def inputs(self, facts: Any, context: int) -> Inputs:
        """How a model reads a sequence of ``context`` units. Its positions are what budgets count as tokens."""
        return Inputs(1, context)

    def rows(self, facts: Any) -> int:
        """Rows of the table that its units are looked up in, which is also what its head predicts for each unit."""
        return int(facts.size)

    def block(self, sizes: Sizes) -> float:
        """Weights in the matrices of one block."""
        narrow = sizes.width * sizes.key_value_heads / sizes.heads
        matrices = 3 if self.gated else 2
        return 2 * sizes.width * sizes.width + 2 * sizes.width * narrow + matrices * sizes.width * sizes.intermediate

    def blocks(self, sizes: Sizes) -> float:
        """Weights in the matrices of all blocks, which is what tokens per parameter count."""
        return sizes.layers * self.block(sizes)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """Weights in the matrices of the whole model: blocks, table and head."""
        return self.blocks(sizes) + self.rows(facts) * sizes.width * (1 if sizes.tied else 2)

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """FLOPs of the forward and backward pass of an input of ``reads`` positions; ``writes``: those that a decoder beside it writes.

        6 for each weight of a matrix and position, 12 layers x width x positions for the attention of each position.
        """
        per_unit = 6 * (sizes.layers * self.block(sizes) + self.rows(facts) * sizes.width) + 12 * sizes.layers * sizes.width * reads
        return reads * per_unit
