#!/usr/bin/env bash
# Expected: torch's FlopCounterMode counts fused attention (scaled_dot_product_attention) on a CPU as it does on an accelerator: for
#   [2, 4, 64, 32] queries, keys and values, forward and backward, at least the 12,582,912 FLOPs of the six matrix products.
# Really: 0. The kernel that a CPU takes for it, _scaled_dot_product_flash_attention_for_cpu, is not in the counter's table, and what is not
#   in the table counts nothing and warns of nothing. The same attention written as two products counts in full.
# Versions: torch 2.13.0 (CPU), Python 3.11.
# Met: whoever compares training methods at matched FLOPs on a CPU gives attention away free; at a context of 2,048 and width 64 that is
#   most of the step. The counter's custom_mapping takes the formulas of the accelerators' kernels for these two operators.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.utils.flop_counter import FlopCounterMode

print("torch", torch.__version__)
tensors = [torch.randn(2, 4, 64, 32, requires_grad=True) for _ in range(3)]


def counted(attention):
    with FlopCounterMode(display=False) as counter:
        attention(*tensors).sum().backward()
    return counter.get_total_flops()


fused = counted(torch.nn.functional.scaled_dot_product_attention)
products = counted(lambda query, key, value: ((query @ key.transpose(-1, -2)) / 32**0.5).softmax(dim=-1) @ value)
print("counted for fused attention:", fused)
print("counted for the same by products:", products)
assert products == 6 * 2 * (2 * 4) * 64 * 64 * 32, "products are counted otherwise now"
assert fused == 0, "fused attention on a CPU is counted now"
PYTHON
