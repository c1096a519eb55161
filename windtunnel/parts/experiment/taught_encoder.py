"""What an encoder knows that learned with a decoder behind it, and was or was not taught on its own."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WORDS, LENGTH, LEAST, WIDTH, BATCH = 800, 10, 6, 48, 48
MASKED, REPLACED, MOVED = 0.15, 0.1, 0.1  # shares of places
PROBE, TEMPERATURE = (50, 20, 50), 0.1


class TaughtEncoder(Experiment, name="taught-encoder"):
    """The share of lines whose module a linear probe tells from the states of an encoder.

    Zhong et al. 2022 (E2S2), arXiv:2205.14912: sequence-to-sequence denoising teaches the encoder through the decoder alone. Two losses of
    its own are added: the words that were masked, replaced or shuffled, told from the encoder's states, and InfoNCE between sentence
    vectors of two noisy views of a line among those of the batch. Here ``denoise`` and ``contrast`` weigh them; of each line a share of
    0.15 of words is masked, 0.1 replaced by any word, and 0.1 changes places with the next. A sentence vector is the mean state, where the
    paper has prompts for it, and the two terms of reconstruction it adds up are one, on the line with all noise. It went on from BART and
    T5; this begins from nothing.

    Lines are of Python's docstrings, ten of their 800 most frequent words. ``module`` is the share right of a ridge regression from mean
    states of lines without noise to one of 12 modules (50 lines of each to learn from, 50 to judge on; none in training), ``repaired`` the
    share of replaced words that the decoder tells right, behind the right words before. Of ``rates`` and ridges that one is taken which
    tells the modules of 20 further lines each best. ``words`` is the same probe on how often each word stands there.
    """

    trial = Trial({"steps": 2, "rates": [1e-3]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    denoise: float = Field(0.0, ge=0, description="weight of telling changed words from the encoder's states")
    contrast: float = Field(0.0, ge=0, description="weight of the contrast between views")
    steps: int = Field(250, ge=1, description="of training, 48 lines each")
    rates: tuple[float, ...] = Field((1e-3, 3e-3), min_length=1, description="learning rates of AdamW that are tried")

    def measure(self, seed: int) -> dict[str, float]:
        """``module``, ``repaired`` and ``words``. Raises PartError where this Python has too few docstrings."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import descend
        from windtunnel.kits.small_encoder_decoder import SmallEncoderDecoder
        from windtunnel.kits.text import by_module

        random = np.random.default_rng(seed)
        rows, numbers = by_module.rows_by_module(self.name, docstrings(), WORDS, LENGTH, LEAST, True)
        texts, modules = by_module.split(self.name, rows, numbers, by_module.ProbeRows(*PROBE), random)
        probes = {name: texts[name] for name in by_module.ProbeRows._fields}
        count = by_module.WORD + WORDS
        order = random.integers(len(texts["trained"]), size=(self.steps, BATCH))
        first = torch.nn.ModuleList([SmallEncoderDecoder(count, LENGTH + 1, width=WIDTH, seed=seed), _head(count, seed)])
        found = list[tuple[float, float, Any]]()
        for rate in self.rates:
            both, own = copy.deepcopy(first), np.random.default_rng([seed, 1])

            def loss(step: int, both: Any = both, own: np.random.Generator = own) -> torch.Tensor:
                return self._loss(both, texts["trained"][order[step]], own)

            descend(both, loss, self.steps, rate)
            vectors = {name: mean_states(both[0], some) for name, some in probes.items()}
            found.append((*by_module.probed(vectors, modules), both[0]))
        _, module, model = max(found, key=lambda one: one[0])
        return {
            "module": module,
            "repaired": repaired(model, probes["judged"], np.random.default_rng([seed, 2])),
            "words": by_module.probed({name: by_module.counts(some, WORDS) for name, some in probes.items()}, modules)[1],
        }

    def _loss(self, both: Any, rows: np.ndarray, random: np.random.Generator) -> torch.Tensor:
        """The decoder's loss and the two of the encoder, by their weights."""
        import torch

        model, head = both
        given, changed = noisy(rows, random)
        states = model.states(torch.from_numpy(given))
        total = decoded(model, given, rows, states)
        if self.denoise:
            wanted = torch.from_numpy(rows).masked_fill(~torch.from_numpy(changed), -100)
            total = total + self.denoise * torch.nn.functional.cross_entropy(head(states).transpose(1, 2), wanted)
        if self.contrast:
            other = noisy(rows, random)[0]
            one, two = pooled(states, given), pooled(model.states(torch.from_numpy(other)), other)
            near = torch.nn.functional.normalize(one, dim=1) @ torch.nn.functional.normalize(two, dim=1).T / TEMPERATURE
            total = total + self.contrast * torch.nn.functional.cross_entropy(near, torch.arange(len(rows)))
        return torch.as_tensor(total)


@functools.cache
def docstrings() -> tuple[str, ...]:
    """Those of each module of this Python."""
    from windtunnel.data.corpus.tally import Tally
    from windtunnel.parts.source.builtin import Builtin

    return tuple(str(text) for text, _ in Builtin(text="docstrings").documents(Tally("docstrings")))


def noisy(rows: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` with words masked, replaced and moved, and which places are not as they were."""
    import numpy as np

    from windtunnel.kits.text.by_module import BLANK, MASK, WORD

    real = rows != BLANK
    moved = (random.random(rows.shape) < MOVED) & real
    moved[:, :-1] &= real[:, 1:]
    moved[:, -1] = False
    given = rows.copy()
    for place in range(LENGTH - 1):
        some = moved[:, place]
        given[some, place], given[some, place + 1] = given[some, place + 1], given[some, place]
    chance = random.random(rows.shape)
    given = np.where(real & (chance < MASKED), MASK, given)
    replaced = real & (chance > 1 - REPLACED)
    given = np.where(replaced, random.integers(WORD, WORD + WORDS, rows.shape), given)
    return given, given != rows


def decoded(model: Any, given: np.ndarray, rows: np.ndarray, states: torch.Tensor | None = None) -> torch.Tensor:
    """Nats of each word of ``rows`` and of the end, of what is ``given``."""
    import numpy as np
    import torch

    from windtunnel.kits.text.by_module import BLANK, END, START

    written = torch.from_numpy(np.concatenate([np.full((len(rows), 1), START), rows], axis=1))
    wanted = np.concatenate([rows, np.full((len(rows), 1), BLANK)], axis=1)
    wanted[np.arange(len(rows)), (rows != BLANK).sum(axis=1)] = END
    logits = model(torch.from_numpy(given), written, states)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.from_numpy(wanted), ignore_index=BLANK)


def pooled(states: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """The mean of ``states`` over words, [rows, width]."""
    import torch

    from windtunnel.kits.text.by_module import BLANK

    real = torch.from_numpy(rows != BLANK)[..., None]
    return torch.as_tensor((states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1))


def mean_states(model: Any, rows: np.ndarray) -> np.ndarray:
    """The same of lines without noise."""
    import numpy as np
    import torch

    with torch.no_grad():
        return np.asarray(pooled(model.states(torch.from_numpy(rows)), rows).double().numpy())


def repaired(model: Any, rows: np.ndarray, random: np.random.Generator) -> float:
    """The share of replaced words, one of each line that is replaced by any, that the decoder tells right behind the right words."""
    import numpy as np
    import torch

    from windtunnel.kits.text.by_module import BLANK, START, WORD

    every = np.arange(len(rows))
    place = random.integers(0, (rows != BLANK).sum(axis=1))
    given = rows.copy()
    given[every, place] = random.integers(WORD, WORD + WORDS, len(rows))
    written = np.concatenate([np.full((len(rows), 1), START), rows], axis=1)
    with torch.no_grad():
        told = model(torch.from_numpy(given), torch.from_numpy(written)).argmax(dim=2).numpy()
    return float((told[every, place] == rows[every, place]).mean())


def _head(count: int, seed: int) -> torch.nn.Module:
    """The layer that tells words from the encoder's states."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Linear(WIDTH, count)
