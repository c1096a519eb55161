"""What the loop hands to parts: where a run stands, what a batch is judged with, what a phase begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

    from windtunnel.part import Objective


@dataclass(frozen=True)
class Progress:
    """Where a run stands, before the step that is about to be made.

    ``step`` and ``tokens`` count within the phase; ``done`` is the share of the phase (0 to 1), ``overall`` that of the whole run.
    ``tokens`` counts input tokens; ``step_tokens`` is how many one step adds; ``sequences`` how many sequences one step holds.
    """

    step: int
    steps: int
    tokens: int
    step_tokens: int
    sequences: int
    done: float
    overall: float
    phase: int


@dataclass(frozen=True)
class Vocabulary:
    """What an objective may know of the tokeniser: its size and its special tokens.

    ``document`` separates documents (it begins each one, so it also ends the one before). ``spans`` are the sentinels of span
    corruption, ``modes`` the mode tokens of UL2 by name (R, S, X). ``token_bytes[i]`` is how many UTF-8 bytes token i stands for
    (0 for special tokens), an int32 array; ``word_starts[i]`` whether token i begins a word, a bool array.
    """

    size: int
    document: int
    pad: int
    mask: int
    spans: tuple[int, ...]
    modes: Mapping[str, int]
    token_bytes: np.ndarray
    word_starts: np.ndarray


class Loss(NamedTuple):
    """The loss of every target in nats, which of them count (bool, same shape), and the model's outputs for loss terms."""

    values: torch.Tensor
    counts: torch.Tensor
    outputs: Any


class Given(NamedTuple):
    """What a part may use while a batch is judged: the phase's objective, where the run stands, and the part's own other models.

    ``models`` holds them by the field that names them (:meth:`Part.trained`), frozen, in evaluation mode, on the device of the batch.
    ``objective.loss(models["teacher"], batch, needs)`` is what a teacher says of the same batch; call it under ``torch.no_grad()``.
    """

    objective: Objective
    progress: Progress
    models: Mapping[str, PreTrainedModel]


class Beginning(NamedTuple):
    """What a start may use besides the model before.

    ``models`` are the part's own other models by field (:meth:`Part.trained`), on the CPU and free to be changed; ``tokenizer`` is that of
    the stream the phase trains on, as transformers has it. ``tokenizers`` are those of the other models, for a start with
    ``other_tokens``. ``text()`` yields training documents of the phase's sources, one of each in turn; ``counted(tokens)`` makes the
    context to enter round forward passes over that many tokens, so that they are charged to the run, out of the budget of the phase.
    ``rows`` is how many rows of an embedding the run needs: one more than the highest token that is fed to the model, which is less than
    the stream's vocabulary has where no part uses the special tokens that were added to a tokenizer (None: as many as it has).
    """

    models: Mapping[str, PreTrainedModel]
    tokenizer: Any
    tokenizers: Mapping[str, Any] = MappingProxyType({})
    text: Callable[[], Iterable[str]] = tuple
    counted: Callable[[int], AbstractContextManager[Any]] = nullcontext
    rows: int | None = None


ALONE = Beginning(MappingProxyType({}), None)


class Ahead(NamedTuple):
    """What a part may look at before its phase begins: training text, prepared by the phase's objective.

    ``batches(source, sequences, size)`` yields the first ``sequences`` sequences of a source in the run's own order (those that an
    earlier phase on it has read first), ``size`` at a time, as dictionaries of tensors on the device; the phase's own documents are not
    used up by it. ``precision`` is a function that makes the context to enter round forward passes. Tokens read and FLOPs spent are
    charged to the run, out of the budget of the phase.
    """

    objective: Objective
    batches: Any
    precision: Any
    models: Mapping[str, PreTrainedModel]


@dataclass
class Layout:
    """Sequences as pieces of documents. Sequence ``i`` is the pieces ``first[i]:first[i + 1]``, laid one after the other.

    Piece ``j`` is the tokens ``start[j]:stop[j]`` of document ``document[j]``. All are int64 arrays; ``len(first)`` is one more than
    the number of sequences. Every sequence holds at most ``length`` tokens; shorter ones are padded by the loader.
    """

    document: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    length: int


@dataclass
class HeldOut:
    """What an evaluation may look at: batches of a held-out split, prepared by the objective, and how to judge them.

    ``batches(source, objective)`` yields dictionaries of tensors on ``device`` in a fixed order; ``text(source)`` yields documents
    as text; ``tokenizer`` is a transformers tokenizer or None. ``precision`` is entered around forwards (a context manager).
    ``made`` is for what an evaluation has made of it and will need again, by a key of its own: it is judged many times in a run.
    """

    sources: tuple[str, ...]
    batches: Any
    text: Any
    vocabulary: Vocabulary
    tokenizer: Any
    objective: Objective
    device: Any
    precision: Any
    extra: dict[str, Any] = field(default_factory=dict)
    made: dict[Any, Any] = field(default_factory=dict)
