#!/usr/bin/env bash
# Expected: torch.optim.Muon on float64 (or float32) weights orthogonalises their gradient in that precision, as torch's other optimizers work in
#   the precision of the weights.
# Really: the Newton-Schulz steps are made in bfloat16 whatever the weights are, and no argument changes it. On an 8 x 8 gradient in float64 the
#   update differs from the same five steps in float64 by 0.011 where entries are below 1.
# Versions: torch 2.13.0 (CPU), Python 3.11.
# Met: whoever checks a sharded, compiled or resumed run against one process: with Muon they agree to two or three digits and not to those of
#   float64, also on a CPU. Compare such runs with an optimizer of your own steps, or expect bfloat16's rounding.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import inspect

import torch

print("torch", torch.__version__)
torch.manual_seed(0)
gradient = torch.randn(8, 8, dtype=torch.float64)


def update(dtype: torch.dtype) -> torch.Tensor:
    weight = torch.nn.Parameter(torch.zeros(8, 8, dtype=dtype))
    weight.grad = gradient.to(dtype)
    torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False).step()
    return -weight.detach().double()


a, b, c = inspect.signature(torch.optim.Muon).parameters["ns_coefficients"].default
exact = gradient / gradient.norm()
for _ in range(5):
    square = exact @ exact.T
    exact = a * exact + (b * square + c * square @ square) @ exact
rounded = exact.to(torch.bfloat16).double()
print(f"largest entry of the update: {exact.abs().max():.3f}")
print(f"five steps in float64 rounded to bfloat16 once, off by: {(rounded - exact).abs().max():.4f}")
for dtype in (torch.float64, torch.float32):
    print(f"Muon on {dtype} weights, off by: {(update(dtype) - exact).abs().max():.4f}")
assert (update(torch.float64) - exact).abs().max() > 1e-3, "float64 weights are stepped in float64 now"
assert torch.equal(update(torch.float64), update(torch.float64).to(torch.bfloat16).double()), "the update holds more than bfloat16 does"
PYTHON
