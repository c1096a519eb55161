"""Roles of names: what the label says of code, and a probe that finds it where features hold it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.roles import ROLES, names
from windtunnel.slots import Evaluation, HeldOut, Objective

CODE = """\
import os
from a.b import c as d

def area(side, unit=1):  # side = 2
    total = side.real * unit
    print(total, end=os.sep)
    return side.scale(unit)
"""


def test_a_name_has_the_role_that_stands_around_it():
    found = [(CODE[name.begin :].split("(")[0], ROLES[name.role]) for name in names(CODE)]
    told = [role for _, role in found]
    assert told[:10] == ["keyword", "imported", "keyword", "imported", "imported", "keyword", "imported", "keyword", "imported", "keyword"]
    assert told[10:14] == ["defined", "read", "argument", "assigned"]
    assert told[14:18] == ["read", "attribute", "read", "called"]
    assert told[18:] == ["read", "argument", "read", "attribute", "keyword", "read", "method", "read"]
    assert [CODE[name.begin :][:4] for name in names(CODE)][10:14] == ["area", "side", "unit", "tota"]
    odd = "import os\n\x0c\nsaid = '\u2028'\n" + CODE
    assert [(odd[n.begin - 1 : n.begin + 2], n.role) for n in names(odd)][3:] == [
        (("\n" + CODE)[n.begin : n.begin + 3], n.role) for n in names(CODE)
    ], "lines end where Python ends them"
    assert names("an essay, (not code\n") and not names("") and len(names(CODE + "x = '''")) >= len(found)


@pytest.mark.parametrize("knows", [True, False])
def test_the_probe_finds_what_features_hold(monkeypatch, knows):
    text = "\n".join(f"x{n % 7} = f(y{n % 5})" for n in range(60))
    roles = {name.begin: name.role for name in names(text)}
    asked: list[bool] = []

    def forward(model: Any, tokens: torch.Tensor, *, causal: bool, needs: frozenset[str]) -> Any:
        asked.append(causal)
        states = torch.zeros(*tokens.shape, 12)
        for window, row in enumerate(tokens.tolist()):
            for place, number in enumerate(row[1:], 1):
                states[window, place, roles.get(number - 100, 10) if knows else 0] = 1.0
        return SimpleNamespace(hidden_states=(states, states))

    def letters(text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": [100 + place for place in range(len(text))], "offset_mapping": [(n, n + 1) for n in range(len(text))]}

    monkeypatch.setattr("windtunnel.models.forward.forward", forward)
    monkeypatch.setattr("windtunnel.models.init.family_of", lambda config: SimpleNamespace(kind="decoder"))
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=letters, documents=lambda split, source: iter([text]))
    precision = torch.autocast("cpu", enabled=False)
    masked = make(Objective, "masked-token")
    view = HeldOut(("x",), None, stream, VOCABULARY, masked, torch.device("cpu"), precision, "test", 41)
    model: Any = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False))
    part = make(Evaluation, {"name-roles": {"names": 40, "test_names": 40}})
    found = part.evaluate(model, view)
    windows, places, labels = view.made[(part, "test")]
    assert all(roles[windows[window, place] - 100] == label for (window, place), label in zip(places, labels, strict=True))
    if knows:
        assert found["name-roles"] == 1.0 and found["name-roles/bits"] < 0.6
    else:
        assert found["name-roles"] == found["name-roles/commonest"] == np.bincount(labels).max() / len(labels)
    assert not any(asked)
    view.objective = make(Objective, "next-token")
    part.evaluate(model, view)
    assert asked[-1]
    with pytest.raises(PartError, match="names of Python code"):
        stream.__dict__[KEPT].documents = lambda split, source: iter(["nothing"])
        part.model_copy(update={"names": 50}).evaluate(model, view)


def test_every_source_gives_its_share_of_names():
    text = "\n".join(f"x{n % 7} = f(y{n % 5})" for n in range(60))

    def letters(text: str, **_: Any) -> dict[str, Any]:
        first = 100 if text[0] == "x" else 1000
        return {"input_ids": [first] * len(text), "offset_mapping": [(n, n + 1) for n in range(len(text))]}

    stream = SimpleNamespace(facts=VOCABULARY)
    code = {"one": text, "other": "\n" + text, "none": "no whole window"}
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=letters, documents=lambda split, source: iter([code[source]] * 9))
    precision = torch.autocast("cpu", enabled=False)
    view = HeldOut(tuple(code), None, stream, VOCABULARY, make(Objective, "next-token"), torch.device("cpu"), precision, "test", 41)
    part: Any = make(Evaluation, "name-roles")
    windows, places, _ = part._windows(view, "test", 120)
    told = [int(windows[window, place]) for window, place in places]
    assert 40 <= told.count(100) < 80 and 40 <= told.count(1000) < 80
