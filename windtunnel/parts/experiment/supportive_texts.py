"""Finding the training texts whose gradient is like that of learning in context, and training on them a little more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

KEYS, PAIRS, ASKED, WORDS = 6, 5, 3, 24  # keys, as many values, pairs that a map shows, keys that it asks for, words of plain text
LENGTH = PAIRS + 2 * ASKED
VOCABULARY = WORDS + KEYS * KEYS + 2 * KEYS  # words, pairs of a key and a value, keys, values


class SupportiveTexts(Experiment, name="supportive-texts"):
    """The accuracy of looking up a key in context, after some more training on texts that were chosen from the pool.

    Han et al. 2023 (ORCA-ICL), arXiv:2306.15091: a text supports learning in context as far as its gradient points where that of prompts
    with demonstrations does; the best ones are trained on once at a low rate, gradients are taken anew, and so on. A share ``maps`` of
    the pool are texts that give keys values drawn anew in each, a token a pair, then ask for some of them; as many (``broken``) are of
    the same tokens and answer with any value, so that tokens alone do not tell which support; the rest are texts of a Markov chain over
    other words. A small transformer has learned from the pool for a while.

    ``gradient`` takes the texts with the highest cosine to the gradient of 64 prompts, over ``rounds`` rounds; ``random``, those of
    ``lowest`` and of ``highest`` loss are the controls, ``tokens`` takes texts whose counts of tokens are nearest to those of the prompts
    (the domain), ``maps`` texts that are maps (the bound), ``none`` stops where it is. All train as many steps at the same rate.

    ``accuracy`` is the share of new prompts whose value is right; ``precision`` the share of chosen texts that are maps, ``base`` that of
    the pool; ``before`` the accuracy before; ``loss`` nats a token on plain text afterwards.
    """

    trial = Trial({"pool": 80, "learning": 4, "steps": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    how: Literal["gradient", "random", "lowest", "highest", "tokens", "maps", "none"] = Field("gradient", description="what is chosen by")
    pool: int = Field(3000, ge=50, description="texts")
    maps: float = Field(0.1, gt=0, lt=1, description="share of them that are maps")
    broken: float = Field(0.1, ge=0, lt=1, description="share of them that look like maps and answer with any value")
    chosen: float = Field(0.1, gt=0, lt=1, description="share of the pool that is chosen")
    learning: int = Field(300, ge=1, description="steps on the pool before, 32 texts each")
    steps: int = Field(300, ge=1, description="steps on what is chosen, 32 texts each")
    rounds: int = Field(2, ge=1, description="of choosing, each with its part of the steps")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW; a third of it on what is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``precision``, ``base``, ``before`` and ``loss``."""
        import numpy as np
        import torch

        from windtunnel.kits.text.small import learn, losses, made
        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        chain = np.exp(2 * random.standard_normal((WORDS, WORDS)))
        chain /= chain.sum(axis=1, keepdims=True)
        drawn = random.random(self.pool)
        is_map, is_broken = drawn < self.maps, drawn >= 1 - self.broken
        pool = np.where(is_map[:, None], maps(self.pool, random), plain(chain, self.pool, random))
        pool = np.where(is_broken[:, None], broken(self.pool, random), pool)
        model = made(seed, VOCABULARY, LENGTH, width=48)
        everything = np.ones(pool.shape, bool)
        learn(model, pool, everything, random, steps=self.learning, rate=self.rate, batch=32)
        tests, held = maps(400, random), plain(chain, 200, random)
        prompts = [maps(64, random) for _ in range(self.rounds)]
        before, precision = looked_up(model, tests), []
        for goal in prompts if self.how != "none" else ():
            count = max(round(self.chosen * self.pool / self.rounds), 1)
            if self.how == "gradient":
                scores = likeness(model, pool, goal)
            elif self.how == "tokens":
                scores = unit(counts(pool)) @ unit(counts(goal).sum(axis=0, keepdims=True))[0]
            elif self.how in ("lowest", "highest"):
                with torch.no_grad():
                    scores = losses(model, torch.from_numpy(pool)).mean(dim=1).numpy() * (-1 if self.how == "lowest" else 1)
            else:
                scores = random.random(self.pool) + (is_map if self.how == "maps" else 0)
            best = np.argsort(-scores, kind="stable")[:count]
            precision.append(is_map[best].mean())
            learn(model, pool[best], everything[best], random, steps=self.steps // self.rounds, rate=self.rate / 3, batch=32)
        with torch.no_grad():
            loss = float(losses(model, torch.from_numpy(held)).mean())
        share = float(np.mean(precision)) if precision else 0.0
        return {"accuracy": looked_up(model, tests), "precision": share, "base": float(is_map.mean()), "before": before, "loss": loss}


def plain(chain: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Texts of the chain, int64 [count, LENGTH]."""
    from windtunnel.kits.text.chains import followed

    return followed(chain, random.integers(0, WORDS, (count, LENGTH))[:, 0], LENGTH, random)


def maps(count: int, random: np.random.Generator) -> np.ndarray:
    """Texts of a map: pairs of a key and its value, a token each, then three of the keys, each with its value; the last is a prompt's."""
    import numpy as np

    keys = random.permuted(np.tile(np.arange(KEYS), (count, 1)), axis=1)[:, :PAIRS]
    values = random.integers(0, KEYS, (count, PAIRS))
    again = random.permuted(np.tile(np.arange(PAIRS), (count, 1)), axis=1)[:, :ASKED]
    rows = np.arange(count)[:, None]
    asked = WORDS + KEYS * KEYS + np.stack([keys[rows, again], KEYS + values[rows, again]], axis=2)
    return np.hstack([WORDS + keys * KEYS + values, asked.reshape(count, -1)])


def broken(count: int, random: np.random.Generator) -> np.ndarray:
    """Texts like those of a map whose answers are any values."""
    found = maps(count, random)
    found[:, PAIRS + 1 :: 2] = WORDS + KEYS * KEYS + KEYS + random.integers(0, KEYS, (count, ASKED))
    return found


def counts(rows: np.ndarray) -> np.ndarray:
    """How often each token is in each text, [texts, VOCABULARY]."""
    import numpy as np

    return np.stack([np.bincount(row, minlength=VOCABULARY) for row in rows])


def looked_up(model: object, rows: np.ndarray) -> float:
    """The share of the last values that the model finds likeliest."""
    import torch

    tokens = torch.from_numpy(rows)
    with torch.no_grad():
        return float((model(tokens[:, :-1])[:, -1].argmax(dim=1) == tokens[:, -1]).double().mean())  # type: ignore[operator]


def likeness(model: Any, pool: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The cosine of each text's gradient and that of the values which prompts ask for at their end; of the last block and what follows."""
    import numpy as np
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy

    names = [name for name, _ in model.named_parameters() if name.startswith(("blocks.1", "norm", "head"))]
    weights = {name: value.detach() for name, value in model.named_parameters()}
    moved = {name: weights[name] for name in names}

    def loss(some: dict, row: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        logits = functional_call(model, {**weights, **some}, (row[None, :-1],))[0]
        return (cross_entropy(logits, row[1:], reduction="none") * counted).sum() / counted.sum()

    each = vmap(grad(loss), in_dims=(None, 0, None))
    ends = torch.zeros(LENGTH - 1)
    ends[-1] = 1

    def flat(rows: np.ndarray, counted: torch.Tensor) -> torch.Tensor:
        found = each(moved, torch.from_numpy(rows), counted)
        return torch.cat([found[name].flatten(1) for name in names], dim=1)

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        goal = flat(prompts, ends).mean(dim=0)
        parts = [flat(pool[start : start + 250], torch.ones(LENGTH - 1)) for start in range(0, len(pool), 250)]
    return np.concatenate([(part @ goal / (part.norm(dim=1) * goal.norm() + 1e-12)).numpy() for part in parts])
