"""Blanks in code, and a model that counts what stood with what."""

from __future__ import annotations

from windtunnel.parts.experiment.interface_names import Blank, InterfaceNames, NameCounts, blanks, docwords, in_file, pieces

CODE = '''
"""Tools that read and write parcels."""
import json as j
import os
from collections import Counter, deque
from .near import it

def save(x):
    """Turn something into characters."""
    return j.dumps(x, default=os.fspath(x).strip())

j.load(os)
'''


def test_names_have_pieces():
    assert pieces("OrderedDict") == ["ordered", "dict"] and pieces("HTTPError") == ["http", "error"]
    assert pieces("urllib.parse_qs2") == ["urllib", "parse", "qs", "2"] and pieces("_") == ["_"]
    assert docwords("Read the file, read the next.\n\nAll of it") == ("read", "file", "next")


def test_blanks_are_found_with_the_words_around_them():
    assert [(each.module, each.name) for each in in_file("f", CODE, "import")] == [("collections", "Counter"), ("collections", "deque")]
    called = {(each.module, each.name): each.words for each in in_file("f", CODE, "call")}
    assert called == {
        ("json", "dumps"): ("turn", "something", "into", "characters"),
        ("os", "fspath"): ("turn", "something", "into", "characters"),
        ("json", "load"): ("tools", "that", "read", "write", "parcels"),
    }


def test_counts_prefer_what_was_read_and_what_goes_with_words():
    read = [
        Blank("json", "loads", "a", ("parse",)),
        Blank("json", "dumps", "a", ("write",)),
        Blank("pickle", "dump_all", "b", ("write",)),
    ] * 3
    plain, wordy = NameCounts(read, context=False), NameCounts(read, context=True)
    assert plain.score(Blank("json", "", "c", ()), "loads") > plain.score(Blank("json", "", "c", ()), "urlopen")
    assert plain.score(Blank("pickle", "", "c", ()), "dump") > plain.score(Blank("pickle", "", "c", ()), "open")  # by its piece alone
    asked = Blank("json", "", "c", ("parse",))
    assert plain.score(asked, "loads") == plain.score(asked, "dumps") and wordy.score(asked, "loads") > wordy.score(asked, "dumps")


def test_what_read_nothing_guesses():
    assert len(blanks("import")) > 300
    found = InterfaceNames(form="import", reads=False, judged=60).measure(320)
    assert abs(found["first"] - 0.05) < 1e-9 and found["seen"] == 0 and InterfaceNames(form="import", judged=60).measure(320)["first"] > 0.2
