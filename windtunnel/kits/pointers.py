"""A small network that reads numbers, as a sequence or as a set, and writes their order, by pointing at them or by naming their places."""

from __future__ import annotations

import torch
from torch import nn

WIDTH = 32


class Pointers(nn.Module):
    """Scores of which number comes next, [rows, places written, places read].

    ``reads`` a ``sequence`` by a GRU, or a ``set`` by a layer for each number and ``steps`` rounds in which a cell without input looks at
    all of them by attention; what it holds then is where writing begins. ``writes`` ``pointers``, v . tanh(W1 e + W2 d) for each number e
    and the state d of writing, or ``places``: a layer with one output for each of ``most`` places, of d and of what attention reads with
    it.
    """

    def __init__(self, reads: str, steps: int, writes: str, most: int, seed: int) -> None:
        super().__init__()
        self.reads, self.steps, self.writes, self.most = reads, steps, writes, most
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.each = nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
            self.along = nn.GRU(WIDTH, WIDTH, batch_first=True)
            self.process, self.ask = nn.GRUCell(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.write = nn.GRUCell(WIDTH, WIDTH)
            self.near, self.far, self.score = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1, bias=False)
            self.name = nn.Linear(2 * WIDTH, most)

    def read(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of ``numbers`` [rows, places] a vector each, [rows, places, WIDTH], and the state that writing begins from, [rows, WIDTH]."""
        found = self.each(numbers[..., None])
        if self.reads == "sequence":
            along, last = self.along(found)
            return along, last[0]
        state = torch.zeros(len(numbers), WIDTH)
        for _ in range(self.steps):
            odds = torch.einsum("rw,rpw->rp", self.ask(state), found).softmax(dim=1)
            state = self.process(torch.einsum("rp,rpw->rw", odds, found), state)
        return found, state

    def forward(self, numbers: torch.Tensor, order: torch.Tensor | None = None) -> torch.Tensor:
        """With ``order`` int64 [rows, places], the right one, each number written is fed back; without, the likeliest, also twice."""
        found, state = self.read(numbers)
        rows, places = numbers.shape
        near, fed, told = self.near(found), torch.zeros(rows, WIDTH), list[torch.Tensor]()
        for step in range(places):
            state = self.write(fed, state)
            scores = self.score(torch.tanh(near + self.far(state)[:, None]))[..., 0]
            if self.writes == "places":
                read = torch.einsum("rp,rpw->rw", scores.softmax(dim=1), found)
                named = self.name(torch.cat([state, read], dim=1))
                scores = nn.functional.pad(named, (0, max(0, places - self.most)), value=-1e4)[:, :places]
            told.append(scores)
            chosen = scores.argmax(dim=1) if order is None else order[:, step]
            fed = found[torch.arange(rows), chosen]
        return torch.stack(told, dim=1)
