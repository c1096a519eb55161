"""How many bits of made-up facts a model holds, from its loss on them."""

from __future__ import annotations

import math


def stored_bits(people: int, names: float, values: float, name_loss: float, value_loss: float) -> float:
    """Bits of knowledge that a model holds of ``people`` whose facts were drawn at random (Allen-Zhu and Li 2024, arXiv:2404.05405).

    Args:
        people: how many.
        names: of how many different names theirs were drawn.
        values: how many different answers all attributes of one person have together (their product).
        name_loss: nats of a whole name, generated from nothing, averaged over people.
        value_loss: nats of all attributes of a person, given the name, summed over attributes and averaged over people.
    """
    each = max(math.log2(names) - name_loss / math.log(2), 0.0) + max(math.log2(values) - value_loss / math.log(2), 0.0)
    return people * each


def all_bits(people: int, names: float, values: float) -> float:
    """Bits that the facts hold: the most that a model could store."""
    return people * (math.log2(names / people) + math.log2(values))
