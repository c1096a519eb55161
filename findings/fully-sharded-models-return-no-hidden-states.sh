#!/usr/bin/env bash
# Expected: model(..., output_hidden_states=True) returns the hidden states whether or not torch's fully_shard has been called on the model; a mesh
#   of one process changes no output.
# Really: a base model (ViTModel, LlamaModel, BertModel ...) that is itself given to fully_shard returns hidden_states=None and attentions=None,
#   without a word. transformers keeps what a model can record under the name of its class, and fully_shard gives the model a class of another
#   name (FSDPViTModel). A model with a head, whose base model lies inside and is not wrapped by itself, is not touched.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever shards an encoder and reads features off its hidden states (probes, distillation, losses on layers).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import torch.distributed as dist
import transformers
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaModel, ViTConfig, ViTModel

print("transformers", transformers.__version__, "torch", torch.__version__)
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
models = {
    "ViTModel": (ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)), {"pixel_values": torch.zeros(1, 3, 8, 8)}),
    "LlamaModel": (LlamaModel(LlamaConfig(vocab_size=20, **sizes)), {"input_ids": torch.zeros(1, 4, dtype=torch.long)}),
}
for name, (model, inputs) in models.items():
    before = model(**inputs, output_hidden_states=True).hidden_states
    fully_shard(model)
    after = model(**inputs, output_hidden_states=True).hidden_states
    print(f"{name}: {len(before)} hidden states; after fully_shard on a mesh of one: {after}")
    assert len(before) == 3 and after is None, f"{name} keeps them now"
dist.destroy_process_group()
PYTHON
