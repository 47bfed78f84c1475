"""The export of a sentence-transformers model to ONNX, on a tiny model with random weights."""

from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from rag.models import resolve
from rag.models.export import export_onnx
from rag.models.manifest import sha256_of
from rag.models.pull import needs_export
from rag.models.resolve import ModelFolder
from tests.rag.models.tiny_bert import tiny_bert

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return tiny_bert(tmp_path_factory.mktemp("tiny"))


def test_a_graph_is_made_checked_and_named_in_the_manifest(tiny: ModelFolder) -> None:
    assert needs_export(tiny)
    graph = export_onnx(tiny)
    assert not needs_export(tiny)
    assert [path.name for path in tiny.path.glob(".export-*")] == []
    again: ModelFolder = resolve(str(tiny.path), tiny.path)
    assert again.weights_sha256(graph) == sha256_of(tiny.path / "model.safetensors")


def test_a_graph_that_differs_from_the_model_is_not_kept(tiny: ModelFolder, tmp_path: Path) -> None:
    """No export is that good: a tolerance below zero stands for one that is bad."""
    (tiny.path / "model.onnx").unlink(missing_ok=True)
    with pytest.raises(ConfigurationError, match="was not kept"):
        export_onnx(tiny, tolerance=-1)
    assert not (tiny.path / "model.onnx").exists()
