"""Text that a model writes itself, to rehearse what it knows where the text it learned from is not at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import whole


def own_text(
    model: Any,
    tokenizer: Any,
    *,
    tokens: int,
    length: int = 256,
    batch: int = 16,
    temperature: float = 1.0,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> Iterator[str]:
    """Documents drawn from a decoder ``model`` itself, from its beginning-of-text token on, about ``tokens`` tokens of them.

    Rehearsal of what a model generates instead of what it was trained on: Sun et al. 2020, arXiv:1909.03329 (LAMOL); Huang et al. 2024,
    arXiv:2403.01244 (self-synthesized rehearsal). It keeps what the model would say; what it knows and does not say by itself is not in it.

    Args:
        model: a network that can generate, on any device; it is left as it was.
        tokenizer: of the model, as transformers has it.
        tokens: how many to write over all documents, about.
        length: most tokens of one document.
        batch: documents written side by side.
        temperature: of the softmax they are drawn from; 1 is the model's own distribution.
        seed: the same seed writes the same documents (on the same machine).
        report: told the share that is written.

    Raises:
        UserError: where the tokenizer names no begin or end of text, so that no text can be begun.
    """
    import torch

    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if first is None:
        raise UserError(
            "the model's tokenizer names neither a begin nor an end of text, so the model cannot write text of its own: name them in "
            "tokenizer_config.json (bos_token, eos_token) or by number in config.json, or give text like what it must keep with --keep"
        )
    training, written = model.training, 0
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            while written < tokens:
                began = torch.full((batch, 1), first, device=model.device)
                drawn = model.generate(
                    began,
                    attention_mask=torch.ones_like(began),
                    do_sample=True,
                    temperature=temperature,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=length,
                    pad_token_id=tokenizer.eos_token_id,
                    use_cache=True,
                )
                written += drawn[:, 1:].numel()
                if report is not None:
                    report(min(1.0, written / tokens))
                for row in drawn[:, 1:].tolist():
                    text = tokenizer.decode(row, skip_special_tokens=True).strip()
                    if text:
                        yield text
    finally:
        model.train(training)


def write_own_text(path: Path, texts: Iterator[str]) -> int:
    """Write documents as JSON lines to ``path``, whole or not at all; returns how many. A file that is there already is kept (0)."""
    if path.exists():
        return 0
    count = 0
    with whole(path) as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count += 1
    return count
