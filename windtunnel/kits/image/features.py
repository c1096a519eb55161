"""Features of labelled images, as the head of a model reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.slots import HeldOut

if TYPE_CHECKING:
    from numpy.typing import NDArray


def labelled(model: Any, held_out: HeldOut, split: str, *, pixels: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features float64 [images, width] and labels [images] of the labelled images of ``split``, of all sources in stored order.

    ``pixels``: the scaled numbers of the image itself in the place of what the model makes of it.
    """
    import torch

    from windtunnel.data.held_out import entered
    from windtunnel.data.loader import Loader
    from windtunnel.kits.image.patches import to_patches
    from windtunnel.models.forward import forward
    from windtunnel.models.init import family_of

    patch = family_of(model.config).patch  # type: ignore[attr-defined]
    found, labels = [], []
    loader = Loader(held_out.stream, split=split, context=held_out.context, sequences=16)
    for source in held_out.sources:
        for rows in loader.fixed(source):
            real = (rows["documents"] >= 0) & (rows["label"] >= 0)
            labels.append(rows["label"][real])
            scaled = held_out.facts.scaled(rows["pixels"][real])
            if pixels:
                found.append(scaled.reshape(len(scaled), -1).astype(np.float64))
                continue
            images = torch.from_numpy(np.ascontiguousarray(to_patches(scaled, patch))).to(held_out.device)
            with torch.no_grad(), entered(held_out.precision):
                outputs = forward(model, pixels=images, needs=frozenset({"hidden_states"}))
            found.append(outputs.features.double().cpu().numpy())
    return np.concatenate(found), np.concatenate(labels)
