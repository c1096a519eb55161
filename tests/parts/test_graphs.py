"""Graphs: edges that are mended, neighbours that alone are seen, hidden nodes, the user's tables, drawings, and a run with a probe."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tables import rows_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.sets.graphs import KINDS, Graphs, drawing, laid_out, mended, random_graph
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import recipe_from
from windtunnel.slots import Encoding, Evaluation, Objective, Source
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

FACTS = Graphs(5, 4, 3, 3, 2, 0, 0)
PATH = torch.tensor([[[0, 1], [1, 2], [2, 3], [-1, -1]]])  # 0 - 1 - 2 - 3, and 4 alone


def network(layers: int = 1) -> Any:
    settings = ModelSettings.model_validate(
        {"family": "graph-attention", "layers": layers, "width": 16, "heads": 2, "initializer_range": 0.5}
    )
    return fresh(config_for(settings, FACTS, 1), 0).eval()


def test_graphs_of_one_label_are_refused() -> None:
    with pytest.raises(UserError, match="two labels or more, or of none"):
        config_for(ModelSettings.model_validate({"family": "graph-attention"}), FACTS._replace(classes=1), 1)


def test_edges_are_each_one_and_those_to_nowhere_are_counted() -> None:
    assert mended([[0, 1], [1, 0], [2, 2], [1, 2], [0, 3], [-1, 0]], 3) == ([(0, 1), (1, 2)], 2)


def test_a_message_passes_one_edge_a_block_in_both_directions_and_none_to_a_node_alone() -> None:
    there, nodes = torch.ones(1, 5, dtype=torch.bool), torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    other = nodes.clone()
    other[0, 0] += 2.0
    for layers, reached in ((1, [True, True, False, False, False]), (2, [True, True, True, False, False])):
        model = network(layers)
        one, two = (forward(model, nodes=given, edges=PATH, there=there).drawn[0] for given in (nodes, other))
        assert (~torch.isclose(one, two, atol=1e-6)).any(dim=-1).tolist() == reached


def test_padding_the_order_of_nodes_and_the_direction_of_edges_mean_nothing() -> None:
    model, nodes = network(2), torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    there = torch.tensor([[True, True, True, True, False]])
    logits = forward(model, nodes=nodes, edges=PATH, there=there).logits
    padded = nodes.clone()
    padded[0, 4] = 9.0
    assert torch.allclose(forward(model, nodes=padded, edges=PATH.flip(-1), there=there).logits, logits, atol=1e-6)
    order = torch.tensor([3, 2, 1, 0, 4])  # turned round, the path is the same path
    assert torch.allclose(forward(model, nodes=nodes[:, order], edges=PATH, there=there).logits, logits, atol=1e-5)
    star = torch.tensor([[[0, 1], [0, 2], [0, 3], [-1, -1]]])
    same = torch.ones(1, 5, 3)
    assert not torch.allclose(
        forward(model, nodes=same, edges=star, there=there).logits, forward(model, nodes=same, edges=PATH, there=there).logits
    )


def test_hidden_nodes_are_not_read_and_their_error_is_the_scaled_cosine() -> None:
    rows = {"nodes": np.eye(5, 3)[None, None], "edges": PATH[None].numpy(), "there": np.array([[[1, 1, 1, 1, 0]]])}
    rows |= {name: np.zeros((1, 1), np.int64) for name in ("documents", "positions")} | {"sources": np.zeros(1, np.int64)}
    objective = make(Objective, {"masked-nodes": {"share": 0.01, "sharpness": 3.0}})
    batch = {name: torch.from_numpy(array) for name, array in objective.batch(rows, FACTS, np.random.default_rng(0)).items()}
    assert batch["hidden"].sum() == 1 and not batch["hidden"][..., 4].any(), "at least one, and no padding"
    model = network()
    loss = objective.loss(model, batch)
    place = int(batch["hidden"].flatten().nonzero())
    drawn = forward(model, **{name: batch[name][0] for name in ("nodes", "edges", "there", "hidden")}).drawn[0, place]
    cosine = torch.nn.functional.cosine_similarity(drawn, torch.eye(5, 3)[place], dim=0)
    assert loss.values[loss.counts].item() == pytest.approx(float((1 - cosine.detach()) ** 3), rel=1e-5)
    changed = {**batch, "nodes": batch["nodes"].clone()}
    changed["nodes"][0, 0, place] += 5.0
    again = forward(model, **{name: changed[name][0] for name in ("nodes", "edges", "there", "hidden")}).drawn[0]
    assert torch.equal(again[place], drawn)


def write(folder: Path, **tables: str) -> Any:
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    tally = Tally("mine")
    return list(make(Source, {"graph-files": {"path": str(folder), "labels": "labels.csv"}}).documents(tally)), tally


def test_tables_of_the_users_lose_nothing_in_silence(tmp_path: Path) -> None:
    nodes = "graph,node,atom\nwater,o,O\nwater,h1,H\nwater,h2,H\nneon,n,Ne\n"
    edges = "graph,from,to\nwater,o,h1\nwater,h2,o\nwater,o,h3\nfire,a,b\n"
    found, tally = write(tmp_path, nodes=nodes, edges=edges, labels="graph,label\nwater,wet\nfire,hot\n")
    assert [one["graph"] for one in found] == ["water", "neon"]
    assert found[0]["nodes"] == [2, 0, 0] and found[0]["edges"] == [[0, 1], [2, 0]] and found[0]["label"] == 1
    assert found[1]["nodes"] == [1] and found[1]["label"] == -1
    counted = {row["what"]: row["documents"] for row in tally.rows()}
    assert counted["left out: edge to a node that is not there"] == 2
    assert (
        counted["left out: label of a graph without nodes"]
        == counted["kept: nodes without an edge"]
        == counted["kept: graph without a label"]
        == 1
    )
    numbers, _ = write(tmp_path, nodes="graph,node,x,y\na,1,0.5,2\n", edges="graph,from,to\n", labels="graph,label\n")
    assert numbers[0]["nodes"] == [[0.5, 2.0]]
    for broken, said in (
        ("graph,node\na,1\n", "column of words"),
        ("graph,nod,x\na,1,2\n", "no column 'node'"),
        ("graph,node,x\na,1,1\na,1,1\n", "twice"),
    ):
        with pytest.raises(UserError, match=said):
            write(tmp_path, nodes=broken)
    with pytest.raises(UserError, match=r"labels\.csv: names no graph of nodes\.csv: the first here is 'Water', and there 'water'"):
        write(tmp_path, nodes=nodes, edges=edges, labels="graph,label\nWater,wet\n")
    with pytest.raises(UserError, match=r"no edge joins two nodes .* from '1' to '2' in graph 'water', .* is 'o' in graph 'water'"):
        write(tmp_path, edges="graph,from,to\nwater,1,2\n")
    (tmp_path / "labels.csv").rename(tmp_path / "label.csv")
    with pytest.raises(UserError, match=r"did you mean 'label\.csv'"):
        rows_of(tmp_path / "labels.csv", ("graph",))
    rows = {"documents": np.zeros((1, 1)), "label": -np.ones((1, 1))}
    with pytest.raises(PartError, match=r"labels: labels\.csv"):
        make(Objective, "classify-graphs").prepare(rows, FACTS._replace(classes=0), np.random.default_rng(0))


def test_equal_graphs_fall_into_one_split_and_labels_stand_in_order(tmp_path: Path) -> None:
    names = [f"g{number}" for number in range(12)]
    nodes = "graph,node,atom\n" + "".join(f"{name},1,{'C' if place else 'O'}\n" for place, name in enumerate(names))
    labels = "graph,label\n" + "".join(f"{name},{place}\n" for place, name in enumerate(names))
    found, _ = write(tmp_path, nodes=nodes, edges="graph,from,to\n", labels=labels)
    assert [one["label"] for one in found] == list(range(12)), "10 comes behind 9"
    assert len({one["group"] for one in found}) == 2 and found[0]["group"] != found[1]["group"]
    with pytest.raises(UserError, match="graph 'g1' has two labels"):
        write(tmp_path, nodes=nodes, labels="graph,label\ng1,a\ng1,b\n")
    with pytest.raises(UserError, match="columns of numbers alone"):
        write(tmp_path, nodes="graph,node,x,y\na,1,nan,2\n")


def test_every_kind_of_random_graph_has_about_as_many_edges() -> None:
    random = np.random.default_rng(0)
    counts = {kind: np.mean([len(mended(random_graph(kind, 20, random), 20)[0]) for _ in range(20)]) for kind in KINDS}
    assert max(counts.values()) - min(counts.values()) < 6, counts


def test_a_drawing_holds_every_node_and_edge_and_neighbours_are_near() -> None:
    edges = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3)]
    address = drawing(edges, [0, 0, 0, 1, 1, 1])
    svg = base64.b64decode(address.partition(",")[2]).decode()
    assert svg.count("<line") == 7 and svg.count("<circle") == 6
    places = laid_out(edges, 6)
    assert places.min() >= 0 and places.max() <= 1
    assert np.linalg.norm(places[0] - places[1]) < np.linalg.norm(places[1] - places[4])
    assert drawing([], []).startswith("data:image/svg")


def test_pre_training_without_labels_is_probed_and_its_data_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    recipe = recipe_from(
        {
            "corpus": {"drawn": {"random-graphs": {"count": 120, "nodes": 9}}},
            "split": {"validation": 0.2, "test": 0.3, "near_duplicates": 1.0},
            "budget": {"steps": 3},
            "encoding": "graphs",
            "model": {"family": "graph-attention", "layers": 1, "width": 16, "heads": 2},
            "objective": "masked-nodes",
            "evaluations": {"probe": {"shots": 3, "draws": 1}},
            "context": 4,
            "batch": 2,
            "evaluate_every": 1,
        }
    )
    record = fly(recipe, 0, prepare(recipe, tmp_path / "cache"), tmp_path / "run", warn=lambda message: None)
    assert record["status"] == "finished", record["traceback"]
    assert 0 < record["test"]["probe"] < 6 and record["samples"][0]["pictures"]["graph"].startswith("data:image/svg")


def test_nodes_of_two_forms_and_labels_that_are_words_are_refused(tmp_path: Path) -> None:
    import pyarrow

    class Corpus:
        sources = ("mine",)

        def schema(self, source: str) -> Any:
            return pyarrow.schema([(name, pyarrow.null()) for name in ("nodes", "edges", "label", "origin")])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            yield pyarrow.RecordBatch.from_pylist([self.document], schema=None).select(columns)

    for document, said in (
        ({"nodes": [[1.0], [2.0, 3.0]], "edges": [], "label": 0}, "lists of equally many numbers"),
        ({"nodes": [-1], "edges": [], "label": 0}, "whole numbers from 0"),
        ({"nodes": ["C", "O"], "edges": [], "label": 0}, "types that are words are read by the source graph-files"),
        ({"nodes": None, "edges": [], "label": 0}, "whole numbers from 0"),
        ({"nodes": [[1.0, float("nan")]], "edges": [], "label": 0}, "numbers that are finite"),
        ({"nodes": [1, 1], "edges": [[0, None]], "label": 0}, "a pair of places"),
        ({"nodes": [1], "edges": [[0]], "label": 0}, "a pair of places"),
        ({"nodes": [1], "edges": [], "label": "wet"}, "a label is a whole number"),
    ):
        corpus = Corpus()
        corpus.document = document | {"origin": "one"}  # type: ignore[attr-defined]
        with pytest.raises(UserError, match=said):
            make(Encoding, "graphs").fit(corpus, tmp_path)


def test_a_type_that_training_lacks_is_unknown_also_where_higher_ones_are_known(tmp_path: Path) -> None:
    import pyarrow

    class Corpus:
        sources = ("mine",)

        def schema(self, source: str) -> Any:
            return pyarrow.schema([(name, pyarrow.null()) for name in ("nodes", "edges", "origin")])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            nodes = {"train": [0, 2], "validation": [1, 2], "test": [7, 0]}[split]
            yield pyarrow.RecordBatch.from_pylist([{"nodes": nodes, "edges": [[0, 1]], "origin": split}]).select(columns)

    fitted = make(Encoding, "graphs").fit(Corpus(), tmp_path, tell=lambda line: None)
    kinds = {
        split: next(iter(fitted.encode(split, "mine"))).arrays["nodes"][0].argmax(axis=-1).tolist() for split in ("validation", "test")
    }
    assert kinds == {"validation": [3, 2], "test": [3, 0]}


def test_held_out_graphs_of_a_label_that_training_lacks_are_told_and_do_not_count(tmp_path: Path) -> None:
    import pyarrow

    class Corpus:
        sources = ("mine",)

        def schema(self, source: str) -> Any:
            return pyarrow.schema([(name, pyarrow.null()) for name in ("nodes", "edges", "label", "origin")])

        def rows(self, split: str, source: str, columns: Any) -> Any:
            labels = {"train": [0, 2, None], "validation": [1, 2], "test": [5, 0]}[split]
            same = {"nodes": [0, 1], "edges": [[0, 1]], "origin": split}
            yield pyarrow.RecordBatch.from_pylist([{**same, "label": label} for label in labels]).select(columns)

    told: list[str] = []
    fitted = make(Encoding, "graphs").fit(Corpus(), tmp_path, tell=told.append)
    labels = {split: [int(one.arrays["label"][0]) for one in fitted.encode(split, "mine")] for split in ("train", "validation", "test")}
    assert labels == {"train": [0, 2, -1], "validation": [-1, 2], "test": [-1, 0]} and fitted.facts["classes"] == 3
    assert [line for line in told if "label" in line] == [
        f"1 of 2 {split} graphs have a label that no training graph has; they cannot be told and do not count"
        for split in ("validation", "test")
    ]


def test_a_node_that_is_drawn_exactly_costs_nothing_at_any_sharpness(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    nodes = torch.randn(1, 1, 4000, 3, generator=torch.Generator().manual_seed(0))
    assert (torch.nn.functional.cosine_similarity(3 * nodes, nodes, dim=-1) > 1).any(), "rounding"
    monkeypatch.setattr("windtunnel.models.forward.forward", lambda model, **arrays: SimpleNamespace(drawn=3 * nodes[0]))
    batch = {"nodes": nodes, "labels": torch.zeros(1, 1, 4000, dtype=torch.int64)}
    batch |= {name: torch.zeros(1, 1, 1) for name in ("edges", "there", "hidden")}
    values = make(Objective, {"masked-nodes": {"sharpness": 1.5}}).loss(None, batch).values
    assert values.isfinite().all() and values.max() < 1e-6


def test_scores_that_are_all_the_same_tell_edges_from_others_no_better_than_a_coin(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    part: Any = make(Evaluation, "links")
    scored = (np.ones(4000), np.arange(4000) < 2000)
    monkeypatch.setattr(type(part), "_scored", lambda self, model, held_out, split: scored)
    numbers = part.evaluate(None, SimpleNamespace(split="test"))
    assert numbers["links_area"] == 0.5 and numbers["links"] == pytest.approx(1)


def test_views_that_agree_cost_nothing_but_what_is_correlated() -> None:
    rows = {"nodes": np.eye(5, 3)[None, None], "edges": PATH[None].numpy(), "there": np.array([[[1, 1, 1, 1, 0]]])}
    rows |= {name: np.zeros((1, 1), np.int64) for name in ("documents", "positions")} | {"sources": np.zeros(1, np.int64)}
    model = network()
    same, plain = ({"edges": 0.0, "features": 0.0, "decorrelate": weight} for weight in (1.0, 0.0))
    losses = {}
    for name, knobs in (("same", same), ("plain", plain), ("views", {"edges": 0.9, "features": 0.0, "decorrelate": 0.0})):
        objective = make(Objective, {"correlated-nodes": knobs})
        batch = {key: torch.from_numpy(array) for key, array in objective.batch(rows, FACTS, np.random.default_rng(0)).items()}
        losses[name] = objective.loss(model, batch)
    assert losses["plain"].counts.sum() == 4 and losses["plain"].values.abs().max() == 0
    assert losses["same"].values[losses["same"].counts].unique().numel() == 1 and losses["same"].values.max() > 0.1
    assert losses["views"].values[losses["views"].counts].max() > 0.1, "an edge less is another view"


def test_links_takes_edges_out_before_the_model_reads_and_fits_what_scores_mean() -> None:
    from windtunnel.parts.evaluation.links import logistic

    ends = np.concatenate([PATH[0].numpy(), np.full((2, 2), -1)])
    pairs, taken = make(Evaluation, {"links": {"share": 0.6}})._pairs(ends, 5, np.random.default_rng(0))
    assert taken.tolist() == [True, True, False, False] and (ends[:, 0] >= 0).sum() == 1
    left = {tuple(edge) for edge in ends.tolist()}
    path = {(0, 1), (1, 2), (2, 3)}
    assert {tuple(pair) for pair in pairs[:2].tolist()} == path - left
    assert not {tuple(pair) for pair in pairs[2:].tolist()} & path
    scores = np.random.default_rng(0).normal(size=4000)
    edges = np.random.default_rng(1).random(4000) < 1 / (1 + np.exp(-(2 * scores - 1)))
    assert logistic(scores, edges) == pytest.approx((2, -1), abs=0.2)
