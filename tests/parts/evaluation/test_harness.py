"""Tasks of lm-evaluation-harness: the numbers are those of its own model, however much is computed once; what is amiss is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoints import END, with_tokenizer
from tiny_models import DECODERS, VOCABULARY, build
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.text.continuations import grouped, likelihoods, shared_beginning
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.harness import evenly
from windtunnel.slots import Evaluation, HeldOut, Objective

ROWS = [  # one answer begins the other; a long context; one that other contexts begin with
    {"q": "wings lift", "choices": ["a", "a plane", "stones"], "gold": 1},
    {"q": "wings lift " * 3, "choices": ["yes", "no"], "gold": 0},
    {"q": "wings", "choices": ["y", "n", "m", "o"], "gold": 3},
    {"q": "", "choices": ["up", "down"], "gold": 0},
]
PLAIN = torch.autocast("cpu", enabled=False)


def task(folder: Path, name: str = "mine", rows: list[dict[str, Any]] = ROWS, **more: Any) -> str:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
        **more,
    }
    (folder / f"{name}.yaml").write_text(json.dumps(config))
    return str(folder / f"{name}.yaml")


def asked(model: Any, tokenizer: Any, context: int, split: str = "test") -> HeldOut:
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=tokenizer)
    return HeldOut((), None, stream, VOCABULARY, make(Objective, "next-token"), torch.device("cpu"), PLAIN, split, context)


@pytest.mark.parametrize("family", DECODERS)
def test_what_is_shared_changes_no_likelihood(family):
    model, random = build(family, context=64).eval(), torch.Generator().manual_seed(1)

    def drawn(count: int) -> list[int]:
        return torch.randint(5, 160, (count,), generator=random).tolist()

    begin = drawn(18)  # all contexts begin with it
    contexts = [begin + drawn(count) for count in (1, 7, 3)]
    pairs = [(contexts[0], drawn(2)), (contexts[1], ending := drawn(3)), (contexts[1], ending[:1]), (contexts[1], [*ending, 9])]
    pairs += [(contexts[2], drawn(1)), (contexts[2], drawn(4))]
    assert shared_beginning(grouped(pairs)) == 18
    for rows in (2, 32):
        found = likelihoods(model, pairs, device=torch.device("cpu"), precision=PLAIN, rows=rows)
        for (context, ending), one in zip(pairs, found, strict=True):
            with torch.no_grad():
                odds = model(input_ids=torch.tensor([[*context, *ending]])).logits[0, len(context) - 1 : -1].log_softmax(-1)
            assert one.nats == pytest.approx(float(odds.gather(1, torch.tensor(ending)[:, None]).sum()), abs=1e-4)
            assert one.greedy == (odds.argmax(-1).tolist() == list(ending))


def test_a_context_that_begins_another_and_a_window_that_padding_would_fill():
    model, context = build("llama", context=64).eval(), list(range(5, 25))
    windows = {"sliding_window": 8, "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    short = MistralForCausalLM(MistralConfig(**windows, num_key_value_heads=2, intermediate_size=32)).eval()
    for each, pairs in (
        (model, [(context, [5, 6, 7]), ([*context, 5], [6, 7])]),
        (short, [([*context, *range(30, 43)], [7]), ([*context, 9, 8], [7])]),
    ):
        together = likelihoods(each, pairs, device=torch.device("cpu"), precision=PLAIN)
        alone = [likelihoods(each, [pair], device=torch.device("cpu"), precision=PLAIN)[0].nats for pair in pairs]
        assert [one.nats for one in together] == pytest.approx(alone, abs=1e-4)


def test_tracked_questions_are_spread_evenly():
    assert evenly(10, 64) == list(range(10)) and evenly(9, 3) == [0, 4, 8] and evenly(5, 1) == [0]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> tuple[Any, Any]:
    folder = with_tokenizer(tmp_path_factory.mktemp("harness"))
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_numbers_are_those_of_the_harness(tmp_path, pretrained):
    evaluator = pytest.importorskip("lm_eval.evaluator")
    from lm_eval.models.huggingface import HFLM

    from windtunnel.kits.text import harness as kit

    model, tokenizer = pretrained
    texts = [{"text": "wings lift a plane, and more of it than one window holds"}, {"text": "short"}]
    rolling = {"output_type": "loglikelihood_rolling", "doc_to_choice": None, "doc_to_text": "", "doc_to_target": "{{text}}"}
    bits = {**rolling, "metric_list": [{"metric": "bits_per_byte"}]}
    files = [task(tmp_path), task(tmp_path, "fewshot", fewshot_split="test", num_fewshot=2), task(tmp_path, "bits", texts, **bits)]
    part = make(Evaluation, {"harness": {"tasks": files}})
    found = part.evaluate(model, asked(model, tokenizer, 48))
    results = []
    with kit.offline():
        tasks = kit.load_tasks(files)
        for lm in (
            kit.InMemory(model, tokenizer, context=48, device=torch.device("cpu"), precision=PLAIN),
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=48),
        ):
            for one in tasks["tasks"].values():
                one.set_fewshot_seed(seed=kit.SEED)
            results.append(evaluator.evaluate(lm, tasks))
    ours, theirs = results
    for name in ("mine", "fewshot"):
        for one, other in zip(ours["samples"][name], theirs["samples"][name], strict=True):
            assert [nats for (nats, _), *_ in one["resps"]] == pytest.approx([nats for (nats, _), *_ in other["resps"]], abs=1e-4)
        assert found[f"harness/{name}/acc"] == theirs["results"][name]["acc,none"]
    assert found["harness/mine/acc/standard_error"] == ours["results"]["mine"]["acc_stderr,none"] > 0
    assert found["harness/bits/bits_per_byte"] == pytest.approx(theirs["results"]["bits"]["bits_per_byte,none"], abs=1e-4)
    assert (found.by_document.above.sum() / found.by_document.below.sum()) == found["harness/mine/acc"]
    with pytest.warns(UserWarning, match="longer than the context of 24; they were cut"):
        make(Evaluation, {"harness": {"tasks": files[:1]}}).evaluate(model, asked(model, tokenizer, 24))
    few = make(Evaluation, {"harness": {"tasks": files[:1], "tracked": 2}}).evaluate(model, asked(model, tokenizer, 48, "validation"))
    assert len(few.by_document.unit) == 2
    with pytest.raises(PartError, match="bits_per_byte of bits is better lower"):
        make(Evaluation, {"harness": {"tasks": files[2:]}}).evaluate(model, asked(model, tokenizer, 48))


def test_a_text_begins_as_the_tokenizer_says(pretrained):
    pytest.importorskip("lm_eval")
    from windtunnel.kits.text.harness import InMemory

    model, tokenizer = pretrained
    plain = InMemory(model, tokenizer, context=48, device=torch.device("cpu"), precision=PLAIN)
    assert plain.encoded("ab") == tokenizer.encode("ab", add_special_tokens=False) and plain.prefix_token_id == END

    class Beginning:
        bos_token_id, eos_token_id, name_or_path = 7, END, "beginning"

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [7] * add_special_tokens + [ord(letter) for letter in text.removeprefix("<s>")]

        def decode(self, token: int) -> str:
            return "<s>"

    begun = InMemory(model, Beginning(), context=48, device=torch.device("cpu"), precision=PLAIN)
    assert begun.encoded("ab") == [7, 97, 98] and begun.encoded("<s>ab") == [97, 98] and begun.prefix_token_id == 7


def test_what_is_amiss_is_named(tmp_path, pretrained, monkeypatch):
    pytest.importorskip("lm_eval")
    model, tokenizer = pretrained

    def told(**fields: Any) -> Any:
        return make(Evaluation, {"harness": fields}).evaluate(model, asked(model, tokenizer, 48))

    without = [{"q": "a", "choices": ["b", "c"]}, {"q": "b", "choices": ["b", "c"]}]
    with pytest.raises(PartError, match="document 0 has no answer: 'gold' is none of its 2 choices"):
        told(tasks=[task(tmp_path, "without", without)])
    with pytest.raises(PartError, match="document 1 has no answer: 5 is none of its 2"):
        told(tasks=[task(tmp_path, "wrong", [{**without[0], "gold": 0}, {**without[1], "gold": 5}])])
    with pytest.raises(PartError, match=r"nowhere\.yaml: no such file"):
        told(tasks=[str(tmp_path / "nowhere.yaml")])
    away = task(tmp_path, "away")
    (tmp_path / "away.jsonl").unlink()
    with pytest.raises(PartError, match=r"away\.jsonl: no such file of data"):
        told(tasks=[away])
    with pytest.raises(PartError, match="its data set is not on this machine"):
        told(tasks=[task(tmp_path, "hub", dataset_path="nobody/nothing", dataset_kwargs=None)])
    file = task(tmp_path)
    part = make(Evaluation, {"harness": {"tasks": [file]}}).pinned()
    assert part.digest and part.pinned() == part
    task(tmp_path, rows=ROWS[:2])
    with pytest.raises(PartError, match="changed since the recipe was made"):
        part.evaluate(model, asked(model, tokenizer, 48))
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"needs lm_eval .*windtunnel\[harness\]"):
        told(tasks=[file])
