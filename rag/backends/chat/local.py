"""A `local:` model: the files that are there decide what runs it."""

from __future__ import annotations

from pathlib import Path

from rag.concurrency import in_thread
from rag.errors import ModelNotFoundError
from rag.models.resolve import resolve
from rag.protocols import ChatModel
from rag.settings import ChatSettings

PREFIX = "local:"


async def open_local(settings: ChatSettings, models_dir: Path) -> ChatModel:
    """Load a model from this machine: GGUF weights with llama.cpp, safetensors with transformers.

    Raises:
        ModelNotFoundError: it is not here, or its folder holds neither kind of weights.
        ConfigurationError: the files cannot be used, or a package is missing.
    """
    name = settings.model.removeprefix(PREFIX)
    found = await in_thread(resolve, name, models_dir)
    if found.find("*.gguf") is not None:
        from rag.backends.chat import llama_cpp

        return await llama_cpp.create(settings, models_dir)
    if found.find("*.safetensors") is not None:
        from rag.backends.chat import transformers

        return await transformers.create(settings, models_dir)
    raise ModelNotFoundError(
        f"The model {name} at {found.path} holds neither *.gguf nor *.safetensors weights. Set QUOTH_CHAT__MODEL to "
        "another model, or put its weights there."
    )
