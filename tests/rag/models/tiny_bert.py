"""A BERT of two layers with random weights, as a model folder."""

from pathlib import Path

from rag.models import resolve
from rag.models.manifest import Manifest, sha256_of, write_manifest
from rag.models.resolve import ModelFolder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "store", "a", "path", "is", "of", "every", "."]


def tiny_bert(folder: Path) -> ModelFolder:
    """Write it, with its tokenizer and a manifest; the same bytes each time."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

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
