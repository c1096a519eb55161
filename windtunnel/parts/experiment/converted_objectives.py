"""Decoders that see one way or both, and encoders with decoders: what they do untuned and tuned, and conversions of one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

BLANK, START, END, ASK, ASK_NEW, GAP, GAPS = 0, 1, 2, 3, 4, 5, 3  # sentinels are GAP to GAP + GAPS - 1
TASK, TASKS = GAP + GAPS, ("lookup", "majority", "first")  # a token for each, and after these one for each in tuning
SYMBOL, SYMBOLS = TASK + 2 * len(TASKS), 20
COUNT = SYMBOL + SYMBOLS
LENGTH, KEYS, SHOWN, ANSWER = 12, 4, 7, 10  # of a document; pairs of a lookup; symbols of the other tasks; the place of the answer
SIZES = ((1, 2), (2, 1), (3,))  # of the spans of a document that are masked
INPUT, WRITTEN = LENGTH, 6  # places of an input with its gaps and the sign behind it, and of what is written for them
BATCH, JUDGED, EXAMPLES, WIDTH = 48, 300, 300, 48
Shape = Literal["causal", "prefix", "encoder-decoder"]


class ConvertedObjectives(Experiment, name="converted-objectives"):
    """The share of in-context tasks that a model does which learned text with such tasks in it, before any tuning.

    Wang et al. 2022 (What Language Model Architecture and Pretraining Objective Work Best for Zero-Shot Generalization?), arXiv:2204.05832:
    causal decoders, decoders that see an input both ways, and encoder-decoders, taught to tell ``next`` tokens (where there is an
    input, behind a random place of the text) or ``spans`` (masked ones, in the order of their sentinels). Next tokens with a causal
    mask are best without tuning, spans with an input seen both ways are best after tuning on many tasks, and a model goes on with the other
    mask and objective faster than a new one learns it.

    A document is one of a made-up language, in which two words tell the next, or, one in ``tasks``, a task: four pairs and the second of
    the one that is asked for, the symbol of two that comes oftener, or that which came first. ``zero_shot`` is the share of tasks done
    right in a model's own way: the answer is ranked among the symbols that stand there, as the next token or as what fills a last gap.
    Chance is 1 in 4 of lookups and 1 in 2 of the others. ``lookup`` is of lookups alone. ``tuned`` is the same after ``tuning`` steps on
    300 examples with other tokens for the tasks and the question, in which the answer alone is told.

    ``before`` are steps in another way first (``source``), with the same weights, as a conversion. ``nats`` is the loss on new
    documents by the objective at the end, in its own units (nats of each target); compare it within one. An encoder-decoder has as many
    layers on each side as a decoder in all, so a token costs the same and there are twice the weights. The rate of each arm is chosen by
    the loss of its objective on other documents; tuning takes a third of it.
    """

    trial = Trial({"steps": 2, "tuning": 2, "rates": [0.003]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    shape: Shape = Field("causal", description="what sees what")
    taught: Literal["next", "spans"] = Field("next", description="what is told")
    steps: int = Field(800, ge=1, description="of training, 48 documents each")
    before: int = Field(0, ge=0, description="steps in another way before these")
    source: Literal["causal-next", "prefix-spans"] = Field("prefix-spans", description="what that way is")
    tuning: int = Field(100, ge=1, description="steps on tasks, 48 examples each")
    tasks: int = Field(2, ge=1, description="one document in so many is a task")
    rates: tuple[float, ...] = Field((1.5e-3, 3e-3), min_length=1, description="learning rates of AdamW, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``zero_shot``, ``lookup``, ``tuned`` and ``nats``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.small_decoder import descend
        from windtunnel.kits.text.windowed import chances, language

        random = np.random.default_rng(seed)
        odds = chances(language(SYMBOLS, random, sharpness=1.5))
        chosen, held = (documents(odds, 8 * JUDGED, self.tasks, random) for _ in range(2))
        asked = [tasks(JUDGED, kind, random) for kind in range(len(TASKS))]
        known = np.concatenate([tasks(EXAMPLES // len(TASKS), kind, random, True) for kind in range(len(TASKS))])
        later = [tasks(JUDGED, kind, random, True) for kind in range(len(TASKS))]
        order = random.integers(len(known), size=(self.tuning, BATCH))

        def learned(rate: float) -> tuple[Any, float]:
            model, own, gaps = made(self.shape, seed), np.random.default_rng([seed, 3]), np.random.default_rng([seed, 2])

            def pretrain(shape: Shape, taught: str, steps: int) -> None:
                def loss(step: int) -> torch.Tensor:
                    return nats(model, shape, pairs(documents(odds, BATCH, self.tasks, own), shape, taught, gaps))

                descend(model, loss, steps, rate)

            if self.before:
                pretrain(*(("causal", "next") if self.source == "causal-next" else ("prefix", "spans")), self.before)  # type: ignore[arg-type]
            pretrain(self.shape, self.taught, self.steps)
            return model, rate

        def told_of(model: Any, rows: np.ndarray) -> float:
            with torch.no_grad():
                return float(nats(model, self.shape, pairs(rows, self.shape, self.taught, np.random.default_rng([seed, 1]))))

        model, rate = best(self.rates, learned, lambda one: -told_of(one[0], chosen))
        told = told_of(model, held)
        shares = [ranked(model, self.shape, self.taught, rows) for rows in asked]
        descend(model, lambda step: nats(model, self.shape, prompted(known[order[step]])), self.tuning, rate / 3)
        tuned = [ranked(model, self.shape, "next", rows) for rows in later]
        return {"zero_shot": float(np.mean(shares)), "lookup": shares[0], "tuned": float(np.mean(tuned)), "nats": told}


def tasks(count: int, kind: int, random: np.random.Generator, tuning: bool = False) -> np.ndarray:
    """Documents int64 [count, LENGTH] of a kind of task: its token, what is shown, the question (of a lookup: for what), answer, end."""
    import numpy as np

    every, rows = np.arange(count), np.full((count, LENGTH), ASK_NEW if tuning else ASK)
    rows[:, 0], rows[:, -1] = TASK + kind + len(TASKS) * tuning, END
    if kind == 0:
        keys, values = (random.permuted(np.tile(np.arange(SYMBOLS // 2), (count, 1)), axis=1)[:, :KEYS] for _ in range(2))
        chosen = random.integers(0, KEYS, count)
        rows[:, 1 : 1 + 2 * KEYS : 2], rows[:, 2 : 2 + 2 * KEYS : 2] = SYMBOL + keys, SYMBOL + SYMBOLS // 2 + values
        rows[:, ANSWER - 1], rows[:, ANSWER] = rows[every, 1 + 2 * chosen], rows[every, 2 + 2 * chosen]
        return np.asarray(rows)
    two = SYMBOL + random.permuted(np.tile(np.arange(SYMBOLS), (count, 1)), axis=1)[:, :2]
    which = random.integers(0, 2, (count, SHOWN))
    which[every, random.integers(1, SHOWN, count)] = 1 - which[:, 0]  # both symbols are there
    shown = np.take_along_axis(two, which, axis=1)
    rows[:, 1 : 1 + SHOWN] = shown
    rows[:, ANSWER] = shown[:, 0] if kind == 2 else np.where(which.sum(axis=1) > SHOWN / 2, two[:, 1], two[:, 0])
    return np.asarray(rows)


def documents(odds: np.ndarray, count: int, one_in: int, random: np.random.Generator) -> np.ndarray:
    """Documents of the language, int64 [count, LENGTH], one in ``one_in`` a task instead."""
    import numpy as np

    from windtunnel.kits.text.windowed import drawn

    rows = np.full((count, LENGTH), START)
    rows[:, 1:] = SYMBOL + drawn(odds, count, LENGTH - 1, random)
    kinds = np.where(random.random(count) < 1 / one_in, random.integers(0, len(TASKS), count), -1)
    for kind in range(len(TASKS)):
        rows[kinds == kind] = tasks(int((kinds == kind).sum()), kind, random)
    return np.asarray(rows)


def gapped(rows: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` with sentinels for spans and a sign behind, [rows, INPUT], and the sentinels with their spans, [rows, WRITTEN]."""
    import numpy as np

    given, target = np.full((len(rows), INPUT), BLANK), np.full((len(rows), WRITTEN), BLANK)
    for place, (row, kind) in enumerate(zip(rows.tolist(), random.integers(0, len(SIZES), len(rows)).tolist(), strict=True)):
        sizes = SIZES[kind]
        free = sorted(random.integers(0, LENGTH - sum(sizes) - len(sizes) + 2, len(sizes)).tolist())
        read, told, begin = list[int](), list[int](), 0
        for gap, (start, size) in enumerate(zip(free, sizes, strict=True)):
            start += sum(sizes[:gap]) + gap  # a token at least stands between two spans
            read += [*row[begin:start], GAP + gap]
            told += [GAP + gap, *row[start : start + size]]
            begin = start + size
        read += row[begin:]
        given[place, : len(read)] = read
        target[place, : len(told) + 1] = [*told, END]
    given[:, -1] = START
    return given, target


def pairs(rows: np.ndarray, shape: Shape, taught: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is given and what is told, of documents."""
    if taught == "spans":
        return gapped(rows, random)
    place = 1 if shape == "causal" else int(random.integers(1, LENGTH))
    return rows[:, :place], rows[:, place:]


def prompted(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tasks up to the question, and their answers."""
    return rows[:, :ANSWER], rows[:, ANSWER : ANSWER + 1]


def made(shape: Shape, seed: int) -> Any:
    """A model of a shape; decoders have the same weights whatever they see."""
    from windtunnel.kits.small_decoder import SmallDecoder
    from windtunnel.kits.small_encoder_decoder import SmallEncoderDecoder

    if shape == "encoder-decoder":
        return SmallEncoderDecoder(COUNT, LENGTH, width=WIDTH, seed=seed)
    return SmallDecoder(COUNT, COUNT, INPUT + WRITTEN, width=WIDTH, tokens=True, seed=seed)


def logits_of(model: Any, shape: Shape, given: np.ndarray, target: np.ndarray) -> torch.Tensor:
    """Logits of each token of ``target`` [rows, written], of what is given and what was told before."""
    import numpy as np
    import torch

    if shape == "encoder-decoder":
        begun = np.concatenate([np.full((len(target), 1), START), target[:, :-1]], axis=1)
        return torch.as_tensor(model(torch.from_numpy(given), torch.from_numpy(begun)))
    count = given.shape[1]
    rows = torch.from_numpy(np.concatenate([given, target[:, :-1]], axis=1))
    return torch.as_tensor(model(rows, count if shape == "prefix" else False)[:, count - 1 :])


def nats(model: Any, shape: Shape, both: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
    """The mean loss of what is told."""
    import torch

    given, target = both
    logits = logits_of(model, shape, given, target).transpose(1, 2)
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(target), ignore_index=BLANK)


def ranked(model: Any, shape: Shape, taught: str, rows: np.ndarray) -> float:
    """The share of tasks whose answer is the likeliest of the symbols that may be it, as the next token or as what fills a last gap."""
    import numpy as np
    import torch

    given, target = prompted(rows)
    if taught == "spans":
        behind = np.full((len(rows), INPUT - ANSWER), START)
        behind[:, 0] = GAP
        given, target = np.concatenate([given, behind], axis=1), np.concatenate([np.full_like(target, GAP), target], axis=1)
    with torch.no_grad():
        logits = logits_of(model, shape, given, target)[:, -1].numpy()
    options = offered(rows)
    best = np.take_along_axis(options, np.take_along_axis(logits, options, axis=1).argmax(axis=1)[:, None], axis=1)[:, 0]
    return float((best == rows[:, ANSWER]).mean())


def offered(rows: np.ndarray) -> np.ndarray:
    """The symbols that may be the answer of tasks, [rows, 7], with repetition: the values of a lookup, or what is shown."""
    import numpy as np

    values = rows[:, 2 : 2 + 2 * KEYS : 2]
    lookup = (rows[:, 0] - TASK) % len(TASKS) == 0
    return np.where(lookup[:, None], np.concatenate([values, values[:, : SHOWN - KEYS]], axis=1), rows[:, 1 : 1 + SHOWN])
