"""Features of labelled documents, as the head of a model reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.slots import HeldOut

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("pixels", "nodes", "numbers")  # by a field of the stream, documents of which a model makes a vector each: images, graphs, rows


def labelled(model: Any, held_out: HeldOut, split: str, *, pixels: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features float64 [documents, width] and labels [documents] of what has a label in ``split``, of all sources in stored order.

    ``pixels``: the scaled numbers of an image itself in the place of what the model makes of it.
    """
    import torch

    from windtunnel.data.held_out import entered
    from windtunnel.data.loader import Loader
    from windtunnel.models.forward import forward

    found, labels = [], []
    loader = Loader(held_out.stream, split=split, context=held_out.context, sequences=16)
    for source in held_out.sources:
        for rows in loader.fixed(source):
            real = (rows["documents"] >= 0) & (rows["label"] >= 0)
            labels.append(rows["label"][real])
            if pixels:
                scaled = held_out.facts.scaled(rows["pixels"][real])
                found.append(scaled.reshape(len(scaled), -1).astype(np.float64))
                continue
            arrays: dict[str, Any] = {
                name: torch.from_numpy(array).to(held_out.device) for name, array in _given(model, held_out, rows, real).items()
            }
            with torch.no_grad(), entered(held_out.precision):
                outputs = forward(model, needs=frozenset({"hidden_states"}), **arrays)
            found.append(outputs.features.double().cpu().numpy())
    return np.concatenate(found), np.concatenate(labels)


def _given(model: Any, held_out: HeldOut, rows: dict[str, NDArray[Any]], real: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What ``model`` reads of the documents of ``rows`` that are ``real``, by name."""
    from windtunnel.kits.image.patches import to_patches
    from windtunnel.kits.sets.nodes import arrays_of
    from windtunnel.models.init import family_of

    if "pixels" in rows:
        patch = family_of(model.config).patch  # type: ignore[attr-defined]
        return {"pixels": np.ascontiguousarray(to_patches(held_out.facts.scaled(rows["pixels"][real]), patch))}
    if "nodes" in rows:
        return {name: array[real] for name, array in arrays_of(rows).items()}
    given: dict[str, NDArray[Any]] = held_out.facts.given({name: rows[name][real] for name in ("numbers", "categories")})
    return given
