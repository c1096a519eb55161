"""Checkpoints side by side: the numbers are those that transformers computes, and differences are paired by document."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from checkpoints import byte_tokenizer, with_tokenizer
from tiny_models import build
from transformers import AutoModelForCausalLM, AutoTokenizer

from windtunnel.commands.evaluate import size_of
from windtunnel.core.errors import UserError
from windtunnel.recipe import sources_from
from windtunnel.slots import ByDocument
from windtunnel.study.evaluate import ALL, ModelOnText, SideBySide, evaluate, numbers
from windtunnel.study.tasks import Asked, refuse_unknown, rows_of

CONTEXT = 8


def direct(folder, texts: list[str]) -> float:
    """Bits per byte with transformers alone: each document from its beginning, in windows that share no target; the last is full."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    bits = 0.0
    for text in texts:
        tokens = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
        for begin in range(0, len(tokens) - 1, CONTEXT):
            end = min(begin + CONTEXT + 1, len(tokens))
            fuller = max(0, end - CONTEXT - 1)
            window = torch.tensor([tokens[fuller:end]])
            with torch.no_grad():
                chances = model(window[:, :-1]).logits.log_softmax(dim=-1)
            bits -= float(chances[0].gather(1, window[0, 1:, None])[begin - fuller :].sum()) / math.log(2)
    return bits / sum(len(text.encode()) for text in texts)


def test_numbers_are_those_of_transformers_and_models_are_paired(tmp_path):
    texts = [f"note {number} says {'a wing ' * (number % 4)}und über 7" for number in range(9)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    one, other = with_tokenizer(tmp_path / "one"), with_tokenizer(tmp_path / "other", layers=1)
    corpus = sources_from({"notes": str(tmp_path / "notes.jsonl")})
    said: list[str] = []
    found = evaluate([str(one), str(other)], corpus, tmp_path / "cache", context=CONTEXT, batch=3, device="cpu", say=said.append)
    assert f"encoding the documents for {one}" in said and not any("train" in line.split() or "train/" in line for line in said)
    first, second = found.data["numbers"]
    assert first["bits_per_byte"] == pytest.approx(direct(one, texts), rel=1e-5)
    assert second["bits_per_byte"] == pytest.approx(direct(other, texts), rel=1e-5)
    assert first["difference"] is None and (first["documents"], first["bytes"]) == (9, sum(len(text.encode()) for text in texts))
    assert second["difference"] == pytest.approx(second["bits_per_byte"] - first["bits_per_byte"])
    assert second["low"] < second["difference"] < second["high"]
    assert found.table().loc[("notes", str(other)), "bits_per_byte"] == second["bits_per_byte"]
    some = evaluate([str(one)], corpus, tmp_path / "cache", context=CONTEXT, most_bytes=100, device="cpu")
    assert 0 < some.data["numbers"][0]["bytes"] <= 100
    with pytest.raises(UserError, match=r"--context 4000: .* has room for"):
        evaluate([str(one)], corpus, tmp_path / "cache", context=4000)


def test_tasks_are_asked_without_documents_and_paired_by_question(tmp_path):
    one, other = with_tokenizer(tmp_path / "one"), with_tokenizer(tmp_path / "other", layers=1)
    lines = [{"question": f"note {n} says", "choices": ["a wing", "over"], "answer": n % 2} for n in range(10)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = evaluate([str(one), str(other)], {}, tmp_path / "cache", tasks=[str(tmp_path / "mine.jsonl")], device="cpu").data
    first, second = found["tasks"]
    assert (first["task"], first["metric"], first["questions"], first["difference"]) == ("mine", "share right", 10, None)
    assert second["difference"] == pytest.approx(second["value"] - first["value"]) and not found["numbers"]
    with pytest.raises(UserError, match=r"--tasks nowhere\.jsonl: no such file"):
        evaluate([str(one)], {}, tmp_path, tasks=["nowhere.jsonl"])


def test_differences_are_over_questions_that_both_were_asked():
    random = np.random.default_rng(0)
    right = random.random(200) < 0.5
    better = right | (random.random(200) < 0.3)
    told = [
        (name, [Asked("mine", "acc", each.mean(), 0.03, dict(enumerate(map(float, each))))]) for name, each in (("a", right), ("b", better))
    ]
    row = rows_of(told, 0.95)[1]
    assert row["difference"] == pytest.approx(better.mean() - right.mean()) and 0 < row["low"] < row["difference"] < row["high"]
    alone = 1.96 * (right.var() / 200 + better.var() / 200) ** 0.5
    assert row["high"] - row["low"] < 2 * 0.8 * alone  # the same questions: narrower than two samples


def test_a_metric_that_one_model_lacks_pairs_no_other():
    each = dict(enumerate([1.0, 0.0] * 8))
    full, short = [Asked("mine", name, 0.5, 0.1, each) for name in ("acc", "f1")], [Asked("mine", "f1", 0.5, 0.1, each)]
    assert [(row["metric"], row["model"]) for row in rows_of([("a", full), ("b", short)], 0.95)] == [("acc", "a"), ("f1", "a"), ("f1", "b")]


def test_questions_of_one_name_are_refused(tmp_path):
    files = [tmp_path / folder / "q.jsonl" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="would be called q"):
        refuse_unknown([str(file) for file in files])


def test_what_was_asked_is_the_table():
    row = {"model": "m", "name": "layer", "entropy": 1.0}
    assert list(SideBySide({"numbers": [], "tasks": [], "weights": [row]}).table().index) == [("m", "layer")]
    assert SideBySide({"numbers": [], "tasks": [], "weights": []}).table().empty


def test_several_sources_are_also_taken_together():
    random = np.random.default_rng(0)

    def measured(name: str, worse: float) -> ModelOnText:
        documents = {
            source: ByDocument(np.arange(12) + (place << 40), 8 + worse + random.normal(0, 0.01, 12), np.full(12, 4.0))
            for place, source in enumerate(("a", "b"))
        }
        return ModelOnText(name, documents, {})

    rows = numbers([measured("one", 0.0), measured("two", 0.4)])
    assert [(row["source"], row["model"]) for row in rows] == [(source, model) for source in (ALL, "a", "b") for model in ("one", "two")]
    assert rows[1]["documents"] == 24 and rows[1]["low"] < 0.1 < rows[1]["high"] and rows[1]["low"] > 0.09


@pytest.mark.parametrize(
    ("models", "corpus", "message"),
    [
        ([], {}, "name a model"),
        (["x"], {}, "--corpus: give the text"),
        (["x", "x"], {"notes": "builtin:stdlib"}, "x: is named twice"),
        (["nowhere"], {"notes": "builtin:stdlib"}, "nowhere: no such folder or file"),
        (["nowhere"], {ALL: "builtin:stdlib"}, "give the source another name"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path, models, corpus, message):
    with pytest.raises(UserError, match=message):
        evaluate(models, sources_from(corpus), tmp_path)


def test_a_model_that_writes_no_text_is_refused(tmp_path):
    build("bert").save_pretrained(tmp_path / "bert")
    byte_tokenizer(tmp_path / "bert")
    with pytest.raises(UserError, match=r"family bert .encoder.; bits per byte are measured of models that write text"):
        evaluate([str(tmp_path / "bert")], sources_from({"notes": "builtin:stdlib"}), tmp_path)


def test_sizes():
    assert (size_of("200KB"), size_of("1.5mb"), size_of("300")) == (200_000, 1_500_000, 300)
    for text in ("", "much", "-5KB", "inf"):
        with pytest.raises(UserError, match="write a size"):
            size_of(text)
