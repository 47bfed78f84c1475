"""Model files from the Hugging Face hub: only those that are needed, and a hub out of reach costs seconds."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from rag.errors import ModelNotFoundError, UpstreamRejectedError, UpstreamUnavailableError

CONNECT_SECONDS = 4.0
SMALL = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json", "generation_config.json",
    "chat_template.jinja",
)  # fmt: skip
WEIGHTS = ("onnx/model.onnx", "model.onnx", "model.safetensors", "model-*-of-*.safetensors", "*.gguf")
INDEXES = {"model-*-of-*.safetensors": "model.safetensors.index.json"}


def fetch_from_hub(name: str, target: Path, *, files: Sequence[str] | None = None, endpoint: str | None = None) -> str:
    """Download a model's files into `target`.

    Args:
        name: OWNER/NAME on the hub.
        target: a folder; it is made.
        files: their paths; without it what `needed` picks.
        endpoint: of another hub, or what HF_ENDPOINT says.

    Returns:
        The commit that was fetched.

    Raises:
        UpstreamUnavailableError: the hub cannot be reached, or broke off.
        UpstreamRejectedError: the hub refused.
        ModelNotFoundError: there is no such model, or it has no weights that Quoth reads.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    api = HfApi(endpoint=endpoint)
    try:
        info = api.model_info(name, timeout=CONNECT_SECONDS)
        wanted = list(files) if files is not None else needed([item.rfilename for item in info.siblings or []], name)
        commit = info.sha or "main"
        for file in wanted:
            api.hf_hub_download(name, file, revision=commit, local_dir=target, etag_timeout=CONNECT_SECONDS)
    except RepositoryNotFoundError:
        raise ModelNotFoundError(f"The hub has no model {name}, or it asks for a key (HF_TOKEN).") from None
    except (httpx.TransportError, LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise UpstreamUnavailableError(f"The hub cannot be reached for {name}: {error}") from error
    except HfHubHTTPError as error:
        raise UpstreamRejectedError(f"The hub refused {name}: {error}") from error
    return commit


def needed(names: Sequence[str], model: str) -> list[str]:
    """The files to fetch: the small ones, and the first form of weights there is. Raises ModelNotFoundError."""
    for pattern in WEIGHTS:
        weights = [name for name in names if fnmatch(name, pattern)]
        if weights:
            # a repository of GGUF files holds one model many times over; Q4_K_M is the usual middle
            kept = (
                sorted(weights, key=lambda name: "q4_k_m" not in name.lower())[:1] if pattern == "*.gguf" else weights
            )
            index = [INDEXES[pattern]] if pattern in INDEXES else []
            return [*(name for name in names if name in SMALL), *kept, *(name for name in index if name in names)]
    raise ModelNotFoundError(
        f"The hub's {model} has no weights that Quoth reads ({', '.join(WEIGHTS)}). Choose another model."
    )
