"""The plan of the house, held by tests: which way imports point, what may be loaded when, how long a module may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

import windtunnel
import windtunnel.slots
from windtunnel.core.registry import folder_of, load_all, names, slots
from windtunnel.core.shipped import paper_files

PACKAGE = Path(windtunnel.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (
    ("core",),
    ("slots",),
    ("models", "data"),
    ("kits",),
    ("parts", "recipe"),
    ("train",),
    ("study",),
    ("laws",),
    ("report",),
    ("commands", "api", "testing"),
    ("__main__",),  # python -m windtunnel
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Recipes hold parts and parts hold recipes: what stands below names them for the type checker alone, and the registry reads them.
NAMED_FOR_TYPING = {("core", "windtunnel.recipe"), ("slots", "windtunnel.recipe")}
# What opens a model, hashes one or asks the hub for it; and who, beside what trains and the parts that begin from models, may.
OPENERS = {"huggingface_hub", "windtunnel.models.content", "windtunnel.models.load", "windtunnel.models.locate"}
OPEN_MODELS = {
    "recipe/resolve.py",
    "study/adapt.py",
    "study/compress.py",
    "study/evaluate.py",
    "study/membership.py",
    "study/pack/flight.py",
    "study/pack/make.py",
}
RESOLVE = {
    "api/models.py",
    "commands/studies.py",
    "commands/train.py",
    "study/adapt.py",
    "study/adapt_request.py",
    "study/evaluate.py",
    "study/file.py",
    "testing/shop.py",
}
# Heavy or optional: imported where they are used, so that a part can be listed and a prepared stream trained without them.
LATE = {
    "accelerate",
    "altair",
    "daft",
    "datasets",
    "lightning",
    "lm_eval",
    "mlflow",
    "peft",
    "ray",
    "sklearn",
    "tensorboard",
    "trackio",
    "vl_convert",
    "wandb",
}
# What is imported to read a recipe or a result. A part is read before anybody knows whether it will be flown.
READ = ("core", "slots", "parts", "recipe", "report", "commands")
# What a machine with an accelerator may lack. Training a prepared stream must not ask for it.
ABSENT = (
    "accelerate",
    "altair",
    "daft",
    "datasets",
    "docx",
    "lightning",
    "lm_eval",
    "pypdf",
    "ray",
    "resiliparse",
    "tensorboard",
    "vl_convert",
    "zstandard",
)


def room(path: Path) -> str:
    """The first name below ``windtunnel`` of the module at ``path``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(node: ast.AST, path: Path) -> Iterator[str]:
    """The modules that an import statement names, as absolute names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = ("windtunnel", *path.relative_to(PACKAGE).parts[:-1])
            base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
        yield base
        if base == "windtunnel":  # from windtunnel import recipe
            yield from (f"{base}.{alias.name}" for alias in node.names)


def for_typing(module: ast.Module) -> set[ast.AST]:
    """The statements that only a type checker reads."""
    checks = [node for node in ast.walk(module) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {statement for check in checks for statement in check.body}


def named(module: ast.Module) -> Iterator[str]:
    """Modules of this package that string constants name, as in import_module("windtunnel.train.run").

    The registry alone may name the folder of parts: it takes a recipe to them.
    """
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"windtunnel(\.\w+)+(:\w+)?", node.value):
            yield node.value.split(":")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    if path.parent == PACKAGE and path.name == "__init__.py":
        return
    module = tree(path)
    floor = FLOOR[room(path)]  # a KeyError here: a new room needs its place in the plan
    typing = for_typing(module)
    found = {
        name
        for node in ast.walk(module)
        for name in imported(node, path)
        if not (node in typing and (room(path), name) in NAMED_FOR_TYPING)
    } | (set(named(module)) - {"windtunnel.parts"})
    below = {name: name.split(".")[1] for name in found if name.startswith("windtunnel.")}
    upward = sorted(name for name, other in below.items() if other in FLOOR and FLOOR[other] > floor)
    assert not upward, f"{path.name} of floor {FLOORS[floor]} imports {upward}, which stand above it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    late = LATE | ({"torch", "transformers"} if room(path) in READ else set())
    at_once = [
        name for statement in tree(path).body if isinstance(statement, (ast.Import, ast.ImportFrom)) for name in imported(statement, path)
    ]
    assert not [name for name in at_once if name.split(".")[0] in late]


def test_reading_a_file_opens_no_model() -> None:
    """`recipe/resolve.py` does, when it is asked to; so a misspelt key waits for no network and no hash of gigabytes."""
    readers = ("core", "slots", "recipe", "study", "laws", "report", "commands", "api")
    opening, resolving = set(), set()
    for path in MODULES:
        names = {name for node in ast.walk(tree(path)) for name in imported(node, path)}
        place = path.relative_to(PACKAGE).as_posix()
        if room(path) in readers and names & OPENERS:
            opening.add(place)
        if "windtunnel.recipe.resolve" in names:
            resolving.add(place)
    assert opening == OPEN_MODELS and resolving == RESOLVE


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_stays_readable(path: Path) -> None:
    lines = sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{lines} lines that are not blank: split it by subject"


def test_the_page_of_the_architecture_names_every_folder_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (any(path.glob("*.py")) or any(path.glob("*.yaml")))}
    assert set(re.findall(r"`windtunnel/(\w+)/`", page)) == there
    paths = {path.rstrip("/") for path in re.findall(r"`([a-z_]+/[a-z_/.]*)`", page)}
    lost = [path for path in paths if not any((base / path).exists() for base in (ROOT, PACKAGE, PACKAGE / "kits"))]
    assert not lost, f"docs/architecture.md names {lost}, which are not there"


@pytest.mark.parametrize(("path", "name", "most"), [("train/loop.py", "train", 35), ("train/run.py", "fly", 50)])
def test_what_everybody_reads_first_stays_a_page(path: str, name: str, most: int) -> None:
    """The training loop and a run, from top to bottom, with their docstrings."""
    found = next(node for node in ast.walk(tree(PACKAGE / path)) if isinstance(node, ast.FunctionDef) and node.name == name)
    assert found.end_lineno is not None and found.end_lineno - found.lineno + 1 <= most


def test_a_part_is_in_the_file_of_its_name() -> None:
    """It is found by that, without importing the others."""
    load_all()
    for slot, kind in slots().items():
        for name, part in names(kind).items():
            if part.__module__.startswith("windtunnel."):
                assert part.__module__ == f"windtunnel.parts.{folder_of(slot)}.{name.replace('-', '_')}"


def test_no_part_is_named_by_the_loop() -> None:
    """The loop knows slots, not techniques: it compares nothing with a part's name and imports no module of parts."""
    load_all()
    known = {name for kind in slots().values() for name in names(kind)} - {"scratch"}  # what the weights are when nothing is said
    module = tree(PACKAGE / "train" / "loop.py")
    texts = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not texts & known
    parts = {found.__module__ for kind in slots().values() for name, found in names(kind).items() if name in known}
    assert not {name for node in ast.walk(module) for name in imported(node, PACKAGE / "train" / "loop.py")} & parts


def test_the_name_of_a_paper_is_nowhere_in_the_code() -> None:
    """Papers are files under papers/; the package knows mechanisms. Only docstrings may tell where an idea comes from."""
    # The first is also a word of pydantic's, mode="wrap", the next what its score is called wherever such scores are compared, and the
    # last the page of all papers.
    papers = set(paper_files()) - {"wrap", "dc-pdd", "atlas"}
    load_all()
    mechanisms = {name for kind in slots().values() for name in names(kind)}
    for path in MODULES:
        module = tree(path)
        documentation = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(module)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        }
        texts = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not (texts - documentation) & (papers - mechanisms), path


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, windtunnel.commands.main; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not set(done.stdout.split()) & (LATE | {"torch", "transformers", "numpy", "scipy", "pandas", "pyarrow"})


def test_reading_a_study_and_every_part_loads_nothing_heavy() -> None:
    """Seconds that a user would wait for the answer to a misspelt key. Where a part needs a class of torch's, the class lives in kits."""
    code = """
import sys
import windtunnel.study.papers
from windtunnel.core.registry import load_all
from windtunnel.study.fly import load_study
load_all()
load_study("studies/first-flight.yaml")
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & (LATE | {"torch", "transformers", "numpy", "scipy", "pandas", "pyarrow"})


def test_training_needs_neither_daft_nor_any_extra() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))  # importing any of them now raises ModuleNotFoundError
import windtunnel.train.run, windtunnel.train.loop, windtunnel.recipe, windtunnel.data.stream, windtunnel.data.loader
windtunnel.core.registry.load_all()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_no_two_public_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
