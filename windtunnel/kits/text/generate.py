"""Text that a causal model writes after prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def instruction(tokenizer: Any, said: str) -> list[int]:
    """``said`` as token numbers to go on from: as a user's turn where the tokenizer knows chats, else as a text that ends with a line."""
    if getattr(tokenizer, "chat_template", None):
        turns = [{"role": "user", "content": said}]
        written = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    else:
        written = f"{said}\n"
    numbers: list[int] = tokenizer(written, add_special_tokens=False)["input_ids"]
    return numbers


def generated(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], most: Sequence[int], *, temperature: float, seed: int
) -> tuple[list[str], list[int]]:
    """What ``model`` writes after each of ``prompts``, at most ``most`` tokens of each, up to its end-of-text token; how many it wrote.

    All are written side by side, so each takes the time of the longest, and may be written on behind what is kept of it: that counts too,
    the end-of-text token as well, but not the padding behind it. Temperature 0 takes the likeliest token.
    """
    longest, pad = max(map(len, prompts)), tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    tokens = torch.tensor([[pad] * (longest - len(one)) + one for one in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=model.device)
    how: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        how |= {"max_new_tokens": max(most), "pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id, "use_cache": True}
        written = model.generate(tokens, attention_mask=mask, **how)
    rows = [row[: row.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in row else row for row in written[:, longest:].tolist()]
    texts = [str(tokenizer.decode(row[:size], skip_special_tokens=True)) for row, size in zip(rows, most, strict=True)]
    return texts, [len(row) for row in rows]
