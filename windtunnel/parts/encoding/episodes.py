"""Episodes as windows of their steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import EPISODES
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.trajectory.steps import Steps, StepsBeside


class EpisodeWindows(Encoding, name="episodes"):
    """Episodes of observations and actions as windows of ``steps`` steps, a window a unit; none crosses from an episode into another.

    An observation is a list of codes, whole numbers from 0 that stand for kinds and not for amounts, of one length in all episodes. Where
    an episode is shorter than a window, or ends within one, nothing stands there. An action of -1 is one that nobody tells.
    """

    trial = Trial({"steps": 6}, model={"family": "decision-transformer"}, beside=without(EPISODES, "encoding"))

    unit: ClassVar[str] = "window"
    evaluation: ClassVar[str] = "action-bits"

    steps: int = Field(8, ge=1, description="steps of a window", json_schema_extra={"unit": "steps"})

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        return {"steps": self.steps}

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """How many codes and actions there are in training.

        Raises:
            UserError: for a source without episodes or with one action alone, and where observations are of several lengths or no codes.
        """
        import numpy as np

        tell("counting the codes of training episodes")
        most: np.ndarray | None = None
        kinds: set[int] = set()
        for source in corpus.sources:
            for seen, done, where in self._read(corpus, "train", source):
                highest = seen.max(axis=0)
                if most is not None and len(most) != len(highest):
                    raise UserError(
                        f"{where}: has observations of {len(highest)} places, and those before have {len(most)}; "
                        "episodes of one study have to see alike"
                    )
                most = highest if most is None else np.maximum(most, highest)
                kinds.update(np.unique(done[done >= 0]).tolist())
        if most is None or not kinds:
            raise UserError("encoding.episodes: no training episode has a step with an action")
        if len(kinds) == 1:
            raise UserError(f"encoding.episodes: all training steps have the action {kinds.pop()}; there is nothing to tell between")
        return Fitted(
            fields={
                "observation": Kind("<i2", (self.steps, len(most)), fill=-1),
                "action": Kind("<i2", (self.steps,), fill=-1),
                "there": Kind("|u1", (self.steps,)),
            },
            facts={"steps": self.steps, "codes": (most + 1).astype("<i8"), "actions": max(kinds) + 1},
            encode=lambda split, source: self._encode(corpus, split, source, len(most)),
        )

    def _encode(self, corpus: Any, split: str, source: str, places: int) -> Iterator[Piece]:
        import numpy as np

        for seen, done, where in self._read(corpus, split, source):
            if seen.shape[1] != places:
                raise UserError(f"{where}: a held-out episode has observations of {seen.shape[1]} places, training ones of {places}")
            windows = -(-len(done) // self.steps)
            room = windows * self.steps - len(done)
            observation = np.pad(seen, ((0, room), (0, 0)), constant_values=-1).reshape(windows, self.steps, places)
            action = np.pad(done, (0, room), constant_values=-1).reshape(windows, self.steps)
            there = (np.arange(windows * self.steps) < len(done)).reshape(windows, self.steps)
            yield Piece({"observation": observation, "action": action, "there": there.astype(np.uint8)}, len(done), True)

    def _read(self, corpus: Any, split: str, source: str) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
        """What is seen [steps, places] and done [steps] of each episode, and what errors call it."""
        import numpy as np

        for batch in corpus.rows(split, source, ["observation", "action", "origin"]):
            for seen, done, origin in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                where = f"encoding.episodes: {source}, {origin}"
                try:
                    codes, actions = np.array(seen), np.array(done)
                except ValueError as error:
                    raise UserError(f"{where}: observations of several lengths in one episode") from error
                if codes.ndim != 2 or codes.dtype.kind not in "iu" or actions.dtype.kind not in "iu" or len(codes) != len(actions):
                    raise UserError(f"{where}: an episode is a list of codes and an action for every step")
                if codes.min() < 0 or codes.max() > 32767 or actions.max() > 32767:
                    raise UserError(f"{where}: codes and actions are from 0 to 32767")
                yield codes, actions, where

    def reckoned(self) -> Steps:
        """As for every encoding; how many codes and actions there are is not known before episodes are read."""
        import numpy as np

        return self.facts({"steps": self.steps, "codes": np.full(2, 8), "actions": 4})

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row, shape = np.zeros((1, context), np.int64), (1, context, self.steps)
        return {
            "observation": np.zeros((*shape, 2), np.int16),
            "action": np.zeros(shape, np.int16),
            "there": np.ones(shape, np.uint8),
            "documents": np.arange(context)[None],
            "positions": row,
            "sources": row[0, :1],
        }

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Steps:
        """Steps, codes and actions."""
        from windtunnel.kits.trajectory.steps import Steps

        return Steps(int(stored["steps"]), stored["codes"], int(stored["actions"]))

    @classmethod
    def processor_in(cls, folder: Path) -> StepsBeside:
        """How observations are read, as it lies beside a model."""
        from windtunnel.kits.trajectory.steps import StepsBeside

        return StepsBeside.load(folder)

    @classmethod
    def processor(cls, stream: Any, special: Collection[str] = ()) -> StepsBeside:
        """How observations are read: steps.json."""
        from windtunnel.kits.trajectory.steps import StepsBeside

        return StepsBeside(stream.facts)

    @classmethod
    def about(cls, facts: Steps) -> dict[str, int]:
        """Steps of a window, places of an observation, and actions."""
        return {"steps of a window": facts.steps, "places of an observation": len(facts.codes), "actions": facts.actions}

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 4) -> list[dict[str, Any]]:
        """Held-out windows as pictures of what is seen, with what is done and what the model would do."""
        from windtunnel.kits.trajectory.samples import samples

        return samples(model, held_out, count)
