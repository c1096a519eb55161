"""A policy that learned from small runs how to mix domains next, and drives a larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

DOMAINS, STAGES, STEPS = 4, 16, 12  # two that the model knows and two that it is to learn; decisions of a run; steps between two
STATE = 3 * DOMAINS + 1  # losses now, the change since the last decision, the last mixture, and how far the run is


class MixingAgent(Experiment, name="mixing-agent"):
    """The mean loss over four domains of a model that goes on from two of them, by who chooses the mixture.

    Yang et al. 2025, arXiv:2507.15640 (Data Mixing Agent): small runs with many mixtures are logged; a network learns from these, first by
    cloning, then by conservative Q-learning, to say the next mixture from losses and mixtures so far, and drives the target model without
    being trained anew. What state, reward and network they take is not known here. Ours: a value Q(state, mixture) of two hidden layers,
    fitted to the logged transitions with the fall of the mean loss for a reward; the penalty log mean
    exp Q over drawn mixtures less Q of the logged one times ``conservative`` keeps unseen mixtures from looking good; the mixture taken is
    the best of 64 drawn ones, by Q.

    ``agent`` looks ahead with a discount of 0.9; ``greedy`` has a discount of 0, which is a regression on the next reward; ``static`` is
    the constant mixture that was best in as many small runs; ``random`` draws anew at each decision, ``even`` is a quarter each. Models are
    tables of logits of the next word by the last, trained by gradient descent; the target has twice as many words and domains of its own.

    ``loss`` is the mean over domains at the end, in nats a word; ``known`` and ``learned`` that of the first two and of the last two.
    """

    trial = Trial({"runs": 4, "fitting": 3})

    unit: ClassVar[str] = "nats a word"

    how: Literal["agent", "greedy", "static", "random", "even"] = Field("agent", description="who chooses the mixture")
    runs: int = Field(50, ge=2, description="small runs that are logged")
    fitting: int = Field(250, ge=1, description="steps of fitting, 256 transitions each")
    conservative: float = Field(0.3, ge=0, description="weight of the penalty")

    def measure(self, seed: int) -> dict[str, float]:
        """``loss``, ``known`` and ``learned``."""
        import numpy as np

        own, large = np.random.default_rng(seed).spawn(2)  # whoever chooses, the large run is of the same domains
        choose = self._chooser(own, seed)
        target = TableRun(world(32, large), large)
        for _ in range(STAGES):
            target.train(choose(target.state()), STEPS)
        losses = target.losses()
        return {"loss": float(losses.mean()), "known": float(losses[:2].mean()), "learned": float(losses[2:].mean())}

    def _chooser(self, random: np.random.Generator, seed: int):  # type: ignore[no-untyped-def]
        """A function from a state to a mixture."""
        import numpy as np

        if self.how == "even":
            return lambda state: np.full(DOMAINS, 1 / DOMAINS)
        if self.how == "random":
            return lambda state: random.dirichlet(np.ones(DOMAINS))
        chains = world(16, random)
        if self.how == "static":
            ends = []
            for _ in range(self.runs):
                run, mixture = TableRun(chains, random), random.dirichlet(np.ones(DOMAINS))
                run.train(mixture, STAGES * STEPS)
                ends.append((float(run.losses().mean()), mixture))
            best = min(ends, key=lambda end: end[0])[1]
            return lambda state: best
        log = [logged(chains, random) for _ in range(self.runs)]
        value = self._fitted(Log(*(np.concatenate(parts) for parts in zip(*log, strict=True))), random, seed)

        def choose(state: np.ndarray) -> np.ndarray:
            drawn = random.dirichlet(np.ones(DOMAINS), 64)
            return np.asarray(drawn[int(value(state, drawn).argmax())])

        return choose

    def _fitted(self, log: Log, random: np.random.Generator, seed: int):  # type: ignore[no-untyped-def]
        """Q, a function of one state and of mixtures [mixtures, DOMAINS]."""
        import copy

        import numpy as np
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(STATE + DOMAINS, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1))
        slow, optimizer = copy.deepcopy(net), torch.optim.Adam(net.parameters(), 3e-3)
        arrays = [torch.from_numpy(one).float() for one in log]
        discount = 0.9 if self.how == "agent" else 0.0

        def many(model: nn.Module, states: torch.Tensor, count: int) -> torch.Tensor:
            drawn = torch.from_numpy(random.dirichlet(np.ones(DOMAINS), (len(states), count))).float()
            wide = states[:, None].expand(-1, count, -1)
            return model(torch.cat([wide, drawn], dim=2))[..., 0]

        for step in range(self.fitting):
            chosen = torch.from_numpy(random.integers(len(log.reward), size=256))
            state, mixture, reward, after, goes_on = (one[chosen] for one in arrays)
            with torch.no_grad():
                wanted = reward + (discount * goes_on * many(slow, after, 12).max(dim=1).values if discount else 0.0)
            found = net(torch.cat([state, mixture], dim=1))[:, 0]
            penalty = many(net, state, 12).logsumexp(dim=1) - np.log(12) - found
            take_step(optimizer, ((found - wanted) ** 2).mean() + self.conservative * penalty.mean())
            if step % 20 == 0:
                slow.load_state_dict(net.state_dict())

        def value(state: np.ndarray, mixtures: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                rows = np.hstack([np.repeat(state[None], len(mixtures), axis=0), mixtures])
                return np.asarray(net(torch.from_numpy(rows).float())[:, 0].numpy())

        return value


class Log(NamedTuple):
    """Transitions: states, mixtures, rewards, the states after, and 0 where a run ended there."""

    state: np.ndarray
    mixture: np.ndarray
    reward: np.ndarray
    after: np.ndarray
    goes_on: np.ndarray


class TableRun:
    """A table of logits that has learned the first two domains and is trained on mixtures of all."""

    def __init__(self, chains: np.ndarray, random: np.random.Generator) -> None:
        import numpy as np

        self.chains, self.random = chains, random
        self.table, self.done = np.zeros(chains.shape[1:]), 0
        self.last, self.mixture = np.zeros(DOMAINS), np.zeros(DOMAINS)
        self.train(np.array([0.5, 0.5, 0.0, 0.0]), 40)
        self.done, self.first = 0, self.losses()
        self.last = self.first

    def losses(self) -> np.ndarray:
        """Nats a word of each domain, exactly: words are equally frequent."""
        import numpy as np

        from windtunnel.kits.vectors import softmax

        return np.asarray(-(self.chains * np.log(softmax(self.table))).sum(axis=2).mean(axis=1))

    def train(self, mixture: np.ndarray, steps: int) -> None:
        """Steps of gradient descent, each on 64 pairs of words that are drawn from the mixture."""
        import numpy as np

        from windtunnel.kits.vectors import softmax

        self.last, self.mixture = self.losses(), mixture
        words = self.chains.shape[1]
        for _ in range(steps):
            domain, word = self.random.choice(DOMAINS, 64, p=mixture / mixture.sum()), self.random.integers(words, size=64)
            draws = self.chains[domain, word].cumsum(axis=1)
            after = (draws < self.random.random((64, 1))).sum(axis=1).clip(max=words - 1)
            pairs = np.zeros_like(self.table)
            np.add.at(pairs, (word, after), 1)
            self.table = self.table - 0.02 * words * (pairs.sum(axis=1, keepdims=True) * softmax(self.table) - pairs)
        self.done += steps

    def state(self) -> np.ndarray:
        """What is known before a decision."""
        import numpy as np

        now = self.losses()
        return np.concatenate([now / self.first, (now - self.last) / self.first, self.mixture, [self.done / (STAGES * STEPS)]])


def world(words: int, random: np.random.Generator) -> np.ndarray:
    """Chances of the next word by the last, [DOMAINS, words, words]; all domains have something in common."""
    import numpy as np

    odds = np.exp(random.standard_normal((1, words, words)) + 1.5 * random.standard_normal((DOMAINS, words, words)))
    return np.asarray(odds / odds.sum(axis=2, keepdims=True))


def logged(chains: np.ndarray, random: np.random.Generator) -> Log:
    """A small run in which the mixture wanders; a reward is 20 times the fall of the mean loss, over the first mean loss."""
    import numpy as np

    run, rows = TableRun(chains, random), []
    mixture = random.dirichlet(np.ones(DOMAINS))
    for stage in range(STAGES):
        before, worth = run.state(), run.losses().mean()
        if stage:
            mixture = 0.6 * mixture + 0.4 * random.dirichlet(np.ones(DOMAINS))
        run.train(mixture, STEPS)
        reward = 20 * (worth - run.losses().mean()) / run.first.mean()
        rows.append((before, mixture, reward, run.state(), float(stage + 1 < STAGES)))
    return Log(*(np.array(part) for part in zip(*rows, strict=True)))
