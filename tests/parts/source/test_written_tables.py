"""Tables as spreadsheets of several countries write them give what the plain ones give, in every source that reads a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Source

METERS = "meter,time,kwh\n" + "".join(f"{name},2024-01-01 {hour:02d}:00,{hour}.5\n" for name in ("é", "b") for hour in range(9))
GRAPHS = {
    "nodes.csv": "graph,node,kind\n" + "".join(f"{graph},{node},{kind}\n" for graph in "ab" for node, kind in enumerate("CNé")),
    "edges.csv": "graph,from,to\na,0,1\na,1,2\nb,0,2\n",
    "labels.csv": "graph,label\na,ring\nb,chain\n",
}
STEPS = "episode,observation,action\n1,0,1\n1,2,0\n2,1,1\n"
CAPTIONS = 'file,caption\na.png,"a dog, asleep"\nb.png,a café\n'


def documents(**source: Any) -> list[dict[str, Any]]:
    [(name, knobs)] = source.items()
    return list(make(Source, {name.replace("_", "-"): knobs}).documents(Tally("x")))


def excel(text: str, decimals: bool = False) -> bytes:
    """As Excel writes it in Germany: semicolons, commas before decimals, a line that says so, UTF-16."""
    cells = text.replace('"a dog, asleep"', "a dog; asleep").replace(",", ";").replace("a dog; asleep", "a dog, asleep")
    return ("sep=;\n" + (cells.replace(".", ",") if decimals else cells)).encode("utf-16")


@pytest.mark.parametrize("kind", ["series", "graphs", "episodes"])
def test_semicolons_decimal_commas_and_encodings_change_nothing(tmp_path: Path, kind: str) -> None:
    """Nor does the folder that they lie in: what is never split is named the same."""
    files = {"series": {"t.csv": METERS}, "graphs": GRAPHS, "episodes": {"t.csv": STEPS}}[kind]
    found = []
    for name in ("plain", "excel"):
        folder = tmp_path / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_bytes(text.encode() if name == "plain" else excel(text, decimals=kind == "series"))
        if kind == "series":
            found.append(documents(series_files={"path": str(folder / "t.csv"), "id": "meter", "value": "kwh"}))
        elif kind == "graphs":
            found.append(documents(graph_files={"path": str(folder), "labels": "labels.csv"}))
        else:
            found.append(documents(episode_files={"path": str(folder / "t.csv")}))
    assert found[0] == found[1] and len(found[0]) == 2
    if kind == "series":
        assert found[1][0]["values"] == [hour + 0.5 for hour in range(9)] and found[1][0]["group"] == "é"


def test_tables_beside_images_may_have_semicolons_too(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in ("a", "b"):
        image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "captions.csv").write_bytes(excel(CAPTIONS))
    (tmp_path / "labels.csv").write_bytes(excel("file,class\na.png,dog\nb.png,café\n"))
    pairs = documents(image_captions={"path": str(tmp_path), "captions": "captions.csv", "size": 8})
    assert [one["text"] for one in pairs] == ["a dog, asleep", "a café"]
    assert sorted(one["label"] for one in documents(image_folder={"path": str(tmp_path), "labels": "labels.csv", "size": 8})) == [0, 1]
    with pytest.raises(UserError, match=r"elsewhere\.csv: no such table of captions; a path that is not absolute begins at the folder"):
        documents(image_captions={"path": str(tmp_path), "captions": "elsewhere.csv"})


def test_a_table_of_one_large_graph_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("id,age\n1,30\n")
    (tmp_path / "edges.csv").write_text("source,target\n1,1\n")
    with pytest.raises(UserError, match=r"has no column 'graph'; .*one large graph has to be cut into neighbourhoods first"):
        documents(graph_files={"path": str(tmp_path)})


def test_arrays_of_steps_are_parted_at_their_ends(tmp_path: Path) -> None:
    file, ends = tmp_path / "steps.npz", np.array([False, True, False, False, True])
    seen = np.array([[0, 1], [2, 0], [1, 1], [0, 0], [3, 1]], np.float32)
    np.savez(file, observations=seen, actions=np.arange(5), terminals=ends, infos=np.float64(0.5))
    named = {"path": str(file), "observation": ["observations"], "action": "actions"}
    found = documents(episode_files={**named, "done": "terminals", "episode": None})
    assert [(one["observation"], one["action"]) for one in found] == [([[0, 1], [2, 0]], [0, 1]), ([[1, 1], [0, 0], [3, 1]], [2, 3, 4])]
    assert len({one["group"] for one in found}) == 2, "episodes may be split"
    with pytest.raises(UserError, match="has no column 'episode'"):
        documents(episode_files=named)
    with pytest.raises(ValueError, match="`episode: null` needs `done`"):
        make(Source, {"episode-files": {**named, "episode": None}})
    (tmp_path / "rest.npy").write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"rest\.npy: cannot be read as a table: is a binary file"):
        documents(episode_files={**named, "path": str(tmp_path / "rest.npy")})
