"""A linear recurrence with resets, computed for all places at once."""

from __future__ import annotations

import torch
from torch import Tensor

Element = tuple[
    Tensor, Tensor, Tensor
]  # what the state is multiplied by, what is added, and whether an episode begins: [..., places, numbers]


def joined(first: Element, second: Element) -> Element:
    """Two stretches as one: an episode that begins in the second forgets the first (Lu et al. 2023, arXiv:2303.03982)."""
    (kept, added, begun), (then_kept, then_added, then_begun) = first, second
    fresh = then_begun.bool()
    return (
        torch.where(fresh, then_kept, then_kept * kept),
        torch.where(fresh, then_added, then_kept * added + then_added),
        torch.maximum(begun, then_begun),
    )


def scanned(kept: Tensor, added: Tensor, begun: Tensor) -> Tensor:
    """The state after each place [rows, places, numbers] of ``state = kept * state + added``, from 0, anew where ``begun`` is 1.

    In as many rounds as the logarithm of the number of places; a state that is carried into a row goes in as an element of its own.
    """
    begun = begun.expand_as(added)
    found: Element = (kept.expand_as(added), added, begun)
    shift, places = 1, added.shape[1]
    while shift < places:
        early = tuple(each[:, :-shift] for each in found)
        late = tuple(each[:, shift:] for each in found)
        both = joined(early, late)  # type: ignore[arg-type]
        found = tuple(torch.cat([each[:, :shift], more], dim=1) for each, more in zip(found, both, strict=True))  # type: ignore[assignment]
        shift *= 2
    return found[1]
