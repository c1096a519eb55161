"""Names of libraries' functions to be filled in, from code that a model read and from code that it did not."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SMOOTH, BACK = 0.1, 0.3  # added to counts of names, and the share of a name's own counts that its pieces get
NEAR = 12  # words of context


class InterfaceNames(Experiment, name="interface-names"):
    """The share of blanks in qualified names that a model fills rightly among 20 names, in code that it did not read.

    Huang et al. 2023 (Pop Quiz), arXiv:2309.07804: the name of a function or class of a library is blanked in ``from json import loads`` or
    in ``json.loads(...)``, and a model of code ranks what may stand there; with words around it (a docstring, a comment) it does better,
    and it does so for names that it never saw, too.

    Code are files of Python's library, half of which are read, by whole files. The model counts: how often a name stood behind its module,
    how often its pieces (``load``, ``s``) stood behind the module's pieces, and how often a name and its pieces went with words of the
    docstring of the function or file around; it adds up logarithms. ``form`` is ``import`` or ``call``. The other 19 names are of the same
    form, of any module. ``seen`` is about names that were read behind that module, ``unseen`` about others, ``first`` about all. Chance is
    0.05.
    """

    trial = Trial({"judged": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    form: Literal["import", "call"] = Field("call", description="what is blanked")
    context: bool = Field(True, description="whether words of docstrings are read")
    reads: bool = Field(True, description="whether the model read anything at all")
    judged: int = Field(600, ge=10, description="blanks, at most")

    def measure(self, seed: int) -> dict[str, float]:
        """``first``, ``seen`` and ``unseen``. Raises PartError where this Python's library has no sources."""
        import numpy as np

        random = np.random.default_rng(seed)
        every = blanks(self.form)
        if not every:
            raise PartError(f"{self.name}: this Python's library has no sources")
        files = sorted({each.file for each in every})
        read = set(random.permutation(files)[: len(files) // 2].tolist())
        known = [each for each in every if each.file in read] if self.reads else []
        asked = [each for each in every if each.file not in read]
        asked = [asked[place] for place in random.permutation(len(asked))[: self.judged]]
        model = NameCounts(known, self.context)
        names, there = sorted({each.name for each in every}), {(each.module, each.name) for each in known}
        right = np.zeros(len(asked))
        for place, each in enumerate(asked):
            others = [names[other] for other in random.permutation(len(names))[:40] if names[other] != each.name][:19]
            scores = np.array([model.score(each, name) for name in [each.name, *others]])
            ties = np.abs(scores - scores[0]) < 1e-9
            if (ties | (scores < scores[0])).all():
                right[place] = 1 / ties.sum()  # by chance
        seen = np.array([(each.module, each.name) in there for each in asked])

        def mean(some: np.ndarray) -> float:
            return float(some.mean()) if len(some) else 0.0

        return {"first": mean(right), "seen": mean(right[seen]), "unseen": mean(right[~seen])}


class Blank(NamedTuple):
    """A qualified name, ``module`` and ``name``, in a ``file``, and ``words`` of the docstring around it."""

    module: str
    name: str
    file: str
    words: tuple[str, ...]


class NameCounts:
    """What stood with what, in blanks that are filled."""

    def __init__(self, read: list[Blank], context: bool) -> None:
        self.context = context
        self.whole, self.pieces, self.beside = (defaultdict[str, Counter[str]](Counter) for _ in range(3))
        for each in read:
            self.whole[each.module][each.name] += 1
            for piece in pieces(each.name):
                for part in pieces(each.module):
                    self.pieces[part][piece] += 1
            for word in each.words if context else ():
                self.beside[word].update([each.name, *pieces(each.name)])
        self.total = {word: sum(counts.values()) for word, counts in self.beside.items()}
        self.any = Counter(name for each in read for name in [each.name, *pieces(each.name)])
        self.size = max(1, sum(self.any.values()))

    def score(self, blank: Blank, name: str) -> float:
        """How well ``name`` fits, a sum of logarithms."""
        import math

        own = pieces(name)
        behind = self.whole[blank.module]
        found = math.log((behind[name] + SMOOTH) / (sum(behind.values()) + 1))
        parts = [self.pieces[part] for part in pieces(blank.module)]
        found += (
            BACK
            * sum(math.log((counts[piece] + SMOOTH) / (sum(counts.values()) + 1)) for counts in parts for piece in own)
            / max(1, len(own))
        )
        if self.context and blank.words:
            found += sum(self._with(word, name, own) for word in blank.words) / len(blank.words)
        return found

    def _with(self, word: str, name: str, own: list[str]) -> float:
        """How much likelier ``name`` is beside ``word``, as a logarithm."""
        import math

        if word not in self.beside:
            return 0.0
        total, counts = self.total[word], self.beside[word]
        ratios = [math.log((counts[each] + 1) / (total * (self.any[each] + 1) / self.size + 1)) for each in [name, *own]]
        return sum(ratios)


def pieces(name: str) -> list[str]:
    """Words within a name, in lower case."""
    return [each.lower() for each in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)] or [name.lower()]


@functools.cache
def blanks(form: str) -> list[Blank]:
    """Those of a form in the files of Python's library that lie in its first folder."""
    import sysconfig
    from pathlib import Path

    found = list[Blank]()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        found += in_file(path.stem, path.read_text(encoding="utf-8"), form)
    return found


def in_file(file: str, text: str, form: str) -> list[Blank]:
    """The blanks of a form in a file's ``text``: names from modules, or calls of a module's functions by the name it was imported by."""
    tree = ast.parse(text)
    about = docwords(ast.get_docstring(tree))
    if form == "import":
        taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level]
        return [Blank(node.module or "", each.name, file, about) for node in taken for each in node.names if each.name != "*"]
    module = {
        each.asname or each.name: each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for each in node.names
        if "." not in each.name
    }
    inside = [(node, docwords(ast.get_docstring(node)) or about) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found = dict[int, Blank]()
    for function, beside in [(tree, about), *inside]:  # a function within another comes later and takes its own words
        for node in ast.walk(function):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in module:
                found[id(node)] = Blank(module[called.value.id], called.attr, file, beside)
    return list(found.values())


def docwords(text: str | None) -> tuple[str, ...]:
    """The first words of a docstring, in lower case and without those of less than four letters."""
    return tuple(dict.fromkeys(re.findall(r"[a-z]{4,}", (text or "").lower())))[:NEAR]
