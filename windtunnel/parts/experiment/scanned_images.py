"""Images read as one sequence by recurrences: how many scans a decay needs, and one that needs a single scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

    from windtunnel.kits.mixing import MixedNetwork

    Pair = tuple[torch.Tensor, torch.Tensor]

SIDE, PATCH, CLASSES, WIDTH = 4, 2, 10, 32  # patches along a side, and pixels along a side of a patch
PLACES = SIDE * SIDE
WORDS, LENGTH = 32, 32  # of a text
BATCH = 24


class ScannedImages(Experiment, name="scanned-images"):
    """The share of answers right of a network that reads the 16 patches of a digit through a linear recurrence, by its kind and scans.

    Qin et al. 2024 (LightNet), arXiv:2405.21022: a decay that multiplies forgets what is far off in the order of the scan and sees one
    side of it, so images are scanned along rows and columns, to and fro; the ``additive`` recurrence weights each place by exp(k) over the
    sum of exp(k), which is the same in any order, and needs one scan. ``gated`` is S = diag(exp g) S + k v' with g = logsigmoid(a
    projection) / 8 (gated linear attention), in ``scans`` orders: along rows, back, along columns, back; what they give is averaged.
    Positions of the paper (MD-TPE, MD-LRPE) are learned positions here, and the norm behind a recurrence has no gate, for both.

    ``asked`` is ``mean``, one answer from the mean over places, as in classification, or ``each``, an answer from each place by itself, as
    where every place of an image is to be drawn: there it matters how much each place sees. With ``text`` the network reads a random Markov
    chain of order two and foretells the next word. ``right`` is the share of answers right on new digits or words, ``first`` that of the
    answers of the first row of patches, ``nats`` the loss. The rate is chosen by the loss on other digits or texts.
    """

    trial = Trial({"steps": 2, "rates": [0.003]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    recurrence: Literal["additive", "gated"] = Field("additive", description="how what was read is weighted")
    scans: Literal[1, 2, 4] = Field(1, description="orders in which an image is read")
    asked: Literal["each", "mean"] = Field("each", description="places whose answers count: each by itself, or the mean of all")
    text: bool = Field(False, description="whether it reads texts, and not images")
    steps: int = Field(300, ge=1, description="of training, 24 images or texts each")
    rates: tuple[float, ...] = Field((3e-3, 1e-2), min_length=1, description="learning rates of AdamW, of which one is chosen")

    @model_validator(mode="after")
    def _one_scan(self) -> ScannedImages:
        if self.scans > 1 and (self.text or self.recurrence == "additive"):
            raise ValueError(
                f"scans: {self.scans}: texts are read in one scan, and so are images by an additive recurrence; set scans to 1"
            )
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``right``, ``first`` and ``nats``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.small_decoder import descend

        random = np.random.default_rng(seed)
        sample, chosen, judged = self._texts(random) if self.text else self._images(random)

        def loss(model: MixedNetwork, pair: Pair) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self._said(model, pair[0]).flatten(0, -2), pair[1].flatten())

        def learned(rate: float) -> MixedNetwork:
            model, own = self.network(seed), np.random.default_rng((seed, 1))
            descend(model, lambda step: loss(model, sample(own)), self.steps, rate)
            return model

        def fit(model: MixedNetwork) -> float:
            with torch.no_grad():
                return -float(loss(model, chosen))

        model = best(self.rates, learned, fit)
        with torch.no_grad():
            hits = (self._said(model, judged[0]).argmax(dim=-1) == judged[1]).double()
            first = hits[:, :SIDE] if self.asked == "each" or self.text else hits
            return {"right": float(hits.mean()), "first": float(first.mean()), "nats": float(loss(model, judged))}

    def network(self, seed: int) -> MixedNetwork:
        """Two layers of the recurrence."""
        from windtunnel.kits.mixing import made

        if self.text:
            return made(seed, self.recurrence, WIDTH, LENGTH, WORDS, {"next": WORDS}, tokens=True)
        mixing = {"orders": orders(self.scans)} if self.recurrence == "gated" else {"both_ways": True}
        return made(seed, self.recurrence, WIDTH, PLACES, PATCH**2, {"class": CLASSES}, **mixing)

    def _said(self, model: MixedNetwork, rows: torch.Tensor) -> torch.Tensor:
        """Logits [rows, places or 1, classes or words]."""
        if self.text:
            return model(rows, "next")
        found = model(rows, "class", mean=self.asked == "mean")
        return found[:, None] if self.asked == "mean" else found

    def _images(self, random: np.random.Generator) -> tuple[Callable[[np.random.Generator], Pair], Pair, Pair]:
        """What draws a batch, what rates are chosen on, and what is judged: patches [rows, PLACES, 4] and labels of each answer."""
        import torch

        from windtunnel.kits.image.tiny import dealt

        data = dealt(self.name, random)

        def pair(rows: torch.Tensor) -> Pair:
            labels = data.labels[rows][:, None]
            return patched(data.images[rows]), labels.expand(-1, PLACES) if self.asked == "each" else labels

        def sample(own: np.random.Generator) -> Pair:
            return pair(data.train[torch.from_numpy(own.integers(len(data.train), size=BATCH))])

        return sample, pair(data.chosen), pair(data.held)

    def _texts(self, random: np.random.Generator) -> tuple[Callable[[np.random.Generator], Pair], Pair, Pair]:
        """The same of texts: words [rows, LENGTH] and those that follow."""
        import torch

        from windtunnel.kits.text.windowed import chances, drawn, language

        odds = chances(language(WORDS, random, sharpness=2.0))

        def sample(own: np.random.Generator, count: int = BATCH) -> Pair:
            rows = torch.from_numpy(drawn(odds, count, LENGTH + 1, own)).long()
            return rows[:, :-1], rows[:, 1:]

        return sample, sample(random, 100), sample(random, 200)


def patched(images: torch.Tensor) -> torch.Tensor:
    """Images [rows, 64] as patches of 2 by 2 pixels, [rows, PLACES, 4]."""
    return images.view(-1, SIDE, PATCH, SIDE, PATCH).permute(0, 1, 3, 2, 4).reshape(len(images), PLACES, PATCH**2)


def orders(scans: int) -> list[torch.Tensor]:
    """Places in the order of each scan: along rows, back, along columns, back."""
    import torch

    rows = torch.arange(PLACES)
    columns = rows.view(SIDE, SIDE).T.flatten()
    return [rows, rows.flip(0), columns, columns.flip(0)][:scans]
