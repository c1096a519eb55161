"""The wheel, installed and used where there is no checkout: papers and studies are found inside the package."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

BUILT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
BACKEND = importlib.util.find_spec("hatchling") is not None
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")


def laid_out(folder: Path) -> None:
    """What the wheel is to install, copied by hand as pyproject.toml says."""
    kept = shutil.ignore_patterns("__pycache__", "*.pyc", "library")
    for package in BUILT["packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=kept)
    for source, target in BUILT["force-include"].items():
        shutil.copytree(ROOT / source, folder / target, ignore=kept)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network."""
    if not BACKEND:
        assert "CI" not in os.environ, "hatchling belongs to the extra `test`"
        pytest.skip("needs hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(ROOT)], check=True, timeout=300
    )
    (found,) = folder.glob("windtunnel-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that windtunnel is installed in: from the wheel, or where no wheel can be built from what it would hold."""
    folder = tmp_path_factory.mktemp("installed")
    if BACKEND:
        built = request.getfixturevalue("wheel")
        subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", str(folder), str(built)], check=True, timeout=300)
    else:
        laid_out(folder)
    return folder


def test_a_wheel_holds_package_papers_and_studies(wheel: Path, tmp_path: Path) -> None:
    laid_out(tmp_path)
    expected = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in held if not name.startswith("windtunnel/library/pages/")} == expected
    assert "windtunnel/library/papers/weights/g-stack/paper.yaml" in held and "windtunnel/library/studies/first-flight.yaml" in held


CALLS = """\
import json, sys
from windtunnel.commands.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        print(END, end.code or 0, flush=True)
        print(END, end.code or 0, file=sys.stderr, flush=True)
"""
END = "-- the end of one command, with code"


def windtunnel(installed: Path, where: Path, *calls: tuple[str, ...]) -> list[tuple[int, str]]:
    """The code and the output, or else the complaint, of each of ``calls``, made one after the other in one process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WINDTUNNEL"))}
    environment |= {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    command = [sys.executable, "-c", CALLS.replace("END", repr(END)), json.dumps(calls)]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    said, complained = (re.split(f"{END} (\\d+)\n", text)[:-1] for text in (done.stdout, done.stderr))
    codes = [int(code) for code in said[1::2]]
    return [(code, (complained if code else said)[2 * number]) for number, code in enumerate(codes)]


def test_an_installed_wheel_knows_its_papers_parts_and_studies(installed: Path, tmp_path: Path) -> None:
    calls = (
        ("papers", "--json"),
        ("papers", "g-stack"),
        ("parts",),
        ("check", "first-flight", "--budget", "hours=2"),
        ("sections",),
        ("study", "first-fligth"),
        ("papers", "ul2-mod"),
    )
    codes, said = zip(*windtunnel(installed, tmp_path, *calls), strict=True)
    assert codes == (0, 0, 0, 2, 0, 2, 0), said
    found: list[dict[str, Any]] = json.loads(said[0])
    assert {paper["name"] for paper in found} == {path.parent.name for path in (ROOT / "papers").glob("*/*/paper.yaml")}
    assert all(paper["area"] for paper in found) and any(paper["measured"] for paper in found)
    assert str(installed) in said[1] and "next-token" in said[2]
    assert "budget.hours: unknown key" in said[3], "found, and read"
    assert "bits per byte" in said[4]
    assert "did you mean 'first-flight'" in said[5]
    assert "ul2-mod" in said[6] and str(installed) in said[6]
    assert not list(tmp_path.iterdir()), "nothing is written where it was asked"
