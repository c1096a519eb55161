#!/usr/bin/env bash
# Expected: the text tower of transformers' CLIP takes a sequence's embedding at its end-of-text token, whatever id the configuration gives that
#   token: eos_token_id 2 and eos_token_id 3 differ in nothing else.
# Really: with eos_token_id 2 it takes the position of the largest id, by input_ids.argmax(), because configurations of 2021 had 2 there while
#   their tokenizers' end was the largest id, 49,407. In a vocabulary of one's own, where 2 is a natural id for the end, the embedding is that of
#   whichever token has the largest id. Nothing warns, and training works: it only learns less.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever trains a small CLIP from scratch with a tokenizer of their own whose special tokens come first.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import CLIPTextConfig, CLIPTextModel

print("torch", torch.__version__, "transformers", transformers.__version__)
sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
pooled = {}
for end in (2, 3):
    torch.manual_seed(0)
    model = CLIPTextModel(CLIPTextConfig(**sizes, bos_token_id=1, eos_token_id=end, pad_token_id=0)).eval()
    tokens = torch.tensor([[1, 10, 40, 20, end, 0]])
    with torch.no_grad():
        outputs = model(input_ids=tokens)
    distance = (outputs.last_hidden_state[0] - outputs.pooler_output[0]).abs().sum(dim=-1)
    pooled[end] = int(distance.argmin())
    print(f"tokens {tokens[0].tolist()}, end {end}: pooled at position {pooled[end]} (token {tokens[0, pooled[end]]})")
assert pooled[3] == 4, "an end that is not 2 is not pooled at any more"
assert pooled[2] == 2, "with end 2 the largest id is not pooled at any more"
PYTHON
