"""Adapting a trained model: the recipe that is written, limits that end training, how much of the change is kept, before and after."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import warm
import yaml
from tiny_models import VOCABULARY

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.core.keys import differing
from windtunnel.kits.image.pixels import Images
from windtunnel.kits.text.own_text import own_text, write_own_text
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import recipe_from
from windtunnel.study import adapt
from windtunnel.study.adapt import changes, kept_share, mix
from windtunnel.study.adapt_request import AdaptRequest, budget_of, share_of
from windtunnel.train.phase import over_limits


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("30m", "seconds", 1800),
        ("2h", "seconds", 7200),
        (" 90 s", "seconds", 90),
        ("500 steps", "steps", 500),
        ("2e6 tokens", "tokens", 2e6),
    ],
)
def test_a_budget_is_a_time_or_a_count(text, unit, amount):
    assert (budget_of(text).unit, budget_of(text).amount) == (unit, amount)


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0m", "3 furlongs", "1.2.3 h"])
def test_another_budget_is_refused(text):
    with pytest.raises(UserError, match="--budget"):
        budget_of(text)


def test_a_share_is_a_percentage_or_a_number_or_none():
    assert (share_of("1%"), share_of("0.02"), share_of("none"), share_of(None)) == (0.01, 0.02, None, None)
    with pytest.raises(UserError, match="write a share as"):
        share_of("much")


def test_what_cannot_be_wished_for():
    with pytest.raises(UserError, match="--corpus"):
        AdaptRequest("x", {})
    with pytest.raises(UserError, match="--keep a"):
        AdaptRequest("x", {"a": "there"}, {"a": "here"})
    with pytest.raises(UserError, match="--replay"):
        AdaptRequest("x", {"a": "there"}, replay=1.0)
    with pytest.raises(UserError, match="--with lor: no such structure; did you mean 'lora'"):
        AdaptRequest("x", {"a": "there"}, structure="lor")


def entry(step: int, **numbers: float) -> dict[str, Any]:
    return {"step": step, "numbers": {"bits_per_byte": 1.0} | {f"bits_per_byte/{name}": value for name, value in numbers.items()}}


def test_training_ends_where_a_source_is_above_its_limit():
    begin = entry(0, general=2.0, mine=3.0)
    assert over_limits({"general": 0.01}, [begin, entry(5, general=2.019, mine=4.0)]) == ""
    assert "bits_per_byte/general has risen by 1.05%" in over_limits({"general": 0.01}, [begin, entry(5, general=2.021, mine=2.0)])


def test_limits_need_a_model_to_start_from_and_a_source_of_that_name():
    base = {"corpus": {"a": "builtin:docstrings"}, "budget": {"steps": 1}}
    with pytest.raises(ValueError, match="did you mean 'a'"):
        recipe_from(base | {"limits": {"aa": 0.1}})
    with pytest.raises(ValueError, match="a limit needs a model to start from"):
        recipe_from(base | {"limits": {"a": 0.1}})
    assert recipe_from(base).limits == {} and "limits" not in differing(recipe_from(base))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"family": "vit", "facts": Images(8, 1, np.zeros(1), np.ones(1), 10)}, r"of family vit \(image-encoder\); adapting is for"),
        ({"family": "bert", "facts": VOCABULARY}, r"is a model of family bert \(encoder\); adapting is for models that write text"),
        ({"family": "llama", "facts": VOCABULARY}, "has no tokenizer beside it"),
    ],
    ids=lambda value: value["family"] if isinstance(value, dict) else "",
)
def test_only_a_model_that_writes_text_is_adapted(model, says, tmp_path):
    sizes = ModelSettings(family=model["family"], layers=1, width=32, heads=2)
    fresh(config_for(sizes, model["facts"], 16), 0).save_pretrained(tmp_path / "there")
    wish = AdaptRequest(checkpoint=str(tmp_path / "there"), corpus={"notes": "notes"})
    with pytest.raises(UserError, match=says):
        adapt.adapt(wish, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_are_mixed_along_a_line_and_integers_are_not():
    model = torch.nn.BatchNorm1d(2)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    trained = {name: value + 4 for name, value in first.items()}
    mix(model, first, trained, 0.25)
    assert torch.equal(model.weight, first["weight"] + 1)
    assert model.num_batches_tracked == 4


@pytest.mark.parametrize(("limit", "kept"), [(1.0, 1.0), (0.5, 0.5), (0.2, 0.1875), (0.01, 0.0)])
def test_the_largest_share_within_the_limit_is_kept(monkeypatch, limit, kept):
    """The loss of the kept source is 1 + the share: a limit of 0.5 is met by 8 sixteenths, one of 0.2 by 3."""
    model = torch.nn.Linear(1, 1, bias=False)
    first, trained = ({"weight": torch.full((1, 1), value)} for value in (0.0, 1.0))
    monkeypatch.setattr(
        adapt, "windows", lambda model, judge, only: {"general": np.array([[1.0 + float(model.weight.detach())], [1.0]], dtype=np.float64)}
    )
    recipe: Any = SimpleNamespace(limits={"general": limit})
    found, tried = kept_share(recipe, model, first, trained, None, lambda _: None)
    assert found == kept
    assert tried[0]["share"] == 1.0
    assert len(tried) == (1 if kept == 1 else 5)


def test_a_change_comes_with_the_interval_of_its_windows():
    before = np.array([[10.0, 30.0, 20.0], [8.0, 8.0, 8.0]])
    told = {"before": {"a": before}, "trained": {"a": before * [[0.9], [1]]}, "kept": {"a": before * [[0.95], [1]]}}
    found = changes(told, "a")
    assert found["before"] == pytest.approx(60 / 24 / np.log(2))
    assert found["after"] == pytest.approx(0.95 * found["before"])
    assert found["change_after"] == pytest.approx({"mean": -0.05, "low": -0.05, "high": -0.05})
    assert (found["windows"], found["bytes"]) == (3, 24)


class Writer(torch.nn.Module):
    """Draws tokens as a model does, and remembers how it was asked."""

    device = torch.device("cpu")

    def generate(self, began: torch.Tensor, **asked: Any) -> torch.Tensor:
        self.asked = asked
        assert not self.training
        return torch.cat([began, torch.randint(5, 9, (len(began), asked["max_new_tokens"]))], dim=1)


def test_own_text_is_drawn_from_the_model_itself_and_written_once(tmp_path):
    tokenizer: Any = SimpleNamespace(bos_token_id=1, eos_token_id=2, decode=lambda row, skip_special_tokens: " ".join(map(str, row)))
    writer = Writer().train()
    kept = torch.get_rng_state()
    one, two = (list(own_text(writer, tokenizer, tokens=100, length=10, batch=4, seed=3)) for _ in range(2))
    assert one == two
    assert len(one) == 12
    assert torch.equal(torch.get_rng_state(), kept)
    assert writer.training
    assert (writer.asked["top_k"], writer.asked["top_p"], writer.asked["temperature"]) == (0, 1.0, 1.0)
    path = tmp_path / "own.jsonl"
    assert write_own_text(path, iter(one)) == 12
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == one
    assert write_own_text(path, iter(["other"])) == 0
    tokenizer.bos_token_id = tokenizer.eos_token_id = None
    with pytest.raises(UserError, match=r"neither a begin nor an end of text.*--keep"):
        next(own_text(writer, tokenizer, tokens=1, length=1, batch=1, seed=3))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small trained run and text of two kinds."""
    folder = tmp_path_factory.mktemp("adapting")
    for name, words in (("general", "the old house stood on a hill"), ("domain", "SELECT count FROM rows WHERE id")):
        (folder / name).mkdir()
        for number in range(60):
            rng = np.random.default_rng(number)
            (folder / name / f"{number}.txt").write_text(f"{number} " + " ".join(rng.choice(words.split(), 80)), encoding="utf-8")
    recipe = {
        "corpus": {"general": str(folder / "general")},
        "budget": {"steps": 30},
        "split": {"validation": 0.1, "test": 0.1},
        "model": {"depth": 2, "width": 32},
        "tokenizer": {"vocabulary": 400, "sentinels": 0},
        "context": 32,
        "batch": 8,
        "precision": "float32",
        "compile": "no",
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["train", str(folder / "small.yaml"), "--out", str(folder / "run"), "--cache", str(folder / "cache")])
    assert ended.value.code == 0
    return folder


# What is compared has one precision on every machine: added up in another way, bfloat16 differs in the third digit.
FIXED = ("--context", "32", "--batch", "8", "--threads", "1", "--precision", "float32")


def adapted(folder: Path, out: str, *more: str) -> tuple[int, Path]:
    fixed = [*FIXED, "--cache", str(folder / "cache")]
    with pytest.raises(SystemExit) as ended:
        main(["continue", str(folder / "run"), "--corpus", f"domain={folder / 'domain'}", "--out", str(folder / out), *fixed, *more])
    return int(ended.value.code or 0), folder / out


def test_a_small_model_is_adapted_and_keeps_what_it_knew(small, capsys):
    code, out = adapted(small, "kept", "--keep", f"general={small / 'general'}", "--budget", "40 steps", "--rate", "0.02")
    assert code == 0
    result = json.loads((out / "result.json").read_text())
    assert result["sources"]["domain"]["change_after"]["mean"] < -0.05
    assert result["validation"][0]["step"] == 0
    assert result["sources"]["general"]["role"] == "kept"
    last = result["tried"][-1] if result["tried"] else None
    assert last is None or 0 <= result["kept_share"] <= 1
    page = (out / "report.html").read_text()
    assert f" steps, {result['totals']['tokens']:,.0f} tokens" in page
    assert "Before and after" in page
    assert "http" not in page.split("</style>")[1].replace("http-equiv", "").replace("http://www.w3.org", "")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(out / "model")
    assert AutoTokenizer.from_pretrained(out / "model").encode("SELECT")
    assert sum(value.numel() for value in model.parameters()) > 0
    assert "domain" in capsys.readouterr().out
    (out / "report.html").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out), "--picture", str(out / "curves.png")])
    assert not ended.value.code
    assert (out / "report.html").read_text() == page
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit) as ended:
        main(["law", "knee", str(out)])
    assert ended.value.code == 2 and "it has no runs" in capsys.readouterr().err
    before = (out / "result.json").stat().st_mtime_ns
    assert adapted(small, "kept", "--keep", f"general={small / 'general'}", "--budget", "40 steps", "--rate", "0.02")[0] == 0
    assert (out / "result.json").stat().st_mtime_ns == before
    again = ("--keep", f"general={small / 'general'}", "--rate", "0.02", "--budget")
    assert adapted(small, "kept", *again, "40 steps", "--seed", "1")[0] == 2
    assert "with seed 0" in capsys.readouterr().err
    assert adapted(small, "kept", *again, "41 steps")[0] == 2
    assert "other settings" in capsys.readouterr().err


def test_without_a_limit_or_replay_more_is_forgotten(small):
    keep = ("--keep", f"general={small / 'general'}", "--budget", "40 steps", "--rate", "0.05")
    found = {}
    for name, more in {"limited": (), "free": ("--replay", "0", "--max-forgetting", "none")}.items():
        found[name] = json.loads((adapted(small, name, *keep, *more)[1] / "result.json").read_text())
    assert found["free"]["kept_share"] == 1
    rises = {name: result["sources"]["general"]["change_after"]["mean"] for name, result in found.items()}
    assert rises["free"] > max(0.01, rises["limited"])


def test_without_text_to_keep_the_model_writes_its_own(small, capsys):
    code, out = adapted(small, "own", "--budget", "4 steps", "--own-tokens", "12000")
    assert code == 0
    assert json.loads((out / "result.json").read_text())["own_text"]
    assert "the model writes about 12,000 tokens itself" in " ".join(capsys.readouterr().err.split())
    assert sum(1 for _ in (out / "own-text-12000.jsonl").open()) >= 12
    assert adapted(small, "own", "--budget", "4 steps", "--own-tokens", "13000")[0] == 2
    assert "other settings" in capsys.readouterr().err


def test_a_corpus_that_is_no_text_is_refused_before_the_model_writes(small, capsys):
    (small / "values.csv").write_text("time,value\n2020-01-01,3.5\n", encoding="utf-8")
    for path, says in (("nowhere", "nowhere: no such file"), ("values.csv", "no text; set `field`")):
        assert adapted(small, "misspelt", "--budget", "4 steps", "--corpus", f"more={small / path}")[0] == 2
        said = capsys.readouterr().err
        assert says in said and "the model writes" not in said and not (small / "misspelt" / "recipe.yaml").exists()


def test_two_ranks_adapt_as_one_does(small, capsys, warm_ranks):
    more = ("--keep", f"general={small / 'general'}", "--budget", "6 steps", "--rate", "0.02", "--max-forgetting", "none")
    assert adapted(small, "one", *more)[0] == 0
    words = ["adapt", str(small / "run"), "--corpus", f"domain={small / 'domain'}", "--out", str(small / "two"), *more, "--ranks", "2"]
    fixed = [*FIXED, "--cache", str(small / "cache"), "--json"]
    done = warm.run(*words, *fixed)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((small / name / "result.json").read_text()) for name in ("one", "two"))
    assert json.loads(done.stdout) == two  # one of them answers, and only one
    assert json.loads((small / "two" / "run" / "record.json").read_text())["ranks"] == 2
    assert two["totals"]["tokens"] == one["totals"]["tokens"]
    for name, entry in one["sources"].items():
        assert two["sources"][name]["before"] == entry["before"]
        assert two["sources"][name]["after"] == pytest.approx(entry["after"], rel=1e-4)
    capsys.readouterr()
    assert adapted(small, "two", *more, "--seed", "1")[0] == 2  # that only one of several ranks says so, the tests of ranks show
    assert capsys.readouterr().err.count("with seed 0") == 1
