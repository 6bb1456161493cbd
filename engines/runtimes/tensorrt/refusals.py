"""What NVIDIA's compilers refuse of a graph, known before they are asked: `runtime.py` tells the builder's lint.

Each line stands for an answer that the compiler gave, minutes or an hour later; the tests have it give them again. What
is shared by all runtimes (control flow, noise, opsets) is refused in `engines/building/lint.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from engines.runtimes.base import Graph

_NO_PARSER: Final = """
    AffineGrid BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im Compress ConcatFromSequence
    ConvInteger DFT DeformConv Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool MaxUnpool
    MelWeightMatrix NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul
    RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength
    SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique
"""
NO_PARSER: Final = frozenset(_NO_PARSER.split())
"""Operators of the opset that the parser does not know, save those that the lint refuses for every runtime."""
NO_KERNEL: Final = frozenset({"NonMaxSuppression", "NonZero", "RoiAlign"})
"""Operators that TensorRT has as plugins, and TensorRT-RTX not at all."""
PRODUCTS: Final = frozenset({"Einsum", "Gemm", "MatMul"})
NO_TYPE: Final = {
    2: "UINT8",
    4: "UINT16",
    5: "INT16",
    12: "UINT32",
    13: "UINT64",
    17: "FLOAT8E4M3FN",
    18: "FLOAT8E4M3FNUZ",
    19: "FLOAT8E5M2",
    20: "FLOAT8E5M2FNUZ",
}
"""Types, by ONNX's numbers, to which nothing may be cast."""
NO_WEIGHTS: Final = {4: "UINT16", 5: "INT16", 12: "UINT32", 13: "UINT64"}
MOST_DIMS: Final = 8
MOST_CONVOLVED: Final = 3
RESIZES: Final = frozenset({"align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn"})
Rule = Callable[[Any, dict[str, Any]], str | None]
"""What is wrong with a node that has these attributes."""


def of(graph: Graph, device: str, *, rtx: bool) -> Iterator[str]:
    """One sentence for each thing. `rtx`: for TensorRT-RTX, which has no plugins. `graph` tells the shapes between."""
    for node in (*graph.graph.node, *(node for function in graph.functions for node in function.node)):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        for rule in (*RULES, *(RTX_RULES if rtx else ()), *(SM75_RULES if device == "sm75" else ())):
            problem = rule(node, attributes)
            if problem is not None:
                yield f"{node.op_type} {node.name or ' '.join(node.output)!r}: {problem}"
    for tensor in graph.graph.initializer:
        if tensor.data_type in NO_WEIGHTS:
            yield f"weights {tensor.name!r} are {NO_WEIGHTS[tensor.data_type]}: use INT32 or INT64"
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        dims = len(value.type.tensor_type.shape.dim)
        if dims > MOST_DIMS:
            yield f"{value.name!r} has {dims} dimensions, and {MOST_DIMS} are the most: put some together"


def _unknown(node: Any, attributes: dict[str, Any]) -> str | None:  # noqa: ARG001
    return "the parser does not know it: write it with others" if node.op_type in NO_PARSER else None


def _cast(node: Any, attributes: dict[str, Any]) -> str | None:
    if node.op_type != "Cast" or attributes["to"].i not in NO_TYPE:
        return None
    return f"there is no {NO_TYPE[attributes['to'].i]} between inputs and outputs: use INT32 or INT64"


def _pool(node: Any, attributes: dict[str, Any]) -> str | None:  # noqa: ARG001
    if node.op_type != "MaxPool" or len(node.output) == 1:
        return None
    return "it gives no indices: ask for the values alone"


def _resize(node: Any, attributes: dict[str, Any]) -> str | None:
    if node.op_type != "Resize":
        return None
    if "antialias" in attributes and attributes["antialias"].i:
        return "it does not antialias: blur with a convolution before"
    if "coordinate_transformation_mode" not in attributes:
        return None
    mode = attributes["coordinate_transformation_mode"].s.decode()
    return None if mode in RESIZES else f"it has no coordinates {mode!r}: use one of {', '.join(sorted(RESIZES))}"


def _scatter(node: Any, attributes: dict[str, Any]) -> str | None:
    if node.op_type not in ("ScatterElements", "ScatterND") or "reduction" not in attributes:
        return None
    reduction = attributes["reduction"].s.decode()
    return None if reduction == "none" else f"it does not reduce ({reduction!r}): scatter, and add afterwards"


def _convolution(node: Any, attributes: dict[str, Any]) -> str | None:
    if node.op_type not in ("Conv", "ConvTranspose") or "kernel_shape" not in attributes:
        return None
    if len(attributes["kernel_shape"].ints) <= MOST_CONVOLVED:
        return None
    return f"it convolves over at most {MOST_CONVOLVED} dimensions: take the others into the batch"


def _plugin(node: Any, attributes: dict[str, Any]) -> str | None:  # noqa: ARG001
    return "TensorRT-RTX has no kernel for it: write it with others" if node.op_type in NO_KERNEL else None


def _product(node: Any, attributes: dict[str, Any]) -> str | None:  # noqa: ARG001
    return "no product of float32 matrices on sm75: take another --target" if node.op_type in PRODUCTS else None


RULES: Final[tuple[Rule, ...]] = (_unknown, _cast, _pool, _resize, _scatter, _convolution)
RTX_RULES: Final[tuple[Rule, ...]] = (_plugin,)
SM75_RULES: Final[tuple[Rule, ...]] = (_product,)
