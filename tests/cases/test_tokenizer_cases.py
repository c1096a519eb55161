"""Tokenizers that somebody has reported trouble with. The source stands beside the case."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, GPT2TokenizerFast, PreTrainedTokenizerFast

from windtunnel.data.encode import prepare_stream
from windtunnel.kits.text.encoded import text_of
from windtunnel.kits.text.tokenizer import describe, encoder, load
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


def test_a_named_class_does_not_take_the_normalizer_away(tmp_path):
    """Run on transformers 5.23: GPT2Tokenizer, read again, has no normalizer, whatever its tokenizer.json says."""
    backend = Tokenizer.from_file(str(like_llama(tmp_path / "plain") / "tokenizer.json"))
    backend.normalizer = normalizers.NFKC()
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>")
    GPT2TokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "named")
    text = "oﬃce Ａ"
    wanted = backend.encode(text, add_special_tokens=False).ids
    assert AutoTokenizer.from_pretrained(tmp_path / "named")(text)["input_ids"] != wanted, "transformers keeps it now"
    assert encoder(load(tmp_path / "named", sentinels=0)).encode(text, add_special_tokens=False).ids == wanted


def test_added_words_with_accents_are_written_as_they_were_read(tmp_path):
    """huggingface/tokenizers 1392, 1915, 1996: a byte-level decoder takes the letters of added tokens for bytes."""
    folder = like_llama(tmp_path / "given")
    given = PreTrainedTokenizerFast.from_pretrained(folder)
    given.add_tokens(["Größe", "đem", "日本", "plain", AddedToken("*é+?", normalized=False), "é"])  # the last is the token of a byte
    given.save_pretrained(folder)
    text = "a Größe, đem 日本 plain *é+?"
    ids = given(text, add_special_tokens=False)["input_ids"]
    assert given.decode(ids) != text, "tokenizers writes them right now"
    found = load(folder, sentinels=0)
    assert found(text, add_special_tokens=False)["input_ids"] == ids and found.decode(ids) == text
    assert found.decode(encoder(found).encode("騎", add_special_tokens=False).ids) == "騎", "a byte of a letter is taken for the added é"
    assert int(describe(found, sentinels=0).token_bytes[ids].sum()) == len(text.encode())
    found.save_pretrained(tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").decode(ids) == text
