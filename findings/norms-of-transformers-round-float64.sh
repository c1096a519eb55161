#!/usr/bin/env bash
# Expected: a model of transformers that was made float64 (model.double(), or dtype=torch.float64) computes in float64 throughout, as modules of
#   torch do; a rule that norms are made in float32 is for half precision, and a wider input stays as wide as it is.
# Really: the norms of llama, mistral, qwen2, qwen3 and gemma2 round what they read to float32 and give that back as float64, and the norm of t5
#   rounds its variance. So the logits of a float64 llama are right to 7 digits, not to 16, and no argument changes it. A change of the weights
#   below float32's rounding can leave no trace in what a norm gives, or a jump in the 8th digit.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever takes float64 as the yardstick of a sharded, compiled or exported model. Two ranks against one process differ by 1e-8 where
#   nothing is wrong (t5), or not at all where something could be (llama). Give the norms a forward of your own while you compare.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.manual_seed(0)
states = torch.randn(100, 64, dtype=torch.float64)
exact = states * torch.rsqrt(states.square().mean(-1, keepdim=True) + 1e-6)
for norm in (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm, Gemma2RMSNorm, T5LayerNorm):
    given = norm(64, eps=1e-6).double()(states)
    print(f"{norm.__name__} of float64 gives {given.dtype}, off by {(given - exact).abs().max():.1e}")
    assert given.dtype == torch.float64 and (given - exact).abs().max() > 1e-9, f"{norm.__name__} computes in float64 now"
own = torch.nn.RMSNorm(64, eps=1e-6).double()(states)
print(f"torch.nn.RMSNorm of float64, off by {(own - exact).abs().max():.1e}")
assert (own - exact).abs().max() < 1e-14

sizes = {"vocab_size": 50, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(**sizes)).double().eval()
tokens = torch.arange(32)[None]
with torch.no_grad():
    theirs = model(tokens).logits
    LlamaRMSNorm.forward = lambda self, x: self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon))
    ours = model(tokens).logits
print(f"logits of a float64 llama of two layers, against the same with norms in float64: off by {(theirs - ours).abs().max():.1e} of 1")
assert (theirs - ours).abs().max() > 1e-10
PYTHON
