"""A network that first learns the inputs of its own task, before it is shown a label, and how two kinds of network compare then."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.tiny import Dealt
    from windtunnel.kits.mixing import Kind, MixedNetwork

CLASSES, LEVELS, PLACES, BATCH = 10, 17, 64, 24
KINDS: tuple[Kind, ...] = ("attention", "diagonal")
WAYS = ("pretrained", "scratch", "longer")


class PretrainedInputs(Experiment, name="pretrained-inputs"):
    """The share of digits told right from their 64 pixels in a row, by networks that learned to foretell pixels first or did not.

    Amos, Berant and Gupta 2024, arXiv:2310.02980: networks of long sequences are compared from random weights, where attention lies far
    behind state-space models; trained first to denoise or to foretell the inputs of the task's own training set, without labels and without
    other data, both gain and the difference nearly goes.

    ``attention`` and ``diagonal`` (a diagonal state-space model, S4D) are causal networks of two layers that read a digit's pixels one
    after another, each one of 17 tokens, and tell the class by the mean over places. ``pretrained`` foretells the next pixel of the
    ``labelled`` images for ``first`` steps and then learns their labels for ``steps``, ``scratch`` has the last alone, ``longer`` learns
    labels for as many steps as both together. The rate of learning labels is chosen for each on other digits; foretelling has one rate, the
    largest of ``rates``. ``attention_gain`` and ``diagonal_gain`` are the shares that ``pretrained`` adds to ``longer``; ``gap_longer`` and
    ``gap_pretrained`` how far attention lies behind. ``attention_bits`` and ``diagonal_bits`` are the bits of a pixel on new digits after
    the first steps.
    """

    trial = Trial({"steps": 1, "first": 1, "rates": [0.003], "labelled": 20, "width": 8, "judged": 8})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    labelled: int = Field(200, ge=10, le=800, description="images to learn from, pixels and labels")
    first: int = Field(400, ge=1, description="steps of foretelling pixels, 24 images each")
    steps: int = Field(250, ge=1, description="of learning labels, 24 images each")
    judged: int = Field(400, ge=1, description="images to choose by, and as many others to be judged on; at most a quarter of all each")
    width: int = Field(32, ge=8, multiple_of=8, description="of the networks")
    rates: tuple[float, ...] = Field((3e-3, 1e-2), min_length=1, description="learning rates of AdamW, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above, ``attention_pretrained`` first."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, dealt, share_right
        from windtunnel.kits.mixing import made

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        data = data._replace(chosen=data.chosen[: self.judged], held=data.held[: self.judged])
        found = dict[str, float]()
        for kind in KINDS:
            begun = made(seed, kind, self.width, PLACES, LEVELS, {"class": CLASSES, "next": LEVELS}, tokens=True)
            learned = self._foretelling(begun, data, seed)
            with torch.no_grad():
                found[f"{kind}_bits"] = float(foretold(learned, pixels(data, data.held)) / np.log(2))
            for way in WAYS:
                steps = self.steps + (self.first if way == "longer" else 0)
                base = learned if way == "pretrained" else begun
                ends = {rate: self._told(base, data, steps, rate, seed) for rate in self.rates}
                chosen = {rate: share_right(logits[: len(data.chosen)], data.labels[data.chosen]) for rate, logits in ends.items()}
                held = ends[best(self.rates, lambda rate: rate, chosen.__getitem__)][len(data.chosen) :]
                found[f"{kind}_{way}"] = share_right(held, data.labels[data.held])
        for kind in KINDS:
            found[f"{kind}_gain"] = found[f"{kind}_pretrained"] - found[f"{kind}_longer"]
        for way in WAYS:
            found[f"gap_{way}"] = found[f"diagonal_{way}"] - found[f"attention_{way}"]
        return {name: found[name] for name in ("attention_pretrained", *(name for name in found if name != "attention_pretrained"))}

    def _foretelling(self, begun: MixedNetwork, data: Dealt, seed: int) -> MixedNetwork:
        """A copy of the network that learned the next pixels of the images to learn from."""
        import copy

        import numpy as np

        from windtunnel.kits.small_decoder import descend

        model, own, train = copy.deepcopy(begun), np.random.default_rng((seed, 1)), data.train[: self.labelled]
        descend(
            model,
            lambda step: foretold(model, pixels(data, train[drawn(own, train)])),
            self.first,
            max(self.rates),
        )
        return model

    def _told(self, base: MixedNetwork, data: Dealt, steps: int, rate: float, seed: int) -> torch.Tensor:
        """Logits of the images to choose by and then of those to be judged, after a copy of ``base`` learned labels."""
        import copy

        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import descend

        model, own, train = copy.deepcopy(base), np.random.default_rng((seed, 2)), data.train[: self.labelled]

        def loss(step: int) -> torch.Tensor:
            rows = train[drawn(own, train)]
            return torch.nn.functional.cross_entropy(model(pixels(data, rows), "class", mean=True), data.labels[rows])

        descend(model, loss, steps, rate)
        with torch.no_grad():
            return model(pixels(data, torch.cat([data.chosen, data.held])), "class", mean=True)


def drawn(random: np.random.Generator, train: torch.Tensor) -> torch.Tensor:
    """Places of a batch among those of ``train``."""
    import torch

    return torch.from_numpy(random.integers(len(train), size=BATCH))


def pixels(data: Dealt, rows: torch.Tensor) -> torch.Tensor:
    """Images as tokens from 0 to 16, int64 [rows, PLACES]."""
    return (data.images[rows] * (LEVELS - 1)).round().long()


def foretold(model: MixedNetwork, rows: torch.Tensor) -> torch.Tensor:
    """The mean loss of all pixels but the first, each by those before it, in nats."""
    import torch

    return torch.nn.functional.cross_entropy(model(rows[:, :-1], "next").transpose(1, 2), rows[:, 1:])
