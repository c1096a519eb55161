"""Tables in context: the prior and its exact posterior, what is shown and told, order that means nothing, real tables, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.sets.tables import Tables, gaussian_posterior, gaussian_table, network_table
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, fresh, hollow
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import Encoding, Objective, Source
from windtunnel.train.export import same_model

FACTS = Tables(6, 3, 2)


def pfn(seed: int = 0) -> Any:
    settings = ModelSettings.model_validate({"family": "pfn", "layers": 2, "width": 16, "heads": 2, "initializer_range": 0.5})
    return fresh(config_for(settings, FACTS, 1), seed).eval()


def rows(random: np.random.Generator, tables: int = 2) -> dict[str, np.ndarray]:
    cells = random.standard_normal((1, tables, 6, 3)).astype(np.float32)
    label = random.integers(0, 2, (1, tables, 6))
    label[0, -1, 4:] = -1  # a shorter table
    places = np.arange(tables)[None]
    return {"cells": cells, "label": label, "documents": places, "positions": places * 0, "sources": places[0, :1] * 0}


def test_the_exact_posterior_is_that_of_bayes_rule_by_simulation() -> None:
    """Among very many tables drawn with the same known rows, classes come up as often as the formula says."""
    random = np.random.default_rng(0)
    cells, known = np.array([[0.4], [-0.9], [0.1]]), np.array([0, 1, -1])
    means = 1.5 * random.standard_normal((400_000, 2))
    away = np.stack([cells[0, 0] - means[:, 0], cells[1, 0] - means[:, 1]])
    weight = np.exp(-(away**2).sum(axis=0) / 2)
    odds = [(weight * np.exp(-((cells[2, 0] - means[:, label]) ** 2) / 2)).sum() for label in range(2)]
    exact = gaussian_posterior(cells, known, 2, 1.5)[2]
    assert exact == pytest.approx(np.array(odds) / sum(odds), abs=0.01)
    assert gaussian_posterior(cells, np.full(3, -1), 2, 1.5) == pytest.approx(0.5), "nothing is known"


def test_no_other_answer_costs_fewer_bits_than_the_exact_one() -> None:
    random, cost = np.random.default_rng(1), {0.5: 0.0, 1.5: 0.0, 4.0: 0.0}
    for _ in range(300):
        cells, labels = gaussian_table(random, 12, 2, 2, 1.5)
        known = np.where(np.arange(12) < 3, labels, -1)
        for spread in cost:
            odds = gaussian_posterior(cells, known, 2, spread)[3:]
            cost[spread] -= float(np.log2(odds[np.arange(9), labels[3:]]).sum())
    assert min(cost, key=lambda spread: cost[spread]) == 1.5


def test_a_row_without_label_is_shown_to_no_other_and_order_means_nothing() -> None:
    model, cells = pfn(), torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    known = torch.tensor([[0, 1, 1, -1, -1, -1]])
    before = forward(model, cells=cells, known=known).logits
    other = cells.clone()
    other[0, 5] += 3.0
    after = forward(model, cells=other, known=known).logits
    assert torch.equal(after[0, :5], before[0, :5]) and not torch.allclose(after[0, 5], before[0, 5])
    order = torch.tensor([2, 0, 4, 1, 5, 3])
    assert torch.allclose(forward(model, cells=cells[:, order], known=known[:, order]).logits, before[:, order], atol=1e-5)
    flipped = forward(model, cells=cells, known=1 - known.where(known >= 0, 2)).logits
    assert not torch.allclose(flipped[0, 3:], before[0, 3:], atol=1e-3), "labels that are shown are read"


def test_each_label_is_shown_or_told_and_rows_without_one_are_neither() -> None:
    objective, seen = make(Objective, "in-context"), set()
    for seed in range(60):
        given = rows(np.random.default_rng(seed))
        batch = objective.batch(given, FACTS, np.random.default_rng(seed))
        shown, asked = batch["known"] >= 0, batch["labels"] >= 0
        assert (shown ^ asked == (given["label"] >= 0)).all()
        assert (batch["known"][shown] == given["label"][shown]).all() and (batch["labels"][asked] == given["label"][asked]).all()
        seen |= set(shown.sum(axis=-1)[0].tolist())
    assert seen == {0, 1, 2, 3, 4, 5}, "any number of rows but all"
    least = make(Objective, {"in-context": {"least": 3, "shuffled": True}})
    batch = least.batch(rows(np.random.default_rng(0), 40), FACTS, np.random.default_rng(0))
    assert (batch["known"] >= 0).sum(axis=-1)[0, :-1].min() >= 3
    assert least.measured_by().shuffled is False


def test_tables_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    class Corpus:
        def schema(self, source: str) -> Any:
            import pyarrow

            return pyarrow.schema([("cells", pyarrow.null()), ("label", pyarrow.null()), ("origin", pyarrow.string())])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            import pyarrow

            yield pyarrow.RecordBatch.from_pylist([self.document])

    encoding, corpus = make(Encoding, {"tables": {"length": 3, "features": 2, "classes": 2}}), Corpus()
    fitted = encoding.fit(corpus, tmp_path)
    corpus.document = {"cells": [[1.0], [2.0]], "label": [0, 1], "origin": "one"}
    (piece,) = fitted.encode("train", "mine")
    assert piece.arrays["cells"].tolist() == [[[1, 0], [2, 0], [0, 0]]] and piece.arrays["label"].tolist() == [[0, 1, -1]]
    for cells, label, said in (
        ([[1.0]] * 4, [0] * 4, "one: has 4 rows"),
        ([[1.0, 2.0, 3.0]], [0], "rows of 3 numbers"),
        ([[1.0], [1.0, 2.0]], [0, 0], "equally many numbers"),
        ([[1.0]], [2], "from 0 to 1"),
        ([[1.0], [float("nan")]], [0, 1], "one: rows are lists of numbers that are finite"),
        ([[1.0], None], [0, 1], "fill in what is missing"),
    ):
        corpus.document = {"cells": cells, "label": label, "origin": "one"}
        with pytest.raises(UserError, match=said):
            list(fitted.encode("train", "mine"))


def test_the_prior_draws_the_same_tables_again_and_networks_use_their_labels() -> None:
    source = make(Source, {"table-prior": {"count": 3, "rows": 5, "prior": "networks"}})
    assert list(source.documents(Tally("a"))) == list(source.documents(Tally("b")))
    cells, labels = network_table(np.random.default_rng(3), 200, 5, 4)
    assert cells.shape == (200, 5) and len(np.unique(labels)) > 1 and labels.max() < 4
    used = np.abs(cells).sum(axis=0) > 0
    assert cells[:, used].std(axis=0) == pytest.approx(1)


def test_an_exported_network_takes_its_code_along(tmp_path: Path) -> None:
    from transformers import AutoModel

    model = pfn()
    export(model, tmp_path)
    theirs = AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(theirs) is not type(model), "the code that lies beside it"
    cells, known = torch.ones(1, 6, 3), torch.tensor([[0, 1, -1, -1, 0, 1]])
    assert torch.equal(theirs.eval()(cells=cells, known=known).logits, model(cells=cells, known=known).logits)
    assert "trust_remote_code=True" in (tmp_path / "README.md").read_text()
    again = load(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert same_model(model, tmp_path) == sum(value.numel() for value in model.parameters()), "as `windtunnel export` asks"


def test_a_network_that_is_written_weight_by_weight_takes_its_code_along(tmp_path: Path) -> None:
    model = pfn()
    export(model, tmp_path / "whole")
    export(hollow(model.config), tmp_path / "streamed", values=model.state_dict().items())
    whole, streamed = (
        {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (tmp_path / "whole", tmp_path / "streamed")
    )
    assert whole == streamed and "AutoModel" in json.loads(streamed["config.json"])["auto_map"]


def test_the_exact_posterior_reads_the_columns_and_classes_of_its_prior_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from windtunnel.kits.sets import told
    from windtunnel.slots import Evaluation

    random = np.random.default_rng(0)
    drawn = [gaussian_table(random, 12, 2, 2, 1.5) for _ in range(200)]
    cells = np.stack([np.pad(rows, ((0, 0), (0, 1))) for rows, _ in drawn])  # room for three numbers and three classes
    monkeypatch.setattr(told, "tables_of", lambda held_out, sources: (cells, np.stack([labels for _, labels in drawn])))
    monkeypatch.setattr(told, "told", lambda model, cells, known, held_out: np.full((*known.shape, 3), 1 / 3))
    held_out: Any = SimpleNamespace(sources=("drawn",), facts=Tables(12, 3, 3))
    right, wrong = (
        make(Evaluation, {"in-context": {"shown": [4], **knobs}}).evaluate(None, held_out) for knobs in ({"features": 2, "classes": 2}, {})
    )
    assert right["in_context"] == pytest.approx(np.log2(3)) and right["gap"] == right["in_context"] - right["exact/4"]
    assert right["exact/4"] < wrong["exact/4"] - 0.05
