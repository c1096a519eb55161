#!/usr/bin/env bash
# Expected: resize_token_embeddings draws the rows of new tokens as its message says: "initialized from a multivariate normal distribution that has
#   old embeddings' mean and covariance". So new tokens differ from each other as old ones do.
# Really: the covariance is multiplied by 1e-9, so all new rows are one row, the mean, but for its later digits. They spread 0.00003 times as much
#   as old rows, in the embedding and in the head. The logits of ten new tokens lie within 0.00001 of each other, those of old ones within 0.7; in
#   bfloat16 ten new tokens have two logits. The message says nothing of the factor.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever adds sentinels, roles or words to a model and trains adapters alone, the embedding left as it is: the new tokens are one token to
#   the model for ever, and which of them it writes is chance. Train their rows, or give each a row of its own (mean of its pieces, or noise).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - 2>&1 <<'PYTHON'
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

print("transformers", transformers.__version__, "torch", torch.__version__)
sizes = {"vocab_size": 1000, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
for dtype in (torch.float32, torch.bfloat16):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, pad_token_id=None)).to(dtype)
    with torch.no_grad():  # as in trained models, rows have something in common
        model.get_input_embeddings().weight.add_(torch.randn(32) * 0.003)
        model.get_output_embeddings().weight.add_(torch.randn(32) * 0.003)
    model.resize_token_embeddings(1010)
    rows = model.get_input_embeddings().weight.detach().float()
    old, new = rows[:1000], rows[1000:]
    print(f"{dtype}: old rows have length {old.norm(dim=1).mean():.3f} and spread {old.std(dim=0).mean():.1e};", end=" ")
    print(f"new ones {new.norm(dim=1).mean():.3f} and {new.std(dim=0).mean():.1e}")
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, 3]])).logits[0, -1]
    apart = [float(part.max() - part.min()) for part in (logits[:1000].float(), logits[1000:].float())]
    print(f"  logits of old tokens lie within {apart[0]:.1e}, those of ten new ones within {apart[1]:.1e}: {len(logits[1000:].unique())} values")
    assert new.std(dim=0).mean() < 1e-3 * old.std(dim=0).mean(), "new rows spread as the message says now"
    assert apart[1] < 1e-2 * apart[0], "new tokens have logits of their own now"
PYTHON
