"""Tiny models in folders, as somebody else's program would leave them."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_models import LENGTH, VOCABULARY, build
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings

END = 257  # the number of the end-of-text token below


def moved(model, seed=5):
    """The model with weights that are not those it is drawn with, rounded to what bfloat16 holds."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=random) * 0.1)
            weight.copy_(weight.bfloat16())
    return model.eval()


def written(folder: Path, family: str = "llama", form: str = "whole", dtype: torch.dtype = torch.float32, **sizes) -> Path:
    """A model as somebody else's program would leave it."""
    model = moved(build(family, **sizes)).to(dtype)
    if form == "pickled":
        model.config.architectures = [type(model).__name__]
        model.config.dtype = dtype
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="20KB" if form == "sharded" else "1GB")
    return folder


def byte_tokenizer(folder: Path, words: tuple[str, ...] = ()) -> Path:
    """A tokenizer of the 256 bytes, one pair, ``words`` and an end-of-text token: no padding, no mask, no sentinels."""
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa", *words]
    backend = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[("Ġ", "a")]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
    tokenizer.chat_template = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(str(folder))
    return folder


def with_tokenizer(folder: Path, rows: int = END + 1, **sizes) -> Path:
    """A small pretrained model whose tokenizer has 258 tokens and whose embedding has ``rows``."""
    config = config_for(ModelSettings(**({"layers": 2, "width": 32, "heads": 4} | sizes)), VOCABULARY, LENGTH)
    config.vocab_size, config.eos_token_id, config.bos_token_id, config.pad_token_id = rows, END, END, None
    model = moved(fresh(config, 3))
    model.save_pretrained(folder)
    GenerationConfig(eos_token_id=END, temperature=0.7, do_sample=True, max_new_tokens=9).save_pretrained(folder)
    return byte_tokenizer(folder)
