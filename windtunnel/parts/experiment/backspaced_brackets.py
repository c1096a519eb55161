"""Strings of brackets that a model writes after likelihood, after backspaces, and after matching what it visits to the data."""

from __future__ import annotations

import copy
import random as python_random
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.small_decoder import SmallDecoder

KINDS, DEPTH = 2, 4
BRACKETS = "([" + ")]"  # tokens 0 to 3
START, END, BACK = 2 * KINDS, 2 * KINDS + 1, 2 * KINDS + 2
COUNT = BACK + 1
BATCH, RENEWED, EVERY, HELD = 32, 32, 10, 128
RUN, COUNTED = 8, 40
STRINGS, WIDTH, HEADS = 2000, 48, 4


class BackspacedBrackets(Experiment, name="backspaced-brackets"):
    """The share of strings that a model draws which are right to the end: brackets of two kinds that match, so many.

    Cundy and Ermon 2024 (SequenceMatch), arXiv:2306.05426: writing is imitation. With logits l(a|s) for soft Q values and V(s) the log of
    their summed exponentials, minimise, over what data and model visit, discounted by gamma,
    -E_data[phi(l(a|s) - gamma V(s'))] + 1/2 E_data[V(s) - gamma V(s')] + 1/2 E_model[V(s) - gamma V(s')], phi(x) = x - x^2 / (4 alpha), a
    chi-squared divergence to a mixture; after the end the state stays, and its discounted sum is taken in closed form. The model's strings
    come from a buffer that is renewed while training. A backspace takes the last token away: what stands behind it sees only what was
    kept, so that one pass reads a string with its backspaces.

    All begin with ``steps`` of likelihood. Then ``taught``, for ``further`` steps: ``likelihood``, more of the same; ``cloned``, likelihood
    of strings in which wrong brackets, at a share ``noise`` of places, are followed by a backspace (the wrong ones are not learned);
    ``matched``, the loss above, without backspaces; ``both``, that loss on strings with wrong brackets and backspaces, again without
    learning the wrong ones. Strings of the buffer are 128, of which 32 are drawn anew every 10 steps. Of ``rates`` that one is taken with
    which more of 100 other draws are right.

    ``right`` is of ``drawn`` strings at temperature 1 (brackets, in the order of the data's length, then an end, within twice as many
    actions); ``distinct`` the share of runs of eight brackets that are different, in the first 40 right strings; ``actions`` the mean
    number of tokens drawn for a string, backspaces included.
    """

    trial = Trial({"steps": 2, "further": 2, "length": 8, "drawn": 8, "rates": [1e-3]})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    taught: Literal["likelihood", "cloned", "matched", "both"] = Field("likelihood", description="how training goes on")
    length: int = Field(16, ge=4, multiple_of=2, description="brackets of a string")
    steps: int = Field(250, ge=1, description="of likelihood, 32 strings each")
    further: int = Field(100, ge=1, description="steps in the way of taught")
    noise: float = Field(0.1, ge=0, lt=1, description="share of places before which a wrong bracket and a backspace stand")
    gamma: float = Field(0.98, gt=0, lt=1, description="discount of a step")
    alpha: float = Field(1.0, gt=0, description="of phi")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW in the first steps")
    rates: tuple[float, ...] = Field((1e-4, 5e-4), min_length=1, description="learning rates that are tried in further steps")
    drawn: int = Field(200, ge=8, description="strings that are judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``right``, ``distinct`` and ``actions``."""
        import numpy as np

        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random = np.random.default_rng(seed)
        data = strings(STRINGS, self.length, seed)
        first = SmallDecoder(COUNT, COUNT, 2 * self.length + 2, width=WIDTH, heads=HEADS, tokens=True, seed=seed)
        descend(first, lambda step: cloned(first, data[random.integers(len(data), size=BATCH)]), self.steps, self.rate)
        found = list[tuple[float, SmallDecoder]]()
        for rate in self.rates:
            model = copy.deepcopy(first)
            self._further(model, data, rate, np.random.default_rng([seed, 1]))
            found.append((self._judged(model, 100, np.random.default_rng([seed, 2]))["right"], model))
        return self._judged(max(found, key=lambda pair: pair[0])[1], self.drawn, np.random.default_rng([seed, 3]))

    def _further(self, model: SmallDecoder, data: np.ndarray, rate: float, random: np.random.Generator) -> None:
        """The steps in the way of ``taught``."""
        import numpy as np

        from windtunnel.kits.small_decoder import descend

        noisy, most = self.taught in ("cloned", "both"), 2 * self.length
        held = sampled(model, HELD, self.length, most, noisy, random) if self.taught in ("matched", "both") else np.empty((0, 0))

        def loss(step: int) -> torch.Tensor:
            nonlocal held
            rows = data[random.integers(len(data), size=BATCH)]
            rows = with_errors(rows, self.noise, random) if noisy else rows
            if self.taught in ("likelihood", "cloned"):
                return cloned(model, rows)
            if step and step % EVERY == 0:
                held = np.concatenate([held[RENEWED:], sampled(model, RENEWED, self.length, most, noisy, random)])
            own = held[random.integers(len(held), size=BATCH)]
            return matched(model, rows, own[:, : (own >= 0).sum(axis=1).max()], self.gamma, self.alpha)

        descend(model, loss, self.further, rate)

    def _judged(self, model: SmallDecoder, count: int, random: np.random.Generator) -> dict[str, float]:
        """The three numbers of ``count`` draws."""
        import numpy as np

        rows = sampled(model, count, self.length, 2 * self.length, self.taught in ("cloned", "both"), random)
        good = [kept for kept in map(shown, rows) if kept is not None and len(kept) == self.length and balanced(kept)]
        runs = [tuple(kept[place : place + RUN]) for kept in good[:COUNTED] for place in range(0, self.length - RUN + 1, RUN)]
        return {
            "right": len(good) / count,
            "distinct": len(set(runs)) / max(1, len(runs)),
            "actions": float(np.mean((rows >= 0).sum(axis=1))),
        }


def strings(count: int, length: int, seed: int) -> np.ndarray:
    """Matching brackets and an end, int64 [count, length + 1]."""
    import numpy as np

    from windtunnel.parts.source.dyck import Dyck

    source, chance = Dyck(kinds=KINDS, depth=DEPTH, length=length), python_random.Random(seed)
    return np.array([[*map(BRACKETS.index, source.one(chance).strip()), END] for _ in range(count)], np.int64)


def balanced(tokens: list[int]) -> bool:
    """Whether brackets match."""
    waiting = list[int]()
    for token in tokens:
        if token < KINDS:
            waiting.append(token)
        elif not waiting or waiting.pop() != token - KINDS:
            return False
    return not waiting


def shown(actions: np.ndarray) -> list[int] | None:
    """What stands there before the end after ``actions`` (-1: none); None without an end."""
    kept = list[int]()
    for action in actions.tolist():
        if action == END:
            return kept
        if action == BACK:
            kept = kept[:-1]
        elif action >= 0:
            kept.append(action)
    return None


def with_errors(rows: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """``rows`` [count, length] with a wrong bracket, written as -2 less its token, and a backspace before some; -1 behind."""
    import numpy as np

    found = list[list[int]]()
    for row, noisy in zip(rows.tolist(), random.random(rows.shape) < noise, strict=True):
        actions = list[int]()
        for token, one in zip(row, noisy, strict=True):
            if one:
                wrong = int(random.integers(2 * KINDS - (token < 2 * KINDS)))
                actions += [-2 - (wrong + (wrong >= token)), BACK]
            actions.append(token)
        found.append(actions)
    longest = max(map(len, found))
    return np.array([actions + [-1] * (longest - len(actions)) for actions in found], np.int64)


class Visited(NamedTuple):
    """What a decoder reads of strings of actions [rows, T]: the last kept token after each number of actions, how many are kept, and which
    of the earlier places each sees, [rows, T + 1], [rows, T + 1] and [rows, T + 1, T + 1].
    """

    tokens: np.ndarray
    depth: np.ndarray
    seen: np.ndarray


def visited(actions: np.ndarray) -> Visited:
    """The states of ``actions`` (-1: none; -2 less a token: that token, not to be learned)."""
    import numpy as np

    rows, count = actions.shape
    every = np.arange(rows)
    stack = np.zeros((rows, count + 1), np.int64)  # places at which kept tokens were written
    depth = np.zeros((rows, count + 1), np.int64)
    tokens = np.full((rows, count + 1), START)
    seen = np.zeros((rows, count + 1, count + 1), bool)
    seen[:, 0, 0] = True
    for place in range(1, count + 1):
        action = actions[:, place - 1]
        back = (action == BACK) & (depth[:, place - 1] > 0)
        depth[:, place] = np.where(back, depth[:, place - 1] - 1, depth[:, place - 1] + ((action != -1) & (action != BACK)))
        written = np.where(action < -1, -2 - action, action)
        pushed = depth[:, place] > depth[:, place - 1]
        stack[every[pushed], depth[pushed, place]] = place
        origin = stack[every, depth[:, place]]
        tokens[:, place] = np.where(pushed, written, tokens[every, origin])
        below = np.arange(count + 1) < depth[:, place][:, None]
        row, level = np.nonzero(below)
        seen[row, place, stack[row, level]] = True
        seen[:, place, place] = True
    return Visited(tokens, depth, seen)


def logits_of(model: SmallDecoder, actions: np.ndarray) -> torch.Tensor:
    """Logits after each number of ``actions`` [rows, T], [rows, T + 1, COUNT]."""
    import torch

    if (actions >= 0).all() and (actions != BACK).all():  # nothing is taken back or missing, so that each sees all before it
        starts = torch.full((len(actions), 1), START)
        return torch.as_tensor(model(torch.cat([starts, torch.from_numpy(actions)], dim=1)))
    tokens, depth, seen = map(torch.from_numpy, visited(actions))
    mask = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf).repeat_interleave(HEADS, dim=0)
    return torch.as_tensor(model.write(model.blocks(model.read(tokens) + model.positions[depth], mask=mask)))


def cloned(model: SmallDecoder, actions: np.ndarray) -> torch.Tensor:
    """The mean loss of actions that are to be learned."""
    import torch

    logits = logits_of(model, actions)[:, :-1]
    wanted = torch.from_numpy(actions).clamp(min=-1)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.where(torch.from_numpy(actions) < 0, -100, wanted))


def matched(model: SmallDecoder, data: np.ndarray, own: np.ndarray, gamma: float, alpha: float) -> torch.Tensor:
    """The loss of the class, in means over discounted actions; what never ends has no tail."""
    import torch

    def both(actions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Differences of values and rewards of all actions, their weights, and whether they are learned; the tail comes last."""
        logits = logits_of(model, actions)
        value = logits.logsumexp(dim=2)
        action = torch.from_numpy(actions)
        real, learned = action != -1, action >= 0
        token = torch.where(action < -1, -2 - action, action).clamp(min=0)
        fall = value[:, :-1] - gamma * value[:, 1:]
        reward = logits[:, :-1].gather(2, token[..., None])[..., 0] - gamma * value[:, 1:]
        weight = gamma ** torch.arange(actions.shape[1]) * real
        ended = (action == END).any(dim=1, keepdim=True)
        stays = (1 - gamma) * value[:, -1:]  # what stands there does not change behind the end
        tail = ended * gamma ** real.sum(dim=1, keepdim=True) / (1 - gamma)
        return torch.cat([fall, stays], 1), torch.cat([reward, stays], 1), torch.cat([weight, tail], 1), torch.cat([learned, ended], 1)

    fall, reward, weight, learned = both(data)
    own_fall, _, own_weight, _ = both(own)
    good = (reward - reward**2 / (4 * alpha)) * weight * learned
    mean = (fall * weight * learned).sum() / (weight * learned).sum()  # wrong brackets of the data are nobody's actions
    return -good.sum() / (weight * learned).sum() + 0.5 * mean + 0.5 * (own_fall * own_weight).sum() / own_weight.sum()


def sampled(model: SmallDecoder, count: int, length: int, most: int, backspaces: bool, random: np.random.Generator) -> np.ndarray:
    """Actions drawn from ``model`` until an end, ``most`` of them at most, int64 [count, most]; -1 behind an end."""
    import numpy as np
    import torch

    rows, pointer = np.full((count, 2 * length + 2), START), np.zeros(count, np.int64)
    actions, going = np.full((count, most), -1), np.arange(count)
    with torch.no_grad():
        for place in range(most):
            if not len(going):
                break
            here = pointer[going]
            logits = model(torch.from_numpy(rows[going, : here.max() + 1])).numpy()[np.arange(len(going)), here]
            logits[:, START] = -np.inf
            if not backspaces:
                logits[:, BACK] = -np.inf
            logits[here == 0, BACK] = -np.inf  # there is nothing to take away
            action = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
            actions[going, place] = action
            pointer[going] = np.where(action == BACK, here - 1, here + 1)
            pushed = action != BACK
            rows[going[pushed], pointer[going[pushed]]] = action[pushed]
            going = going[(action != END) & (pointer[going] < rows.shape[1] - 1)]
    return actions
