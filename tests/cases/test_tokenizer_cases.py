"""Tokenizers that somebody has reported trouble with. The source stands beside the case."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from windtunnel.data.encode import prepare_stream
from windtunnel.kits.text.encoded import text_of
from windtunnel.kits.text.tokenizer import encoder, load
from windtunnel.parts.encoding.bpe import Bpe
from windtunnel.parts.objective.next_token import NextToken


class Corpus:
    """Two documents of one source."""

    fingerprint, sources, table, curation = "two", ("notes",), [], {}

    def documents(self, split, source):
        yield ["ab", "c"]


def like_llama(folder: Path, begins: bool = True) -> Path:
    names = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if begins:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "qwen3", "gpt_neox", "llama"])
def test_the_tokenizer_is_the_one_that_is_stored(family, tmp_path):
    """Run on transformers 5.23: beside such a config.json it makes another class, with a token of its own behind the last. Met where a
    folder has tokenizer.json alone, as an own training loop writes it; then no begin or end is named but by the model's numbers.
    """
    folder = like_llama(tmp_path / family)
    (folder / "tokenizer_config.json").unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": family, "bos_token_id": 0, "eos_token_id": [1, 0]}))
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = load(folder, sentinels=0)
    assert (found.bos_token, found.eos_token) == ("<s>", "</s>")
    text = "the river 123\n"
    assert encoder(found).encode(text, add_special_tokens=False).ids == stored.encode(text, add_special_tokens=False).ids
    ours = {token: number for token, number in found.get_vocab().items() if number >= stored.get_vocab_size()}
    assert all(token in ("<|mask|>", "[R]", "[S]", "[X]") for token in ours), ours


def test_a_text_begins_with_the_token_that_the_tokenizer_puts_there(tmp_path):
    """EleutherAI/lm-evaluation-harness 1586, 1588, 1465; epfLLM/Megatron-LLM 54; meta-llama/codellama 206."""
    streams = {}
    for begins in (True, False):
        folder = like_llama(tmp_path / f"given-{begins}", begins)
        streams[begins] = prepare_stream(Corpus(), Bpe(folder=str(folder)), cache=tmp_path / "streams")
    stream = streams[True]
    letters = [stream.read("train", "notes", document).tolist() for document in (0, 1)]
    assert [numbers[0] for numbers in letters] == [0, 0] and [numbers[-1] for numbers in letters] == [1, 1]
    assert list(text_of(stream, "test").documents("train", "notes")) == ["ab", "c"]
    row = np.array([letters[0] + letters[1]])
    rows = {"tokens": row, "documents": np.array([[0] * 4 + [1] * 3]), "positions": np.arange(7)[None]}
    batch = NextToken().prepare(rows, stream.facts, np.random.default_rng(0))
    assert batch["labels"][0].tolist() == [*letters[0][1:], -100, *letters[1][1:]]  # the next text's beginning is nobody's continuation
    plain = streams[False]
    assert plain.read("train", "notes", 0).tolist() == [1, *letters[0][1:-1]] and plain.facts.end is None
