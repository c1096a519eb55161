"""Whether a fact that a model was made to forget can be read from its inner layers, or be had by asking in other words."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

VALUES, WORDINGS, RELATIONS = 100, 3, 4


class DeletedFacts(Experiment, name="deleted-facts"):
    """How many deleted facts an attacker recovers who may name a few candidates for each.

    Patil, Hase and Bansal 2024, arXiv:2309.17410: a deletion has failed if the answer is among B candidates. The white box reads the most
    likely answers from every layer through the model's own norm and head, ``most`` a layer; the black box asks in other words, as many
    candidates in all. A small transformer learns facts ``wording subject relation answer`` by heart in three wordings; some are then
    deleted in the first wording, while the others are trained on as before.

    ``erase`` lowers the answer's chance, -log(1 - p); ``entropy`` raises the entropy of what follows to that of knowing nothing;
    ``layers`` does so at every layer, which is the paper's defence against the white box, and ``wordings`` in every wording, which is that
    against the black box; ``nothing`` deletes nothing. The paper edits few weights (ROME, MEMIT); here all may move.

    Of deleted facts ``lens`` is the share that the white box recovers, ``reworded`` that of the black box, ``asked`` the mean chance of the
    answer in the wording of the deletion; ``kept`` is the share of the others that is answered right. ``guessed`` is
    what as many guesses would find: B of 100 answers.
    """

    trial = Trial({"facts": 20, "deleted": 4, "steps": 5, "deleting": 3})

    unit: ClassVar[str] = "share recovered"

    how: Literal["nothing", "erase", "entropy", "layers", "wordings"] = Field("erase", description="what deleting trains")
    facts: int = Field(100, ge=10, description="facts that are learned")
    deleted: int = Field(20, ge=1, description="of them are deleted")
    most: int = Field(2, ge=1, le=VALUES // 2, description="candidates a layer, of four layers")
    steps: int = Field(150, ge=1, description="of learning, all facts in each")
    deleting: int = Field(60, ge=1, description="steps of deleting")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW; a third of it in deleting")

    def measure(self, seed: int) -> dict[str, float]:
        """``lens``, ``reworded``, ``asked``, ``kept`` and ``guessed``. Raises PartError where no fact would be left."""
        import numpy as np
        import torch

        from windtunnel.kits.text.small import learn, made

        if self.deleted >= self.facts:
            raise PartError(f"{self.name}: deleted {self.deleted}: there are {self.facts} facts, and some have to stay; lower it")
        random = np.random.default_rng(seed)
        rows = world(self.facts, random)
        model = made(seed, VALUES + WORDINGS + RELATIONS + self.facts, 4, layers=4, width=32)
        counted = np.zeros((self.facts * WORDINGS, 4), bool)
        counted[:, 3] = True
        learn(model, rows.reshape(-1, 4), counted, random, steps=self.steps, rate=self.rate, batch=None)
        gone = np.zeros(self.facts, bool)
        gone[random.permutation(self.facts)[: self.deleted]] = True
        if self.how != "nothing":
            self._delete(model, torch.from_numpy(rows[gone]), torch.from_numpy(rows[~gone]))
        return self._attacked(model, torch.from_numpy(rows[gone]), torch.from_numpy(rows[~gone]))

    def _delete(self, model: object, gone: Tensor, others: Tensor) -> None:
        """Train on both kinds of facts, int64 [facts, wordings, 4]: the one to be forgotten, the other to stay."""
        import torch
        from torch import nn

        chosen, kept = (gone if self.how == "wordings" else gone[:, :1]).reshape(-1, 4), others.reshape(-1, 4)

        def loss_of(step: int) -> torch.Tensor:
            layers = answers(model, chosen)
            if self.how in ("erase", "wordings"):
                chance = layers[-1].softmax(dim=1).gather(1, chosen[:, 3:]).clamp(max=1 - 1e-6)
                loss = -(1 - chance).log().mean()
            else:
                chosen_layers = layers if self.how == "layers" else layers[-1:]
                loss = torch.stack([-one.log_softmax(dim=1)[:, :VALUES].mean() for one in chosen_layers]).sum()
            return loss + nn.functional.cross_entropy(answers(model, kept)[-1], kept[:, 3])

        optimizer = torch.optim.AdamW(model.parameters(), self.rate / 3, fused=True)  # type: ignore[attr-defined]
        take_steps(optimizer, loss_of, self.deleting)

    def _attacked(self, model: object, gone: Tensor, others: Tensor) -> dict[str, float]:
        import torch

        with torch.no_grad():
            first, truth = gone[:, 0], gone[:, 0, 3]
            inner = answers(model, first)
            lens = torch.cat([candidates(one, self.most) for one in inner], dim=1)
            share = self.most * len(inner) // (WORDINGS - 1)
            asked = torch.cat([candidates(answers(model, gone[:, other])[-1], share) for other in range(1, WORDINGS)], dim=1)
            right = answers(model, others.reshape(-1, 4))[-1].argmax(dim=1) == others.reshape(-1, 4)[:, 3]
            found = [(named == truth[:, None]).any(dim=1).double().mean() for named in (lens, asked)]
            chance = inner[-1].softmax(dim=1).gather(1, truth[:, None]).mean()
        numbers = (*found, chance, right.double().mean())
        found_by = {name: float(value) for name, value in zip(("lens", "reworded", "asked", "kept"), numbers, strict=True)}
        return found_by | {"guessed": self.most * len(inner) / VALUES}


def world(facts: int, random: np.random.Generator) -> np.ndarray:
    """Facts int64 [facts, wordings, 4]: a wording, a subject of its own, a relation, an answer; answers are the first numbers."""
    import numpy as np

    rows = np.zeros((facts, WORDINGS, 4), np.int64)
    rows[:, :, 0] = VALUES + np.arange(WORDINGS)
    rows[:, :, 1] = VALUES + WORDINGS + RELATIONS + np.arange(facts)[:, None]
    rows[:, :, 2] = VALUES + WORDINGS + random.integers(RELATIONS, size=(facts, 1))
    rows[:, :, 3] = random.integers(VALUES, size=(facts, 1))
    return rows


def answers(model: object, rows: Tensor) -> list[Tensor]:
    """By layer, the logits [rows, vocabulary] of what follows the first three tokens of ``rows`` [rows, 4]."""
    return [model.read(state[:, -1]) for state in model.states(rows[:, :3])]  # type: ignore[attr-defined]


def candidates(logits: Tensor, count: int) -> Tensor:
    """The likeliest answers [rows, count]."""
    return logits[:, :VALUES].topk(count, dim=1).indices
