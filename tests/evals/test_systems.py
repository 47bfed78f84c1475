"""Systems are settings files: named, strict, and shown by what they change."""

from pathlib import Path

import pytest

from evals.systems import comparable, differing, read_systems
from rag.errors import ConfigurationError, InvalidInputError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_a_file_it_is_the_configured_settings() -> None:
    (system,) = read_systems([])
    assert system.name == "default"
    assert system.settings.retrieval.fusion == "adaptive"


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    words = write(tmp_path / "words.toml", '[retrieval]\nfusion = "sparse"\nk = 9\n[chunking]\nmax_tokens = 64\n')
    other = write(tmp_path / "usual.toml", "")
    systems = read_systems([words, other])
    assert [system.name for system in systems] == ["words", "usual"]
    assert differing(systems[0].settings) == {"retrieval": {"fusion": "sparse", "k": 9}, "chunking": {"max_tokens": 64}}
    assert differing(systems[1].settings) == {}


def test_what_is_shown_holds_no_secret_and_no_place(tmp_path: Path) -> None:
    text = 'data_dir = "elsewhere"\n[embedder]\nbackend = "openai"\napi_key = "hush"\n[server]\nport = 1\n'
    (system,) = read_systems([write(tmp_path / "a.toml", text)])
    assert differing(system.settings) == {"embedder": {"backend": "openai"}}
    assert "hush" not in str(comparable(system.settings))
    assert "elsewhere" not in str(comparable(system.settings))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[retrieval]\nfusoin = 'sum'", "retrieval.fusoin"),
        ("[retrieval]\nfusion = 'product'", "retrieval.fusion"),
        ("[retrieval]\nk = 0", "retrieval.k"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_file(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"bad\.toml") as caught:
        read_systems([write(tmp_path / "bad.toml", text)])
    assert named in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"broken\.toml"):
        read_systems([write(tmp_path / "broken.toml", "not toml")])
    with pytest.raises(InvalidInputError, match=r"absent\.toml"):
        read_systems([tmp_path / "absent.toml"])


def test_two_systems_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files = [write(tmp_path / "a.toml", ""), write(tmp_path / "other" / "a.toml", "")]
    with pytest.raises(InvalidInputError, match="'a'"):
        read_systems(files)
