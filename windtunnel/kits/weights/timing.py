"""When to grow: the guideline of Du et al. for stacking, where it holds."""

from __future__ import annotations

import math
from typing import NamedTuple

from windtunnel.core.errors import UserError

FACTOR = 4  # the growth factor the guideline fixes
# The upper ends are the largest model and budget for which the authors tabulate the guideline. The lower ends are the smallest model
# of their sweep and a hundred tokens for each of its parameters; these two are from memory, not read off the paper again.
PARAMETERS = (4.1e8, 7.0e10)
FLOPS = (1.0e20, 8.5e23)
MOST = 0.5  # of the budget


class Timing(NamedTuple):
    """When to grow: tokens the small model is trained on, how many times it is stacked, and the share of the FLOPs it takes."""

    tokens: float
    factor: int
    share: float


def growth_timing(parameters: float, flops: float) -> Timing:
    """How long to train the small model before stacking it ``FACTOR`` times, by the guideline of Du et al. 2024, arXiv:2405.15319.

    log10(d) = 0.88 log10(N) + 163.27 / log10(C) - 5.74, as the authors' repository states it (tongxuluo/prts, README).

    Args:
        parameters: N, parameters of the grown model.
        flops: C, FLOPs of the whole training; the authors' own numbers follow with C = 6 N D for D tokens.

    Returns:
        d in tokens, the factor g, and the share of ``flops`` that the small model takes at 6 N / g FLOPs a token.

    Raises:
        UserError: outside the range of models and budgets that the guideline was made for. A fit with one over log C explodes to
            both sides: at 10 million parameters and 200 million tokens it asks for 188 times the whole budget's tokens.
    """
    for value, (low, high), what, unit in (
        (parameters, PARAMETERS, "a model of", "parameters"),
        (flops, FLOPS, "a budget of", "FLOPs"),
    ):
        if not low <= value <= high:
            raise UserError(
                f"the growth guideline speaks of {low:.2g} to {high:.2g} {unit}, from the models it was fitted on to the largest its "
                f"authors apply it to; {what} {value:.3g} is outside. Measure instead: sweep the small model's share of the compute "
                "(papers/weights/g-stack/paper.yaml does)"
            )
    tokens = 10 ** (0.88 * math.log10(parameters) + 163.27 / math.log10(flops) - 5.74)
    share = 6 * parameters / FACTOR * tokens / flops
    if share > MOST:
        raise UserError(
            f"the growth guideline asks for {tokens:.3g} tokens, {share:.0%} of the whole budget for the small model alone: {flops:.3g} "
            f"FLOPs are too few for {parameters:.3g} parameters to be in the range it was fitted on. Give more FLOPs, or measure instead"
        )
    return Timing(tokens, FACTOR, share)
