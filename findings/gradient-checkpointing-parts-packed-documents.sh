#!/usr/bin/env bash
# Expected: documents packed into one row, with positions that begin again at 0 as DataCollatorWithFlattening writes them, see only themselves: the
#   masks of transformers look for such positions. Or they never do. Neither gradient checkpointing nor use_cache changes a loss.
# Really: the positions are looked at only while there is no cache and no mask. A configuration's use_cache is true, so a model that is called in a
#   loop of one's own makes a cache in training too, and every document sees all before it. Turn on gradient checkpointing, which forbids the
#   cache, and the documents are apart; the loss is another one. A mask of ones lets them see each other again. One line says that there is no
#   cache, and nothing says what follows from it.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever trains or evaluates on packed rows outside Trainer (which sets use_cache to false): runs with and without checkpointing, or two
#   evaluations of one model, are of different tasks. Pass use_cache=False and no mask, or a mask of blocks that you make yourself.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import DataCollatorWithFlattening, LlamaConfig, LlamaForCausalLM

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.manual_seed(0)
sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
model = LlamaForCausalLM(LlamaConfig(**sizes)).train()
first, second = list(range(1, 9)), list(range(20, 28))
packed = DataCollatorWithFlattening()([{"input_ids": first}, {"input_ids": second}])
print("positions:", packed["position_ids"].tolist(), "attention:", model.config._attn_implementation)
alone = model(torch.tensor([second])).logits.detach()


def off(name, **options):
    """How far the logits of the second document are from those that it has alone."""
    found = model(**packed, **options)
    distance = (found.logits.detach()[:, len(first) :] - alone).abs().max().item()
    print(f"{name:40} loss {found.loss.item():.4f}, second document off by {distance:.1e}")
    return distance


plain = off("as the collator gives it")
without_cache = off("use_cache=False", use_cache=False)
masked = off("use_cache=False and a mask of ones", use_cache=False, attention_mask=torch.ones_like(packed["input_ids"]))
model.gradient_checkpointing_enable()
checkpointed = off("as the collator gives it, checkpointing")
assert max(without_cache, checkpointed) < 1e-5, "documents see each other now"
assert min(plain, masked) > 1e-2, "documents are apart now, with a cache and a mask too"
PYTHON
