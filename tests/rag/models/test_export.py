"""The export of a sentence-transformers model to ONNX, on a tiny model with random weights."""

from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from rag.models import resolve
from rag.models.export import export_onnx
from rag.models.manifest import Manifest, sha256_of, write_manifest
from rag.models.pull import needs_export
from rag.models.resolve import ModelFolder

pytest.importorskip("onnx")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "store", "a", "path", "is", "of", "every", "."]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=300,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "modules.json").write_text("[]")
    weights = sha256_of(folder / "model.safetensors")
    write_manifest(folder, Manifest("tiny/bert", "test", "1", {"model.safetensors": weights}, {}))
    return resolve(str(folder), folder)


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
