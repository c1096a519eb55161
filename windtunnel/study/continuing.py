"""How to go on with a trained model: a study of the choices that everyone has to make, each against plain continued training.

How much of the old text is replayed, at what rate, whether the rate warms up again, and whether half of the new text read twice would do
(Ibrahim et al. 2024, arXiv:2403.08763, on the first three). ``windtunnel ask continue`` flies what :func:`ways_on` writes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.study.adapt_request import AdaptRequest, settings

REPLAYED = (0.05, 0.25)  # shares of old text
RATES = {"lower-rate": 0.3, "higher-rate": 3.0}  # multiples of the usual rate
SEEDS = 3


def ways_on(request: AdaptRequest, seeds: int = SEEDS) -> dict[str, Any]:
    """The study, as a file would write it. The baseline reads the new text alone, at the usual rate after a short warm-up.

    Args:
        request: the model, the text, what is to be kept, and the tokens of every run; its replay is not asked for.
        seeds: of each arm.

    Raises:
        UserError: where no text stands for what is to be kept, and as :func:`windtunnel.study.adapt_request.settings`.
    """
    if not request.keep:
        raise UserError("--keep: give text like what the model must keep, for example --keep general=~/general; replay is asked of that")
    raw = settings(dataclasses.replace(request, replay=0.0, tolerance=None))
    new, old = list(request.corpus), list(request.keep)

    def drawn(replayed: float) -> dict[str, Any]:
        shares = {name: round((1 - replayed) / len(new), 6) for name in new}
        if replayed:
            shares |= {name: round(replayed / len(old), 6) for name in old}
        return {"sources": list(shares), "mixture": {"fixed": {"shares": shares}}}

    raw |= drawn(0.0)  # alike, as where some are replayed, and not by their sizes
    arms: dict[str, Any] = {f"replay-{100 * share:g}": drawn(share) for share in REPLAYED}
    arms |= {name: {"rate_multiple": multiple} for name, multiple in RATES.items()}
    arms["no-warm-up"] = {"schedule": {"linear": {"warmup": 0}}}
    arms["half-the-text"] = {"curators": {"fraction": {"share": 0.5, "sources": new}}}
    shared = {key: value for key, value in raw.items() if key not in ("corpus", "budget")}
    return {
        "description": f"How to go on with {Path(request.checkpoint).name}: replay, rate, warm-up and repetition, each changed alone",
        "corpus": raw["corpus"],
        "kept": old,
        "budget": raw["budget"],
        "seeds": seeds,
        "curve": [1],
        "baseline": shared,
        "arms": arms,
    }
