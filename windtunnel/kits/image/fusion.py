"""Patches of scenes read by a network without labels, and scored by names through a network that both go through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from windtunnel.kits.image.patches import to_patches
from windtunnel.kits.small_decoder import descend

PATCH, WIDTH = 4, 32  # pixels on a side of a patch, and numbers that are read from it


class PatchReader(nn.Module):
    """Vectors [images, patches, WIDTH] of images [images, 3, size, size], by four convolutions that look 22 pixels far.

    :meth:`learn` draws patches that were hidden: the mean squared distance of their pixels (as masked autoencoders do, with hidden
    patches read as zeros).
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, WIDTH, PATCH, PATCH), nn.ReLU()),
            *(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()),
        )
        self.draw = nn.Linear(WIDTH, 3 * PATCH * PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """As the class says."""
        found: Tensor = self.layers(images).flatten(2).transpose(1, 2)
        return found

    def learn(self, images: Tensor, steps: int, seed: int, *, hidden: float = 0.5, batch: int = 16, rate: float = 3e-3) -> PatchReader:
        """After ``steps`` in which a share ``hidden`` of the patches is drawn; its weights then stay."""
        random = torch.Generator().manual_seed(seed)
        side = images.shape[-1] // PATCH

        def loss(step: int) -> Tensor:
            chosen = images[torch.randint(0, len(images), (batch,), generator=random)]
            unseen = torch.rand(batch, 1, side, side, generator=random) < hidden
            given = chosen * ~unseen.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
            apart = (self.draw(self(given)) - to_patches(chosen, PATCH)).square().mean(dim=2)
            return apart[unseen.flatten(1)].mean()

        descend(self, loss, steps, rate)
        self.requires_grad_(False)
        return self


class NamedPatches(nn.Module):
    """How well each name fits each patch: logits [images, patches, names].

    Frozen vectors of patches [images, patches, WIDTH] and of names [names, text]. ``fused``: all of them, brought to one width, go through
    a layer of attention in which every one sees every other one. ``apart``: the same layer, in which patches see patches and names see
    names. ``linear``: patches are brought to the space of names by one matrix. The logit is the cosine of what comes out of both, times a
    learned scale, plus a learned number.
    """

    def __init__(self, kind: str, patches: int, text: int, width: int = 32) -> None:
        super().__init__()
        self.kind = kind
        self.scale, self.shift = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))
        self.see = nn.Linear(WIDTH, text if kind == "linear" else width)
        if kind != "linear":
            self.name, self.places = nn.Linear(text, width), nn.Parameter(0.02 * torch.randn(patches, width))
            self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)

    def forward(self, seen: Tensor, names: Tensor) -> Tensor:
        """As the class says."""
        found, named = self.see(seen), names.expand(len(seen), -1, -1)
        if self.kind != "linear":
            both = torch.cat([found + self.places, self.name(named)], dim=1)
            kind = torch.arange(both.shape[1]) < seen.shape[1]
            both = self.block(both, src_mask=kind[:, None] != kind[None, :] if self.kind == "apart" else None)
            found, named = both[:, : seen.shape[1]], both[:, seen.shape[1] :]
        cosines = nn.functional.normalize(found, dim=2) @ nn.functional.normalize(named, dim=2).transpose(1, 2)
        return torch.as_tensor(self.scale * cosines + self.shift)
