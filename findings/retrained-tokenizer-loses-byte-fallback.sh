#!/usr/bin/env bash
# Expected: `train_new_from_iterator` of a tokenizer with byte fallback (the kind of Llama 2 and Gemma) gives one that can still write any text.
# Really: the new vocabulary has none of the 256 byte tokens, while the model still says `byte_fallback: true`. Characters that the training text
#   did not hold become the unknown token, several at once, and cannot be decoded.
# Versions: transformers 5.23.0, tokenizers 0.23.3, Python 3.11.
# Met: whoever trains a vocabulary of their own from an existing tokenizer and later meets other languages, emoji or plain accents. Train with
#   the byte tokens among the special tokens, or with a byte-level alphabet.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
"$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/progress"
import json

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghijklmnopqrstuvwxyz"]
model = models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
backend = Tokenizer(model)
backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
old = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
new = old.train_new_from_iterator(["the wind blows over the harbour and the boats"] * 50, vocab_size=400)

text = "naïve 日本 wind"
for name, tokenizer in {"old": old, "new": new}.items():
    print(f"{name}: {tokenizer.tokenize(text)} -> {tokenizer.decode(tokenizer(text).input_ids)!r}")
kept = sum(token.startswith("<0x") for token in new.get_vocab())
said = json.loads(new.backend_tokenizer.to_str())["model"]["byte_fallback"]
print(f"byte tokens in the new vocabulary: {kept}; it says byte_fallback: {said}")
assert old.decode(old(text).input_ids) == text
assert kept == 0 and said and "<unk>" in new.tokenize(text), "byte tokens are kept now"
PYTHON
