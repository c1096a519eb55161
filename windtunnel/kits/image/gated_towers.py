"""Two towers, of images and of texts, whose upper layers can look at each other through gates that begin shut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from windtunnel.kits.image.patches import to_patches

PATCH, WIDTH, HEADS = 4, 32, 4


class GatedLayer(nn.Module):
    """Attention within rows [N, places, WIDTH], then ``alpha`` times attention to ``other`` rows, then an inner layer; norms before each.

    ``alpha`` is one number and begins at 0: then what comes out is that of a layer without the other rows, bit for bit, and the weights
    of the attention to them get no gradient until ``alpha`` has moved.
    """

    def __init__(self, *, crossed: bool) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.inner = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.cross = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) if crossed else None
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, rows: Tensor, other: Tensor | None) -> Tensor:
        """As the class says; without ``other`` the gate is shut."""
        normed = self.norms[0](rows)
        rows = rows + self.own(normed, normed, normed, need_weights=False)[0]
        if other is not None and self.cross is not None:
            rows = rows + self.alpha * self.cross(self.norms[1](rows), other, other, need_weights=False)[0]
        return torch.as_tensor(rows + self.inner(self.norms[2](rows)))


class GatedTowers(nn.Module):
    """Patches of images [N, 3, size, size] and words [N, words], each through ``layers``, of which the last ``crossed`` can look across.

    :meth:`apart` is the pair of towers, :meth:`together` the network with open gates; both share all weights but those across.
    """

    def __init__(self, size: int, vocabulary: int, words: int, layers: int = 3, crossed: int = 2) -> None:
        super().__init__()
        self.see, self.embed = nn.Linear(3 * PATCH**2, WIDTH), nn.Embedding(vocabulary + 1, WIDTH)  # the last word hides another
        self.places, self.orders = (nn.Parameter(0.02 * torch.randn(count, WIDTH)) for count in ((size // PATCH) ** 2, words))
        self.images, self.texts = (
            nn.ModuleList(GatedLayer(crossed=layer >= layers - crossed) for layer in range(layers)) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.project = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.match, self.fill = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1)), nn.Linear(WIDTH, vocabulary)
        self.region, self.phrase = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def _through(self, images: Tensor, words: Tensor, *, crossed: bool) -> tuple[Tensor, Tensor]:
        seen, said = self.see(to_patches(images, PATCH)) + self.places, self.embed(words) + self.orders
        for image, text in zip(self.images, self.texts, strict=True):
            seen, said = image(seen, said if crossed else None), text(said, seen if crossed else None)
        return self.norms[0](seen), self.norms[1](said)

    def apart(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """A vector of length 1 of each image and of each text."""
        both = self._through(images, words, crossed=False)
        first, second = (nn.functional.normalize(layer(rows.mean(dim=1)), dim=1) for layer, rows in zip(self.project, both, strict=True))
        return first, second

    def together(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of patches and of words."""
        return self._through(images, words, crossed=True)

    def matched(self, images: Tensor, words: Tensor) -> Tensor:
        """The logit [N] of whether a text is that of its image."""
        found: Tensor = self.match(torch.cat([rows.mean(dim=1) for rows in self.together(images, words)], dim=1))[:, 0]
        return found

    def grounded(self, images: Tensor, words: Tensor, *, crossed: bool) -> Tensor:
        """Logits [N, phrases, patches] of whether a patch is in what a phrase, of two words, names."""
        seen, said = self._through(images, words, crossed=crossed)
        phrases = self.phrase(said.unflatten(1, (-1, 2)).mean(dim=2))
        return torch.as_tensor(phrases @ self.region(seen).transpose(1, 2) / WIDTH**0.5 + self.bias)


def coarse_loss(network: GatedTowers, images: Tensor, words: Tensor, random: torch.Generator, *, crossed: bool) -> Tensor:
    """Of pairs: contrast of the towers, and with ``crossed`` gates matching and hidden words.

    Each image is also matched with a text of another one, drawn by the softmax of likeness, and each text with an image; of words 15 of a
    hundred are hidden.
    """
    first, second = network.apart(images, words)
    alike, own = network.scale * first @ second.T, torch.arange(len(images))
    cross = nn.functional.cross_entropy
    found = (cross(alike, own) + cross(alike.T, own)) / 2
    if not crossed:
        return found
    odds = alike.detach().masked_fill(torch.eye(len(own), dtype=torch.bool), -torch.inf)
    other_text = torch.multinomial(odds.softmax(dim=1), 1, generator=random)[:, 0]
    other_image = torch.multinomial(odds.T.softmax(dim=1), 1, generator=random)[:, 0]
    logits = network.matched(torch.cat([images, images, images[other_image]]), torch.cat([words, words[other_text], words]))
    truth = torch.zeros(len(logits))
    truth[: len(images)] = 1
    hidden = torch.rand(words.shape, generator=random) < 0.15
    hidden[torch.arange(len(words)), torch.randint(0, words.shape[1], (len(words),), generator=random)] = True
    _, said = network.together(images, words.masked_fill(hidden, network.embed.num_embeddings - 1))
    matching = nn.functional.binary_cross_entropy_with_logits(logits, truth)
    return found + matching + cross(network.fill(said[hidden]), words[hidden])
