"""Model folders of a few thousand weights, as other programs leave them, for the cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel

SIZES: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def drawn(config: PreTrainedConfig | None = None, kind: type[PreTrainedModel] = LlamaForCausalLM, seed: int = 0, **sizes: Any) -> Any:
    """A model with first weights that are large enough for attention to matter."""
    torch.manual_seed(seed)
    return kind(config or LlamaConfig(**{**SIZES, "initializer_range": 0.3, **sizes})).eval()


def saved(folder: Path, model: Any = None, **sizes: Any) -> Path:
    """A model in ``folder``."""
    (drawn(**sizes) if model is None else model).save_pretrained(folder)
    return folder


def change(folder: Path, file: str = "config.json", **values: Any) -> Path:
    """``folder`` with other ``values`` in one of its files of settings."""
    path = folder / file
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(settings | values))
    return folder
