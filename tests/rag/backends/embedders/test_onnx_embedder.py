"""The ONNX embedder against other people's programs, and its errors."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from rag.backends.embedders.onnx import Encoder, OnnxEmbedder, batches, open_onnx
from rag.backends.onnx_sessions import is_dynamically_quantised
from rag.errors import ConfigurationError, ModelNotFoundError, UpstreamError
from rag.models.recipe import Recipe
from rag.models.resolve import ModelFolder, installed
from rag.settings import EmbedderSettings, load_settings

MODELS = load_settings().models_dir
BGE, MINILM = "BAAI/bge-small-en-v1.5", "sentence-transformers/all-MiniLM-L6-v2"
PREFIX = "Represent this sentence for searching relevant passages: "
SENTENCE = "The quick brown fox jumps over the lazy dog."
MINILM_VALUES = [0.043934, 0.058934, 0.048178, 0.077548, 0.026744, -0.037630]
BGE_VALUES = [-0.101214, -0.007720, -0.012262, 0.100657, 0.006418, 0.000871]
TEXTS = [
    SENTENCE,
    "",
    "Wie viele Menschen leben in Berlin? 3 520 031.",
    "東京は日本の首都です。 naïve café — “quoted” \U0001f680",
    "def read_item(item_id: int, q: str | None = None): return {'item_id': item_id}",
    "| year | revenue |\n| --- | --- |\n| 2023 | 4.5 |",
    "An index of everything that was ever kept, and of what was not. " * 60,
    "a",
]


def folder_of(model: str, file: str = "model.onnx") -> ModelFolder:
    folder = installed(model, MODELS)
    if folder is None or folder.find(file) is None:
        pytest.skip(f"{model} {file} is not in the models folder: quoth models pull {model}")
    return folder


def embed(model: str, texts: list[str], models_dir: Path = MODELS) -> np.ndarray:
    return asyncio.run(open_onnx(EmbedderSettings(model=model), models_dir).embed_passages(texts))


def test_minilm_equals_sentence_transformers() -> None:
    folder = folder_of(MINILM)
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(folder.path), device="cpu", local_files_only=True)
    expected = reference.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    cosines = (embed(MINILM, TEXTS) * expected).sum(axis=1)
    assert cosines.min() >= 1 - 1e-4


def test_minilm_has_its_canonical_first_values() -> None:
    """Made by sentence-transformers 6.2.0 on torch 2.13.0, float32."""
    folder_of(MINILM)
    np.testing.assert_allclose(embed(MINILM, [SENTENCE])[0][:6], MINILM_VALUES, atol=2e-5)


def test_bge_has_its_canonical_first_values() -> None:
    """Made by the plain recipe below; int8 kernels differ a little between processors."""
    folder_of(BGE)
    np.testing.assert_allclose(embed(BGE, [SENTENCE])[0][:6], BGE_VALUES, atol=5e-3)


def test_bge_equals_a_plain_recipe() -> None:
    folder = folder_of(BGE)
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(folder.path / "model.onnx"))

    def plain(text: str) -> np.ndarray:
        encoded = tokenizer.encode(text)
        ids = encoded.ids if len(encoded.ids) <= 512 else [*encoded.ids[:511], 102]
        feeds = {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "token_type_ids": [[0] * len(ids)]}
        hidden = session.run(None, {name: np.array(value, np.int64) for name, value in feeds.items()})[0]
        return hidden[0, 0] / np.linalg.norm(hidden[0, 0])

    np.testing.assert_allclose(embed(BGE, TEXTS), [plain(text) for text in TEXTS], atol=1e-5)
    embedder = open_onnx(EmbedderSettings(model=BGE), MODELS)
    query = asyncio.run(embedder.embed_query("how fast is the fox"))
    np.testing.assert_allclose(query, plain(PREFIX + "how fast is the fox"), atol=1e-5)


def test_a_quantised_graph_is_told_from_a_float_one() -> None:
    assert is_dynamically_quantised(folder_of(BGE).path / "model.onnx")
    assert not is_dynamically_quantised(folder_of(MINILM).path / "model.onnx")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 in a folder of its own, where precision int8 makes its graph."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("int8")
    for path in folder_of(MINILM).path.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_int8_is_made_once_and_stays_near_float(quantised: Path) -> None:
    settings = EmbedderSettings(model=str(quantised), precision="int8")
    first = open_onnx(settings, quantised)
    made = (quantised / "model.int8.onnx").stat().st_mtime_ns
    vectors = asyncio.run(first.embed_passages(TEXTS))
    assert ((vectors * embed(MINILM, TEXTS)).sum(axis=1)).min() > 0.97
    again = open_onnx(settings, quantised)
    assert (quantised / "model.int8.onnx").stat().st_mtime_ns == made
    assert again.fingerprint == first.fingerprint
    as_it_came = open_onnx(EmbedderSettings(model=str(quantised)), quantised)
    assert as_it_came.fingerprint == open_onnx(EmbedderSettings(model=MINILM, precision="float32"), MODELS).fingerprint
    assert as_it_came.fingerprint != first.fingerprint


def test_a_vector_in_int8_does_not_depend_on_its_neighbours(quantised: Path) -> None:
    embedder = open_onnx(EmbedderSettings(model=str(quantised), precision="int8", threads=3), quantised)
    together = asyncio.run(embedder.embed_passages(TEXTS))
    alone = [asyncio.run(embedder.embed_passages([text]))[0] for text in TEXTS]
    np.testing.assert_array_equal(together, alone)


def test_a_model_that_came_in_int8_has_no_float_graph() -> None:
    folder_of(BGE)
    with pytest.raises(ConfigurationError, match="PRECISION=auto"):
        open_onnx(EmbedderSettings(model=BGE, precision="float32"), MODELS)
    open_onnx(EmbedderSettings(model=BGE, precision="int8"), MODELS)


class Node:
    def __init__(self, name: str) -> None:
        self.name = name


class GatedSession:
    """A graph whose runs, but the first, wait for each other at a gate; one token is one number."""

    def __init__(self, gate: Callable[[], object]) -> None:
        self.gate, self.runs = gate, 0

    def get_inputs(self) -> list[Node]:
        return [Node("input_ids")]

    def run(self, _: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.runs += 1
        if self.runs > 1:
            self.gate()
        return [np.stack([feeds["input_ids"], np.ones_like(feeds["input_ids"])], axis=2).astype(np.float32)]


def gated(session: GatedSession, folder: Path, threads: int) -> OnnxEmbedder:
    tokenizer = Tokenizer.from_file(str(folder_of(BGE).path / "tokenizer.json"))
    graph = folder / "model.onnx"
    graph.write_bytes(b"a graph")
    encoder = Encoder(session, tokenizer, Recipe("", "", "mean", 512), alone=True)
    return OnnxEmbedder(ModelFolder("gated", folder, folder, None, None), graph, encoder, 64, threads)


def test_as_many_texts_at_once_as_threads(tmp_path: Path) -> None:
    """The gate opens when two runs stand before it; if they came one by one it would break."""
    barrier = threading.Barrier(2, timeout=20)
    embedder = gated(GatedSession(barrier.wait), tmp_path, threads=2)
    assert asyncio.run(embedder.embed_passages(["word " * 60, "other " * 50])).shape == (2, 2)


def test_texts_that_nobody_waits_for_are_not_embedded(tmp_path: Path) -> None:
    begun, opened = threading.Event(), threading.Event()

    def gate() -> None:
        begun.set()
        assert opened.wait(20)

    session = GatedSession(gate)
    embedder = gated(session, tmp_path, threads=1)

    async def cancel() -> None:
        task = asyncio.create_task(embedder.embed_passages(["word " * 60] * 50))
        assert await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        opened.set()

    asyncio.run(cancel())
    assert asyncio.run(embedder.embed_passages(["another"])).shape == (1, 2)
    assert session.runs == 3  # the probe for the dimension, the text at the gate, and the other call's


def test_a_remembered_query_cannot_be_changed() -> None:
    folder_of(BGE)
    embedder = open_onnx(EmbedderSettings(model=BGE), MODELS)
    vector = asyncio.run(embedder.embed_query("fox"))
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1
    assert asyncio.run(embedder.embed_query("fox")) is vector


def test_batches_hold_every_text_once_within_the_budget() -> None:
    encoded = [[7] * length for length in (3, 50, 8, 120, 8, 1, 33, 50)]
    made = list(batches(encoded, 100))
    assert sorted(item.index for batch in made for item in batch) == list(range(8))
    assert all(len(batch) == 1 or len(batch) * max(len(item.ids) for item in batch) <= 100 for batch in made)
    assert all(encoded[item.index] == item.ids for batch in made for item in batch)
    assert [len(batch[0].ids) for batch in made] == sorted((len(batch[0].ids) for batch in made), reverse=True)


def test_a_vector_that_is_not_finite_names_its_text(tmp_path: Path) -> None:
    """The word embeddings of one token are made infinite in a copy of the float model."""
    onnx = pytest.importorskip("onnx")
    source = folder_of(MINILM)
    graph = onnx.load(str(source.path / "model.onnx"))
    table = next(tensor for tensor in graph.graph.initializer if tuple(tensor.dims) == (30522, 384))
    values = onnx.numpy_helper.to_array(table).copy()
    token = Tokenizer.from_file(str(source.path / "tokenizer.json")).token_to_id("fox")
    values[token] = np.inf
    table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
    shutil.copy(source.path / "tokenizer.json", tmp_path)
    onnx.save(graph, str(tmp_path / "model.onnx"))
    with pytest.raises(UpstreamError, match="text 1"):
        embed(str(tmp_path), ["a much longer text about a dog", "a fox"], tmp_path)


def test_a_torn_graph_is_a_configuration_error(tmp_path: Path) -> None:
    source = folder_of(BGE)
    shutil.copy(source.path / "tokenizer.json", tmp_path)
    (tmp_path / "model.onnx").write_bytes((source.path / "model.onnx").read_bytes()[:1_000_000])
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        open_onnx(EmbedderSettings(model=str(tmp_path)), tmp_path)


def test_a_model_without_a_graph_names_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx"):
        open_onnx(EmbedderSettings(model=str(tmp_path)), tmp_path)
