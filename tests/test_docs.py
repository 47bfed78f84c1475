"""The documents say what the code does."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from api import errors
from cli.main import app
from ingest import source_files
from ingest.parsers.registry import supported_suffixes
from rag.settings import environment_names

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_settings_that_are_named_exist(path: Path) -> None:
    for name in re.findall(r"QUOTH_[A-Z_]+[A-Z]", path.read_text()):
        known = environment_names()
        assert name in known or any(other.startswith(f"{name}__") for other in known), name


def test_every_command_is_described() -> None:
    described = (ROOT / "docs" / "cli.md").read_text()
    for name in typer.main.get_group(app).commands:
        assert f"`quoth {name}" in described, name


def test_commands_that_are_shown_exist() -> None:
    known = set(typer.main.get_group(app).commands)
    for path in DOCUMENTS:
        for line in re.findall(r"^(?:QUOTH_\S+ )*quoth (\w+)", path.read_text(), re.MULTILINE):
            assert line in known, (path.name, line)


def test_make_targets_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        for target in re.findall(r"`?make ([a-z]+)`?", path.read_text()):
            assert target in targets or f"`make {target}" not in path.read_text(), (path.name, target)


def test_every_error_code_is_described() -> None:
    described = (ROOT / "docs" / "api.md").read_text()
    for _, status, _, code in errors._STATUSES:
        assert f"`{code}`" in described, code
        assert f"| {status} |" in described, status


def test_every_suffix_that_is_read_is_described_and_no_other() -> None:
    described = (ROOT / "docs" / "formats.md").read_text().split("## Chunks")[0]
    table = "\n".join(line for line in described.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(\.\w+)`", table)) == set(supported_suffixes())


def test_every_reason_to_leave_a_file_out_is_described() -> None:
    described = (ROOT / "docs" / "cli.md").read_text()
    raised = set(get_args(source_files.Reason))
    for path in (ROOT / "ingest").rglob("*.py"):
        raised |= set(re.findall(r"ParseError\(\s*\"(\w+)\"", path.read_text()))
    assert raised
    for reason in sorted(raised):
        assert f"`{reason}`" in described, reason


def test_the_locks_hold_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        line.split("==")[0]
        for name in ("base.txt", "torch.txt")
        for line in (ROOT / "locks" / name).read_text().splitlines()
        if "==" in line
    }
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert name in locked, name
