"""The contract of curators, and what they may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    import daft
    from transformers import PreTrainedModel


ROW = "#"  # the column that numbers documents while they are curated
REMOVED = "removed"  # the column in which a curator says why a document goes; null where it stays


def _computed(name: str, compute: Callable[[], Any]) -> Any:
    return compute()


def _uncounted(tokens: int) -> AbstractContextManager[Any]:
    return nullcontext()


class CuratorContext(NamedTuple):
    """What a curator may use besides the documents.

    ``tally`` counts what is removed. ``models`` are the curator's own other models by field (:meth:`Part.trained`), frozen, in evaluation
    mode, on the device; ``processors`` are what lies beside them (a tokenizer; None where nothing does), by the same names, because the
    corpus is not encoded yet. ``counted(tokens)`` makes the context to enter round forward passes over that many tokens: what is spent in
    it is stored with the corpus and charged to every run on it. ``once(name, compute)`` is ``compute()`` as JSON has it, also when
    preparing is interrupted and begun again; ``name`` has to tell its input. ``seed`` is for what is drawn at random: a corpus is the
    same for all seeds of a study.
    """

    tally: Any
    models: Mapping[str, PreTrainedModel] = MappingProxyType({})
    processors: Mapping[str, Any] = MappingProxyType({})
    counted: Callable[[int], AbstractContextManager[Any]] = _uncounted
    once: Callable[[str, Callable[[], Any]], Any] = _computed
    seed: int = 0


class Curator(Part):
    """Better training documents from training documents. It never sees held-out documents.

    ``fields`` are those that a document has to have for it to do anything: where no document has them, it is refused.
    """

    fields: ClassVar[tuple[str, ...]] = ()

    @required
    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The documents that stay, perhaps changed; what was removed is counted in ``context.tally``.

        ``documents`` has every field of every source as a column (null where a source has not), ``origin``, ``source``, which names
        the source, and ``#``, which numbers the documents. What is returned keeps ``origin`` and ``source``; fields may be changed, added
        and left out. A document that goes is left out, or it stays in the table with the reason in the column ``removed`` (text, null
        where a document stays), written ``rule`` or ``rule: detail``: what was removed is stored with it, and counted by rule. What is
        just left out counts as removed by the curator's name, if ``#`` is still there to tell.

        A curator that can judge documents one at a time is a :class:`windtunnel.data.corpus.judging.Judge`.
        """
        raise NotImplementedError
