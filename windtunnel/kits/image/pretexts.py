"""What an image can be asked about itself: one module a task, each with the heads it needs beside the network that it trains.

Images are [images, (frames,) size, size] numbers of mean 0 and deviation 1; every module returns one loss in nats or a mean distance.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from windtunnel.kits.image.patch_network import PatchNetwork, cut, hide
from windtunnel.kits.image.scattering import scattered
from windtunnel.kits.neighbours import neighbour_loss
from windtunnel.kits.optim.descent import take_step


class Pretext(nn.Module):
    """A task on ``network``, whose patches have ``side`` pixels a side; ``knobs`` are those of the experiment."""

    def __init__(self, network: PatchNetwork, side: int, numbers: int, patches: int, knobs: Any) -> None:
        super().__init__()
        self.network, self.side, self.knobs, self.patches = network, side, knobs, patches
        self.draw = nn.Linear(network.width, numbers)

    def read(self, images: Tensor) -> Tensor:
        """What the network is given of ``images``: [images, patches, numbers]."""
        return read(images, self.side, self.knobs)

    def masks(self, count: int, random: torch.Generator) -> Tensor:
        """Which patches of ``count`` images are hidden."""
        frames, blocks = self.knobs.frames, self.knobs.shape == "block"
        return hide(random, count, math.isqrt(self.patches // frames), self.knobs.ratio, blocks=blocks, frames=frames)

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """Of one step."""
        raise NotImplementedError


class Masked(Pretext):
    """Draw the pixels of hidden patches: the mean squared distance (He et al. 2021, arXiv:2111.06377, with hidden patches read)."""

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        patches = self.read(images)
        hidden = self.masks(len(images), random)
        return functional.mse_loss(self.draw(self.network.at(self.network(patches, hidden)))[hidden], patches[hidden])


class PatchChoice(Pretext):
    """Say which of the hidden patches of an image belongs into each hidden place (Trinh et al. 2019, arXiv:1906.02940)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.query = nn.Linear(self.network.width, self.network.embed.out_features)

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        patches = self.read(images)
        hidden = self.masks(len(images), random)
        queries = self.query(self.network.at(self.network(patches, hidden)))
        shown = self.network.embed(patches)
        other = self.knobs.distractors == "other"
        return choice_loss(queries, shown, patches, hidden, other=other)


def choice_loss(queries: Tensor, shown: Tensor, patches: Tensor, hidden: Tensor, *, other: bool = False) -> Tensor:
    """The mean cross entropy of the patch of each hidden place among the hidden patches of its image [images, patches, width].

    Patches without contrast are not asked for, and of patches that are equal none is a candidate for the place of another. ``other`` takes
    as candidates the same place in all images of the step.
    """
    scores, alike = (
        (torch.einsum("iph,jph->pij", queries, shown), torch.cdist(patches.transpose(0, 1), patches.transpose(0, 1)) < 1e-6)
        if other
        else (queries @ shown.transpose(1, 2), torch.cdist(patches, patches) < 1e-6)
    )
    own = torch.eye(scores.shape[-1], dtype=torch.bool)
    open_ = hidden.T if other else hidden
    able = open_[:, None, :] & (~alike | own)
    scores = scores.masked_fill(~able, -torch.inf)
    asked = open_ & ((patches.std(dim=2) > 1e-6).T if other else patches.std(dim=2) > 1e-6)
    places = torch.arange(scores.shape[-1]).expand(scores.shape[:-1])
    return functional.cross_entropy(scores[asked], places[asked])


class Rotation(Pretext):
    """Say by which of four quarter turns an image was turned (Gidaris et al. 2018, arXiv:1803.07728)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.head = nn.Linear(self.network.width, 4)

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        turns = torch.randint(0, 4, (len(images),), generator=random)
        turned = torch.stack([torch.rot90(image, int(turn), (-2, -1)) for image, turn in zip(images, turns, strict=True)])
        return functional.cross_entropy(self.head(self.network(self.read(turned))), turns)


class NextPatch(Pretext):
    """Draw the patch that follows those shown, the first so many of an image, a number drawn for each: the squared distance."""

    later = False

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        patches, place = self.read(images), torch.arange(self.patches)
        shown = torch.randint(1, self.patches, (len(images), 1), generator=random)
        drawn = self.draw(self.network.at(self.network(patches, place >= shown)))
        asked = place >= shown if self.later else place == shown
        return functional.mse_loss(drawn[asked], patches[asked])


class LaterPatches(NextPatch):
    """Draw all patches that follow those shown, the first so many of an image."""

    later = True


class Mixed(Pretext):
    """Hidden, next and later patches in turn, chosen at random for each step (TokenUnify, Chen et al. 2024, arXiv:2405.16847)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.tasks = nn.ModuleList(kind(*given) for kind in (Masked, NextPatch, LaterPatches))

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        task: Any = self.tasks[int(torch.randint(0, 3, (), generator=random))]
        found: Tensor = task.loss(images, labels, random)
        return found


class Contrast(Pretext):
    """Find the other view of an image among the views of a step (NT-Xent); with ``turning`` a turn is asked for besides."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        width = self.network.width
        self.project = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.turn = Rotation(*given)

    def view(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Moved by up to a pixel, of other contrast and brightness, with noise."""
        moves = torch.randint(-1, 2, (len(images), 2), generator=random).tolist()
        moved = torch.stack([image.roll(move, (-2, -1)) for image, move in zip(images, moves, strict=True)])
        shape = (len(images), *[1] * (images.dim() - 1))
        light = 0.4 * (2 * torch.rand(2, *shape, generator=random) - 1)
        return moved * (1 + light[0]) + light[1] + 0.3 * torch.randn(images.shape, generator=random)

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        views = torch.cat([self.view(images, random), self.view(images, random)])
        vectors = functional.normalize(self.project(self.network(self.read(views))), dim=1)
        scores = (vectors @ vectors.T / 0.5).fill_diagonal_(-torch.inf)
        found = functional.cross_entropy(scores, torch.arange(len(views)).roll(len(images)))
        if self.knobs.turning:
            found = found + self.knobs.turning * self.turn.loss(images, labels, random)
        return found


class Overlap(Pretext):
    """Say with which tiles of an image a crop of it overlaps, and how far (VoCo, Wu et al. 2024, arXiv:2402.17300, in two dimensions).

    The tiles are the quarters of the image, the crop has their size and lies anywhere; both are read as images of their own, brought
    to the size of the image. Similarities are cosines, negative ones 0.
    """

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        half = images.shape[-1] // 2
        starts = torch.randint(0, half + 1, (2, len(images)), generator=random)
        crops = torch.stack(
            [image[top : top + half, left : left + half] for image, top, left in zip(images, *starts.tolist(), strict=True)]
        )
        tiles = torch.stack([images[:, top : top + half, left : left + half] for top in (0, half) for left in (0, half)], dim=1)
        every = torch.cat([crops[:, None], tiles], dim=1).flatten(0, 1)
        large = every.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        vectors = functional.normalize(self.network(self.read(large)), dim=1).view(len(images), 5, -1)
        inner = torch.stack([1 - starts / half, starts / half], dim=-1)  # share of a crop in each half, down and across
        truth = (inner[0][:, :, None] * inner[1][:, None, :]).flatten(1)
        return overlap_loss(vectors[:, 0], vectors[:, 1:], truth)


def overlap_loss(crops: Tensor, tiles: Tensor, truth: Tensor) -> Tensor:
    """Of unit vectors of crops [images, width] and tiles [images, tiles, width] and the true shares of overlap [images, tiles].

    Where they overlap, -log(1 - the distance of share and cosine), weighed by the share; where they do not, the square of the cosine;
    and the squared cosines between the tiles of an image.
    """
    like = torch.einsum("iw,itw->it", crops, tiles).clamp(min=0)
    apart = (1 - (truth - like).abs()).clamp(min=1e-4)
    positive = (truth * -apart.log()).sum() / truth.sum()
    none = truth == 0
    negative = like[none].square().mean() if none.any() else like.sum() * 0
    between = torch.einsum("itw,iuw->itu", tiles, tiles.detach()).clamp(min=0)
    return positive + negative + between[:, ~torch.eye(tiles.shape[1], dtype=torch.bool)].square().mean()


class Denoise(Pretext):
    """Say the noise that was mixed into an image at a random time: cos of it times image plus sin of it times noise."""

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        time = torch.rand(len(images), generator=random)
        noise = torch.randn(images.shape, generator=random)
        return functional.mse_loss(
            self.draw(self.network.at(self.network(self.read(noised(images, noise, time)), time=time))), self.read(noise)
        )


def noised(images: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """``images`` at ``time`` [images], from 0 (as they are) to 1 (nothing but ``noise``); the variance stays 1."""
    angle = (time * math.pi / 2).view(-1, *[1] * (images.dim() - 1))
    return angle.cos() * images + angle.sin() * noise


class Scales(Pretext):
    """Draw the hidden patches of a pooled image, and all of the image at twice its scale (Noman et al. 2024, arXiv:2403.05419).

    0.6 of the squared distance of what is hidden and 0.4 of the distance (L1) of every pixel of the large image. ``ratio`` 0 hides
    nothing and leaves the second alone: an image of twice the scale is drawn from the whole small one.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.grow = nn.Sequential(nn.Linear(self.network.width, self.network.width), nn.GELU(), nn.Linear(self.network.width, 4))

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        patches, large = self.read(images), cut(images, 2 * self.side)
        hidden = self.masks(len(images), random) if self.knobs.ratio else None
        vectors = self.network.at(self.network(patches, hidden))
        finer = functional.l1_loss(self.grow(vectors), large)
        if hidden is None:
            return finer
        return 0.6 * functional.mse_loss(self.draw(vectors)[hidden], patches[hidden]) + 0.4 * finer


class Classes(Pretext):
    """Name one of two coarse classes, which are given: cross entropy."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.head = nn.Linear(self.network.width, 2)

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        return functional.cross_entropy(self.head(self.network(self.read(images))), labels)


class Neighbours(Pretext):
    """Let the 20 nearest of the step name the coarse class of each image (LOOK, Feng et al. 2022, arXiv:2110.06014)."""

    def loss(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        """As for every task."""
        vectors = functional.normalize(self.network(self.read(images)), dim=1)
        others = ~torch.eye(len(images), dtype=torch.bool)
        return neighbour_loss(vectors @ vectors.T / 0.1, labels[:, None] == labels, others, 20).mean()


def read(images: Tensor, side: int, knobs: Any) -> Tensor:
    """What a network is given of ``images``: patches, also of the pooled image, or scattering coefficients, scaled over all given."""
    if knobs.front == "scattering":
        found = scattered(images)
        return (found - found.mean(dim=(0, 1))) / (found.std(dim=(0, 1)) + 1e-6)
    return cut(functional.avg_pool2d(images, 2) if knobs.pooled else images, side)


PRETEXTS: dict[str, type[Pretext]] = {
    "masked": Masked,
    "choice": PatchChoice,
    "rotation": Rotation,
    "next": NextPatch,
    "later": LaterPatches,
    "mixed": Mixed,
    "contrast": Contrast,
    "overlap": Overlap,
    "denoise": Denoise,
    "scales": Scales,
    "classes": Classes,
    "neighbours": Neighbours,
}


def learned(knobs: Any, images: Tensor, labels: Tensor, seed: int, side: int) -> Pretext | None:
    """The task ``knobs.pretext`` with its network, after ``knobs.steps`` on ``images``, whose patches have ``side`` pixels a side.

    ``none`` leaves the network as it begins, and of ``pixels`` there is none. Knobs are those of the experiment `image-pretexts`.
    """
    if knobs.pretext == "pixels":
        return None
    _, patches, numbers = read(images[:1], side, knobs).shape
    task = PRETEXTS.get(knobs.pretext, Pretext)(PatchNetwork(patches, numbers), side, numbers, patches, knobs)
    if knobs.pretext == "none":
        return task
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(task.parameters(), knobs.rate, weight_decay=0.01, fused=True)
    for step in range(knobs.steps):
        optimizer.param_groups[0]["lr"] = knobs.rate * min(1.0, (step + 1) / 20) * (1 - step / knobs.steps)
        chosen = torch.randint(0, len(images), (min(knobs.batch, len(images)),), generator=random)
        take_step(optimizer, task.loss(images[chosen], labels[chosen], random))
    return task.eval()
