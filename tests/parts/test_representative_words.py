"""Representative words: counts and features are what they say, and preferences of likelier sets teach to rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.attended import attended, attention
from windtunnel.kits.text.small import made
from windtunnel.parts.experiment import representative_words as part
from windtunnel.slots import Experiment


def library(count: int = 40) -> part.Library:
    """Documents about a subject each, named in their first line, among words that all have."""
    random, number = np.random.default_rng(0), dict[str, int]()
    queries, bodies, lines = [], [], []
    for document in range(count):
        words = random.permutation([f"subject{document}"] * 4 + [f"common{n}" for n in random.integers(0, 12, 40)]).tolist()
        told = [words[begin : begin + 4] for begin in range(0, len(words), 4)]
        queries.append([f"subject{document}", "common1"])
        bodies.append(words)
        lines.append([[number.setdefault(word, len(number)) for word in line] for line in told])
    return part.Library(number, queries, bodies, lines)


def test_counts_and_features_are_what_they_say():
    some = library(3)
    counts = part.counted(some)
    mine, common = some.number["subject1"], some.number["common1"]
    assert counts.often[1, mine] == 4 and counts.often[0, mine] == 0 and counts.mean == 44
    assert counts.background.sum() == pytest.approx(1) and counts.rarity[mine] == pytest.approx(math.log1p(3))
    found = part.features([mine, common], slice(None), counts)
    often = counts.often[1, common]
    assert found.shape == (3, 5) and found[1, 0] == (1 + (often > 0)) / 2
    assert found[1, 1] == pytest.approx((math.log1p(4) + math.log1p(often)) / 2)
    assert found[1, 4] == pytest.approx((4 / 5.2 * counts.rarity[mine] + often / (often + 1.2) * counts.rarity[common]) / 2)
    assert part.features([mine], 1, counts, np.array([4.0]))[0] == 0


def test_preferences_teach_to_rank_and_chance_does_not(monkeypatch):
    monkeypatch.setattr(part, "docstrings", lambda most, who: library())

    def reciprocal(taught: str) -> float:
        experiment = make(Experiment, {"representative-words": {"taught": taught, "pairs": 200, "queries": 40}})
        found = [experiment.measure(seed) for seed in range(6)]
        assert all(one["bm25"] == 1.0 for one in found)
        return sum(one["reciprocal"] for one in found) / 6

    assert reciprocal("likelier") > 0.8 and reciprocal("sentences") > 0.8 and reciprocal("shuffled") < 0.7


def test_attention_is_saturated_and_set_against_that_of_all(monkeypatch):
    some = library(4)
    monkeypatch.setattr(part, "docstrings", lambda most, who: some)
    attended = np.zeros((4, len(some.number)))
    attended[:, :3] = [[0.5, 0.4, 0.1]] * 4
    attended[2, :3] = [0.1, 0.5, 0.4]
    monkeypatch.setattr(part, "term_attention", lambda *_: attended)
    found = {}
    for distribution in ("attention", "contrast"):
        experiment = make(Experiment, {"representative-words": {"distribution": distribution}})
        found[distribution] = experiment._chances(some, part.counted(some), 0)
    plain = attended / (attended + 0.01)
    plain /= plain.sum(axis=1, keepdims=True)
    assert np.allclose(found["attention"], plain)
    mean = plain[:, 2].mean()
    assert found["contrast"][2, 2] == pytest.approx(-plain[2, 2] * math.log(mean)) and (found["contrast"][:, 3:] == 0).all()


def test_an_encoder_attends_to_all_words_and_sums_over_their_places():
    documents = [[0, 1, 2, 0, 1] * 8, [3, 4, 3]]
    found = attended(documents, 6, 2, 310)
    assert np.allclose(found.sum(axis=1), 1) and (found[0, 3:] == 0).all() and (found[1, [0, 1, 2, 5]] == 0).all()
    model = made(311, 9, 33, width=8, causal=False)
    tokens = torch.arange(6).reshape(1, 6)
    seen = list[torch.Tensor]()
    monkey = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, **options):
        seen.append((query @ key.transpose(2, 3) / 2**0.5).softmax(dim=3)[:, :, 0].mean(dim=1))
        return monkey(query, key, value, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
        model(tokens)
    assert torch.allclose(attention(model, tokens), seen[-1], atol=1e-6)


def test_without_docstrings_it_says_so(monkeypatch):
    monkeypatch.setattr("windtunnel.parts.source.builtin.Builtin.documents", lambda self, tally: iter([]))
    with pytest.raises(PartError, match="has no docstrings"):
        make(Experiment, "representative-words").measure(0)
