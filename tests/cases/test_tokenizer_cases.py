"""Tokenizers that somebody has reported trouble with. The source stands beside the case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from windtunnel.data.encode import prepare_stream
from windtunnel.kits.text.encoded import text_of
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
