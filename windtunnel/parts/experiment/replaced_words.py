"""What an encoder knows that told words from those that a small network put in their place, or filled in words that were masked."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.small_decoder import SmallDecoder

WORDS, LENGTH, WIDTH, SMALL, BATCH = 800, 32, 48, 16, 24  # words that are known, of a passage with its sign, widths, and passages of a step
MASKED, WEIGHT = 0.25, 50.0
PROBE = (40, 20, 40)


class ReplacedWords(Experiment, name="replaced-words"):
    """The share of passages whose module a linear probe tells from the states of an encoder, at a budget of compute.

    Niklaus and Giofré 2022 (BudgetLongformer), arXiv:2211.17135, with Clark et al. 2020 (ELECTRA), arXiv:2003.10555: a small generator
    fills in a quarter of the words, drawn from what it tells, and the encoder tells of every word whether it was replaced; the loss is the
    generator's and 50 times the encoder's. Attention is of a window of places and of the first place, which sees and is seen by all
    (Beltagy et al. 2020, arXiv:2004.05150). ``masked`` fills in words with the encoder itself and has no generator. The generator has one
    layer of width 16, the encoder two of 48, and they share nothing. Summaries, for which the encoder was used, and long texts are not
    here.

    Passages are 31 words of the sources of Python's library, of the 800 most frequent ones. Steps are as many as ``gigaflops`` pay for,
    which are counted on a step with everything in it; as the window is a mask, it saves none. ``module`` is the share right of a ridge
    regression from mean states to one of 12 modules (40 passages of each to learn from, 40 to judge on; none in training). Of ``rates`` and
    ridges that one is taken which tells the modules of 20 further passages each best. ``words`` is the same probe on how often each word
    stands there, ``untrained`` on the states of the encoder before training; ``steps`` tells how many were paid for.
    """

    trial = Trial({"gigaflops": 3.0, "rates": [1e-3]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    taught: Literal["replaced", "masked"] = Field("replaced", description="what the encoder tells")
    window: int = Field(8, ge=0, description="places on either side that a place sees, besides the first; 0: all")
    gigaflops: float = Field(100.0, gt=0, description="of training, with each rate")
    rates: tuple[float, ...] = Field((1e-3, 3e-3), min_length=1, description="learning rates of AdamW that are tried")

    def measure(self, seed: int) -> dict[str, float]:
        """``module``, ``words``, ``untrained`` and ``steps``. Raises PartError where this Python has too few sources."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import SmallDecoder, descend
        from windtunnel.kits.text import by_module

        random = np.random.default_rng(seed)
        rows, numbers = by_module.rows_by_module(self.name, sources(), WORDS, LENGTH - 1, LENGTH - 1, False)
        rows = np.concatenate([np.full((len(rows), 1), by_module.START), rows], axis=1)
        texts, modules = by_module.split(self.name, rows, numbers, by_module.ProbeRows(*PROBE), random)
        probes = {name: texts[name] for name in by_module.ProbeRows._fields}
        count = by_module.WORD + WORDS
        encoder = SmallDecoder(count, 1 if self.taught == "replaced" else count, LENGTH, width=WIDTH, tokens=True, seed=seed)
        first = torch.nn.ModuleList([encoder])
        if self.taught == "replaced":
            first.append(SmallDecoder(count, count, LENGTH, width=SMALL, layers=1, heads=2, tokens=True, seed=seed))

        def told(model: Any) -> tuple[float, float]:
            return by_module.probed({name: mean_states(model, some, self.window) for name, some in probes.items()}, modules)

        steps = max(1, round(self.gigaflops * 1e9 / flops(copy.deepcopy(first), texts["trained"][:BATCH], self.window)))
        order = random.integers(len(texts["trained"]), size=(steps, BATCH))
        found = []
        for rate in self.rates:
            networks, own = copy.deepcopy(first), np.random.default_rng([seed, 1])

            def loss(step: int, networks: Any = networks, own: np.random.Generator = own) -> torch.Tensor:
                return loss_of(networks, texts["trained"][order[step]], self.window, own)

            descend(networks, loss, steps, rate)
            found.append(told(networks[0]))
        return {
            "module": max(found, key=lambda pair: pair[0])[1],
            "words": by_module.probed({name: by_module.counts(some, WORDS) for name, some in probes.items()}, modules)[1],
            "untrained": told(encoder)[1],
            "steps": float(steps),
        }


@functools.cache
def sources() -> tuple[str, ...]:
    """The source of each module of this Python's library."""
    from windtunnel.data.corpus.tally import Tally
    from windtunnel.parts.source.builtin import Builtin

    return tuple(str(text) for text, _ in Builtin(text="stdlib").documents(Tally("stdlib")))


def states(model: SmallDecoder, rows: torch.Tensor, window: int) -> torch.Tensor:
    """What stands before the last layer, where a place sees ``window`` on either side and the first, which sees all."""
    import torch

    place = torch.arange(rows.shape[1])
    near = (place[:, None] - place).abs() <= (window or rows.shape[1])
    near[0], near[:, 0] = True, True
    mask = torch.zeros(near.shape).masked_fill(~near, -torch.inf)
    return torch.as_tensor(model.blocks(model.read(rows) + model.positions[: rows.shape[1]], mask=mask))


def loss_of(networks: Any, rows: np.ndarray, window: int, random: np.random.Generator) -> torch.Tensor:
    """Of an encoder that fills in words, or with a generator behind it, of both."""
    import torch

    from windtunnel.kits.text.by_module import MASK

    tokens = torch.from_numpy(rows)
    gone = torch.from_numpy(random.random(rows.shape) < MASKED)
    gone[:, 0] = False
    filling = networks[-1]
    logits = filling.write(states(filling, tokens.masked_fill(gone, MASK), window)[gone])
    filled = torch.nn.functional.cross_entropy(logits, tokens[gone])
    if len(networks) == 1:
        return filled
    noise = torch.from_numpy(random.gumbel(size=tuple(logits.shape))).float()
    given = tokens.clone()
    given[gone] = (logits.detach() + noise).argmax(dim=1)
    told = networks[0].write(states(networks[0], given, window))[:, 1:, 0]
    replaced = (given != tokens)[:, 1:].float()
    return filled + WEIGHT * torch.nn.functional.binary_cross_entropy_with_logits(told, replaced)


def flops(networks: Any, rows: np.ndarray, window: int) -> int:
    """Of a step's forward and backward pass."""
    import numpy as np
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        loss_of(networks, rows, window, np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def mean_states(model: SmallDecoder, rows: np.ndarray, window: int) -> np.ndarray:
    """Means over words, [rows, width]."""
    import numpy as np
    import torch

    with torch.no_grad():
        return np.asarray(states(model, torch.from_numpy(rows), window)[:, 1:].mean(dim=1).double().numpy())
