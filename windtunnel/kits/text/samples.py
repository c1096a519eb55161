"""What a model writes: continuations of held-out documents, or its fillings of masked ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from windtunnel.core import registry
from windtunnel.data.held_out import entered
from windtunnel.kits.text.encoded import text_of, vocabulary_of
from windtunnel.kits.text.predict import own_format
from windtunnel.models.forward import forward
from windtunnel.slots import HeldOut, Objective


def samples(
    model: Any,
    held_out: HeldOut,
    *,
    count: int = 2,
    prompt_tokens: int | None = None,
    new_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[dict[str, str]]:
    """``count`` samples of each source: dictionaries of ``source``, ``prompt``, ``continuation`` and ``truth``, all text.

    Decoders and encoder-decoders continue the beginnings of documents, in the format that they were trained in; models trained with
    masked-token fill masks, and ``continuation`` is the whole text as they would have it. The same call writes the same text. A
    source whose documents are all too short gives no sample. The model's training mode is left as it was found.

    Args:
        model: the network.
        held_out: where prompts come from.
        count: samples of each source.
        prompt_tokens: tokens of a prompt, the separator included (default: half the context, at most 32).
        new_tokens: tokens to write (default: as many).
        temperature: of the softmax that tokens are drawn from; 0 takes the likeliest.
        seed: of the draws, where temperature is above 0.
    """
    half = max(2, min(32, held_out.context // 2))
    asked, wanted = prompt_tokens or half, new_tokens or half
    random = torch.Generator().manual_seed(seed)
    training = model.training
    model.eval()
    found: list[dict[str, str]] = []
    try:
        with torch.no_grad(), entered(held_out.precision):
            for source in held_out.sources:
                if "encoder" in held_out.objective.kinds:
                    found += [{"source": source, **sample} for sample in _filled(model, held_out, source, count)]
                    continue
                texts = _beginnings(held_out, source, count, asked, wanted)
                if not len(texts):
                    continue
                written = _continue(model, held_out, texts[:, :asked], wanted, temperature, random)
                for text, new in zip(texts, written, strict=True):
                    known = {"prompt": text[:asked], "continuation": new, "truth": text[asked:]}
                    found.append({"source": source, **{key: _text(held_out, tokens) for key, tokens in known.items()}})
    finally:
        model.train(training)
    return found


def _beginnings(held_out: HeldOut, source: str, count: int, prompt: int, new: int) -> np.ndarray:
    """The first ``prompt`` + ``new`` tokens of the first documents that have as many in one window: int64 [found, prompt + new]."""
    found: list[np.ndarray] = []
    separator = vocabulary_of(held_out, "samples").document
    for batch in held_out.batches(source, registry.make(Objective, "next-token")):
        tokens, documents = batch["tokens"].cpu().numpy(), batch["documents"].cpu().numpy()
        real = (batch["labels"].cpu().numpy() != -100).any(axis=1)
        begins = (tokens == separator) & (documents >= 0) & real[:, None]  # padding may look like a separator
        for row, column in zip(*np.nonzero(begins), strict=True):
            piece = slice(column, column + prompt + new)
            if len(tokens[row, piece]) == prompt + new and (documents[row, piece] == documents[row, column]).all():
                found.append(tokens[row, piece])
            if len(found) == count:
                return np.stack(found)
    return np.stack(found) if found else np.zeros((0, prompt + new), np.int64)


def _continue(model: Any, held_out: HeldOut, prompts: np.ndarray, new: int, temperature: float, random: torch.Generator) -> np.ndarray:
    """``new`` tokens after ``prompts`` [N, prompt]: int64 [N, new]. All tokens are read again for each: prompts are short."""
    modes, bidirectional = own_format(held_out.objective)
    vocabulary, device = vocabulary_of(held_out, "samples"), held_out.device
    scored = held_out.objective.measured_by()
    mode = getattr(scored, "mode", None) if modes else None
    if mode is not None:
        prompts = np.concatenate([np.full((len(prompts), 1), vocabulary.modes[mode]), prompts], axis=1)
    length, two_sided = prompts.shape[1], model.config.is_encoder_decoder
    prompt = torch.from_numpy(prompts).to(device)
    text = prompt.new_full((len(prompts), 1), int(model.config.decoder_start_token_id)) if two_sided else prompt
    places = torch.arange(length + new, device=device)
    positions = (places - int(mode is not None)).clamp(min=0)  # a mode token shares the position of the token after it
    text_only = torch.as_tensor(np.asarray(vocabulary.token_bytes) > 0, device=device)
    text_only[vocabulary.document if vocabulary.end is None else vocabulary.end] = True  # a model may end the document
    for _ in range(new):
        if two_sided:
            outputs = forward(model, prompt, decoder_tokens=text)
        else:
            read = torch.cat([text, text.new_full((len(text), 1), vocabulary.mask)], dim=1) if held_out.objective.by_mask else text
            rows = (len(read), read.shape[1])
            prefix = (places[: rows[1]] < length).expand(rows) if bidirectional else None
            documents = torch.zeros(rows, dtype=torch.int64, device=device)
            outputs = forward(model, read, documents, positions[: rows[1]].expand(rows), prefix=prefix)
        logits = outputs.logits[:, -1].float()[:, : len(text_only)]
        logits = logits.masked_fill(~text_only[: logits.shape[-1]], -torch.inf)  # special tokens of the stream may have no row
        if temperature > 0:
            drawn = torch.multinomial(torch.softmax(logits / temperature, dim=-1).cpu(), 1, generator=random).to(device)
        else:
            drawn = logits.argmax(dim=-1, keepdim=True)
        text = torch.cat([text, drawn], dim=1)
    written: np.ndarray = text[:, -new:].cpu().numpy()
    return written


def _filled(model: Any, held_out: HeldOut, source: str, count: int) -> list[dict[str, str]]:
    """Masked texts, as the model fills them, and as they were."""
    batch = next(iter(held_out.batches(source, held_out.objective)))
    outputs = held_out.objective.loss(model, batch).outputs
    masked, labels, documents = (batch[key].cpu().numpy() for key in ("tokens", "labels", "documents"))
    guess = outputs.logits.argmax(dim=-1).cpu().numpy()
    found: list[dict[str, str]] = []
    for row in np.flatnonzero((labels != -100).any(axis=1))[:count]:
        hidden, used = labels[row] != -100, documents[row] >= 0
        known = {
            "prompt": masked[row],
            "continuation": np.where(hidden, guess[row], masked[row]),
            "truth": np.where(hidden, labels[row], masked[row]),
        }
        found.append({key: _text(held_out, tokens[used]) for key, tokens in known.items()})
    return found


def _text(held_out: HeldOut, tokens: np.ndarray) -> str:
    """Tokens as text, without those that begin and end a document."""
    vocabulary = vocabulary_of(held_out, "samples")
    kept = tokens[(tokens != vocabulary.document) & (tokens != (-1 if vocabulary.end is None else vocabulary.end))].tolist()
    return str(text_of(held_out.stream, "samples").tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))
