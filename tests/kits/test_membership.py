"""Whether a text was trained on: scores by their definitions, areas with honest intervals, and a planted case."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from checkpoints import with_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from windtunnel.commands.main import main
from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.text.membership import Beginnings, area, scores, told_apart
from windtunnel.recipe import sources_from
from windtunnel.slots import Evaluation, HeldOut
from windtunnel.study.membership import was_trained_on

LENGTH = 20


def test_scores_are_those_of_the_papers():
    nats = np.array([[0.1, 2.0, 3.0, 0.2, 5.0]])
    one = Beginnings(np.array([[9, 1, 2, 1, 3, 2]]), ["a wing"])
    counts = np.array([0, 4, 3, 1, 0, 0, 0, 0, 0, 2])
    found = scores(nats, one, counts, share=0.4, cap=0.5)
    assert found["loss"] == pytest.approx(-10.3 / 5)
    assert found["zlib"] == pytest.approx(-10.3 / len(zlib.compress(b"a wing")))
    assert found["min-k"] == pytest.approx(-4.0)  # the two least likely
    frequency = (counts + 1) / 20
    firsts = [(0.1, 1), (2.0, 2), (0.2, 3)]  # the second 1 and 2 are no first occurrences
    expected = np.mean([min(0.5, -np.exp(-cost) * np.log(frequency[token])) for cost, token in firsts])
    assert found["dc-pdd"] == pytest.approx(expected)
    assert scores(nats, one, counts, share=0.01, cap=0.5)["min-k"] == pytest.approx(-5.0)  # never none


def test_an_area_is_a_share_of_pairs_and_its_interval_holds():
    found = area(np.array([3.0, 2.0, 2.0]), np.array([1.0, 2.0, 0.0]))
    assert found.value == pytest.approx((3 + 2.5 + 2.5) / 9)
    perfect = area(np.arange(20.0) + 100, np.arange(20.0))
    assert (perfect.value, perfect.found) == (1.0, 1.0) and 0.8 < perfect.low < perfect.high <= 1
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        one = area(random.standard_normal(40) + 0.7, random.standard_normal(60))
        held += one.low <= 0.6897 <= one.high  # the chance that N(0.7, 1) is above N(0, 1)
    assert 180 <= held <= 199


def texts(kind: str, count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    words = {"wing": ("lift ", "drag ", "span ", "chord ", "flap "), "sea": ("tide ", "keel ", "hull ", "mast ", "oar ")}[kind]
    return ["".join(random.choice(words, 12)) for _ in range(count)]


def source(path, rows):
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    return sources_from({"x": str(path)})["x"]


def test_a_model_overfitted_on_a_text_is_found_and_other_text_is_told(tmp_path, capsys):
    """Two fair halves of one distribution: only training tells them apart. Text of another kind is told from them without any model."""
    with_tokenizer(tmp_path / "model")
    seen, unseen = texts("wing", 24, 1), texts("wing", 24, 2)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path / "model"), AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"][:LENGTH]] for text in seen])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    before, after = tmp_path / "model", tmp_path / "after"
    model.save_pretrained(after)
    tokenizer.save_pretrained(after)
    suspected, held = source(tmp_path / "seen.jsonl", seen), source(tmp_path / "unseen.jsonl", unseen)

    def asked(name, members, **how):
        return was_trained_on(str(name), members, held, tmp_path / "cache", length=LENGTH, device="cpu", **how)

    found = asked(after, suspected, reference=str(before))
    table = found.table()
    assert set(table.index) == {"loss", "zlib", "min-k", "dc-pdd", "reference"}
    assert table.loc["loss", "low"] > 0.7 and table.loc["min-k", "low"] > 0.6 and table.loc["reference", "low"] > 0.6
    assert found.data["alike"] and found.data["documents"] == {"members": 24, "others": 24}
    innocent = asked(before, suspected).table()
    assert (innocent["low"] < 0.6).all() and (innocent["high"] > 0.4).all()
    other = asked(after, source(tmp_path / "sea.jsonl", texts("sea", 24, 3)))
    assert not other.data["alike"] and other.data["blind"]["low"] > 0.8
    with pytest.raises(UserError, match="members: 3 documents of 20 tokens, too few"):
        asked(after, source(tmp_path / "few.jsonl", texts("wing", 3, 4)))
    with pytest.raises(UserError, match="length 500"):
        was_trained_on(str(after), suspected, held, tmp_path / "cache", length=500)
    words = [str(after), "--members", str(tmp_path / "seen.jsonl"), "--others", str(tmp_path / "unseen.jsonl")]
    words += ["--length", str(LENGTH), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    assert command(*words, "--reference", str(before), "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.data))
    assert command(str(after), *words[1:3], "--others", str(tmp_path / "sea.jsonl"), *words[5:]) == 0
    told = capsys.readouterr().out
    assert "no model at all" in told and "24 documents against 24, 20 tokens of each" in told and "they are not of one kind" in told


def command(*words):
    with pytest.raises(SystemExit) as end:
        main(["forensics", *words])
    return end.value.code


def test_forensics_refuses_options_of_the_other_question(capsys):
    for words, told in (
        (["--others", "b"], "--others: asks a model about a text"),
        (["--length", "5"], "--length: asks a model about a text"),
        (["--members", "a"], "--others PATH: give text of the same kind"),
        (["--members", "a", "--others", "b", "--corpus", "c=d"], "--corpus: is for tokenizers"),
        (["--members", "a", "--others", "b", "--merges", "5"], "--merges: is for tokenizers"),
    ):
        assert command("model", *words) == 2 and told in " ".join(capsys.readouterr().err.split())


def test_the_classifier_without_a_model_is_fair():
    random = np.random.default_rng(0)
    one, other = (Beginnings(random.integers(0, 30, (60, 41)), []) for _ in range(2))
    assert told_apart(one, other, 60).low < 0.5 < told_apart(one, other, 60).high
    shifted = Beginnings(random.integers(10, 40, (60, 41)), [])
    assert told_apart(one, shifted, 60).low > 0.9


def test_members_are_of_the_sources_that_are_trained_on_and_less_than_an_epoch_is_told():
    part = make(Evaluation, "membership")
    view = HeldOut(("code", "prose"), None, None, None, None, None, None, "test", 64)  # type: ignore[arg-type]
    assert part._sources(view) == ("code", "prose")
    view.trained_on, view.epochs = ("prose",), lambda: {"prose": 0.25, "code": 0.0}
    with pytest.warns(UserWarning, match=r"less than one epoch was read \(prose 0.25\)"):
        assert part._sources(view) == ("prose",)
    view.trained_on = ("other",)
    with pytest.raises(PartError, match="no documents of a source that the phase trains on"):
        part._sources(view)
