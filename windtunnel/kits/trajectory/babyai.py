"""Grid worlds of minigrid that its own bot can solve: episodes of the bot, and rollouts of a policy."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("ball", "box", "key", "door")
ACTIONS = 7
SIDE = 7  # places of a view, across and along
# A policy is given observations [episodes, places] and which of its episodes they are of, and says an action for each.
Policy = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]


def world(level: str) -> Any:
    """The level, such as BabyAI-GoToLocal-v0.

    Raises:
        UserError: where minigrid is not installed or has no such level of BabyAI's.
    """
    try:
        import gymnasium
        import minigrid  # noqa: F401  # registers its levels
    except ImportError as error:
        raise UserError("grid worlds need minigrid: pip install 'windtunnel[trajectories]'") from error
    if not level.startswith("BabyAI-"):
        raise UserError(f"level {level!r}: the bot solves levels of BabyAI alone, such as BabyAI-GoToLocal-v0")
    try:
        return gymnasium.make(level)
    except gymnasium.error.Error as error:
        raise UserError(f"level {level!r}: {error}") from error


def observed(env: Any, observation: Any, goal: bool) -> list[int]:
    """What the agent sees as codes: object, colour and state of 7 x 7 places, its direction, and with ``goal`` what it is to find.

    The goal is colour and kind of the thing that the mission names, each a code above 0; 0 where it says none or is not told.
    """
    import numpy as np

    found: list[int] = np.asarray(observation["image"]).reshape(-1).tolist()
    sought = getattr(env.unwrapped.instrs, "desc", None) if goal else None
    colour, kind = (getattr(sought, name, None) for name in ("color", "type"))
    return [
        *found,
        int(observation["direction"]),
        COLOURS.index(colour) + 1 if colour in COLOURS else 0,
        KINDS.index(kind) + 1 if kind in KINDS else 0,
    ]


def is_view(codes: np.ndarray) -> bool:
    """Whether observations of so many codes each [places] are what :func:`observed` makes: its length, and minigrid's codes."""
    places = 3 * SIDE * SIDE
    kinds, colours, states = (codes[one:places:3] for one in range(3))
    return len(codes) == places + 3 and bool((kinds <= 11).all() and (colours <= len(COLOURS)).all() and (states <= 4).all())


def demonstrations(level: str, seed: int, *, goal: bool, noise: float) -> dict[str, Any]:
    """One episode of the bot: ``observation`` [steps][places], ``action`` [steps], ``mission`` and ``ended``.

    ``noise`` is the chance that a move is drawn in the place of the bot's, which is then the one that is written down.
    """
    import numpy as np
    from minigrid.utils.baby_ai_bot import BabyAIBot

    env, random = world(level), np.random.default_rng(seed)
    with contextlib.redirect_stdout(io.StringIO()):  # worlds that cannot be solved are drawn anew, which minigrid prints
        observation, _ = env.reset(seed=seed)
    bot, action, ended, cut = BabyAIBot(env), None, False, False
    seen, done = [], []
    while not (ended or cut):
        action = int(bot.replan(action))
        if noise and random.random() < noise:
            action = int(random.integers(3))  # to the left, to the right, forward: what keeps the world solvable
        seen.append(observed(env, observation, goal))
        done.append(action)
        observation, _, ended, cut, _ = env.step(action)
    return {"observation": seen, "action": done, "mission": observation["mission"], "ended": bool(ended)}


def rollouts(level: str, seeds: list[int], policy: Policy, *, goal: bool, most: int) -> np.ndarray:
    """Which of the episodes ``seeds`` the ``policy`` solves within ``most`` steps: bool [episodes]. All are played side by side."""
    import numpy as np

    envs = [world(level) for _ in seeds]
    with contextlib.redirect_stdout(io.StringIO()):
        now = [observed(env, env.reset(seed=seed)[0], goal) for env, seed in zip(envs, seeds, strict=True)]
    solved, playing = np.zeros(len(seeds), bool), np.arange(len(seeds))
    for _ in range(most):
        actions = policy(np.array([now[place] for place in playing]), playing)
        going = []
        for place, action in zip(playing.tolist(), actions.tolist(), strict=True):
            observation, reward, ended, cut, _ = envs[place].step(int(action))
            solved[place] = bool(ended) and float(reward) > 0
            if not (ended or cut):
                now[place] = observed(envs[place], observation, goal)
                going.append(place)
        playing = np.array(going, np.int64)
        if not len(playing):
            break
    return solved
