"""Every command of the documentation runs: the ``sh`` blocks of README.md and docs/*.md, page by page, in a sandbox.

Blocks whose first line is ``# file: NAME`` are written to that file first. A block below ``<!-- not run here: REASON -->``, which readers
do not see, is not executed: it needs a cluster, an accelerator, or minutes. Its ``windtunnel`` and ``make`` commands are still parsed.
"""

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
import zstandard
from paths import ROOT

from windtunnel.commands.main import app, main

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ACTIVATE = [".", ".venv/bin/activate"]
NOT_RUN = "<!-- not run here: "
BLOCK = re.compile(rf"^( *)(?:{NOT_RUN}([^\n]*) -->\n\1)?```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
WORDS = (
    "the of a tunnel wing model reads every page and turns quickly while slow water keeps falling over old stones near our house "
    "tonight somebody writes letters about trains that never come because snow lies deep on hills where sheep once stood and sang"
)


def blocks(page: Path, language: str | None = None, *, run: bool = False) -> list[str]:
    """The fenced blocks of a page, without their indentation; with ``run`` only those that are executed here."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        for indent, reason, written, body in found
        if language in (None, written) and not (run and reason)
    ]


def commands(block: str) -> list[list[str]]:
    """Every simple command of a block as words; compound lines are taken apart, comments and redirections left out."""
    lexer = shlex.shlex(block.replace("\\\n", " ").replace("\n", "\n;\n"), posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if set(word) <= set("<>"):
            redirected = True
        elif set(word) <= set(";|&"):
            found.append([])
        elif redirected:
            redirected = False
        else:
            found[-1].append(word)
    return [words for words in found if words]


def plain(block: str) -> bool:
    """Whether a block is nothing but windtunnel commands, in the environment that they are in, so that it needs no shell."""
    return not set(block) & set("|&<>;$`") and all(words[0] == "windtunnel" for words in commands(block) if words != ACTIVATE)


def prose(number: int) -> str:
    """A small document that no other is like."""
    return f"{number}: " + " ".join(random.Random(number).choices(WORDS.split(), k=60)) + ".\n"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as a reader has: some notes, some mail, the example studies, and the files that the pages show."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "notes").mkdir()
    for number in range(150):  # so many that some of them are held out
        (folder / "notes" / f"{number}.md").write_text(prose(number), encoding="utf-8")
    lines = "".join(json.dumps({"text": prose(1000 + number)}) + "\n" for number in range(150))
    (folder / "mail.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    shutil.copytree(ROOT / "studies", folder / "studies")
    shutil.copytree(ROOT / "papers", folder / "papers")
    for page in PAGES:
        for body in blocks(page):
            first, _, rest = body.partition("\n")
            if first.startswith("# file: "):
                target = folder / first.removeprefix("# file: ").strip()
                target.parent.mkdir(parents=True, exist_ok=True)
                assert not target.exists() or target.read_text(encoding="utf-8") == rest, f"{page.name} shows another {target.name}"
                target.write_text(rest, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ran() -> set[tuple[str, ...]]:
    """The commands that ran in the sandbox: one that a page repeats, or that stands on two pages, need not run again."""
    return set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_spelt_right(page: Path) -> None:
    root = typer.main.get_command(app)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for block in blocks(page, "sh"):
        for words in commands(block):
            if Path(words[0]).name == "make":
                assert {word for word in words[1:] if "=" not in word} <= targets, words
            if Path(words[0]).name == "windtunnel" and len(words) > 1:
                name, *arguments = words[1:]
                if name.startswith("-"):
                    continue
                assert name in root.commands, f"{page.name}: there is no command {name!r}"
                with root.commands[name].make_context(name, list(arguments)):
                    pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs(page: Path, sandbox: Path, ran: set[tuple[str, ...]], shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    monkeypatch.setenv("PATH", os.pathsep.join([str(shell), str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    for name, value in {
        "HOME": str(sandbox),
        "PYTHON_EXEC": str(shell / "windtunnel"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for block in blocks(page, "sh", run=True):
        if plain(block):  # in this process, which has imported everything already
            for words in commands(block):
                if words == ACTIVATE or tuple(words) in ran:
                    continue
                ran.add(tuple(words))
                with pytest.raises(SystemExit) as end:
                    main([os.path.expanduser(word) for word in words[1:]])
                assert not end.value.code, f"{page.name}: {words}"
        elif commands(block):
            words = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{page.name}:\n{block}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_yaml_block_is_yaml(page: Path) -> None:
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_has_its_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_is_not_run_says_why() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        reasons = [reason for _, reason, _, _ in BLOCK.findall(text) if reason]
        assert all(re.match(r"\S+ \S+", reason) for reason in reasons), f"{page.name}: {reasons}"
        assert text.count("not run here") == len(reasons), f"{page.name}: the comment stands right above its block"


def test_the_map_shows_every_folder_and_nothing_that_is_not_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.name for path in (ROOT / "windtunnel").iterdir() if (path / "__init__.py").exists()}
    assert set(re.findall(r"^\| `windtunnel/(\w+)/` \|", text, re.MULTILINE)) == folders
    for name in re.findall(r"`([a-z_./]+/[a-z_.]*)`", text):
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "windtunnel")), name


def test_every_page_is_in_the_index() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= set(re.findall(r"\]\(([\w-]+\.md)\)", text))


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^\| ([\w -]+) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert words == sorted(words, key=str.lower) and len(words) > 40


def test_numbers_in_the_pages_are_those_of_the_results(tmp_path):
    from windtunnel.report.catalogue import fill

    for template in (ROOT / "docs").glob("*.md.in"):
        shutil.copy(template, tmp_path)
    for page in fill(tmp_path, ROOT / "papers", ROOT / "studies"):
        committed = ROOT / "docs" / page.name
        assert committed.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), f"{committed.name} is out of date: make docs"
