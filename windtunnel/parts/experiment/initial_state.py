"""A recurrent model of letters that a new text is met with by its first state alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]


class InitialState(Experiment, name="initial-state"):
    """Bits of a letter of texts from a new source, by what of a frozen recurrent model is tuned on few of them.

    Xiao, Zhiyuan and Yueyu 2025, "State Tuning: State-based Test-Time Scaling on RWKV-7", arXiv:2504.05097: the state that a recurrent
    model begins a text with is all that trains. The model has linear states s_t = d s_{t-1} + B x_t with ``width`` decays d, drawn
    between 0.3 and 0.99 as are B's numbers, and a softmax layer on them that learned texts of one Markov chain over ``letters``; the new
    source is another chain, a mixture of the old one and a new one by ``new``. ``tunes``: ``state``; ``bias``, as many numbers as there
    are letters at the layer; ``layer``, all of it; ``low-rank``, a product of rank 1 at the layer, with about as many numbers as a state;
    ``nothing``.

    Each tunes by gradient descent on ``texts`` of 64 letters, at a rate chosen on others. ``bits`` are those of new texts' letters,
    ``early`` of their first eight and ``late`` of their last sixteen; ``gain/early`` and ``gain/late`` are what ``nothing`` has more
    there. The paper's observer, kernels and decorrelation are left out.
    """

    trial = Trial({"texts": 2, "steps": 3, "width": 8, "letters": 6})

    unit: ClassVar[str] = "bits a letter"
    better: ClassVar[str] = "lower"

    tunes: Literal["state", "bias", "layer", "low-rank", "nothing"] = Field("state", description="what the new texts move")
    new: float = Field(0.3, ge=0, le=1, description="how far the new source is from the old one")
    letters: int = Field(16, ge=2, description="of both sources")
    width: int = Field(48, ge=1, description="numbers of a state")
    texts: int = Field(8, ge=1, description="of the new source to tune on")
    steps: int = Field(80, ge=1, description="of tuning, each on all texts")
    rates: tuple[float, ...] = Field((0.1, 0.3, 1.0, 10.0, 100.0), min_length=1, description="of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import numpy as np

        random = np.random.default_rng(seed)
        chains = [random.dirichlet(np.full(self.letters, 0.2), self.letters) for _ in range(2)]
        second = (1 - self.new) * chains[0] + self.new * chains[1]
        decay = random.uniform(0.3, 0.99, self.width)
        read = random.standard_normal((self.letters, self.width)) * np.sqrt(1 - decay**2)
        old, few, chosen, held = (
            written(chain, count, 64, random) for chain, count in ((chains[0], 30), (second, self.texts), (second, 15), (second, 40))
        )
        layer = np.zeros((self.letters, self.width + 1))
        for _ in range(150):
            layer -= 0.5 * self._slopes(layer, np.zeros(self.width), decay, states(old, read, decay), old)[0]
        found, best = (layer, np.zeros(self.width)), np.inf
        for rate in self.rates if self.tunes != "nothing" else ():
            tuned = self._tuned(layer, decay, states(few, read, decay), few, rate)
            reached = float(self._bits(*tuned, decay, states(chosen, read, decay), chosen).mean())
            if reached < best:
                found, best = tuned, reached
        inner = states(held, read, decay)
        bits = self._bits(*found, decay, inner, held)
        before = self._bits(layer, np.zeros(self.width), decay, inner, held)
        return {
            "bits": float(bits.mean()),
            "early": float(bits[:, :8].mean()),
            "late": float(bits[:, -16:].mean()),
            "gain/early": float((before - bits)[:, :8].mean()),
            "gain/late": float((before - bits)[:, -16:].mean()),
        }

    def _tuned(self, layer: Array, decay: Array, inner: Array, texts: Array, rate: float) -> tuple[Array, Array]:
        """The layer and the first state after tuning."""
        import numpy as np

        layer, start = layer.copy(), np.zeros(self.width)
        out, across = np.zeros(self.letters), np.ones(self.width + 1) / (self.width + 1) ** 0.5
        first = layer.copy()
        for _ in range(self.steps):
            slope, of_start = self._slopes(layer, start, decay, inner, texts)
            if self.tunes == "state":
                start = start - rate * of_start
            elif self.tunes == "layer":
                layer = layer - rate * slope
            elif self.tunes == "bias":
                layer[:, -1] -= rate * slope[:, -1]
            else:
                out, across = out - rate * slope @ across, across - rate * slope.T @ out
                layer = first + np.outer(out, across)
        return layer, start

    def _logits(self, layer: Array, start: Array, decay: Array, inner: Array) -> tuple[Array, Array, Array]:
        """[texts, places, letters], what is read there [texts, places, width + 1], and what is left of the first state [places, width]."""
        import numpy as np

        left = decay ** np.arange(1, inner.shape[1] + 1)[:, None]
        seen = inner + left * start
        seen = np.concatenate([seen, np.ones((*seen.shape[:2], 1))], axis=2)
        return seen @ layer.T, seen, left

    def _slopes(self, layer: Array, start: Array, decay: Array, inner: Array, texts: Array) -> tuple[Array, Array]:
        """Those of the mean loss by the layer and by the first state."""
        import numpy as np

        from windtunnel.kits.vectors import softmax

        logits, seen, left = self._logits(layer, start, decay, inner)
        odds = softmax(logits)
        odds -= np.eye(self.letters)[texts[:, 1:]]
        odds /= texts[:, 1:].size
        return np.einsum("tpl,tpw->lw", odds, seen, optimize=True), ((odds @ layer[:, :-1]) * left).sum(axis=(0, 1))

    def _bits(self, layer: Array, start: Array, decay: Array, inner: Array, texts: Array) -> Array:
        """Of each letter but the first, [texts, places]."""
        import numpy as np

        logits = self._logits(layer, start, decay, inner)[0]
        whole = np.logaddexp.reduce(logits, axis=2)
        own = np.take_along_axis(logits, texts[:, 1:, None], axis=2)[:, :, 0]
        return np.asarray((whole - own) / np.log(2))


def written(chain: Array, count: int, length: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Texts [count, length] of a Markov chain [letters, letters]; the first letter is any."""
    from windtunnel.kits.text.chains import followed

    return followed(chain, random.integers(len(chain), size=(count, length))[:, 0], length, random)


def states(texts: NDArray[np.int64], read: Array, decay: Array) -> Array:
    """States behind every letter but the last, from a first state of zeros: [texts, length - 1, width]."""
    import numpy as np

    found = np.zeros((*texts.shape, len(decay)))
    state = np.zeros((len(texts), len(decay)))
    for place in range(texts.shape[1]):
        state = state * decay + read[texts[:, place]]
        found[:, place] = state
    return found[:, :-1]
