#!/usr/bin/env bash
# Expected: saving a model into a folder that holds an earlier save replaces it, also where the new save is in shards and the old one was one file;
#   or it is refused.
# Really: save_pretrained removes shards that are left over, but not a whole model.safetensors. from_pretrained looks for the whole file first, so
#   it loads the weights of the first save beside the configuration of the second. Nothing warns, neither on saving nor on loading.
# Versions: transformers 5.23.0, safetensors 0.8.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever writes a fine-tuned or grown model over its predecessor's folder once it is above max_shard_size, or saves with a smaller one.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 safetensors==0.8.0 transformers==5.23.0
"$folder/venv/bin/python" - "$folder/model" <<'PYTHON'
import sys
from pathlib import Path

import safetensors
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

print("torch", torch.__version__, "transformers", transformers.__version__, "safetensors", safetensors.__version__)
transformers.utils.logging.disable_progress_bar()
place = Path(sys.argv[1])
sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
first, second = (LlamaForCausalLM(LlamaConfig(**sizes)) for _ in range(2))
first.save_pretrained(place)
second.save_pretrained(place, max_shard_size="100KB")
print("files:", sorted(path.name for path in place.iterdir()))
loaded = AutoModelForCausalLM.from_pretrained(place).state_dict()
same = {
    name: all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items()) for name, model in (("first", first), ("second", second))
}
print("loaded are the weights of:", [name for name, equal in same.items() if equal])
assert same == {"first": True, "second": False}, "the second save is what is loaded now"
PYTHON
