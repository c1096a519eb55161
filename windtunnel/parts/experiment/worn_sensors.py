"""States told from a wearable's channels, from few labelled people and recordings of others without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

CHANNELS, POINTS, PIECE = 4, 32, 8  # a segment, and the points of a piece that is hidden as one
CHANGES = 5  # as it is, noisy, turned over in time, upside down, pieces in another order


class WornSensors(Experiment, name="worn-sensors"):
    """The share of segments of new people that are told rightly, by what a network learned without labels.

    Corponi et al. 2024 (E4mer), mood episodes from wearables: channels are embedded each by itself, a network is pre-trained on recordings
    of unrelated studies by drawing hidden stretches or by naming the change that was made to a segment, then tuned on few labelled
    patients. A made-up segment has four channels of 32 points: a slow wave and pulses that all four follow, each with a lag, a gain and an
    offset that belong to the person, and noise. In the state that is to be told pulses are 1.4 times as fast and one channel follows the
    wave less.

    ``pretext``: ``masked``, squared error of pieces of eight points of a channel, ``ratio`` of them hidden; ``change``, which of five
    changes was made; ``none``. Then all weights and a new head are tuned on ``labelled`` people. ``reading: trees`` are boosted trees on
    the mean, mean absolute difference, zero crossings, largest value over the mean and covariance four points apart of each channel, in the
    place of the paper's XGBoost; nothing of them is tuned. Segments are scaled by the deviation of their channel. Rates are chosen on two
    further labelled people.

    Numbers are ``accuracy``, of the segments of 20 new people, and ``alike``, of new segments of the labelled people.
    """

    trial = Trial({"people": 4, "segments": 10, "steps": 3, "tuning": 3, "rates": (1e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    pretext: Literal["none", "masked", "change"] = Field("none", description="what is learned without labels")
    reading: Literal["tune", "trees"] = Field("tune", description="what learns from labels")
    people: int = Field(80, ge=1, description="people without labels")
    labelled: int = Field(4, ge=1, description="people with labels")
    segments: int = Field(40, ge=2, description="of a person, half of them in each state")
    ratio: float = Field(0.5, gt=0, lt=1, description="share of the pieces that is hidden")
    steps: int = Field(500, ge=1, description="without labels, 64 segments each")
    tuning: int = Field(200, ge=1, description="steps on labels")
    rates: tuple[float, ...] = Field((1e-3, 3e-3), min_length=1, description="of tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``alike``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        sizes = (self.labelled, 2, 20, self.people)  # what is without labels comes last, so that its number changes nothing else
        few, chosen, new, bare = (recordings(random, count, self.segments) for count in sizes)
        half = np.arange(len(few[0])) % 4 < 2
        known, alike = ((few[0][rows], few[1][rows]) for rows in (half, ~half))
        if self.reading == "trees":
            return {"accuracy": trees(known, new), "alike": trees(known, alike)}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = self._learned(torch.from_numpy(bare[0]).float(), seed)
            found = max((self._tuned(network, known, rate, seed) for rate in self.rates), key=lambda answer: share(answer, chosen))
        return {"accuracy": share(found, new), "alike": share(found, alike)}

    def _learned(self, segments: torch.Tensor, seed: int) -> Any:
        """The network after its task."""
        import torch
        from torch import nn
        from torch.nn import functional

        from windtunnel.kits.image.patch_network import PatchNetwork

        pieces = CHANNELS * POINTS // PIECE
        network = PatchNetwork(pieces, PIECE)
        heads = nn.ModuleDict({"draw": nn.Linear(network.width, PIECE), "name": nn.Linear(network.width, CHANGES)})
        if self.pretext == "none":
            return network
        random = torch.Generator().manual_seed(seed)

        def loss(step: int) -> torch.Tensor:
            given = segments[torch.randint(0, len(segments), (64,), generator=random)]
            if self.pretext == "masked":
                cut = given.view(len(given), pieces, PIECE)
                hidden = torch.rand(len(given), pieces, generator=random).argsort(dim=1) < max(1, round(self.ratio * pieces))
                return functional.mse_loss(heads["draw"](network.at(network(cut, hidden)))[hidden], cut[hidden])
            names = torch.randint(0, CHANGES, (len(given),), generator=random)
            shown = changed(given, names, random).view(len(given), pieces, PIECE)
            return functional.cross_entropy(heads["name"](network(shown)), names)

        optimizer = torch.optim.AdamW([*network.parameters(), *heads.parameters()], 2e-3, weight_decay=0.01, fused=True)
        take_steps(optimizer, loss, self.steps, falling)
        return network

    def _tuned(self, network: Any, known: tuple[np.ndarray, np.ndarray], rate: float, seed: int) -> Any:
        """From segments to which state, by the network tuned whole with a new head."""
        import copy

        import torch

        body, random = copy.deepcopy(network), torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        head = torch.nn.Linear(body.width, 2)
        given, labels = pieced(known[0]), torch.from_numpy(known[1])

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(given), (min(32, len(given)),), generator=random)
            return torch.nn.functional.cross_entropy(head(body(given[rows])), labels[rows])

        optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()], rate, weight_decay=0.01, fused=True)
        take_steps(optimizer, loss, self.tuning, falling)

        def answer(segments: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np_of(head(body(pieced(segments))).argmax(dim=1))

        return answer


def np_of(found: torch.Tensor) -> np.ndarray:
    """As an array of numpy."""
    import numpy as np

    return np.asarray(found.numpy())


def recordings(random: np.random.Generator, people: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Segments [people * segments, CHANNELS, POINTS], every channel of deviation 1, and in which of two states each was taken."""
    import numpy as np

    count = people * segments
    states = np.arange(count) % 2
    of = np.repeat(np.arange(people), segments)
    lag, gain = random.uniform(0, 1, (people, CHANNELS)), random.uniform(0.5, 1.5, (people, CHANNELS))
    offset, slow = random.standard_normal((people, CHANNELS)), random.uniform(0.9, 1.1, people)
    time = np.arange(POINTS)[None, None] + lag[of][..., None]
    rate = (slow[of] * np.where(states == 1, 1.4, 1.0))[:, None, None]
    begin = random.uniform(0, 2, (2, count, 1, 1))
    pulse = np.maximum(np.sin(1.3 * rate * time + begin[0]), 0) ** 3
    wave = np.sin(0.25 * time + begin[1])
    follows = np.ones((count, CHANNELS, 1))
    follows[:, 1, 0] = np.where(states == 1, 0.6, 1.0)
    found = gain[of][..., None] * (2 * pulse + follows * wave) + offset[of][..., None]
    found = found + 0.4 * random.standard_normal(found.shape)
    found = found / (found.std(axis=2, keepdims=True) + 1e-6)
    return found, states.astype(np.int64)


def changed(segments: torch.Tensor, names: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Segments changed as ``names`` say."""
    import torch

    order = torch.randperm(POINTS // PIECE, generator=random)
    shuffled = segments.unflatten(2, (-1, PIECE))[:, :, order].flatten(2)
    noisy = segments + 0.6 * torch.randn(segments.shape, generator=random)
    ways = torch.stack([segments, noisy, segments.flip(2), -segments, shuffled])
    return ways[names, torch.arange(len(segments))]


def pieced(segments: np.ndarray) -> torch.Tensor:
    """Pieces [segments, pieces, PIECE]."""
    import torch

    return torch.from_numpy(segments).float().reshape(len(segments), -1, PIECE)


def share(answer: Any, asked: tuple[np.ndarray, np.ndarray]) -> float:
    """How many are told rightly."""
    return float((answer(asked[0]) == asked[1]).mean())


def trees(known: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray]) -> float:
    """The share right of boosted trees on what is usually counted of a channel."""
    import numpy as np

    from windtunnel.core.errors import needing

    with needing("worn-sensors", "scikit-learn", "vision"):
        from sklearn.ensemble import HistGradientBoostingClassifier

    def counted(segments: np.ndarray) -> np.ndarray:
        middle = segments - segments.mean(axis=2, keepdims=True)
        crossings = (np.diff(np.sign(middle), axis=2) != 0).mean(axis=2)
        parts = [segments.mean(axis=2), np.abs(np.diff(segments, axis=2)).mean(axis=2), crossings]
        steep = [segments.max(axis=2) - segments.mean(axis=2), (middle[:, :, :-4] * middle[:, :, 4:]).mean(axis=2)]
        return np.concatenate([*parts, *steep], axis=1)

    found = HistGradientBoostingClassifier(max_iter=60, min_samples_leaf=5, random_state=0).fit(counted(known[0]), known[1])
    return float((found.predict(counted(asked[0])) == asked[1]).mean())
