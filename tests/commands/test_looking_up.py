"""The commands that say what there is: keys, schemas, completion, and whether a part of one's own keeps the contract."""

import json
import subprocess
from pathlib import Path

import pytest

from windtunnel.commands import completion
from windtunnel.commands.main import main
from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.study.schema import schema

PART = '''
"""A schedule of two heights."""

from pydantic import Field

from windtunnel.slots import Schedule


class Half(Schedule, name="test-half"):
    """Half of the learning rate from the middle on."""

    part: float = Field(0.5, gt=0, description="what is left of it")

    def factor(self, progress, peak):
        """What the rate is multiplied with."""
        return 1.0 if progress.done < 0.5 else self.part
'''
BROKEN = PART.replace(', description="what is left of it"', "").replace("test-half", "test-third")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def test_keys_are_listed_and_found_by_name(capsys):
    assert run("keys", "--json") == 0
    found = {group["name"]: group["keys"] for group in json.loads(capsys.readouterr().out)}
    assert found["budget"]["flops"]["unit"] == "FLOPs" and found["study"]["confidence"]["default"] == 0.95
    assert run("keys", "held_out") == 0
    shown = capsys.readouterr().out
    assert "held_out: {target: questions.jsonl}" in shown and "confidence" not in shown
    assert run("keys", "held-out") == 2
    assert "did you mean 'held_out'?" in capsys.readouterr().err


def test_tables_are_not_broken_in_a_pipe(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert run("parts", "--slot", "Mixture") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(registry.known(registry.slots()["Mixture"])) and max(map(len, lines)) > 100


def test_a_schema_is_printed(capsys):
    assert run("schema", "paper") == 0
    assert json.loads(capsys.readouterr().out) == schema("paper")
    assert run("schema", "papre") == 2


def completed(script: Path, *lines: str) -> list[list[str]]:
    """What bash offers at the end of each of ``lines``."""
    calls = "".join(
        f'COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _windtunnel; echo "${{COMPREPLY[*]}}"\n' for line in lines
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"source {script}\n{calls}"], capture_output=True, text=True, check=True, cwd=script.parent
    )
    assert not done.stderr
    return [line.split() for line in done.stdout.split("\n")[:-1]]


def test_bash_completes_commands_options_and_names(capsys, tmp_path):
    assert run("completion", "bash") == 0
    script = tmp_path / "windtunnel.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "first").mkdir()
    lines = (
        "windtunnel repr",
        "windtunnel parts --slot Sch",
        "windtunnel parts g-st",
        "windtunnel papers g-st",
        "windtunnel study first",
        "windtunnel study --co",
        "windtunnel law kne",
        "windtunnel schema ''",
        "windtunnel train --out fir",
    )
    assert completed(script, *lines) == [
        ["reproduce"],
        ["Schedule"],
        [],
        ["g-stack"],
        ["first-flight", "first"],
        ["--corpus"],
        ["knee"],
        ["study", "recipe", "paper"],
        ["first"],
    ]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_hold_the_same_words(capsys, shell):
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    for word in (*completion.part_names(), *completion.slot_names(), *completion.paper_names(), "knee", "corpus", "tensorboard"):
        assert word in script


def test_a_part_of_a_file_is_shown_and_tried(capsys, tmp_path, monkeypatch, workshop):
    monkeypatch.setattr("windtunnel.testing.Workshop", lambda folder: workshop)
    good, bad = tmp_path / "mine.py", tmp_path / "broken.py"
    good.write_text(PART, encoding="utf-8")
    bad.write_text(BROKEN, encoding="utf-8")
    try:
        assert run("parts", "test-half", "--parts", str(good)) == 0
        shown = capsys.readouterr().out
        assert "what is left of it" in shown and "page:" not in shown
        asked = []
        monkeypatch.setattr("windtunnel.testing.trains_and_resumes", flies := lambda part, shop, folder: asked.append(part.name))
        flies.__name__ = "trains_and_resumes"  # docs/writing-a-loss-term.md really flies one
        assert run("parts", "--test", "--parts", str(good)) == 0
        assert "test-half: trains and resumes: yes" in capsys.readouterr().out and asked == ["test-half"]
        assert run("parts", "--test", "test-third", "--parts", str(bad)) == 2
        seen = capsys.readouterr()
        assert "test-third: says what it is: no. test-third: these knobs need a description: ['part']" in seen.err
        assert "test-third: refuses: yes" in seen.out
        monkeypatch.setattr("windtunnel.testing.trains_and_resumes", raises := lambda part, shop, folder: 1 / 0)
        raises.__name__ = "trains_and_resumes"
        assert run("parts", "--test", "--parts", str(good)) == 2
        assert "test-half: trains and resumes: no. ZeroDivisionError: division by zero" in capsys.readouterr().err
        assert run("parts", "--test") == 2
        assert "say which part is tried" in capsys.readouterr().err
        assert run("parts", "--parts", str(tmp_path / "no.py")) == 2
    finally:
        for name in ("test-half", "test-third"):
            registry._parts[registry.slots()["Schedule"]].pop(name, None)


def test_a_file_without_parts_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    from windtunnel.testing import parts_in

    with pytest.raises(UserError, match="defines no part"):
        parts_in(str(tmp_path / "empty.py"))
