"""What every Embedder promises, over every backend: real models where they are pulled, a real server for openai."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from rag.backends.embedders import langchain, onnx, openai
from rag.models import resolve
from rag.models.resolve import installed
from rag.protocols import Embedder
from rag.settings import EmbedderSettings, load_settings
from tests.rag.backends.embedders.hash_embeddings import HashEmbeddings, embedding_server

MODELS = load_settings().models_dir
BGE, MINILM = "BAAI/bge-small-en-v1.5", "sentence-transformers/all-MiniLM-L6-v2"
VARIED = [
    "The backup is kept for 35 days.",
    "",
    " \n\t",
    "naïve Straße 日本語 \U0001f469‍\U0001f467 \x00 \ud800",
    "word " * 3000,
    "A refund is paid within 30 days of the purchase.",
]

Opener = Callable[[], AbstractAsyncContextManager[Embedder]]


def need(model: str, file: str = "") -> None:
    folder = installed(model, MODELS)
    if folder is None or (file and folder.find(file) is None):
        pytest.skip(f"{model} {file} is not in the models folder: quoth models pull {model}")


@lru_cache
def opened_onnx(model: str) -> Embedder:
    return onnx.open_onnx(EmbedderSettings(model=model), MODELS)


@lru_cache
def opened_int8(folder: Path) -> Embedder:
    """all-MiniLM-L6-v2 in int8, made in a folder of the tests."""
    for path in resolve(MINILM, MODELS).path.iterdir():
        (folder / path.name).symlink_to(path)
    return onnx.open_onnx(EmbedderSettings(model=str(folder), precision="int8"), MODELS)


@pytest.fixture(scope="session")
def int8_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("minilm-int8")


@lru_cache
def opened_sentence_transformer(model: str) -> Embedder:
    from rag.backends.embedders import sentence_transformer

    settings = EmbedderSettings(model=model, backend="sentence-transformers")
    return asyncio.run(sentence_transformer.create(settings, MODELS))


def lasting(embedder: Embedder) -> Opener:
    """A local model serves all tests: opening one takes longer than asking it."""

    @asynccontextmanager
    async def opener() -> AsyncIterator[Embedder]:
        yield embedder

    return opener


@pytest.fixture(
    params=["onnx-bge", "onnx-minilm", "onnx-minilm-int8", "sentence-transformers-minilm", "openai", "langchain"]
)
def opener(request: pytest.FixtureRequest, int8_folder: Path) -> Iterator[Opener]:
    match request.param:
        case "onnx-bge":
            need(BGE)
            yield lasting(opened_onnx(BGE))
        case "onnx-minilm":
            need(MINILM, "model.onnx")
            yield lasting(opened_onnx(MINILM))
        case "onnx-minilm-int8":
            need(MINILM, "model.onnx")
            pytest.importorskip("onnx")
            yield lasting(opened_int8(int8_folder))
        case "sentence-transformers-minilm":
            need(MINILM)
            yield lasting(opened_sentence_transformer(MINILM))
        case "openai":
            need("tiktoken/o200k_base")
            with embedding_server() as server:
                settings = EmbedderSettings(model="hash", backend="openai", base_url=server.url)
                yield lambda: closing(lambda: openai.create(settings, MODELS))
        case "langchain":
            need("tiktoken/o200k_base")
            yield lambda: closing(lambda: langchain.create(HashEmbeddings(), MODELS, name="hash"))


@asynccontextmanager
async def closing(create: Callable) -> AsyncIterator[Embedder]:
    embedder = await create()
    try:
        yield embedder
    finally:
        await embedder.close()


def passages(opener: Opener, texts: list[str]) -> np.ndarray:
    async def embed() -> np.ndarray:
        async with opener() as embedder:
            return await embedder.embed_passages(texts)

    return asyncio.run(embed())


def cut(embedder: Embedder, text: str, tokens: int) -> str:
    return text[: embedder.tokenizer.offsets(text)[tokens - 1][1]]


def test_vectors_are_unit_finite_and_of_the_stated_dimension(opener: Opener) -> None:
    async def check() -> None:
        async with opener() as embedder:
            vectors = await embedder.embed_passages(VARIED)
            assert vectors.dtype == np.float32
            assert vectors.shape == (len(VARIED), embedder.fingerprint.dimension)
            assert np.isfinite(vectors).all()
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
            query = await embedder.embed_query(VARIED[3])
            assert query.dtype == np.float32
            assert query.shape == (embedder.fingerprint.dimension,)
            assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)

    asyncio.run(check())


def test_no_texts_make_no_vectors(opener: Opener) -> None:
    async def check() -> None:
        async with opener() as embedder:
            assert (await embedder.embed_passages([])).shape == (0, embedder.fingerprint.dimension)

    asyncio.run(check())


def test_a_vector_depends_on_its_text_alone(opener: Opener) -> None:
    texts = [f"Clause {number}: {'the tenant pays ' * (number * 7 % 23)}" for number in range(40)]
    together = passages(opener, texts)
    np.testing.assert_allclose(passages(opener, texts[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(passages(opener, [texts[11]])[0], together[11], atol=1e-5)


def test_calls_at_once_do_not_mix(opener: Opener) -> None:
    async def check() -> None:
        async with opener() as embedder:
            lists = [[f"Room {n} is booked.", f"Rule {n}: {'no ' * n}noise."] for n in range(8)]
            alone = [await embedder.embed_passages(texts) for texts in lists]
            at_once = await asyncio.gather(*(embedder.embed_passages(texts) for texts in lists))
            for one, other in zip(alone, at_once, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)

    asyncio.run(check())


def test_a_passage_of_max_tokens_is_embedded_whole(opener: Opener) -> None:
    async def check() -> None:
        async with opener() as embedder:
            whole = cut(embedder, "water " * 9000, embedder.max_tokens)
            assert embedder.tokenizer.count(whole) == embedder.max_tokens
            other = whole.rsplit(" ", 1)[0] + " fire"
            assert embedder.tokenizer.count(other) == embedder.max_tokens
            vectors = await embedder.embed_passages([whole, other])
            assert np.abs(vectors[0] - vectors[1]).max() > 1e-5

    asyncio.run(check())


def test_the_tokenizer_spans_the_text_in_order(opener: Opener) -> None:
    async def check() -> None:
        async with opener() as embedder:
            tokenizer = embedder.tokenizer
            assert tokenizer.count("") == 0
            assert tokenizer.offsets("") == []
            for text in VARIED:
                spans = tokenizer.offsets(text)
                assert all(0 <= start < end <= len(text) for start, end in spans)
                assert spans == sorted(spans)
                assert len(spans) <= tokenizer.count(text)
            plain = "The cat sat."
            assert [plain[start:end].strip() for start, end in tokenizer.offsets(plain)] == ["The", "cat", "sat", "."]

    asyncio.run(check())


def test_the_right_passage_is_nearest(opener: Opener) -> None:
    async def check() -> None:
        async with opener() as embedder:
            vectors = await embedder.embed_passages([VARIED[0], VARIED[5], "The pump is greased every 500 hours."])
            query = await embedder.embed_query("After how many days is a refund paid?")
            assert int(np.argmax(vectors @ query)) == 1

    asyncio.run(check())


def test_the_same_question_has_the_same_vector_and_fingerprint(opener: Opener) -> None:
    async def ask() -> tuple[np.ndarray, object]:
        async with opener() as embedder:
            await embedder.embed_query("something else")
            return await embedder.embed_query("How long is a backup kept?"), embedder.fingerprint

    first, second = asyncio.run(ask()), asyncio.run(ask())
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.parametrize("model", [BGE, MINILM])
def test_what_lies_beyond_the_limit_is_cut(model: str) -> None:
    need(model, "model.onnx")
    embedder = opened_onnx(model)
    whole = cut(embedder, "water " * 9000, embedder.max_tokens)
    vectors = passages(lasting(embedder), [whole, whole + " fire and ice"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_both_backends_of_one_model_share_a_fingerprint() -> None:
    """Their vectors are the same, so a store made with one is served with the other."""
    need(MINILM, "model.onnx")
    assert opened_onnx(MINILM).fingerprint == opened_sentence_transformer(MINILM).fingerprint


def test_a_start_reads_the_hash_from_the_manifest(tmp_path: Path) -> None:
    need(BGE)
    folder = resolve(BGE, MODELS)
    assert folder.manifest is not None
    assert opened_onnx(BGE).fingerprint.weights_sha256 == folder.manifest.files["model.onnx"]
