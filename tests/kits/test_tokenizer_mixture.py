"""The mixture behind a tokenizer: merges are replayed as they were made, the program is solved whole, and known shares come out."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.kits.text import tokenizer_mixture as kit
from windtunnel.kits.text.extend import merged, words
from windtunnel.kits.text.tokenizer import train
from windtunnel.study.forensics import forensics

SHARES = (0.6, 0.3, 0.1)
MERGES = 60


def language(number: int, characters: int, seed: int) -> str:
    """Text of one of three made-up languages: the same letters, but other words, some of them more frequent than others."""
    own = random.Random(f"language {number}")
    lexicon = ["".join(own.choices("aeinorst", k=own.randint(2, 7))) for _ in range(300)]
    chosen = random.Random(f"{number} {seed}").choices(lexicon, [1 / (rank + 3) for rank in range(300)], k=characters // 5)
    return " ".join(chosen)[:characters]


@pytest.fixture(scope="module")
def learnt() -> Tokenizer:
    """A tokenizer of 60 merges, trained on the languages in known shares."""
    texts = [language(number, int(share * 120_000), 0) for number, share in enumerate(SHARES)]
    return train(texts, vocabulary=262 + MERGES, sentinels=0).backend_tokenizer


@pytest.fixture(scope="module")
def samples() -> list[str]:
    return [language(number, 40_000, 1) for number in range(3)]


@pytest.fixture(scope="module")
def made(learnt: Tokenizer, samples: list[str]) -> kit.Replay:
    sizes = [len(text) for text in samples]
    return kit.replay(kit.merges_of(learnt), [words(learnt, [text]) for text in samples], sizes, MERGES)


def test_pairs_are_as_frequent_as_if_counted_anew_at_every_merge(learnt: Tokenizer) -> None:
    texts = [language(number, 3_000, 2) for number in range(3)]
    counts = [words(learnt, [text]) for text in texts]
    merges = kit.merges_of(learnt)
    found = kit.replay(merges, counts, [1_000_000] * 3, MERGES)
    sequences = {word: list(word) for count in counts for word in count}
    now, steps = found.first.copy(), iter(found.steps)
    for pair in merges:
        anew = [Counter() for _ in texts]  # type: ignore[var-annotated]
        for source, count in enumerate(counts):
            for word, often in count.items():
                for one in pairwise(sequences[word]):
                    anew[source][one] += often
        if not any(count[pair] for count in anew):
            continue
        step = next(steps)
        assert now[step.chosen] == pytest.approx([count[pair] for count in anew])
        everything = sorted(tuple(count[one] for count in anew) for one in set().union(*anew))
        assert sorted(map(tuple, now[np.abs(now).sum(axis=1) > 1e-6].round().astype(int).tolist())) == everything
        now[step.changed] += step.rise
        sequences = {word: merged(sequence, pair, pair[0] + pair[1]) for word, sequence in sequences.items()}
    assert next(steps, None) is None


def test_known_shares_are_told_and_better_than_by_counting_the_vocabulary(made: kit.Replay, learnt: Tokenizer, samples: list[str]) -> None:
    found = kit.inferred(made)
    assert found.shares == pytest.approx(SHARES, abs=0.03)
    assert 0 <= found.unexplained < 0.1
    simple = kit.by_vocabulary(learnt, [[text] for text in samples], [len(text) for text in samples])
    assert simple.sum() == pytest.approx(1)
    assert np.abs(found.shares - SHARES).mean() < 0.3 * np.abs(simple - SHARES).mean()


@pytest.mark.parametrize("by_pair", [True, False])
def test_rows_that_are_left_out_change_nothing(made: kit.Replay, by_pair: bool) -> None:
    few = kit.Replay(made.first, made.steps[:12])
    rows, now = {}, few.first.copy()
    for number, step in enumerate(few.steps):
        rows |= {(number, rival): now[step.chosen] - now[rival] for rival in range(len(now)) if rival != step.chosen}
        now[step.changed] += step.rise
    _, behind, ahead = kit._solved(rows, 3, len(few.steps), len(now), by_pair)
    found = kit.inferred(few, by_pair=by_pair)
    slack = found.unexplained * (kit._chosen(few) @ found.shares).sum()
    assert slack == pytest.approx(behind.sum() + ahead.sum(), rel=1e-3, abs=1e-2)
    assert by_pair or not ahead.any()


def test_what_has_no_order_of_merges_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="WordPiece"):
        kit.merges_of(Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")))
    twice = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "abb": 3, "bb": 4}, [("a", "b"), ("b", "b"), ("ab", "b"), ("a", "bb")]))
    assert kit.merges_of(twice) == [("a", "b"), ("b", "b"), ("ab", "b")]
    with pytest.raises(UserError, match="none of the merges"):
        kit.inferred(kit.replay([("x", "y")], [Counter({"ab": 3}), Counter({"ba": 1})], [9, 9], 5))


def test_of_several_splits_the_one_counts_that_stands_when_the_token_is_made() -> None:
    """As transformers converts tiktoken: of each token every split whose sides are tokens, by the left side."""
    known = {token: number for number, token in enumerate(["a", "b", "c", "bc", "ab", "abc"])}
    converted = Tokenizer(models.BPE(known, [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]))
    assert kit.merges_of(converted) == [("b", "c"), ("a", "b"), ("a", "bc")]  # "ab" never stands before "c": "bc" is made before
    made = kit.replay(kit.merges_of(converted), [Counter({"abc": 3}), Counter({"bc": 1})], [9, 9], 5)
    assert (len(made.steps), made.skipped) == (2, 1)


def test_a_program_that_is_not_solved_to_its_end_says_so(made: kit.Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kit.inferred(made).broken == 0
    monkeypatch.setattr(kit, "ROUNDS", 1)
    assert kit.inferred(made).broken > 0


def test_a_quarter_without_a_merge_leaves_the_whole_answer(learnt: Tokenizer, samples: list[str], tmp_path, monkeypatch) -> None:
    learnt.save(str(tmp_path / "tokenizer.json"))
    texts = {name: [text[:3000], text[3000:6000], text[6000:9000], "q"] for name, text in zip("abc", samples, strict=True)}
    monkeypatch.setattr("windtunnel.study.forensics._sampled", lambda source, most, name: texts[name])
    found = forensics(str(tmp_path / "tokenizer.json"), dict.fromkeys("abc"))  # type: ignore[arg-type]
    assert found.data["quarters"] == 3 and all(row["least"] <= row["most"] for row in found.data["shares"])


def test_the_command_tells_the_shares_of_folders(tmp_path, learnt: Tokenizer, samples: list[str], capsys) -> None:
    learnt.save(str(tmp_path / "tokenizer.json"))
    given = []
    for name, text in zip(("one", "two", "three"), samples, strict=True):
        (tmp_path / name).mkdir()
        for place in range(0, len(text), 2000):
            (tmp_path / name / f"{place}.txt").write_text(text[place : place + 2000])
        given += ["--corpus", f"{name}={tmp_path / name}"]
    main_words = ["forensics", str(tmp_path / "tokenizer.json"), *given, "--sample", "30KB"]
    with pytest.raises(SystemExit) as end:
        main([*main_words, "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["share"] for row in found["shares"]] == pytest.approx(SHARES, abs=0.05)
    assert all(28_000 <= row["bytes"] <= 32_000 and row["least"] <= row["most"] for row in found["shares"])
    with pytest.raises(SystemExit) as end:
        main([*main_words, "--merges", "20"])
    assert end.value.code == 0 and "20 merges; " in (told := capsys.readouterr().out) and "of their frequency is not explained" in told
    with pytest.raises(SystemExit) as end:
        main(main_words[:4])
    assert end.value.code == 2 and "two sources or more" in capsys.readouterr().err
    with pytest.raises(UserError, match="no such file"):
        forensics(str(tmp_path / "one"), {"a": None, "b": None})  # type: ignore[dict-item]
