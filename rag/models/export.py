"""A sentence-transformers model to an ONNX graph, checked against the model before it is put in place."""

from __future__ import annotations

import logging
import tempfile
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rag.errors import ConfigurationError, MissingPackageError
from rag.models.manifest import write_manifest
from rag.models.resolve import ModelFolder

GRAPH = "model.onnx"
OPSET = 17
TOLERANCE = 1e-4
SENTENCES = (
    "A path parameter is declared in braces.",
    "Wie viele Menschen leben in Berlin? 3 520 031.",
    "",
    "The store keeps the active generation of every document, and a query never sees half of one. " * 12,
)


def export_onnx(model: ModelFolder, tolerance: float = TOLERANCE) -> Path:
    """Export the encoder as float32 to `model.onnx` in the model's folder, if no value is off by more than `tolerance`.

    The legacy exporter is used: it traces this family of models in two seconds and gives the same bytes each time.

    Returns:
        The graph: input_ids, attention_mask and, where the model has them, token_type_ids, of shape (batch, sequence);
        last_hidden_state of shape (batch, sequence, dimension).

    Raises:
        MissingPackageError: torch's exporter needs the package onnx.
        ConfigurationError: the graph computes something else than the model; it is not kept.
    """
    if find_spec("onnx") is None:
        raise MissingPackageError("onnx", f"Exporting {model.name} to ONNX")
    with tempfile.TemporaryDirectory(dir=model.path, prefix=".export-") as workdir, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its successor and of traced shapes
        draft = Path(workdir) / GRAPH
        encoder, names = _trace(model, draft)
        apart = _largest_difference(model, encoder, names, draft)
        if not apart <= tolerance:
            raise ConfigurationError(
                f"The ONNX export of {model.name} is apart from the model by {apart:.2e} and was not kept. "
                "Set QUOTH_EMBEDDER__BACKEND=sentence-transformers for this model."
            )
        _record(model)
        draft.replace(model.path / GRAPH)
    return model.path / GRAPH


def _record(model: ModelFolder) -> None:
    """Name the weights that the graph stands for in fingerprints, before the graph can be seen."""
    weights = model.file("model.safetensors", "pytorch_model.bin")
    if model.manifest is not None:
        derived = {**model.manifest.derived, GRAPH: model.manifest.files.get(weights.name, "")}
        write_manifest(model.path, replace(model.manifest, derived=derived))


def _trace(model: ModelFolder, target: Path) -> tuple[Any, list[str]]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    encoder = AutoModel.from_pretrained(str(model.path), attn_implementation="eager", local_files_only=True).eval()
    names = ["input_ids", "attention_mask"]
    if getattr(encoder.config, "type_vocab_size", 0):
        names.append("token_type_ids")

    class HiddenState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.encoder(**dict(zip(names, inputs, strict=True))).last_hidden_state

    ones = torch.ones((2, 8), dtype=torch.int64)
    example = tuple(torch.zeros_like(ones) if name == "token_type_ids" else ones for name in names)
    axes = {name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad():
        torch.onnx.export(
            HiddenState().eval(), example, str(target), dynamo=False, opset_version=OPSET, input_names=names,
            output_names=["last_hidden_state"], dynamic_axes=axes,
        )  # fmt: skip
    return encoder, names


def _largest_difference(model: ModelFolder, encoder: Any, names: list[str], graph: Path) -> float:
    """Over the hidden states of a padded batch, where a token stands."""
    import numpy as np
    import onnxruntime
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.file("tokenizer.json")))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(SENTENCES))
    mask = np.array([item.attention_mask for item in encoded], np.int64)
    values = {
        "input_ids": np.array([item.ids for item in encoded], np.int64),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    inputs = {name: values[name] for name in names}
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    got = session.run(None, inputs)[0]
    with torch.no_grad():
        expected = encoder(
            **{name: torch.from_numpy(value) for name, value in inputs.items()}
        ).last_hidden_state.numpy()
    return float(np.abs(got - expected)[mask.astype(bool)].max())
