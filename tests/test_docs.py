"""The documentation: every command and snippet runs, links resolve, nothing comes from outside.

They run as they are printed, in a folder with ``prints`` and ``judge.onnx``; only the packaged
model is swapped for a tiny one with the same text tower.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import docs_hooks
import docs_pictures
from conftest import save_ddpm
from test_evaluate import prints
from tiny_onnx import save_onnx
from ukiyoe.cli import build_parser, main
from ukiyoe.model import PACKAGED_FOLDER

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# The training guide has tests of its own: its commands train for hours.
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name != "training.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_ddpm(tmp_path_factory.mktemp("packaged"))
    shutil.copytree(PACKAGED_FOLDER / "text_tower", folder / "text_tower")
    return folder


@pytest.fixture
def place(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would be: a folder of prints, a judge, and the packaged model."""
    monkeypatch.setattr("ukiyoe.model.PACKAGED_FOLDER", tiny)
    monkeypatch.setattr("ukiyoe.evaluation.parts.CURVE_COUNT", 8)
    monkeypatch.setattr("ukiyoe.evaluation.parts.CURVE_STEPS", (2, 5))
    monkeypatch.setattr("ukiyoe.evaluation.guide_parts.GUIDE_SEEDS", 2)
    monkeypatch.setattr("ukiyoe.evaluation.guide_parts.CURVE_SEEDS", 4)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    prints(tmp_path / "prints")
    save_onnx(tmp_path / "judge.onnx")
    return tmp_path


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def run(command: str) -> None:
    """Run a command of ours; check that one of pip or make would find what it names."""
    words = shlex.split(command)
    if words[0] == "ukiyoe":
        try:
            code = main(words[1:])
        except SystemExit as done:  # --version
            code = int(done.code or 0)
        assert code == 0, command
    elif words[0] == "make":
        targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), command
    else:
        assert words[:2] == ["pip", "install"], f"who would run {command!r}?"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extra = re.search(r"\[(\w+)\]", command)
        assert extra is None or extra[1] in project["optional-dependencies"], command


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_snippet_runs(
    page: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("sklearn")
    names: dict[str, Any] = {}
    for kind, text in blocks(page):
        if kind == "console":
            assert all(line.startswith("$ ") for line in text.splitlines()), text
            for line in text.splitlines():
                run(line.removeprefix("$ "))
        elif kind == "python":
            exec(compile(text, page, "exec"), names)  # what a reader would do
        else:
            assert kind == "text", f"{page}: who runs a {kind} block?"
    capsys.readouterr()


def test_only_what_needs_a_network_is_not_run() -> None:
    text = [body for page in PAGES for kind, body in blocks(page) if kind == "text"]
    assert len(text) == 1
    assert "google/ddpm-celebahq-256" in text[0]


def test_every_command_and_option_is_documented() -> None:
    assert docs_hooks.COMMANDS in (DOCS / "command-line.md").read_text(encoding="utf-8")
    page = docs_hooks.on_page_markdown(docs_hooks.COMMANDS)
    tables = dict(re.findall(r"^## (ukiyoe [\w ]+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert {"ukiyoe generate", "ukiyoe data inspect", "ukiyoe evaluate"} <= set(tables)
    for name, parser, about in docs_hooks._commands(build_parser(), "ukiyoe"):
        assert about, f"{name} has no sentence"
        for action in parser._actions:
            for option in action.option_strings[:1]:
                if option not in ("-h", "--help"):
                    assert f"`{option}" in tables[name], f"{name} {option}"
                    assert action.help, f"{name} {option} has no sentence"


def test_the_pictures_are_ours(place: Path) -> None:
    """Each one on a page is made by our script, which runs."""
    docs_pictures.main(["--output", "images"])
    made = {path.name for path in (place / "images").iterdir()}
    used = set()
    for page in PAGES:
        used |= set(re.findall(r"!\[[^]]+\]\(images/([\w.-]+)\)", (DOCS / page).read_text()))
    assert used == made
    for name in used:
        assert 5_000 < (DOCS / "images" / name).stat().st_size < 400_000


def test_every_page_has_a_place() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert f": {page}" in config, page


def test_it_builds_without_warnings_and_reads_offline(tmp_path: Path) -> None:
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    pages = [
        path for path in tmp_path.glob("*.html") if path.stem != "404"
    ]  # that one is a server's
    assert len(pages) >= len(PAGES)
    for path in pages:
        page = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', page)
        loaded += re.findall(
            r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]+href="([^"]+)"', page
        )
        loaded += re.findall(r'<link[^>]+href="([^"]+)"[^>]+rel="(?:stylesheet|preconnect)"', page)
        assert loaded
        for source in loaded:
            assert not re.match(r"(https?:)?//", source), f"{path.name} loads {source}"
            if not source.startswith("data:"):
                assert (tmp_path / source.split("?")[0].split("#")[0]).is_file(), source
