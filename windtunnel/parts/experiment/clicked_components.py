"""What parts of a screen are for, told from few labels after learning from where clicks lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

LOOKS, KINDS, USES, PARTS = 4, 6, 6, 6  # of components, of screens, of components, and components of a screen
NUMBERS = LOOKS + KINDS + 2  # what is seen of a component: look, hints of the screen's kind, place
WIDTH = 32


class ClickedComponents(Experiment, name="clicked-components"):
    """The share of components whose use is told rightly from few labels, by the tasks a network learned on traces of clicks.

    He et al. 2021 (ActionBert), arXiv:2012.12350: on pairs of screens, say which component was clicked to come from one to the other, and
    whether the second follows the first at all, beside filling in what is masked. In made apps components share looks and differ in
    use: the use depends on the look, on the kind of screen and on whether the component is high or low, by a table that the seed draws; a
    click leads to a screen of a kind that belongs to the use. Looks and hints of the kind are seen through noise.

    ``tasks``: ``none``; ``masked``, draw the numbers of a hidden component; ``link``, masked and which component was clicked; ``follow``,
    masked and whether the second screen follows; ``all`` three; ``other``, all three with the clicked component and the second screen drawn
    anew at random; ``inverse``, the click alone. A component is read together with the mean of its screen. Steps are the same in all.

    Numbers are ``use``, the accuracy of ridge regression on ``labels`` labelled components, ``raw`` that on what is seen of component and
    screen, and ``clicked``, how often the clicked component is told of six.
    """

    trial = Trial({"traces": 60, "steps": 4, "labels": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    tasks: Literal["none", "masked", "link", "follow", "all", "other", "inverse"] = Field(
        "none", description="what is learned without labels"
    )
    labels: int = Field(80, ge=8, le=1000, description="labelled components")
    traces: int = Field(4000, ge=10, description="pairs of screens")
    noise: float = Field(0.3, ge=0, description="on what is seen, a standard deviation")
    steps: int = Field(600, ge=1, description="of Adam, 64 pairs each")
    rate: float = Field(5e-3, gt=0, description="its learning rate")

    def measure(self, seed: int) -> dict[str, float]:
        """``use``, ``raw`` and ``clicked``."""
        import numpy as np
        import torch
        from torch.nn import functional

        from windtunnel.kits.image.planted import few_label_accuracy

        random = np.random.default_rng(seed)
        app = App(random)
        known, labelled, held = (app.traces(random, count, self.noise) for count in (self.traces, max(self.labels // 2, 4), 600))
        if self.tasks == "other":
            mixed = random.permutation(self.traces)
            known = (known[0], known[1][mixed], random.integers(0, PARTS, self.traces), known[3])
        first, second, clicks = (torch.from_numpy(each) for each in known[:3])
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = made()

        def loss_of(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(first), 64))
            loss = first.new_zeros(())
            if self.tasks != "inverse":
                place, every = torch.from_numpy(random.integers(0, PARTS, 64)), torch.arange(64)
                hidden = first[rows].clone()
                hidden[every, place, :LOOKS] = 0
                loss = loss + functional.mse_loss(network.draw(network(hidden)[every, place]), first[rows][every, place, :LOOKS])
            if self.tasks in ("link", "all", "other", "inverse"):
                loss = loss + functional.cross_entropy(network.link(first[rows], second[rows]), clicks[rows])
            if self.tasks in ("follow", "all", "other"):
                follows = torch.from_numpy(random.integers(0, 2, 64))
                then = torch.where(follows[:, None, None] == 1, second[rows], second[rows.roll(1)])
                loss = loss + functional.binary_cross_entropy_with_logits(network.follow(first[rows], then), follows.float())
            return loss

        if self.tasks != "none":
            take_steps(torch.optim.Adam(network.parameters(), self.rate, fused=True), loss_of, self.steps, falling)
        inputs = [torch.from_numpy(each[0]) for each in (labelled, held)]
        uses = np.concatenate([each[3].reshape(-1) for each in (labelled, held)])
        few = np.random.default_rng((seed, 1)).permutation(labelled[3].size)[: self.labels]  # the same for all tasks
        judged = np.arange(labelled[3].size, len(uses))
        with torch.no_grad():
            read = torch.cat([network(each).flatten(0, 1) for each in inputs]).double().numpy()
            seen = torch.cat([context(each).flatten(0, 1) for each in inputs]).double().numpy()
            found = network.link(inputs[1], torch.from_numpy(held[1])).argmax(dim=1).numpy()
        return {
            "use": few_label_accuracy(read, uses, few, judged),
            "raw": few_label_accuracy(seen, uses, few, judged),
            "clicked": float((found == held[2]).mean()),
        }


class App:
    """Which use a component has by its look, the kind of its screen and its height, and to which kind of screen each use leads."""

    def __init__(self, random: np.random.Generator) -> None:
        self.uses = random.integers(0, USES, (LOOKS, KINDS, 2))
        self.leads = random.permutation(KINDS)

    def screens(self, random: np.random.Generator, kinds: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """What is seen of components [screens, PARTS, NUMBERS] and their uses [screens, PARTS]."""
        import numpy as np

        shape = (len(kinds), PARTS)
        looks, place = random.integers(0, LOOKS, shape), random.uniform(-1, 1, (*shape, 2))
        hints = np.repeat(np.eye(KINDS)[kinds][:, None], PARTS, axis=1)
        seen = np.concatenate([np.eye(LOOKS)[looks], hints, place], axis=2)
        seen[..., : LOOKS + KINDS] += noise * random.standard_normal((*shape, LOOKS + KINDS))
        return seen.astype(np.float32), self.uses[looks, kinds[:, None], (place[..., 1] > 0).astype(int)]

    def traces(self, random: np.random.Generator, count: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First screens, second ones, which component was clicked, and the uses on the first ones."""
        import numpy as np

        kinds = random.integers(0, KINDS, count)
        first, uses = self.screens(random, kinds, noise)
        clicks = random.integers(0, PARTS, count)
        second, _ = self.screens(random, self.leads[uses[np.arange(count), clicks]], noise)
        return first, second, clicks, uses


def context(screens: torch.Tensor) -> torch.Tensor:
    """Each component beside the mean of its screen [screens, PARTS, 2 * NUMBERS]."""
    import torch

    return torch.cat([screens, screens.mean(dim=1, keepdim=True).expand_as(screens)], dim=2)


def made() -> Any:
    """A network of components, with a head for each task."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = nn.Sequential(nn.Linear(2 * NUMBERS, 96), nn.ReLU(), nn.Linear(96, WIDTH))
            self.draw = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, LOOKS))
            self.next = nn.Sequential(nn.Linear(NUMBERS, 48), nn.ReLU(), nn.Linear(48, WIDTH))
            self.join = nn.Sequential(nn.Linear(2 * WIDTH, 48), nn.ReLU(), nn.Linear(48, 1))

        def forward(self, screens: torch.Tensor) -> torch.Tensor:
            """Vectors of components."""
            return torch.as_tensor(self.read(context(screens)))

        def link(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            """Logits of which component leads from one to the other."""
            return torch.einsum("npw,nw->np", self(first), self.next(second.mean(dim=1)))

        def follow(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            """The logit of whether the second screen follows the first."""
            pair = torch.cat([torch.relu(self(first)).mean(dim=1), self.next(second.mean(dim=1))], dim=1)
            return torch.as_tensor(self.join(pair)[:, 0])

    return Network()
