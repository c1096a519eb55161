#!/usr/bin/env bash
# Expected: a row that is padded on the left behind a prefix in the key-value cache, with the attention mask and the positions that say so,
#   gets the logits that it gets without padding: so prompts of unequal length can share a prefix that is read once.
# Really: true of models without a window. Where layers see the last N tokens alone, the N places of the cache are counted, padding
#   included, so a short row between longer ones sees less of the prefix than N tokens, or nothing of it. Nothing warns.
# Versions: transformers 5.23.0, torch 2.13.0, Python 3.11.
# Met: scoring many continuations of Mistral-, Qwen- or Gemma-like models in batches with a shared prompt; pad on the right, or read rows of
#   unequal length without the shared prefix.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import copy

import torch
import transformers
from transformers import MistralConfig, MistralForCausalLM

print("transformers", transformers.__version__, "torch", torch.__version__)
sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
prefix, row, padding = torch.arange(1, 21)[None], torch.tensor([[30, 31]]), 10


def difference(window: int | None) -> float:
    """The largest difference between the last logits of the padded row and those of the same tokens read at once."""
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**sizes, sliding_window=window)).eval()
    with torch.no_grad():
        whole = model(input_ids=torch.cat([prefix, row], dim=1)).logits[0, -1]
        cache = model(input_ids=prefix, use_cache=True).past_key_values
        padded = torch.cat([torch.zeros(1, padding, dtype=torch.long), row], dim=1)
        seen = torch.cat([torch.ones(1, 20), torch.zeros(1, padding), torch.ones(1, 2)], dim=1).long()
        places = torch.tensor([[0] * padding + [20, 21]])
        behind = model(input_ids=padded, attention_mask=seen, position_ids=places, past_key_values=copy.deepcopy(cache)).logits[0, -1]
    return float((whole - behind).abs().max())


plain, windowed = difference(None), difference(8)
print(f"without a window: {plain:.1e}, with a window of 8: {windowed:.1e}")
assert plain < 1e-5, "padding matters without a window too now"
assert windowed > 1e-3, "a window counts tokens now, and no padding"
PYTHON
