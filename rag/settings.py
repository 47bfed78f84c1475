"""Every setting, in one frozen tree.

Sources, the first wins: arguments, environment variables (`QUOTH_` and `__` between levels), `.env`, `quoth.toml`.
A key that is not declared here is an error wherever it stands.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rag.errors import ConfigurationError

PREFIX = "QUOTH_"
TOML_FILE = "quoth.toml"
ENV_FILE = ".env"

Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """Base of the sections: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Precision = Literal["auto", "float32", "int8"]


class EmbedderSettings(Section):
    """The model that turns text into vectors. Changing it asks for the store to be made anew."""

    model: str = Field("BAAI/bge-small-en-v1.5", description="as the hub names it, or a local path")
    backend: Literal["onnx", "sentence-transformers", "openai"] = Field("onnx", description="what runs it")
    base_url: str | None = Field(None, description="of an OpenAI-compatible server, for backend openai")
    api_key: SecretStr | None = Field(None, description="for backend openai")
    threads: int = Field(0, ge=0, description="texts that are embedded at once; 0 takes all cores")
    precision: Precision = Field(
        "auto", description="of backend onnx: auto takes the model as it came; int8 is quantised once where it is not"
    )
    batch_tokens: int | None = Field(
        None, ge=64, description="padded tokens that go through the model at once; without it what suits the backend"
    )
    timeout_seconds: float = Field(60, gt=0, description="for backend openai")


class ChatSettings(Section):
    """The model that writes answers."""

    model: str = Field("extractive", description="extractive, local:NAME, or PROVIDER:MODEL as LangChain names it")
    base_url: str | None = Field(None, description="of an OpenAI-compatible server")
    api_key: SecretStr | None = Field(None, description="for the provider")
    temperature: float = Field(0, ge=0, le=2)
    max_answer_tokens: int = Field(512, ge=1)
    context_tokens: int = Field(8192, ge=512, description="prompt and answer together; local models may have less")
    timeout_seconds: float = Field(120, gt=0, description="longest silence of the model")
    max_retries: int = Field(2, ge=0, description="before the first token only")
    price_in: float | None = Field(None, ge=0, description="of a million tokens of prompts, in your currency")
    price_out: float | None = Field(None, ge=0, description="of a million tokens of answers")
    prompts_dir: Path | None = Field(None, description="folder of your own answer.md and condense.md")
    answerable_threshold: float | None = Field(
        None, ge=0, le=1, description="an answer is tried from this probability on; without it the fitted one, 0 always"
    )
    grounding: Literal["strict", "mark", "off"] = Field(
        "mark", description="of a sentence that no passage supports: not said, said and marked, or said"
    )


class QdrantSettings(Section):
    """Where the vectors live."""

    url: str | None = Field(None, description="of a Qdrant server; without it the engine runs in a process of its own")
    api_key: SecretStr | None = Field(None, description="of that server")
    grpc_port: Port = Field(6334, description="of that server")
    index_from: int = Field(20_000, ge=0, description="chunks that are worth an index; 0 always searches exactly")
    quantised: bool = Field(True, description="an index keeps a byte a dimension in memory, and the vectors on disk")
    timeout_seconds: float = Field(30, gt=0)


class ChunkingSettings(Section):
    """How documents are cut."""

    max_tokens: int = Field(256, ge=32, description="longest chunk, its heading path included")


class RetrievalSettings(Section):
    """How passages are found."""

    k: int = Field(6, ge=1, le=100, description="passages that an answer may quote")
    candidates: int = Field(100, ge=1, le=1000, description="taken from each list before they are fused")
    fusion: Literal["adaptive", "sum", "rrf", "dbsf", "dense", "sparse"] = Field(
        "adaptive",
        description="of the two lists; adaptive is a sum that leans towards the surer list, dense takes the first "
        "alone, sparse the list by words",
    )
    dense_weight: float = Field(0.5, ge=0, le=1, description="share of cosine similarity in a sum, the rest is words")
    rerank: Literal["off", "auto", "on"] = Field("off", description="auto reranks only where the best are close")
    reranker: str = Field("cross-encoder/ms-marco-MiniLM-L-12-v2", description="as the hub names it, or a local path")
    rerank_budget_ms: float = Field(500, gt=0, description="as many passages are judged as fit into it")
    rerank_weight: float = Field(0.5, ge=0, le=1, description="share of the reranker, the rest is the fused score")
    diversity: float = Field(0, ge=0, le=1, description="how much a passage loses by being like a better one")
    per_document: int = Field(0, ge=0, le=100, description="passages of one document at most; 0 is no limit")
    expand_tokens: int = Field(
        0, ge=0, le=100_000, description="of what stands around the passages, given to the model besides; 0 is nothing"
    )
    recency_half_life_days: float = Field(
        0, ge=0, allow_inf_nan=False, description="the age at which newness counts half; 0 ignores dates"
    )


class IngestSettings(Section):
    """Limits on what comes from outside."""

    max_file_bytes: int = Field(100_000_000, ge=1)
    max_document_characters: int = Field(20_000_000, ge=1)
    max_pages: int = Field(5_000, ge=1)
    max_archive_entries: int = Field(10_000, ge=1, description="parts of a ZIP archive or of an Office file")
    max_expanded_bytes: int = Field(400_000_000, ge=1, description="of such a file, all parts together")
    max_archive_depth: int = Field(2, ge=1, description="archives and attachments inside of each other")
    read_archives: bool = Field(False, description="read the files in ZIP archives")
    ocr: Literal["auto", "off"] = Field("auto", description="read images and scans where tesseract is installed")
    ocr_languages: str = Field("eng", pattern=r"^[A-Za-z_]+(\+[A-Za-z_]+)*$", description="of tesseract, joined by +")
    ocr_wall_seconds: float = Field(600, gt=0, description="for one image or scan, instead of parser_wall_seconds")
    max_attempts: int = Field(3, ge=1, description="runs that try a file again whose parser died or took too long")
    parser_processes: int = Field(0, ge=0, description="0 takes one for each core")
    parser_memory_bytes: int = Field(1 << 30, ge=1 << 26)
    parser_cpu_seconds: int = Field(60, ge=1)
    parser_wall_seconds: float = Field(120, gt=0)
    rescan_seconds: float = Field(300, gt=0, description="while watching, look at the whole folder this often")


class ServerSettings(Section):
    """The HTTP API."""

    host: str = "127.0.0.1"
    port: Port = 8000
    api_key: SecretStr | None = Field(None, description="of an admin, beside those of `quoth keys`")
    max_body_bytes: int = Field(1_000_000, ge=1024)
    max_upload_bytes: int = Field(100_000_000, ge=1, description="of one file")
    max_concurrent_answers: int = Field(32, ge=1)
    max_waiting_answers: int = Field(16, ge=0, description="in a queue; what comes beyond is refused at once")
    requests_per_minute: int = Field(0, ge=0, description="of each key; 0 is not limited")
    tokens_per_minute: int = Field(0, ge=0, description="of each key, questions and answers; 0 is not limited")
    shutdown_seconds: float = Field(10, ge=0, description="that open streams get to end")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="of the server's log; auto is text on a terminal, else JSON"
    )


class OwnDotEnv(DotEnvSettingsSource):
    """`.env`, which other programs share: variables without our prefix are none of our business."""

    def _read_env_files(self) -> Mapping[str, str | None]:
        return {name: value for name, value in super()._read_env_files().items() if name.upper().startswith(PREFIX)}


class Settings(BaseSettings):
    """The tree. Build it with `load_settings`, which also refuses unknown environment variables."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", env_file=ENV_FILE,
        toml_file=TOML_FILE, env_ignore_empty=True,
    )  # fmt: skip

    data_dir: Path = Field(Path(".quoth"), description="the ledger and the vectors")
    models_dir: Path = Field(Path("~/.cache/quoth/models"), description="weights, shared by all data directories")
    ledger_url: str | None = Field(None, description="SQLAlchemy URL; without it SQLite in the data directory")
    store: str = Field("default", description="the store that commands use when none is named")
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    embedder: EmbedderSettings = EmbedderSettings()
    chat: ChatSettings = ChatSettings()
    qdrant: QdrantSettings = QdrantSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    ingest: IngestSettings = IngestSettings()
    server: ServerSettings = ServerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add `quoth.toml` behind the environment, and read only our part of `.env`."""
        return init_settings, env_settings, OwnDotEnv(settings_cls), TomlConfigSettingsSource(settings_cls)


def environment_names() -> dict[str, str]:
    """Every setting's environment variable and its description, in the order of the tree."""
    names: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in section.model_fields.items():
                names[f"{PREFIX}{name}__{key}".upper()] = inner.description or ""
        else:
            names[f"{PREFIX}{name}".upper()] = field.description or ""
    return names


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    Args:
        overrides: nested values that win over every other source.

    Raises:
        ConfigurationError: an unknown key, or a value out of its bounds; the message names each.
    """
    _refuse_unknown(os.environ, "the environment")
    try:
        settings = Settings(**(overrides or {}))
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    except ValueError as error:  # an unreadable quoth.toml
        raise ConfigurationError(f"{TOML_FILE} cannot be read: {error}") from None
    return settings.model_copy(
        update={"data_dir": settings.data_dir.expanduser(), "models_dir": settings.models_dir.expanduser()}
    )


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    """pydantic-settings ignores a variable whose section it does not know, so it is compared with the tree here."""
    known = environment_names()
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise ConfigurationError(f"Unknown setting in {where}: {', '.join(unknown)}. `.env.example` lists them all.")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        unknown = problem["type"] == "extra_forbidden"
        lines.append(f"unknown setting {key}" if unknown else f"{key}: {problem['msg']}")
    return f"The settings are not valid: {'; '.join(lines)}. `.env.example` lists them all."
