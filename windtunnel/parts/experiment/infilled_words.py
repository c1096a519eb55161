"""Long outputs of a model that learned to fill short gaps: all at once, or a word at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

ITEMS, LONG, SHORT = 14, 10, 2  # on the circle, of a list, and of one that is no longer than gaps
GOES, STOP, START, END, BLANK, GAP = range(ITEMS, ITEMS + 6)
GAPS = 4  # of a text in training
PLACES = LONG + 8
BATCH = 32


class InfilledWords(Experiment, name="infilled-words"):
    """The share of lists of ten items that an encoder-decoder writes rightly, which learned to fill gaps of few words.

    Patel et al. 2023 (SAP), arXiv:2209.14500: a model of span corruption is asked with one gap behind the prompt; it fills the gap, the
    first word alone is kept, and the gap moves behind it, until the model writes the stop. So a model that learned short gaps writes long
    outputs, and has read what it wrote in both directions.

    A text names two items, then a sign, all items that lie between them on a circle of 14, the second item, and a stop: 2 to 10 items. The
    circle is the seed's. Training masks ``share`` of the tokens of texts, in spans of geometric length (mean ``span``), each behind a
    sentinel of its own, and the decoder writes sentinels and spans (Raffel et al. 2020, arXiv:1910.10683). A text has between none and
    twice its share, as a text has in a long sequence of many; with the same share in all, the model counts what is missing and fills no
    other gap. There the task was learned from exemplars in the prompt; here it is in the training text, so that a small model knows it.

    ``sequential`` asks in that way for lists of ten items, ``at_once`` takes what fills the gap at once; ``of_two`` and
    ``of_two_at_once`` are the same for lists of two. ``length`` is the mean number of words of ``at_once``, and ``longest`` the largest gap
    of training in as many texts. ``sequential`` costs a pass of the encoder for each word, which ``at_once`` needs once. The rate is chosen
    by the loss on other texts.
    """

    trial = Trial({"steps": 1, "judged": 4, "rates": [0.003]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    span: float = Field(3.0, ge=1, description="mean length of a gap in training")
    share: float = Field(0.3, gt=0, le=0.5, description="of all tokens that are in gaps; a text has up to twice that")
    steps: int = Field(4000, ge=1, description="of training, 32 texts each")
    judged: int = Field(100, ge=1, description="texts")
    rates: tuple[float, ...] = Field((3e-3,), min_length=1, description="learning rates of AdamW, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.small_decoder import descend
        from windtunnel.kits.small_encoder_decoder import SmallEncoderDecoder
        from windtunnel.kits.text.circle import circle

        random = np.random.default_rng(seed)
        after = circle(ITEMS, random)
        chosen = self._batch(after, random)

        def learned(rate: float) -> torch.nn.Module:
            model, own = SmallEncoderDecoder(GAP + GAPS, PLACES, blank=BLANK, seed=seed), np.random.default_rng((seed, 1))
            descend(model, lambda step: loss(model, *self._batch(after, own)), self.steps, rate)
            return model

        def judged(model: torch.nn.Module) -> float:
            with torch.no_grad():
                return -float(loss(model, *chosen))

        model = best(self.rates, learned, judged)
        found = dict[str, float]()
        for items, name in ((LONG, ""), (SHORT, "of_two_")):
            texts = [text(items, after, random) for _ in range(self.judged)]
            prompts, wanted = [each[:3] for each in texts], [each[3:-1] for each in texts]
            at_once = [filled(each) for each in told(model, [[*prompt, GAP] for prompt in prompts], LONG + 3)]
            found[name + "sequential"], found[name + "at_once"] = share(sequential(model, prompts), wanted), share(at_once, wanted)
            if items == LONG:
                found["length"] = float(np.mean([len(each) for each in at_once]))
        gaps = [gap for _ in range(self.judged) for gap in spans(corrupted(any_text(after, random), self.span, self.share, random)[1])]
        return {
            "sequential": found["sequential"],
            "at_once": found["at_once"],
            "of_two": found["of_two_sequential"],
            "of_two_at_once": found["of_two_at_once"],
            "length": found["length"],
            "longest": float(max(gaps)),
        }

    def _batch(self, after: np.ndarray, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read and what is to be written, int64 [BATCH, places] each."""
        pairs = [corrupted(any_text(after, random), self.span, self.share, random) for _ in range(BATCH)]
        return padded([pair[0] for pair in pairs]), padded([pair[1] for pair in pairs])


def any_text(after: np.ndarray, random: np.random.Generator) -> list[int]:
    """A text of two to ten items."""
    return text(int(random.integers(SHORT, LONG + 1)), after, random)


def text(items: int, after: np.ndarray, random: np.random.Generator) -> list[int]:
    """An item, the one so many further on, the sign, the items behind the first up to the second, and a stop."""
    from windtunnel.kits.text.circle import chain

    begin, *told = chain(int(random.integers(ITEMS)), items + 1, after)
    return [begin, told[-1], GOES, *told, STOP]


def corrupted(tokens: list[int], span: float, share: float, random: np.random.Generator) -> tuple[list[int], list[int]]:
    """``tokens`` with sentinels in the place of spans, and what the decoder has to write: sentinels with their spans."""
    given, wanted, place = list[int](), [START], 0
    own = min(2 * share * random.random(), 0.95)
    left, gaps = max(1, round(own * len(tokens))), 0
    chance = own / span / (1 - own)  # that a gap begins at a token that is read
    while place < len(tokens):
        late = len(tokens) - place <= left and not gaps
        if left and gaps < GAPS and (late or random.random() < chance):
            size = min(int(random.geometric(1 / span)), left, len(tokens) - place)
            given.append(GAP + gaps)
            wanted += [GAP + gaps, *tokens[place : place + size]]
            left, gaps, place = left - size, gaps + 1, place + size
        if place < len(tokens):
            given.append(tokens[place])
            place += 1
    return given, [*wanted, END]


def spans(wanted: list[int]) -> list[int]:
    """Lengths of the gaps that a decoder has to write."""
    import itertools

    signs = [place for place, token in enumerate(wanted) if token >= GAP or token == END]
    return [there - here - 1 for here, there in itertools.pairwise(signs)]


def padded(rows: list[list[int]]) -> torch.Tensor:
    """int64 [rows, longest], blanks behind."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [BLANK] * (longest - len(row)) for row in rows])


def loss(model: torch.nn.Module, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean over tokens to be written."""
    import torch

    return torch.nn.functional.cross_entropy(model(given, wanted[:, :-1]).transpose(1, 2), wanted[:, 1:], ignore_index=BLANK)


def told(model: torch.nn.Module, given: list[list[int]], most: int) -> list[list[int]]:
    """The likeliest ``most`` tokens for each of ``given``, behind the start."""
    import torch

    read = padded(given)
    written = torch.full((len(given), 1), START)
    with torch.no_grad():
        for _ in range(most):
            written = torch.cat([written, model(read, written)[:, -1].argmax(dim=1, keepdim=True)], dim=1)
    return [list(map(int, row)) for row in written[:, 1:].tolist()]


def filled(tokens: list[int]) -> list[int]:
    """What a decoder wrote into the first gap: up to a stop, the end or another sentinel."""
    behind = tokens[1:] if tokens[:1] == [GAP] else tokens
    stop = [place for place, token in enumerate(behind) if token >= GOES]
    return behind[: stop[0]] if stop else behind


def sequential(model: torch.nn.Module, prompts: list[list[int]]) -> list[list[int]]:
    """The first word that fills the gap behind each of ``prompts``, then the gap behind that, until that is a stop."""
    outputs, going = [list[int]() for _ in prompts], list(range(len(prompts)))
    for _ in range(LONG + 1):
        if not going:
            break
        firsts = [filled(each)[:1] for each in told(model, [[*prompts[place], *outputs[place], GAP] for place in going], 2)]
        for place, first in zip(going, firsts, strict=True):
            outputs[place] += first
        going = [place for place, first in zip(going, firsts, strict=True) if first]
    return outputs


def share(outputs: list[list[int]], wanted: list[list[int]]) -> float:
    """Of ``outputs`` that are what was wanted, to the end."""
    return sum(one == other for one, other in zip(outputs, wanted, strict=True)) / len(wanted)
