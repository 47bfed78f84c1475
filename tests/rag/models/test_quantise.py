"""Quantising a float graph, on a tiny model with random weights."""

from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from rag.models import resolve
from rag.models.export import export_onnx
from rag.models.quantise import INT8_GRAPH, quantise_int8
from rag.models.resolve import ModelFolder
from tests.rag.models.tiny_bert import tiny_bert

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    model = tiny_bert(tmp_path_factory.mktemp("tiny"))
    export_onnx(model)
    return resolve(str(model.path), model.path)


def test_matrix_products_get_int8_weights_of_seven_bits(tiny: ModelFolder) -> None:
    import onnx

    graph = onnx.load(str(quantise_int8(tiny))).graph
    weights = [
        onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8
    ]
    matrices = [weight for weight in weights if weight.ndim == 2]
    assert len(matrices) == 12
    assert max(int(abs(matrix.astype(int)).max()) for matrix in matrices) <= 64
    per_channel = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.name.endswith("_scale")}
    assert {(16,), (32,)} <= set(per_channel.values())


def test_the_same_weights_give_the_same_bytes_and_no_draft_stays(tiny: ModelFolder) -> None:
    first = quantise_int8(tiny).read_bytes()
    assert quantise_int8(tiny).read_bytes() == first
    assert [path.name for path in tiny.path.glob(".quantise-*")] == []


def test_an_int8_graph_has_a_fingerprint_of_its_own(tiny: ModelFolder) -> None:
    made = quantise_int8(tiny)
    again = resolve(str(tiny.path), tiny.path)
    assert again.manifest is not None
    assert again.weights_sha256(made) == again.manifest.derived[INT8_GRAPH]
    assert again.weights_sha256(made) != again.weights_sha256(tiny.path / "model.onnx")


def test_a_graph_that_turns_a_text_too_far_is_not_kept(tiny: ModelFolder) -> None:
    """No quantisation is that good: a cosine above one stands for one that is bad."""
    (tiny.path / INT8_GRAPH).unlink(missing_ok=True)
    with pytest.raises(ConfigurationError, match="was not kept"):
        quantise_int8(tiny, lowest_cosine=1.01)
    assert not (tiny.path / INT8_GRAPH).exists()


def test_a_model_without_a_manifest_is_quantised_too(tiny: ModelFolder, tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny.path / name).read_bytes())
    made = quantise_int8(resolve(str(tmp_path), tmp_path))
    assert made == tmp_path / INT8_GRAPH
    assert not (tmp_path / "quoth.json").exists()
