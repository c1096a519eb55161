"""The contract of starts, and what they may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class StartContext(NamedTuple):
    """What a start may use besides the model before.

    ``models`` are the part's own other models by field (:meth:`Part.trained`), on the CPU and free to be changed. ``stream`` is what the
    phase trains on, on the documents of ``sources``. ``processors`` are what lies beside the other models (a tokenizer), for a start
    with ``other_tokens``. ``counted(tokens)`` makes the context to enter round forward passes over that many tokens, so that they are
    charged to the run, out of the budget of the phase. ``rows`` is how many rows of an embedding the run needs: one more than the highest
    number that is fed to the model, which is less than the facts of the stream say where no part uses the special tokens that were
    added to a tokenizer (None: as many as these say). ``judge(units)`` is what an evaluation looks at (:class:`HeldOut`): the documents
    of validation as the objective of the phase sees them, at most so many units of each source.
    """

    models: Mapping[str, PreTrainedModel]
    stream: Any
    processors: Mapping[str, Any] = MappingProxyType({})
    sources: tuple[str, ...] = ()
    counted: Callable[[int], AbstractContextManager[Any]] = nullcontext
    rows: int | None = None
    judge: Callable[[int], Any] | None = None


ALONE = StartContext(MappingProxyType({}), None)


class Start(Part):
    """How the weights of a phase begin.

    ``local`` counts in phases after the first: the first start makes the model that is then sharded.
    """

    local = "it transforms the whole weights of the phase before"

    def origin(self) -> str | None:
        """The model (folder, file, name on the hub) that it begins with as it is: sizes and tokenizer of a recipe default to its own."""
        return None

    @required
    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A model of transformers configuration ``config``; ``previous`` is the model the phase before ended with.

        ``seed`` decides every weight that is drawn, together with the weight's name, so that two models agree where shapes do.
        """
        raise NotImplementedError

    def by_weight(self, config: Any, context: StartContext = ALONE) -> tuple[PreTrainedModel, Iterator[tuple[str, torch.Tensor]]] | None:
        """What :meth:`build` returns in a first phase, as an outline without values, and its weights by name, one at a time.

        So that no process need hold them all. None, which is the default, where it has to be built whole.
        """
        return None
