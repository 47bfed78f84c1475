"""A float graph to one of 8-bit weights, checked against the float one before it is put in place."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rag.errors import ConfigurationError, MissingPackageError
from rag.models.export import GRAPH, SENTENCES
from rag.models.manifest import write_manifest
from rag.models.resolve import ModelFolder

INT8_GRAPH = "model.int8.onnx"
# Goes into fingerprints: the same weights, quantised in another way, are another embedder.
RECIPE = "int8 weights, per channel, 7 bits; activations by batch"
LOWEST_COSINE = 0.97


def quantise_int8(model: ModelFolder, lowest_cosine: float = LOWEST_COSINE) -> Path:
    """Write `model.int8.onnx` beside the model's float graph, if no text's hidden states turn too far.

    Matrix products get int8 weights with a scale for each output channel; embeddings and everything else stay float.
    Seven of the eight bits are used: with all of them, sums of two products overflow on processors without VNNI
    (cosine to float .94 instead of .99 there). The same weights give the same bytes.

    Raises:
        MissingPackageError: the quantiser of ONNX Runtime needs the package onnx.
        ModelNotFoundError: the model has no graph.
        ConfigurationError: the result is too far from the float graph; it is not kept.
    """
    if find_spec("onnx") is None:
        raise MissingPackageError("onnx", f"Quantising {model.name}")
    source = model.file(GRAPH, "onnx/model.onnx")
    with tempfile.TemporaryDirectory(dir=model.path, prefix=".quantise-") as workdir:
        draft = Path(workdir) / INT8_GRAPH
        _quantise(source, draft)
        cosine = _smallest_cosine(model, source, draft)
        if not cosine >= lowest_cosine:
            raise ConfigurationError(
                f"{model.name} in int8 turns a text to a cosine of {cosine:.3f} and was not kept. "
                "Set QUOTH_EMBEDDER__PRECISION=auto for this model."
            )
        _record(model, source)
        draft.replace(model.path / INT8_GRAPH)
    return model.path / INT8_GRAPH


def _quantise(source: Path, draft: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # the quantiser warns on the root logger that it was not preceded by an optimiser
    try:
        quantize_dynamic(
            str(source), str(draft), op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True,
            weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )  # fmt: skip
    finally:
        logger.setLevel(level)


def _record(model: ModelFolder, source: Path) -> None:
    """Name in the manifest what the graph stands for in fingerprints, before the graph can be seen."""
    if model.manifest is not None:
        weights = hashlib.sha256(f"{model.weights_sha256(source)} {RECIPE}".encode()).hexdigest()
        write_manifest(model.path, replace(model.manifest, derived={**model.manifest.derived, INT8_GRAPH: weights}))


def _smallest_cosine(model: ModelFolder, source: Path, draft: Path) -> float:
    """Over texts, of the mean hidden state in both graphs."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.file("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    sessions = [
        onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"]) for graph in (source, draft)
    ]

    def means(session: Any, ids: Any) -> Any:
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return session.run(None, {node.name: values[node.name] for node in session.get_inputs()})[0].mean(axis=(0, 1))

    found = []
    for text in SENTENCES:
        one, other = (means(session, np.array([tokenizer.encode(text).ids], np.int64)) for session in sessions)
        found.append(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))
    return min(found)
