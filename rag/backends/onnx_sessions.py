"""How a graph is opened with ONNX Runtime: one thread a run, and as many runs at once as there are cores.

Threads inside a run wait for each other by spinning: two cores busy with other work made a text of 210 tokens 6 times
slower by the clock, and cost twice the CPU time. Texts at once need no waiting.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from rag.errors import ConfigurationError

GRAPHS = ("model.onnx", "onnx/model.onnx")
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
# The fused node is slower than the two that it stands for: 8 % of a text's CPU time on all-MiniLM-L6-v2 in int8.
SLOWER = ["SkipLayerNormFusion"]
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.RuntimeException,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
)


def open_session(graph: Path) -> onnxruntime.InferenceSession:
    """A session whose runs take one thread each; it may be run from several. Raises ConfigurationError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER
        )
    except RUNTIME_ERRORS as error:
        raise ConfigurationError(f"{graph} cannot be loaded: {error}. Delete its folder and pull it again.") from error


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_dynamically_quantised(graph: Path) -> bool:
    """Whether the graph scales its activations by what is in the batch."""
    with graph.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantizeLinear") >= 0
