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


def generated(model: Any, tokenizer: Any, prompts: Sequence[list[int]], most: Sequence[int], *, temperature: float, seed: int) -> list[str]:
    """What ``model`` writes after each of ``prompts``, at most ``most`` tokens of each, up to its end-of-text token.

    All are written side by side, so each takes the time of the longest. Temperature 0 takes the likeliest token.
    """
    longest, pad = max(map(len, prompts)), tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    tokens = torch.tensor([[pad] * (longest - len(one)) + one for one in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=model.device)
    how: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        how |= {"max_new_tokens": max(most), "pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id, "use_cache": True}
        written = model.generate(tokens, attention_mask=mask, **how)
    cut = [row[: most[place]].tolist() for place, row in enumerate(written[:, longest:])]
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in cut]
