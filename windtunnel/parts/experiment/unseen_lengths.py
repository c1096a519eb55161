"""Tasks on sequences that are longer than those of training, by whether a short program of what a decoder can do solves all lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.small_decoder import SmallDecoder

BLANK, START, GOES, END, ZERO, ONE, EVEN, ODD, SYMBOL = range(9)  # symbols in a fixed order follow
BATCH, JUDGED = 48, 300


class UnseenLengths(Experiment, name="unseen-lengths"):
    """The share of tasks done right to the end on sequences of up to twice the length of training.

    Zhou et al. 2024 (What Algorithms can Transformers Learn?), arXiv:2310.16028: a decoder generalises to longer sequences of a task if a
    short program of RASP-L solves it at all lengths, that is, one of causal selections and without arithmetic on places. ``counting`` is
    from a symbol to a later one of a fixed order, and ``copying`` of sequences in which no symbol comes twice: both are short (what stands
    behind the last symbol written, in the order or in the sequence). ``repeating`` copies sequences of two symbols, so what was written
    last does not tell the place; ``parity`` says whether ones are odd. ``hinted`` is the parity in another form: before every bit stands a
    symbol, in the fixed order from a random one on, and the answer goes through these and says the parity so far behind each, so that again
    what is next follows from the last symbol and the last parity.

    As there, examples begin at random places of a table of learned positions, so that all are trained; here all of a step begin at one
    place, and contexts are not filled with more examples. Lengths of training are equally likely from 1 to ``longest``. ``longer`` is
    judged greedily on lengths above that, to twice as much, ``seen`` on those of training; chance of the parity is 1 in 2. Symbols are 4
    times ``longest``. The rate of each task is chosen by the loss on other examples of training lengths.
    """

    trial = Trial({"steps": 2, "longest": 3, "rates": [0.003]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    task: Literal["counting", "copying", "repeating", "parity", "hinted"] = Field("copying", description="what is done")
    longest: int = Field(8, ge=2, description="sequences of training")
    steps: int = Field(800, ge=1, description="of training, 48 examples each")
    layers: int = Field(3, ge=1, description="of the decoder")
    width: int = Field(48, ge=4, multiple_of=4, description="of the decoder")
    rates: tuple[float, ...] = Field((1e-3, 3e-3), min_length=1, description="learning rates of AdamW, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``longer`` and ``seen``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random = np.random.default_rng(seed)
        most = 2 * self.longest
        places = max(len(row) for row in (example(self.task, most, 2 * most, random) for _ in range(20)))
        count = SYMBOL + 2 * most

        def loss(model: SmallDecoder, examples: int, random: np.random.Generator) -> torch.Tensor:
            rows = padded([example(self.task, int(size), 2 * most, random) for size in random.integers(1, self.longest + 1, examples)])
            tokens = torch.from_numpy(rows)
            logits = shifted(model, tokens[:, :-1], int(random.integers(places - rows.shape[1] + 1)))
            return torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.from_numpy(wanted(rows)), ignore_index=BLANK)

        def learned(rate: float) -> SmallDecoder:
            model = SmallDecoder(count, count, places, width=self.width, layers=self.layers, tokens=True, seed=seed)
            own = np.random.default_rng([seed, 1])
            descend(model, lambda step: loss(model, BATCH, own), self.steps, rate)
            return model

        def fits(model: SmallDecoder) -> float:
            return -float(loss(model, JUDGED, np.random.default_rng([seed, 2])).detach())

        model = best(self.rates, learned, fits)
        found = dict[str, float]()
        for name, least, last in (("longer", self.longest + 1, most), ("seen", 1, self.longest)):
            rows = [example(self.task, int(size), 2 * most, random) for size in random.integers(least, last + 1, JUDGED)]
            found[name] = right(model, padded(rows))
        return found


def example(task: str, size: int, symbols: int, random: np.random.Generator) -> list[int]:
    """A row of tokens: start, what is given, a sign, the answer and an end."""
    first = int(random.integers(symbols - size + 1))
    run = [SYMBOL + first + place for place in range(size)]
    bits = random.integers(0, 2, size).tolist()
    if task == "counting":
        return [START, run[0], run[-1], GOES, *run, END]
    if task == "copying":
        given = (SYMBOL + random.permutation(symbols)[:size]).tolist()
        return [START, *given, GOES, *given, END]
    told = [ZERO + bit for bit in bits]
    if task == "repeating":
        return [START, *told, GOES, *told, END]
    parities = [EVEN + sum(bits[: place + 1]) % 2 for place in range(size)]
    if task == "parity":
        return [START, *told, GOES, parities[-1], END]
    pairs = [token for pair in zip(run, told, strict=True) for token in pair]
    answer = [token for pair in zip(run, parities, strict=True) for token in pair]
    return [START, *pairs, GOES, *answer, END]


def padded(rows: list[list[int]]) -> np.ndarray:
    """int64 [rows, longest], blanks behind."""
    import numpy as np

    longest = max(map(len, rows))
    return np.array([row + [BLANK] * (longest - len(row)) for row in rows], np.int64)


def wanted(rows: np.ndarray) -> np.ndarray:
    """The next token of each place but the last, [rows, length - 1]; blank up to the sign."""
    import numpy as np

    answers = (rows == GOES).cumsum(axis=1)[:, :-1] > 0
    return np.where(answers, rows[:, 1:], BLANK)


def shifted(model: SmallDecoder, rows: torch.Tensor, start: int = 0) -> torch.Tensor:
    """Logits of ``rows`` that begin at a place of the table of positions."""
    import torch

    count = rows.shape[1]
    mask = torch.nn.Transformer.generate_square_subsequent_mask(count)
    states = model.blocks(model.read(rows) + model.positions[start : start + count], mask=mask, is_causal=True)
    return torch.as_tensor(model.write(states))


def right(model: SmallDecoder, rows: np.ndarray) -> float:
    """The share of ``rows`` in which every token of the answer is the likeliest behind those before it.

    That is the share that is written right greedily: the first that is wrong ends it, and up to there both see the same.
    """
    import torch

    with torch.no_grad():
        told = shifted(model, torch.from_numpy(rows[:, :-1])).argmax(dim=2).numpy()
    asked = wanted(rows)
    return float(((told == asked) | (asked == BLANK)).all(axis=1).mean())
