#!/usr/bin/env bash
# Expected: get_flop_counts() of torch's FlopCounterMode, asked by module, gives three equal linear layers that read one input (query, key and
#   value of an attention layer, say) three equal counts, and the counts of children add up to at most that of their parent.
# Really: 1, 5/3 and 7/3 of the true count. The backward pass of a layer is entered again for every layer after it that reads the same input,
#   so children add up to 1.67 times their parent. The total is right.
# Versions: torch 2.13.0 (CPU), Python 3.11.
# Met: whoever asks which layers take the FLOPs, to tell what sparsity in them would save. Forward hooks that count each product
#   by its shapes give the true shares.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(64, 64, bias=False) for _ in range(3))

    def forward(self, inputs):
        return self.query(inputs) + self.key(inputs) + self.value(inputs)


print("torch", torch.__version__)
model, inputs = Attention(), torch.randn(8, 64, requires_grad=True)
with FlopCounterMode(display=False) as counter:
    model(inputs).sum().backward()
found = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
each = 3 * 2 * 8 * 64 * 64
for name, flops in found.items():
    print(f"{name:16} {flops:8} = {flops / each:.2f} of one layer")
assert found["Global"] == 3 * each, "the total has changed"
shares = [round(3 * found[f"Attention.{name}"] / each) for name in ("query", "key", "value")]
assert shares == [3, 5, 7], "layers are counted otherwise now"
PYTHON
