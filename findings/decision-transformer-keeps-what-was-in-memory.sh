#!/usr/bin/env bash
# Expected: a weight that a checkpoint lacks is drawn as when a model is built from its configuration, as transformers' load report says ("newly
#   initialized because missing from the checkpoint").
# Really: in DecisionTransformerModel the matrices of attention and MLP (Conv1D) that are missing hold what was in memory: numbers of 1e38, or
#   NaN. Its rule for first weights knows no Conv1D; GPT2Model, built of the same module, draws them.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever goes on from a checkpoint of fewer layers, or fills a model that was made without weights by `_init_weights`: the loss is NaN at
#   once, or merely bad when the memory happened to hold zeros.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0 safetensors==0.8.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import DecisionTransformerConfig, DecisionTransformerModel, GPT2Config, GPT2Model

print("torch", torch.__version__, "transformers", transformers.__version__)
sizes = {"n_layer": 1, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
cases = {
    "encoder.h.0.mlp.c_fc": DecisionTransformerModel(DecisionTransformerConfig(hidden_size=32, **sizes)),
    "h.0.mlp.c_fc": GPT2Model(GPT2Config(n_embd=32, vocab_size=50, **sizes)),
}
drawn = {}
for name, model in cases.items():
    path = f"{sys.argv[1]}/{type(model).__name__}"
    model.save_pretrained(path)
    weights = load_file(f"{path}/model.safetensors")
    del weights[f"{name}.weight"]
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    again = [type(model).from_pretrained(path).get_submodule(name).weight.detach() for _ in range(2)]
    spread = [float(one.std()) for one in again]
    print(type(model).__name__, "standard deviation as made:", float(model.get_submodule(name).weight.detach().std()), "after loading:", spread)
    drawn[type(model).__name__] = all(abs(one - 0.02) < 0.004 for one in spread)
assert drawn == {"DecisionTransformerModel": False, "GPT2Model": True}, "missing weights are drawn now"
PYTHON
