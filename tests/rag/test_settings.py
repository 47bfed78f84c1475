"""Settings: every one documented, and no unknown one accepted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from rag.settings import environment_names, load_settings

ROOT = Path(__file__).parents[2]


def run_with(environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from rag.settings import load_settings; s = load_settings(); print(s.retrieval.k, s.chat.model)"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_env_example_lists_every_setting_and_no_other() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [line.removeprefix("# ").split("=")[0] for line in lines if line.removeprefix("# ").startswith("QUOTH_")]
    assert named == list(environment_names())


def test_env_example_holds_the_defaults(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    assert run_with({}, tmp_path).stdout == "6 extractive\n"


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "quoth.toml").write_text('[retrieval]\nk = 3\n[chat]\nmodel = "openai:a"\n')
    assert run_with({}, tmp_path).stdout == "3 openai:a\n"
    assert run_with({"QUOTH_RETRIEVAL__K": "9"}, tmp_path).stdout == "9 openai:a\n"


@pytest.mark.parametrize(
    ("environment", "toml", "named"),
    [
        ({"QUOTH_DATADIR": "x"}, "", "QUOTH_DATADIR"),
        ({"QUOTH_CHATT__MODEL": "x"}, "", "QUOTH_CHATT__MODEL"),
        ({"QUOTH_CHAT__MODLE": "x"}, "", "QUOTH_CHAT__MODLE"),
        ({}, "stor = 'x'", "stor"),
        ({}, "[chat]\nmodle = 'x'", "chat.modle"),
        ({}, "[retrieval]\nk = 0", "retrieval.k"),
        ({}, "[retrieval]\ndiversity = 1.5", "retrieval.diversity"),
        ({}, "[retrieval]\nper_document = -1", "retrieval.per_document"),
        ({"QUOTH_RETRIEVAL__EXPAND_TOKENS": "-1"}, "", "retrieval.expand_tokens"),
        ({}, "not toml at all", "quoth.toml"),
    ],
)
def test_what_is_unknown_or_malformed_is_refused_by_name(
    environment: dict[str, str], toml: str, named: str, tmp_path: Path
) -> None:
    if toml:
        (tmp_path / "quoth.toml").write_text(toml)
    done = run_with(environment, tmp_path)
    assert done.returncode != 0
    assert named in done.stderr.splitlines()[-1]
    assert "ConfigurationError" in done.stderr


def test_unknown_key_in_the_env_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUOTH_RETRIEVL__K=3\n")
    assert "retrievl" in run_with({}, tmp_path).stderr.splitlines()[-1].lower()


def test_the_tree_is_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.chat.model = "other"  # type: ignore[misc]


def test_overrides_win() -> None:
    assert load_settings({"retrieval": {"k": 2}}).retrieval.k == 2
    with pytest.raises(ConfigurationError, match=r"retrieval\.kk"):
        load_settings({"retrieval": {"kk": 2}})


def test_the_env_file_may_hold_other_programs_variables(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=x\nQUOTH_RETRIEVAL__K=4\n")
    assert run_with({}, tmp_path).stdout == "4 extractive\n"
