"""Training on windows whose documents are related, and what the model then makes of a related document before another."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

KEYS, VALUES, PAIRS, WINDOW, SIGN = 24, 12, 3, 4, 0  # pairs of a document, documents of a window; the sign begins a document
DOCUMENT = 1 + 2 * PAIRS


class RelatedWindows(Experiment, name="related-windows"):
    """Nats of the values in a document by what stands before it in the window, after training on windows of documents in some order.

    Shi et al. 2024, arXiv:2310.10638 (in-context pre-training): documents are put on a path that visits each once and goes from each to the
    likest one that is left (:mod:`windtunnel.kits.text.paths`); windows are cut from it and shuffled. Likeness is the cosine of counts of
    key and value pairs (Contriever's vectors there). A document tells three of the eight keys of its subject, with the subject's values; a
    subject has ``each`` documents, so another document of it may tell what is asked. ``copies`` of all documents are nearly the same as
    another one.

    ``order``: ``random``; ``path``; ``nearest``, each window a document and its nearest ones, so that documents come again; ``grouped``, by
    subject, the bound. ``dedupe`` removes what is nearly the same first. All take as many steps on windows of four documents.

    ``related`` is nats of values that a document of the same subject, one of three before, has told; ``unrelated`` those of the same
    documents behind others; ``gain`` the difference; ``used`` the share of training documents that are in a window, counted once.
    """

    trial = Trial({"subjects": 6, "steps": 4})

    unit: ClassVar[str] = "nats a value"

    order: Literal["random", "path", "nearest", "grouped"] = Field("random", description="how documents come into windows")
    dedupe: bool = Field(True, description="whether documents that are nearly the same are removed first")
    subjects: int = Field(500, ge=4, description="each with values of its own")
    each: int = Field(6, ge=2, description="documents of a subject")
    copies: float = Field(0.3, ge=0, lt=1, description="share of documents that are nearly a copy of another")
    steps: int = Field(400, ge=1, description="of training, 48 windows each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")

    def measure(self, seed: int) -> dict[str, float]:
        """``related``, ``unrelated``, ``gain`` and ``used``."""
        import numpy as np
        import torch

        from windtunnel.kits.text.small import learn, losses, made

        random = np.random.default_rng(seed)
        subject = np.repeat(np.arange(self.subjects), self.each)
        documents = told(worlds(self.subjects, random)[subject], random)
        again = random.permutation(len(documents))[: round(self.copies * len(documents))]
        source = random.integers(0, len(documents), len(again))
        documents, subject = np.concatenate([documents, nearly(documents[source], random)]), np.concatenate([subject, subject[source]])
        asked = self._asked(np.random.default_rng((seed, 1)))  # drawn apart, so that every order is judged by the same
        windows = documents[self._windows(documents, subject, random)].reshape(-1, WINDOW * DOCUMENT)
        used = len({tuple(row) for row in windows.reshape(-1, DOCUMENT).tolist()}) / len({tuple(row) for row in documents.tolist()})
        model = made(seed, 1 + KEYS + VALUES, WINDOW * DOCUMENT, width=48)
        learn(model, windows, np.ones(windows.shape, bool), random, steps=self.steps, rate=self.rate, batch=48)
        found = {}
        for name in ("related", "unrelated"):
            with torch.no_grad():
                each = losses(model, torch.from_numpy(asked[name]))[:, -DOCUMENT + 1 :][:, 1::2].double().numpy()
            found[name] = float(each[asked["known"]].mean())
        return {**found, "gain": found["unrelated"] - found["related"], "used": used}

    def _asked(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Windows of subjects that were never in training: with another document of the last one's subject before it, and without.

        ``known`` are the values of the last document that this one tells.
        """
        import numpy as np

        new = worlds(300, random)
        last, other = told(new, random), told(new, random)
        before = [told(new[random.permutation(300)], random) for _ in range(WINDOW - 1)]
        place = int(random.integers(WINDOW - 1))
        known = [
            [pair in set(zip(one[1::2], one[2::2], strict=True)) for pair in zip(row[1::2], row[2::2], strict=True)]
            for row, one in zip(last.tolist(), other.tolist(), strict=True)
        ]
        related = np.hstack([*before[:place], other, *before[place + 1 :], last])
        return {"related": related, "unrelated": np.hstack([*before, last]), "known": np.array(known)}

    def _windows(self, documents: np.ndarray, subject: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Places of the documents of each window, [windows, WINDOW], in a random order of windows."""
        import numpy as np

        from windtunnel.kits.text.paths import neighbours, path, without_copies

        vectors = pairs(documents)
        places = np.array(without_copies(vectors, 0.99)) if self.dedupe else np.arange(len(documents))
        if self.order == "random":
            order = random.permutation(places)
        elif self.order == "grouped":
            order = places[np.argsort(subject[places] + 0.5 * random.random(len(places)), kind="stable")]
        else:
            edges = neighbours(vectors[places], 6)
            if self.order == "nearest":
                near = [[one, *sorted(edge, key=lambda other: -edge[other])[: WINDOW - 1]] for one, edge in enumerate(edges)]
                return random.permutation(places[np.array([row for row in near if len(row) == WINDOW])])
            order = places[path(edges)]
        count = len(order) // WINDOW
        return random.permutation(order[: count * WINDOW].reshape(count, WINDOW))


def worlds(count: int, random: np.random.Generator) -> np.ndarray:
    """The eight keys of each subject and their values, int64 [count, 8, 2]."""
    import numpy as np

    keys = np.stack([random.permutation(KEYS)[:8] for _ in range(count)])
    return np.stack([1 + keys, 1 + KEYS + random.integers(0, VALUES, keys.shape)], axis=2)


def told(subjects: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A document of each of ``subjects`` [documents, 8, 2]: the sign, then three keys, each with its value."""
    import numpy as np

    some = np.stack([random.permutation(8)[:PAIRS] for _ in subjects])
    rows = np.take_along_axis(subjects, some[:, :, None], axis=1).reshape(len(subjects), -1)
    return np.hstack([np.full((len(rows), 1), SIGN), rows])


def nearly(documents: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """``documents`` with their pairs in another order."""
    import numpy as np

    order = np.stack([random.permutation(PAIRS) for _ in documents])
    rows = np.take_along_axis(documents[:, 1:].reshape(len(documents), PAIRS, 2), order[:, :, None], axis=1)
    return np.hstack([documents[:, :1], rows.reshape(len(documents), -1)])


def pairs(documents: np.ndarray) -> np.ndarray:
    """How often each pair of a key and a value is in each document, [documents, KEYS x VALUES], rare ones counting more."""
    import numpy as np

    found = np.zeros((len(documents), KEYS * VALUES))
    for place in range(1, DOCUMENT, 2):
        np.add.at(found, (np.arange(len(documents)), (documents[:, place] - 1) * VALUES + documents[:, place + 1] - 1 - KEYS), 1)
    return np.asarray(found * np.log(len(documents) / np.maximum(found.sum(axis=0), 1)))
