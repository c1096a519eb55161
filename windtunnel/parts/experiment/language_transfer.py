"""What a model of one language brings to a task in another, against models of structure that is no language."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

BYTES, LENGTH = 32, 24  # of all languages, and of a text


class LanguageTransfer(Experiment, name="language-transfer"):
    """The accuracy of telling texts of a language from spoiled ones by few labels, on what a model of some language makes of them.

    Abonizio et al. 2022 (MonoByte), arXiv:2209.11035: byte-level models of ten languages, trained alike, and two of what is no language, so
    that what carries over is not the vocabulary. Texts are made: the next byte depends on the last two, by what has a correlation of
    ``near`` between a language and the stem of its family. The task is acceptability: in spoiled texts ``spoiled`` of the bytes have
    changed places with others of the text.

    ``trained_on`` says what the model learned from: the ``own`` language of the task, a ``near`` one of its family, a ``far`` one of
    another, ``brackets``, nested pairs of signs that are no language, or ``nothing``. A ridge regression reads the mean and the largest of
    a text's nats a byte, and the means of hidden states, of ``labels`` labelled texts. All models take as many steps on as many texts.
    ``accuracy`` is on new texts of that language, ``abroad`` on texts of a third language of the family, with the same regression; ``nats``
    what a byte of good text costs the model.
    """

    trial = Trial({"texts": 30, "steps": 4, "labels": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    trained_on: Literal["own", "near", "far", "brackets", "nothing"] = Field("own", description="what the model learned from")
    texts: int = Field(1500, ge=10, description="to learn from")
    near: float = Field(0.94, ge=0, le=1, description="correlation of a language with the stem of its family")
    labels: int = Field(60, ge=4, description="labelled texts")
    spoiled: float = Field(0.2, gt=0, le=1, description="share of bytes of a spoiled text that changed places")
    steps: int = Field(700, ge=1, description="of Adam, 128 bytes each")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``abroad`` and ``nats``."""
        import numpy as np

        from windtunnel.kits.ridge import leaning
        from windtunnel.kits.text.windowed import chances, drawn, language, learn, made, nats, windows

        random, judging = np.random.default_rng(seed).spawn(2)  # whatever is learned from, all are judged on the same texts
        stem, other = language(BYTES, random), language(BYTES, random)
        family = [chances(language(BYTES, random, like=stem, shared=self.near)) for _ in range(3)]
        spoken = {"own": family[0], "near": family[1], "far": chances(other)}
        model = made(seed, BYTES)
        if self.trained_on != "nothing":
            brackets_or = self.trained_on == "brackets"
            texts = brackets(self.texts, random) if brackets_or else drawn(spoken[self.trained_on], self.texts, LENGTH, random)
            learn(model, [windows(texts)], [1.0], random, steps=self.steps, rate=0.01)

        def task(odds: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
            good = drawn(odds, count, LENGTH, judging)
            bad = np.arange(count) % 2 == 1
            return np.where(bad[:, None], spoil(good, self.spoiled, judging), good), bad

        known, names = task(family[0], self.labels)
        rows = [read(model, known)]
        found = []
        for odds in (family[0], family[2]):
            held, truth = task(odds, 500)
            told = leaning(rows[0], names, read(model, held), 30) > 0
            found.append(float((told == truth).mean()))
        return {"accuracy": found[0], "abroad": found[1], "nats": nats(model, windows(drawn(family[0], 200, LENGTH, judging)))}


def spoil(texts: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """``texts`` of which a share of the bytes have changed places among themselves, by one place in a ring."""
    import numpy as np

    found = texts.copy()
    count = max(round(share * LENGTH), 2)
    for row in found:
        places = random.permutation(LENGTH)[:count]
        row[places] = row[np.roll(places, 1)]
    return found


def brackets(count: int, random: np.random.Generator) -> np.ndarray:
    """Nested brackets of half as many kinds as there are bytes, [count, LENGTH]: each opens or closes what was opened last."""
    import numpy as np

    found = np.zeros((count, LENGTH), np.int64)
    for row in found:
        open_: list[int] = []
        for place in range(LENGTH):
            if open_ and random.random() < 0.5:
                row[place] = open_.pop() + BYTES // 2
            else:
                row[place] = random.integers(0, BYTES // 2)
                open_.append(int(row[place]))
    return found


def read(model: object, texts: np.ndarray) -> np.ndarray:
    """What a model makes of each text: the mean and the largest nats of a byte, ten times over, and the mean of its hidden states."""
    import numpy as np
    import torch

    from windtunnel.kits.text.windowed import windows

    runs = torch.from_numpy(np.ascontiguousarray(windows(texts)))
    with torch.no_grad():
        hidden = torch.tanh(model.inner(model.table(runs[:, :-1]).flatten(1)))  # type: ignore[attr-defined]
        each = torch.nn.functional.cross_entropy(model.outer(hidden), runs[:, -1], reduction="none")  # type: ignore[attr-defined]
    cost = each.double().numpy().reshape(len(texts), -1)
    states = hidden.double().numpy().reshape(len(texts), cost.shape[1], -1).mean(axis=1)
    return np.hstack([np.repeat(cost.mean(axis=1)[:, None], 5, axis=1), np.repeat(cost.max(axis=1)[:, None], 5, axis=1), states])
