"""The contract of evaluations, and what they may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from windtunnel.core.part import Part, required
from windtunnel.slots.encoding import Facts
from windtunnel.slots.objective import Objective

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel


GROUPED = 1 << 62  # units from here on are groups of documents
PLACE = 40  # of other units the bits from here on are the place of their source in the stream


class ByDocument(NamedTuple):
    """The first number of an evaluation as ``above.sum() / below.sum()``: what each held-out document adds to both, [documents].

    ``unit`` (int64, rising) says which document it is, the same for every model that is measured on the split: :meth:`Stream.units`.
    Documents of one group are one unit.
    """

    unit: np.ndarray
    above: np.ndarray
    below: np.ndarray

    @property
    def grouped(self) -> bool:
        """Whether documents have groups."""
        return bool(len(self.unit)) and int(self.unit[-1]) >= GROUPED

    def of_source(self, place: int) -> ByDocument:
        """What the documents of one source add, by its place in the stream. Documents with groups, which may have several, are left out."""
        mine = self.unit >> PLACE == place
        return ByDocument(self.unit[mine], self.above[mine], self.below[mine])

    @classmethod
    def of(cls, unit: np.ndarray, above: np.ndarray, below: np.ndarray) -> ByDocument:
        """The sums by ``unit`` of entries in which one may stand more than once."""
        import numpy as np

        found, place = np.unique(unit, return_inverse=True)
        return cls(found, np.bincount(place, above, len(found)), np.bincount(place, below, len(found)))

    @classmethod
    def together(cls, parts: Iterable[ByDocument]) -> ByDocument:
        """The sums over all ``parts``, of which there is at least one."""
        import numpy as np

        return cls.of(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Numbers(dict[str, float]):
    """Numbers by name, and where it is known what each document adds to the first of them."""

    def __init__(self, numbers: Mapping[str, float], by_document: ByDocument | None = None) -> None:
        super().__init__(numbers)
        self.by_document = by_document


class Among(NamedTuple):
    """The ranks that measure together: ``place`` of ``ranks``; ``gathered`` gives what each of them hands in, in their order."""

    place: int = 0
    ranks: int = 1
    gathered: Callable[[Any], list[Any]] = lambda mine: [mine]

    def own(self, batches: Iterable[Any]) -> Iterator[tuple[int, Any, bool]]:
        """Those of ``batches`` that this rank measures: every ``ranks``-th, each with the rows before it, and whether it counts.

        Every rank gets as many, as its forward passes may need the others. The last may be one that another measures.
        """
        row, at_hand = 0, list[tuple[int, Any]]()
        for batch in batches:
            at_hand.append((row, batch))
            row += len(batch["labels"])
            if len(at_hand) == self.ranks:
                yield *at_hand[self.place], True
                at_hand = []
        if at_hand:
            yield *at_hand[min(self.place, len(at_hand) - 1)], self.place < len(at_hand)

    def in_order(self, mine: list[Any]) -> list[Any]:
        """What all ranks have found, each batch by batch, in the order of the batches."""
        every = self.gathered(mine)
        return [found[number] for number in range(len(every[0])) for found in every if number < len(found)]


@dataclass
class HeldOut:
    """What an evaluation may look at: batches of a held-out split, prepared by the objective, and how to judge them.

    ``batches(source, objective)`` yields dictionaries of tensors on ``device`` in a fixed order; ``stream`` holds the documents of
    ``split`` (None where there are only batches), and ``facts`` is what its encoding knows of its numbers. ``context`` is how many
    units a model sees. ``precision`` is entered around forwards (a context manager). ``begins(source)``, where it is known, is the
    document in which each sequence begins that ``batches`` yields, as a place in the source: int64 [sequences].
    ``trained_on`` are the sources that the model's phase trains on, None where that is not known, and ``epochs()``, where it is known, says
    how often each of them has gone by in training.
    ``among`` are the ranks that measure together.
    ``made`` is for what an evaluation has made of it and will need again, by a key of its own: it is judged many times in a run.
    """

    sources: tuple[str, ...]
    batches: Any
    stream: Any
    facts: Facts
    objective: Objective
    device: Any
    precision: Any
    split: str
    context: int
    begins: Any = None
    trained_on: tuple[str, ...] | None = None
    epochs: Any = None
    among: Among = field(default_factory=Among)
    made: dict[Any, Any] = field(default_factory=dict)


class Evaluation(Part):
    """Numbers of a model. ``better`` says which direction is good, ``unit`` what they are counted in.

    ``by_objective`` says that held-out documents are scored with the objective that the model was trained with. Of several ranks that each
    hold the model whole, all are asked where it ``shares`` the batches (:class:`Among`), and rank 0 alone where it does not.

    Measuring costs a run nothing. A recipe that an evaluation holds is flown, cached and charged like that of any other part, and so is
    what it looks at ahead: its numbers steer mixtures, schedules and limits, so what was trained to give them is not free.
    """

    acts = ("evaluate",)

    by_objective: ClassVar[bool] = True
    shares: ClassVar[bool] = False
    unit: ClassVar[str] = ""
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = ""  # the name of the first of them; "" where that is known only once it is measured
    timed: ClassVar[tuple[str, ...]] = ()  # what the names of numbers begin with that are measured speeds, which differ from run to run

    def pinned(self) -> Self:
        """The same evaluation with the content of the files that it reads written down, so that a run's key tells when they change."""
        return self

    def measures(self, objective: Objective) -> bool:
        """Whether it can judge a model that is trained with ``objective``.

        It is left out in a phase whose model it cannot judge; the last phase has to be one that it can.
        """
        return True

    def first(self, objective: Objective) -> str:
        """The name of the first number of a model that is trained with ``objective``; "" where it is known only once it is measured."""
        return self.number

    @required
    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """Numbers by name; the first is the primary one. The model is in evaluation mode and no gradient is kept.

        ``state`` is that of the phase, and on test that of the last one. Where :class:`Numbers` say
        on test what each document adds to the first number, a study can tell how much the choice of documents moves it.
        """
        raise NotImplementedError
