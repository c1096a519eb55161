"""The contract of encodings: how documents become arrays of numbers, and what is known of those."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from windtunnel.recipe import Recipe
    from windtunnel.slots.source import Source

ALL = "*"  # stands for every special number that an encoding has
Facts = Any  # what an encoding knows of its numbers; each has a type of its own, which its objectives and families know


class Kind(NamedTuple):
    """What a field of a stream holds: entries of ``shape``, as numpy's little-endian ``dtype``; ``fill`` stands where there is none.

    A field along ``unit`` has an entry for every unit of a document, one along ``document`` a single one for each document. All fields
    along ``unit`` are equally long. The first field of an encoding is along ``unit``: its entries are what is counted.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    fill: float = 0
    along: Literal["unit", "document"] = "unit"


class Piece(NamedTuple):
    """A document as arrays by field, or a stretch of one: the ``size`` in bytes of what it was made of, and whether it ``ends`` here.

    Fields along ``document`` are in the last stretch.
    """

    arrays: Mapping[str, np.ndarray]
    size: int
    ends: bool


class Fitted(NamedTuple):
    """An encoding that has learnt from training documents what it needs to know.

    ``facts`` are plain values and numpy arrays by name, which are stored with the stream; :meth:`Encoding.facts` makes of them what
    objectives are handed. ``encode(split, source)`` yields the documents in order.
    """

    fields: Mapping[str, Kind]
    facts: Mapping[str, Any]
    encode: Callable[[str, str], Iterator[Piece]]


class Encoding(Part):
    """How documents become named arrays of numbers.

    The knobs say what is asked for; what came of it is stored in the stream, and the class methods speak of that alone.
    """

    unit: ClassVar[str] = "unit"  # what one entry of the first field is: a token, an image, a step
    ahead: ClassVar[int] = 0  # how many units a sequence holds beyond its context
    least: ClassVar[int] = 1  # the shortest context that its objectives can do with
    evaluation: ClassVar[str]  # what a recipe that names no evaluation is judged by

    # What is asked for ------------------------------------------------------------------------------------------------------------

    def before(self) -> Recipe | None:
        """The recipe, in the knob ``recipe``, whose encoding this one takes over or goes on from; its stream is prepared first."""
        return None

    def folders(self) -> dict[str, str]:
        """The folders that it reads, by the knob that names each."""
        return {}

    def follows_curators(self) -> str:
        """What a study says of arms whose curators keep other documents, where this encoding learns from what is kept; empty if nothing."""
        return ""

    def notes(self, sources: Mapping[str, Source]) -> list[str]:
        """What a reader must know of how it reads documents of ``sources``, in sentences."""
        return []

    def refuse_incomplete(self) -> None:
        """Raise UserError where its knobs ask for something that is not there. Called when nothing more can come from a checkpoint."""

    def completed_from(self, folder: Path, rows: int) -> Self:
        """This encoding, with what it leaves open taken from what lies beside a model that training begins from.

        Args:
            folder: of the model.
            rows: of its embedding; 0 where it has none.
        """
        return self

    def differs(self) -> str:
        """What a study says of an arm that has this encoding where the baseline has another: which of their numbers compare."""
        return f"another encoding. Numbers by {self.unit} do not compare."

    @required
    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """What of it determines the stream of ``corpus``, as plain data: what stands in a folder, not where it lies."""
        raise NotImplementedError

    @required
    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """Learn from the training documents of ``corpus``.

        Args:
            corpus: a :class:`windtunnel.data.corpus.corpus.Corpus`; held-out documents are to be encoded, not learnt from.
            folder: of the stream; files that it writes there are kept with it.
            before: the stream of the recipe :meth:`before`.
            tell: is told what is being done, a line at a time.

        Raises:
            UserError: where the documents, or a folder of the user's, cannot be used.
        """
        raise NotImplementedError

    def reckoned(self) -> Facts:
        """The facts, as far as they can be told before a document is read."""
        raise NotImplementedError

    def example(self, context: int) -> dict[str, np.ndarray]:
        """Rows as a loader yields them, one that stands for any, of the numbers that :meth:`reckoned` knows."""
        raise NotImplementedError

    # What a stream offers ---------------------------------------------------------------------------------------------------------

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Facts:
        """What objectives and families are told, from the facts that were stored (:class:`Fitted`)."""
        return stored

    @classmethod
    def about(cls, facts: Facts) -> dict[str, int]:
        """What a report says of the encoding besides how many units there are: numbers by name."""
        return {}

    @classmethod
    def rows(cls, facts: Facts, special: Collection[str]) -> int | None:
        """How many rows of an embedding a run needs whose parts use the ``special`` numbers (:data:`ALL`: every one).

        None where numbers are not looked up.
        """
        return None

    @classmethod
    def same_numbers(cls, one: Any, other: Any) -> bool:
        """Whether a number means the same in both streams, so that a model of the one can read the other."""
        import numpy as np

        def same(name: str) -> bool:
            pair = mine[name], theirs[name]
            return np.array_equal(*pair) if any(isinstance(fact, np.ndarray) for fact in pair) else bool(pair[0] == pair[1])

        mine, theirs = one.stored, other.stored
        return one.fingerprint == other.fingerprint or (mine.keys() == theirs.keys() and all(map(same, mine)))

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 2) -> list[dict[str, Any]]:
        """What a model makes of ``count`` held-out documents of each source, for a reader to see; empty where there is nothing to show."""
        return []

    @classmethod
    def added(cls, stream: Any, special: Collection[str]) -> list[str]:
        """The names of the ``special`` numbers in :meth:`processor` that the user's own does not know."""
        return []

    @classmethod
    def processor_in(cls, folder: Path) -> Any:
        """What lies beside the model in ``folder``, as :meth:`processor` has it. Raises UserError where it cannot be read."""
        return None

    @classmethod
    def processor(cls, stream: Any, special: Collection[str] = ()) -> Any:
        """What belongs beside a model of ``stream``: an object with ``save_pretrained``, a folder whose files are copied, or None."""
        return None
