#!/usr/bin/env bash
# Expected: transformers' PatchTSTForPretraining in evaluation mode gives the same masked-patch loss for the same series every time, or takes the
#   mask (as ViTMAE takes `noise`).
# Really: forward draws a new mask from torch's global generator at every call, in evaluation mode too, and no argument sets it. Three calls on
#   the same four series gave 0.89, 0.99 and 1.06.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever compares two checkpoints, or two methods, by their masked loss: a difference of a few percent is the draw of the mask. Fix the
#   generator before every batch, keep the batch size, or mask outside the model.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import inspect

import torch
import transformers
from transformers import PatchTSTConfig, PatchTSTForPretraining

print("torch", torch.__version__, "transformers", transformers.__version__)
torch.manual_seed(0)
sizes = {"d_model": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32}
model = PatchTSTForPretraining(PatchTSTConfig(num_input_channels=1, context_length=64, patch_length=8, patch_stride=8, **sizes)).eval()
series = torch.randn(4, 64, 1)
with torch.no_grad():
    losses = [float(model(past_values=series).loss) for _ in range(3)]
print("three evaluations of the same series:", losses)
print("arguments of forward:", list(inspect.signature(model.forward).parameters))
assert not model.training
assert len({round(loss, 4) for loss in losses}) == 3, "evaluation repeats itself now"
PYTHON
