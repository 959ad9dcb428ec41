"""An ONNX file as one model with every shape that can be known: weights unread, functions inlined.

Weights outside the file are looked for, and not read, so that a file of any size opens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latprof.errors import ModelLoadError, UsageError
from latprof.vocabulary import require

__all__ = ["Shape", "close_inputs", "load_onnx"]

Shape = tuple[int, ...]

#: Constants outside the file of at most so many values are read: they may be shapes.
_SHAPE_CONSTANTS = 64
#: Ops of ONNX Runtime, and the standard op (None for one that keeps its input's shape) whose
#: shapes they have.
_STANDARD = {
    "BiasGelu": None, "BiasSoftmax": None, "FastGelu": None,
    "FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul", "Gelu": None,
    "MatMulIntegerToFloat": "MatMul", "QGemm": "Gemm", "QLinearAdd": "Add",
    "QLinearAveragePool": "AveragePool", "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": None, "QLinearMul": "Mul", "QLinearSigmoid": None,
    "QLinearSoftmax": None, "QuickGelu": None, "SkipLayerNormalization": None,
    "SkipSimplifiedLayerNormalization": None, "SimplifiedLayerNormalization": None,
}  # fmt: skip
#: Attributes that a standard op does not have, and that change no shape.
_OWN_ATTRIBUTES = ("activation", "activation_alpha", "activation_beta", "channels_last")
#: Where the second operand of a quantized op stands, which has scales and zero points between.
_SECOND = {"QLinearAdd": 3, "QLinearMul": 3, "QGemm": 3}
#: Products with weights of other numbers: packed, with a shape that attributes tell, and of int8.
_FEW_BITS, _DYNAMIC = "MatMulNBits", "DynamicQuantizeMatMul"


def load_onnx(path: Path, inputs: Mapping[str, Sequence[int]]) -> tuple[Any, Any, int, list[str]]:
    """(graph as written, the same graph with inferred shapes, opset, what was assumed)."""
    onnx = require("onnx", extra="onnx", why="reading an .onnx file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: not an ONNX model: {type(exc).__name__}") from exc
    _find_external(onnx, model, path)
    assumed = close_inputs(model.graph, inputs, path)
    try:
        if model.functions:
            inliner = require("onnx.inliner", extra="onnx", why="reading an .onnx file")
            model = inliner.inline_local_functions(model)
        shaped = type(model)()
        shaped.CopyFrom(model)
        _forget_open_shapes(shaped.graph)
        _standardize(onnx, shaped.graph)
        shaped = onnx.shape_inference.infer_shapes(shaped, data_prop=True)
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: not an ONNX model: {type(exc).__name__}") from exc
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    return model.graph, shaped.graph, opset, assumed


def _find_external(onnx: Any, model: Any, path: Path) -> None:
    """Every weight outside the file is there; those that may be shapes are read."""
    helper = onnx.external_data_helper
    for tensor in helper._get_all_tensors(model):
        if not helper.uses_external_data(tensor):
            continue
        info = helper.ExternalDataInfo(tensor)
        place = path.parent / info.location
        length = int(info.length or 0)
        if not place.is_file():
            raise ModelLoadError(
                f"MODEL {path}: its weights are in {info.location}, which is missing; "
                "put it beside the file"
            )
        if place.stat().st_size < int(info.offset or 0) + length:
            raise ModelLoadError(
                f"MODEL {path}: its weights are in {info.location}, which is cut short at "
                f"{place.stat().st_size} bytes"
            )
        if (
            tensor.data_type == onnx.TensorProto.INT64
            and math.prod(tensor.dims) <= _SHAPE_CONSTANTS
        ):
            helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]


def close_inputs(graph: Any, given: Mapping[str, Sequence[int]], path: Path) -> list[str]:
    """Give every open dim of the inputs its size: the one given, or 1 for the batch.

    Raises:
        UsageError: a shape for no input, or one that does not fit.
        ModelLoadError: open dims other than the first of an input, and no shape for it.
    """
    weights = {t.name for t in graph.initializer}
    own = {i.name: i for i in graph.input if i.name not in weights}
    if unknown := sorted(set(given) - set(own)):
        raise UsageError(f"{path} has no input {unknown[0]!r}; it has {', '.join(own)}")
    sizes: dict[str, int] = {}  # of open dims by name, as given for any input
    for name, shape in given.items():
        dims = own[name].type.tensor_type.shape.dim
        fits = len(dims) == len(shape) and all(
            n > 0 and (not d.dim_value or d.dim_value == n)
            for d, n in zip(dims, shape, strict=False)
        )
        if not fits:
            raise UsageError(
                f"{path}: input {name} is {_shown(dims)}; got {'x'.join(map(str, shape))}"
            )
        for dim, size in zip(dims, shape, strict=True):
            symbol = dim.dim_param
            if symbol and sizes.setdefault(symbol, size) != size:
                raise UsageError(
                    f"{path}: {symbol} is {sizes[symbol]} in one input and {size} in {name}"
                )
            dim.dim_value = size
    assumed = []
    for name, info in own.items():
        if not info.type.HasField("tensor_type"):
            continue
        dims = info.type.tensor_type.shape.dim
        for dim in dims:
            if not dim.dim_value and dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
        unsized = [d.dim_param or "?" for d in dims[1:] if not d.dim_value]
        if unsized:
            example = "x".join(str(d.dim_value or (224 if i else 1)) for i, d in enumerate(dims))
            raise ModelLoadError(
                f"MODEL {path}: input {name} is {_shown(dims)}, with open dims "
                f"{', '.join(unsized)}; give its shape, as --input {name}={example}"
            )
        if dims and not dims[0].dim_value:
            assumed.append(f"open dim {dims[0].dim_param or 'batch'} of input {name} read as 1")
            dims[0].dim_value = 1
    return assumed


def _shown(dims: Any) -> str:
    return "x".join(str(d.dim_value or d.dim_param or "?") for d in dims) or "a scalar"


def _forget_open_shapes(graph: Any) -> None:
    """Shapes with open dims are worked out anew, from those of the inputs."""
    kept = [i for i in graph.value_info if all(d.dim_value for d in i.type.tensor_type.shape.dim)]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for info in graph.output:
        if not all(d.dim_value for d in info.type.tensor_type.shape.dim):
            info.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_open_shapes(attribute.g)


def _standardize(onnx: Any, graph: Any) -> None:
    """Put standard ops in the places of ONNX Runtime's own, whose shapes onnx does not know."""
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _standardize(onnx, attribute.g)
        if node.op_type == _FEW_BITS and {"K", "N"} <= {a.name for a in node.attribute}:
            sizes = {a.name: a.i for a in node.attribute}
            nodes.append(_of_floats(onnx, graph, node, [sizes["K"], sizes["N"]]))
            continue
        if node.op_type == _DYNAMIC and (dims := _dims_of(graph, node.input[1])):
            nodes.append(_of_floats(onnx, graph, node, dims))
            continue
        if node.domain in ("", "ai.onnx") or node.op_type not in _STANDARD:
            nodes.append(node)
            continue
        nodes.append(_standard(onnx, node))
    del graph.node[:]
    graph.node.extend(nodes)


def _dims_of(graph: Any, name: str) -> list[int]:
    """Of an initializer; empty where it is none."""
    return next((list(t.dims) for t in graph.initializer if t.name == name), [])


def _of_floats(onnx: Any, graph: Any, node: Any, dims: list[int]) -> Any:
    """A product with weights of these dims, and no values."""
    weight = graph.initializer.add()
    weight.name, weight.data_type = f"{node.output[0]}~weight", onnx.TensorProto.FLOAT
    weight.dims.extend(dims)
    return onnx.helper.make_node("MatMul", [node.input[0], weight.name], [node.output[0]])


def _standard(onnx: Any, node: Any) -> Any:
    """The standard op with this one's output shape."""
    name, make = _STANDARD[node.op_type], onnx.helper.make_node
    first, outputs = node.input[0], [node.output[0]]
    if name is None:
        return make("Identity", [first], outputs)
    if name.startswith("Global") or name == "AveragePool":
        operands = [first]
    else:
        operands = [first, node.input[_SECOND.get(node.op_type, 1)]]
    if name == "MatMul":
        sides = ["...km" if _flag(node, "transA") else "...mk"]
        sides.append("...nk" if _flag(node, "transB") else "...kn")
        return make("Einsum", operands, outputs, equation=f"{','.join(sides)}->...mn")
    made = make(name, operands, outputs)
    made.attribute.extend(a for a in node.attribute if a.name not in _OWN_ATTRIBUTES)
    return made


def _flag(node: Any, name: str) -> bool:
    return any(a.name == name and a.i for a in node.attribute)
