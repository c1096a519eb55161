"""What is wrong with the weights of a model that has been read: each function names it, or finds nothing."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.models.content import FLOATS

PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Buffers that older versions of transformers wrote beside the weights: frequencies of the rotation, causal masks, positions.
BUFFERS = re.compile(r"(rotary_emb\.inv_freq|\.(attn|attention)\.(bias|masked_bias)|\bposition_ids)$")
SHOWN = 3


def refuse_unplaced(folder: Path, unexpected: Iterable[str]) -> None:
    """Raise PartError for weights of the files that the configuration has no place for: layers too many, adapters, a reward head."""
    odd = sorted(name for name in unexpected if not BUFFERS.search(name))
    if odd:
        shown = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
        raise PartError(
            f"{folder}: holds weights that its config.json has no place for: {shown}. Without them it would be another model: "
            "mend config.json, merge an adapter into the weights, or take another kind of head out of the file"
        )


def refuse_untied(folder: Path, model: PreTrainedModel) -> None:
    """Raise PartError where the configuration says that two weights are one, and the files hold different values for them."""
    for name, other in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        one, two = model.get_parameter(name), model.get_parameter(other)
        if one is not two and not torch.equal(one, two):
            raise PartError(
                f"{folder}: config.json says that {name} is {other} (tie_word_embeddings), but its files hold a {name} of its own; write "
                f'"tie_word_embeddings": false there to keep that, or take {name} out of the file'
            )


def refuse_integers(model: PreTrainedModel, files: list[Path], kinds: Mapping[str, tuple[Path, str]]) -> None:
    """Raise PartError for a weight that is not stored as floating point. Buffers (masks, positions) may be anything."""
    found = {name: (path, kind) for name, (path, kind) in kinds.items() if kind not in FLOATS}
    for path in files:
        if path.suffix != ".safetensors":
            pickled = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
            tensors = {name: value for name, value in pickled.items() if isinstance(value, torch.Tensor)}
            found |= {name: (path, str(value.dtype)) for name, value in tensors.items() if value.dtype not in PLAIN}
    weights = {name.removeprefix(f"{model.base_model_prefix}.") for name, _ in model.named_parameters()}
    for name, (path, kind) in sorted(found.items()):
        if name.removeprefix(f"{model.base_model_prefix}.") in weights:
            raise PartError(
                f"{path}: weight {name} is stored as {kind}, not as floating point numbers of 16 bits or more: it is quantised, "
                "and training needs it whole; use the checkpoint it was made from"
            )


def refuse_infinite(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise PartError for one of ``weights`` that holds NaN or infinity."""
    for weight, value in weights.items():
        if not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise PartError(f"{folder}: weight {weight} has {bad} values that are not finite (NaN or infinite)")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def warn_of_two_bases(folder: Path, config: PreTrainedConfig) -> None:
    """Say which base of rotary positions is used where config.json holds two: ``rope_theta`` as of old, and one of ``rope_parameters``."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    old, new = settings.get("rope_theta"), settings.get("rope_parameters")
    if old is None or not isinstance(new, dict) or new.get("rope_theta", old) == old:
        return
    used = (getattr(config, "rope_parameters", None) or {}).get("rope_theta")
    warnings.warn(
        f"{folder / 'config.json'}: holds two bases of rotary positions, rope_theta {old:g} and rope_parameters.rope_theta "
        f"{new['rope_theta']:g}; {used:g} is used, so take the other out, or both if this is the wrong one",
        stacklevel=2,
    )


def warn_of_stretched_positions(folder: Path, config: PreTrainedConfig) -> None:
    """Say where rotary positions depend on the longest sequence of a batch, so that a text beside a longer one has other logits."""
    rotary = getattr(config, "rope_parameters", None) or {}
    kind = rotary.get("rope_type")
    if kind in ("dynamic", "longrope"):
        most = rotary.get("original_max_position_embeddings") or config.max_position_embeddings
        warnings.warn(
            f"{folder}: its rotary positions ({kind}) are stretched for a whole batch as soon as one text in it is longer than {most} "
            f"tokens, so shorter texts beside it are measured otherwise than alone; keep the context within {most}",
            stacklevel=2,
        )
