"""The next item of a user, by item numbers or by what is written of items, and contrast between histories beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

KINDS, BRANDS, FILLERS = 20, 15, 40  # words that say something of an item, and those that do not
LENGTH = 8  # items of a history
LOYAL, FOLLOWS = 0.7, 0.8  # how often a user keeps to the brand, and a kind follows the one before as usual
BATCH, RATE, TEMPERATURE = 64, 0.02, 0.2
DIGITS = 10
CHANGED = 0.3  # of the items of a view
FOUND = 10  # items that are looked at


class NextItem(Experiment, name="next-item"):
    """The share of users whose next item is among the first ten, where items are known by number or by their text.

    Li et al. 2023, arXiv:2305.13731 (Recformer): an item is its text, so that one nobody has bought yet can be foretold. Geng et al. 2022,
    arXiv:2203.13366 (P5): items are numbers in text, cut into tokens; numbers given in the order of a catalogue tell tokens that belong
    together (``numbers``), numbers that were shuffled (``shuffled-numbers``) do not. Cui et al. 2025, arXiv:2503.04162 (SRA-CL): beside the
    loss of the next item, two views of a history have to find each other in the batch; a view replaces items by others whose text is alike
    (``alike``), or, as others do, by any item (``any``).

    Made-up catalogue: an item has a kind, a brand and two words that say nothing; kinds follow each other by a chain, and a user has a
    brand. A history of eight items is the mean of item vectors with a learned weight for each place, through a layer, and scores all items
    by their vectors: free ones (``ids``), sums of vectors of words (``text``, or ``shuffled-text``: that of another item) or of digits at
    their places. A fifth of the items are ``cold``: they are in no history of training. `popular` is what ten most frequent items find.
    """

    trial = Trial({"users": 64, "steps": 3, "items": 40, "asked": 50})

    unit: ClassVar[str] = "share found"
    better: ClassVar[str] = "higher"

    known_by: Literal["ids", "text", "shuffled-text", "numbers", "shuffled-numbers"] = Field(
        "ids", description="what an item's vector is made of"
    )
    contrast: Literal["none", "any", "alike", "shuffled"] = Field("none", description="what takes the place of items in a view")
    weight: float = Field(0.1, ge=0, description="of the contrast of views")
    items: int = Field(400, ge=20, le=DIGITS**3, description="of the catalogue; numbers of items have three digits")
    users: int = Field(2000, ge=64, description="whose histories are learned from")
    asked: int = Field(1000, ge=10, description="other users, half of them with a cold item next")
    width: int = Field(32, ge=2, description="of vectors")
    steps: int = Field(300, ge=1, description="of training, 64 users each")

    def measure(self, seed: int) -> dict[str, float]:
        """``found`` among warm items, ``cold`` among cold ones, both ranked among all, and ``popular``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        catalogue = Catalogue.drawn(self.items, random)
        warm = np.flatnonzero(~catalogue.cold)
        learned = catalogue.histories(self.users, random, warm, warm)
        asked = {
            "found": catalogue.histories(self.asked // 2, random, warm, warm),
            "cold": catalogue.histories(self.asked // 2, random, warm, np.flatnonzero(catalogue.cold)),
        }
        network = self._trained(catalogue, learned, random)
        numbers: dict[str, float] = {}
        for name, histories in asked.items():
            with torch.no_grad():
                scores = network.scores(torch.from_numpy(histories[:, :LENGTH])).numpy()
            numbers[name] = found(scores, histories[:, LENGTH])
        often = np.bincount(learned.ravel(), minlength=self.items).astype(float)
        numbers["popular"] = found(np.broadcast_to(often, (self.asked // 2, self.items)), asked["found"][:, LENGTH])
        return numbers

    def _trained(self, catalogue: Catalogue, learned: np.ndarray, random: np.random.Generator) -> Recommender:
        import numpy as np
        import torch
        from torch.nn.functional import cross_entropy, normalize

        network = Recommender(self._words(catalogue, random), self.width, random)
        alike = catalogue.alike()
        if self.contrast == "shuffled":
            alike = alike[random.permutation(self.items)]
        own = torch.arange(BATCH)

        def view(items: np.ndarray) -> torch.Tensor:
            """The vector of a history, three tenths of whose items are others."""
            others = random.integers(0, self.items, items.shape)
            if self.contrast != "any":
                others = alike[items, random.integers(0, alike.shape[1], items.shape)]
            changed = np.where(random.random(items.shape) < CHANGED, others, items)
            return normalize(network.histories(torch.from_numpy(changed)), dim=1)

        def loss(step: int) -> torch.Tensor:
            batch = learned[random.integers(0, len(learned), BATCH)]
            found = cross_entropy(network.scores(torch.from_numpy(batch[:, :LENGTH])), torch.from_numpy(batch[:, LENGTH]))
            if self.contrast == "none":
                return found
            return found + self.weight * cross_entropy(view(batch[:, :LENGTH]) @ view(batch[:, :LENGTH]).T / TEMPERATURE, own)

        take_steps(torch.optim.AdamW(network.weights, RATE, weight_decay=0.0), loss, self.steps)
        return network

    def _words(self, catalogue: Catalogue, random: np.random.Generator) -> np.ndarray:
        """What an item's vector is the sum of, float32 [items, words]."""
        import numpy as np

        if self.known_by == "ids":
            return np.eye(self.items, dtype=np.float32)
        if "text" in self.known_by:
            words = catalogue.words
            return words[random.permutation(self.items)] if self.known_by == "shuffled-text" else words
        order = np.lexsort((catalogue.brand, catalogue.kind)).argsort()  # the place in a catalogue that goes by kind, then by brand
        number = random.permutation(self.items) if self.known_by == "shuffled-numbers" else order
        found = np.zeros((self.items, 3 * DIGITS), np.float32)
        for place in range(3):
            found[np.arange(self.items), place * DIGITS + number // DIGITS**place % DIGITS] = 1
        return found


class Recommender:
    """Vectors of words, of which those of items are sums over ``words`` [items, words], weights of places, and a layer."""

    def __init__(self, words: np.ndarray, width: int, random: np.random.Generator) -> None:
        import numpy as np
        import torch

        def drawn(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.from_numpy(random.standard_normal(shape).astype(np.float32)))

        self.words = torch.from_numpy(words)
        self.vectors, self.layer = drawn(words.shape[1], width), drawn(width, width)
        self.places = torch.nn.Parameter(torch.zeros(LENGTH))
        self.weights = [self.vectors, self.layer, self.places]
        with torch.no_grad():
            self.vectors.mul_(0.3)
            self.layer.mul_(width**-0.5)

    def histories(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of histories of ``items`` [users, LENGTH]: [users, width]."""
        import torch

        return torch.einsum("uld,l->ud", (self.words @ self.vectors)[items], self.places.softmax(dim=0)) @ self.layer

    def scores(self, items: torch.Tensor) -> torch.Tensor:
        """Of every item as the next one: [users, items]."""
        return self.histories(items) @ (self.words @ self.vectors).T


class Catalogue(NamedTuple):
    """Of each item its ``kind``, ``brand``, ``words`` float32 [items, words] and whether it is ``cold``; ``follows`` [kinds]."""

    kind: np.ndarray
    brand: np.ndarray
    words: np.ndarray
    cold: np.ndarray
    follows: np.ndarray

    @classmethod
    def drawn(cls, items: int, random: np.random.Generator) -> Catalogue:
        """So many items; every kind is of as many, and every fifth is cold."""
        import numpy as np

        kind, brand = random.permutation(np.arange(items) % KINDS), random.integers(0, BRANDS, items)
        words, rows = np.zeros((items, KINDS + BRANDS + FILLERS), np.float32), np.arange(items)
        words[rows, kind] = words[rows, KINDS + brand] = 1
        for _ in range(2):
            words[rows, KINDS + BRANDS + random.integers(0, FILLERS, items)] = 1
        return cls(kind, brand, words, random.permutation(rows) % 5 == 0, random.permutation(KINDS))

    def histories(self, users: int, random: np.random.Generator, among: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Items of so many users and the next, int64 [users, LENGTH + 1]: those of a history ``among`` some, the next among ``last``."""
        import numpy as np

        brand, kind = random.integers(0, BRANDS, users), random.integers(0, KINDS, users)
        found = np.zeros((users, LENGTH + 1), np.int64)
        for place in range(LENGTH + 1):
            usual = random.random(users) < FOLLOWS
            kind = np.where(usual, self.follows[kind], random.integers(0, KINDS, users))
            chosen = last if place == LENGTH else among
            fits = (self.kind[chosen] == kind[:, None]) + 0.0
            fits *= np.where((self.brand[chosen] == brand[:, None]) & (random.random(users) < LOYAL)[:, None], 50.0, 1.0)
            odds = (fits + 1e-9).cumsum(axis=1)
            at = (odds < random.random((users, 1)) * odds[:, -1:]).sum(axis=1).clip(max=len(chosen) - 1)
            found[:, place] = chosen[at]
            kind = self.kind[found[:, place]]
        return found

    def alike(self) -> np.ndarray:
        """Of each item the ten whose words are most like its own, int64 [items, 10]."""
        import numpy as np

        common = self.words @ self.words.T - 9 * np.eye(len(self.words), dtype=np.float32)
        return np.asarray(np.argsort(-common, axis=1, kind="stable")[:, :10])


def found(scores: np.ndarray, right: np.ndarray) -> float:
    """The share of rows of ``scores`` [rows, items] whose item ``right`` is among the first ten; what ties counts against it."""
    import numpy as np

    own = scores[np.arange(len(scores)), right]
    return float(((~(scores < own[:, None])).sum(axis=1) <= FOUND).mean())
