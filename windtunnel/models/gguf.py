"""Models in .gguf files, converted to folders in the Hugging Face format."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from windtunnel.core.errors import PartError, UserError
from windtunnel.models.init import family_of
from windtunnel.models.save import export

# How these pre-tokenizers part text before the bytes of GPT-2's rule: each digit by itself. transformers leaves that out.
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r")


def convert(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a .gguf ``file`` to ``folder``, every value exactly as the file has it.

    Values that stand for blocks of 4 or 8 bits are products and sums that need up to 24 bits, so that most files become float32;
    where bfloat16 or float16 holds every value exactly, it is that.

    Raises:
        PartError: for a file that is damaged or of another kind.
        UserError: where a package is missing, or the folder cannot be written.
    """
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{file}: reading GGUF needs the package {missing[0]}: pip install 'windtunnel[gguf]'")
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        architecture = family_of(config).model_class()
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        options: Any = {"gguf_file": file.name, "local_files_only": True}
        model = architecture.from_pretrained(file.parent, config=config, dtype=torch.float32, **options)
    except UserError:
        raise
    except Exception as error:  # the reader raises nearly anything for a file that is damaged or of another kind
        reason = (str(error).strip().splitlines() or [""])[0]
        raise PartError(f"{file}: cannot be read as GGUF: {type(error).__name__}: {reason}") from error
    _part_digits(file, tokenizer)
    dtype = next((d for d in (torch.bfloat16, torch.float16) if all(bool((p.to(d) == p).all()) for p in model.parameters())), torch.float32)
    del model.config.quantization_config
    model.config.architectures = [architecture.__name__]
    card = {"title": file.stem, "text": f"Converted from {file.name} without loss.", "sha256 of the file": _sha256(file)}
    export(model, folder, tokenizer=tokenizer, card=card, dtype=dtype)


def _part_digits(file: Path, tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    with file.open("rb") as stream:
        start = stream.read(1 << 24)
    _, _, rest = start.partition(b"tokenizer.ggml.pre")  # then the type of the value (4 bytes; 8 is text), its length (8), the value
    length = int.from_bytes(rest[4:12], "little")
    if rest[:4] == b"\x08\0\0\0" and rest[12 : 12 + min(length, 99)].decode(errors="replace") in DIGITS_APART:
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
