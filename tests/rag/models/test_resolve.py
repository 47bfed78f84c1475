"""From a model's name to its files, and what a fingerprint takes from them."""

import json
import os
from pathlib import Path

import pytest

from rag.errors import ConfigurationError, ModelNotFoundError
from rag.models import resolve
from rag.models.manifest import Manifest, read_manifest, remembered_sha256, sha256_of, write_manifest
from rag.models.recipe import Recipe, recipe_of

BGE = "BAAI/bge-small-en-v1.5"


def model_folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name.replace("_json", ".json").replace("_onnx", ".onnx")).write_text(content)
    return path


def test_a_local_path_comes_before_the_models_folder(tmp_path: Path) -> None:
    mine = model_folder(tmp_path / "mine", model_onnx="mine")
    found = resolve(str(mine), tmp_path / "models")
    assert found.path == mine
    assert found.revision == "local"
    assert found.known is None


def test_one_file_is_a_model_too(tmp_path: Path) -> None:
    file = tmp_path / "chat.gguf"
    file.write_bytes(b"GGUF")
    found = resolve(str(file), tmp_path)
    assert found.file("*.gguf") == file
    with pytest.raises(ModelNotFoundError):
        found.file("*.onnx")


def test_the_models_folder_serves_known_and_unknown_names(tmp_path: Path) -> None:
    model_folder(tmp_path / BGE, model_onnx="x")
    model_folder(tmp_path / "some" / "model", model_onnx="y")
    assert resolve(BGE, tmp_path).path == tmp_path / BGE
    assert resolve("some/model", tmp_path).path == tmp_path / "some/model"


def test_a_known_model_that_is_not_here_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=f"quoth models pull {BGE}"):
        resolve(BGE, tmp_path)


@pytest.mark.parametrize("name", ["some/model", "../outside", "no-such-thing"])
def test_without_download_an_unknown_one_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(ModelNotFoundError, match="quoth models pull"):
        resolve(name, tmp_path / "models", download=False)


def test_a_manifest_says_the_hash_without_reading_the_file(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "some" / "model", model_onnx="graph")
    manifest = Manifest("some/model", "hub", "abc", {"model.onnx": "1" * 64}, {})
    write_manifest(folder, manifest)
    found = resolve("some/model", tmp_path)
    assert found.manifest == manifest
    assert found.revision == "abc"
    assert found.weights_sha256(folder / "model.onnx") == "1" * 64


def test_an_exported_graph_stands_for_the_weights_it_was_made_from(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "some" / "model", model_onnx="graph")
    write_manifest(folder, Manifest("some/model", "hub", "abc", {"w": "2" * 64}, {"model.onnx": "2" * 64}))
    assert resolve("some/model", tmp_path).weights_sha256(folder / "model.onnx") == "2" * 64


def test_a_file_without_a_manifest_is_hashed_once_and_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "w.onnx"
    file.write_text("one")
    models = tmp_path / "models"
    assert remembered_sha256(file, models) == sha256_of(file)
    stat = file.stat()
    file.write_text("two")  # of the same size, and dated back: only the memory can answer so
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert remembered_sha256(file, models) != sha256_of(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert remembered_sha256(file, models) == sha256_of(file)
    (models / "hashes.json").write_text("{torn")
    assert remembered_sha256(file, models) == sha256_of(file)


def test_a_torn_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "quoth.json").write_text('{"name": "x"}')
    with pytest.raises(ConfigurationError, match=r"quoth\.json"):
        read_manifest(tmp_path)


def test_the_catalogue_has_the_recipe_of_a_known_model(tmp_path: Path) -> None:
    model_folder(tmp_path / BGE, model_onnx="x")
    expected = Recipe("Represent this sentence for searching relevant passages: ", "", "cls", 512)
    assert recipe_of(resolve(BGE, tmp_path)) == expected


def test_a_copy_elsewhere_keeps_the_recipe_of_its_manifest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "copy", model_onnx="x")
    write_manifest(folder, Manifest(BGE, "wheel", "1", {}, {}))
    assert recipe_of(resolve(str(folder), tmp_path)).pooling == "cls"


def test_the_recipe_of_an_unknown_model_is_read_from_its_files(tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path / "e5",
        config_json=json.dumps({"max_position_embeddings": 512}),
        config_sentence_transformers_json=json.dumps({"prompts": {"query": "query: ", "passage": "passage: "}}),
        sentence_bert_config_json=json.dumps({"max_seq_length": 128}),
    )
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (pooling / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **modes}))
    assert recipe_of(resolve(str(folder), tmp_path)) == Recipe("query: ", "passage: ", "cls", 128)
    (pooling / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigurationError, match="pooling_mode_max_tokens"):
        recipe_of(resolve(str(folder), tmp_path))
