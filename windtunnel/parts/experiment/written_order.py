"""Numbers put in order by a small network, by how it reads them and how it says which comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH, RATE, JUDGED = 128, 0.005, 500


class WrittenOrder(Experiment, name="written-order"):
    """How many sets of numbers a small network sorts, of the size of training and of twice that.

    Vinyals et al. 2015, arXiv:1506.03134 (Pointer Networks): the next number is pointed at among those that were read, so that there may be
    more of them than in training; a sequence-to-sequence network names a place out of a fixed list (``places``). Vinyals et al. 2016,
    arXiv:1511.06391 (read, process, write): a ``set`` is read without an order, and rounds of attention without input, ``process`` of them,
    make what writing begins from. A number may be written twice, which is wrong: where it may not, any score that falls with the number
    sorts, and many a network does before it is trained. GRUs of width 32 are in the place of LSTMs of 256 and more, and beams are of one.

    ``sorted`` is the share of sets whose whole order is right, ``places_right`` that of places; ``longer/`` is of sets twice as large.
    """

    trial = Trial({"steps": 2, "numbers": 3})

    unit: ClassVar[str] = "share of sets"
    better: ClassVar[str] = "higher"

    reads: Literal["sequence", "set"] = Field("sequence", description="how numbers are read")
    process: int = Field(3, ge=0, description="rounds of attention of a set before writing")
    writes: Literal["pointers", "places"] = Field("pointers", description="how the next number is said")
    numbers: int = Field(5, ge=2, description="of a set in training, from 0 to 1")
    steps: int = Field(500, ge=1, description="of training, 128 sets each")

    def measure(self, seed: int) -> dict[str, float]:
        """``sorted`` and ``places_right``, and of sets twice as large."""
        import numpy as np
        import torch

        from windtunnel.kits.pointers import Pointers
        from windtunnel.kits.small_decoder import descend

        random = np.random.default_rng(seed)
        network = Pointers(self.reads, self.process, self.writes, self.numbers, seed)

        def loss(_: int) -> torch.Tensor:
            numbers, order = drawn(BATCH, self.numbers, random)
            return torch.nn.functional.cross_entropy(network(numbers, order).flatten(0, 1), order.flatten())

        descend(network, loss, self.steps, RATE)
        found: dict[str, float] = {}
        for behind, size in (("", self.numbers), ("longer/", 2 * self.numbers)):
            numbers, order = drawn(JUDGED, size, random)
            with torch.no_grad():
                right = (network(numbers).argmax(dim=2) == order).numpy()
            found |= {f"{behind}sorted": float(right.all(axis=1).mean()), f"{behind}places_right": float(right.mean())}
        return found


def drawn(rows: int, size: int, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers float32 [rows, size] and the places of them in rising order, int64 [rows, size]."""
    import torch

    numbers = torch.from_numpy(random.random((rows, size))).float()
    return numbers, numbers.argsort(dim=1)
