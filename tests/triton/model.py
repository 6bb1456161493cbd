"""What a Triton Inference Server without a backend for ONNX runs: its Python backend calls ONNX Runtime with our graph.

The server's own interpreter reads it, in an environment of its own, and passes over PYTHONPATH.
"""

import os
import sys

sys.path[:0] = os.environ["PYTHONPATH"].split(":")

import json  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import onnxruntime  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402


class TritonPythonModel:
    """One engine."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph beside this file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        given = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        made = self.session.run(self.outputs, given)
        tensors = [triton.Tensor(name, value) for name, value in zip(self.outputs, made, strict=True)]
        return triton.InferenceResponse(output_tensors=tensors)
