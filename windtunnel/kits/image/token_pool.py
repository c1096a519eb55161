"""A decoder of image vectors and words, with a pool of learned vectors that stand in for those of the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from windtunnel.kits.image.written import TEXT, WORDS, one_hot
from windtunnel.kits.small_decoder import SmallDecoder, descend

KEPT = 0.25  # of the vectors of an image


class TokenReader(nn.Module):
    """Writes words after the vectors of an image [images, tiles, numbers]; ``knobs`` are those of the experiment `restored-tokens`."""

    def __init__(self, tiles: int, numbers: int, words: int, width: int, knobs: Any, seed: int) -> None:
        super().__init__()
        self.tiles, self.numbers, self.knobs = tiles, numbers, knobs
        self.decoder = SmallDecoder(numbers + WORDS, WORDS, tiles + words + 1, width=width, seed=seed)
        pool = torch.randn(knobs.pool, width)
        self.pool = nn.Parameter(functional.normalize(pool, dim=1) if knobs.pool_begins == "unit" else pool)
        self.mask = nn.Parameter(functional.normalize(torch.randn(width), dim=0))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.back = nn.Sequential(layer, nn.LayerNorm(width), nn.Linear(width, width))

    def seen(self, vectors: Tensor) -> Tensor:
        """Vectors of the decoder's width and of length 1."""
        return functional.normalize(self.decoder.read(functional.pad(vectors, (0, WORDS))), dim=2)

    def replaced(self, seen: Tensor, hidden: Tensor) -> Tensor:
        """``seen`` [images, tiles, width] with those that are ``hidden`` replaced."""
        if self.knobs.replaced == "mask":
            return torch.where(hidden[..., None], self.mask, seen)
        return torch.where(hidden[..., None], self.pool[self.chosen(seen, hidden)], seen)

    def chosen(self, seen: Tensor, hidden: Tensor) -> Tensor:
        """Which of the pool stands for each vector [images, tiles]; of those that are not ``hidden`` it does not matter."""
        with torch.no_grad():
            apart = torch.cdist(seen, self.pool.expand(len(seen), -1, -1))
            found = apart.argmin(dim=2)
            if self.knobs.replaced == "matched":
                from scipy.optimize import linear_sum_assignment

                for distances, which, places in zip(apart, found, hidden, strict=True):
                    which[places] = torch.from_numpy(linear_sum_assignment(distances[places].numpy())[1])
        return found

    def hidden(self, images: int, random: torch.Generator) -> Tensor:
        """Which vectors are replaced, bool [images, tiles]: the same share of every image."""
        order = torch.rand(images, self.tiles, generator=random).argsort(dim=1).argsort(dim=1)
        return order >= round(KEPT * self.tiles)

    def states(self, seen: Tensor, words: Tensor) -> Tensor:
        """What stands at image vectors and words before the last layer."""
        said = self.decoder.read(functional.pad(one_hot(words), (self.numbers, 0)))
        mixed = self.knobs.attention == "mixed"
        return self.decoder.through(torch.cat([seen, said], dim=1), self.tiles if mixed else False)

    def losses(self, vectors: Tensor, words: Tensor, random: torch.Generator, beta: float) -> tuple[Tensor, Tensor]:
        """The cross entropy of captions, and the smooth absolute distance of the original vectors from those drawn at all places."""
        seen = self.seen(vectors)
        given, replaces = seen, self.knobs.replaced != "none"
        if replaces:
            given = self.replaced(seen, self.hidden(len(seen), random))
        states = self.states(given, started(words)[:, :-1])
        logits = self.decoder.write(states[:, self.tiles :])
        written = functional.cross_entropy(logits.flatten(0, 1), words.flatten())
        if not (replaces and self.knobs.restore):
            return written, written * 0
        return written, functional.smooth_l1_loss(self.back(states[:, : self.tiles]), seen.detach(), beta=beta)

    def caption(self, vectors: Tensor, words: Tensor) -> float:
        """The share of colours and shapes foretold rightly from nothing replaced and the true words before."""
        with torch.no_grad():
            states = self.states(self.seen(vectors), started(words)[:, :-1])
            found = self.decoder.write(states[:, self.tiles :]).argmax(dim=2) == words
        return float(found.unflatten(1, (-1, 3))[..., 1:].float().mean())

    def answers(self, vectors: Tensor, asked: Tensor) -> Tensor:
        """Logits of the word after a question."""
        return torch.as_tensor(self.decoder.write(self.states(self.seen(vectors), asked)[:, -1]))

    def ask(self, vectors: Tensor, rows: Tensor, asked: Tensor, answers: Tensor, steps: int, seed: int, rate: float = 1e-3) -> None:
        """Steps on questions ``asked`` [questions, 2] about the images ``rows``, and their answers."""
        random = torch.Generator().manual_seed(seed)

        def loss(step: int) -> Tensor:
            some = torch.randint(0, len(rows), (32,), generator=random)
            return functional.cross_entropy(self.answers(vectors[rows[some]], asked[some]), answers[some])

        descend(self, loss, steps, rate)

    def answered(self, vectors: Tensor, rows: Tensor, asked: Tensor, answers: Tensor) -> float:
        """The share of questions whose likeliest word is the answer."""
        with torch.no_grad():
            found = self.answers(vectors[rows], asked).argmax(dim=1) == answers
        return float(found.float().mean())

    def used(self, vectors: Tensor) -> float:
        """The share of the pool that stands for any vector where all are replaced."""
        if self.knobs.replaced not in ("nearest", "matched"):
            return 0.0
        seen = self.seen(vectors)
        chosen = self.chosen(seen, torch.ones(seen.shape[:2], dtype=torch.bool))
        return len(chosen.unique()) / len(self.pool)


def started(words: Tensor) -> Tensor:
    """``words`` [N, words] after the word that begins a caption."""
    return torch.cat([torch.full_like(words[:, :1], TEXT), words], dim=1)
