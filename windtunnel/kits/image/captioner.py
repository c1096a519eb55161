"""A network that writes the next word of a caption."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Captioner(nn.Module):
    """Logits [captions, places, words] of every word from the image [captions, pixels], the two words before and the place."""

    def __init__(self, pixels: int, words: int = 24, places: int = 12, width: int = 64) -> None:
        super().__init__()
        self.image, self.embed, self.place = nn.Linear(pixels, width), nn.Embedding(words + 1, width), nn.Embedding(places, width)
        self.older, self.out = nn.Linear(width, width), nn.Linear(width, words)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """``words`` [captions, places] are all words; each place reads those before it."""
        start = torch.full_like(words[:, :1], self.embed.num_embeddings - 1)
        before = self.embed(torch.cat([start, start, words], dim=1))
        found = self.image(images)[:, None] + before[:, 1:-1] + self.older(before[:, :-2]) + self.place.weight
        logits: Tensor = self.out(torch.nn.functional.gelu(found))
        return logits

    def likely(self, words: Tensor) -> Tensor:
        """The probability of each word [captions, places] without an image."""
        with torch.no_grad():
            found = self(words.new_zeros((len(words), self.image.in_features), dtype=torch.float32), words).log_softmax(dim=2)
        return found.gather(2, words[:, :, None])[:, :, 0].exp()
