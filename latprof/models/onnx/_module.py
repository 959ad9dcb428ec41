"""A module that computes what an ONNX file computes."""

from __future__ import annotations

import operator
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from latprof.compress.graph import first_line
from latprof.compress.read import close_inputs
from latprof.compress.shrink import compare_outputs
from latprof.errors import ModelLoadError
from latprof.models.onnx._functions import FUNCTIONS
from latprof.models.onnx._layers import LAYERS
from latprof.models.onnx._node import Node, UnsupportedError, Value
from latprof.vocabulary import require

__all__ = ["load_onnx_module"]

_ERRORS_ONLY = 3  # of ONNX Runtime's levels of severity
#: Largest relative difference between the file in ONNX Runtime and the module.
_LIMIT = 1e-4


def load_onnx_module(
    path: Path, inputs: Mapping[str, Sequence[int]] | None = None
) -> tuple[nn.Module, tuple[Tensor, ...], str]:
    """(module in eval mode, example inputs, name) of an ONNX file.

    What can be worked out beforehand is folded by ONNX Runtime; each node that is left becomes a
    layer or a function of torch, and the outputs are compared with those of the file.

    Args:
        inputs: {name: shape} of inputs whose dims the file leaves open; an open batch is 1.

    Raises:
        ModelLoadError: no such file, an op that is not turned into torch, or other outputs.
    """
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    model, session = _folded(path, inputs or {})
    module, examples = _converted(model, path)
    _prove(module, examples, session, path)
    return module, examples, path.stem


def _folded(path: Path, inputs: Mapping[str, Sequence[int]]) -> tuple[Any, Any]:
    """The file at these sizes, with all that follows from constants worked out; and a session
    of it."""
    onnx = require("onnx", extra="onnx", why="reading an .onnx file")
    runtime = require("onnxruntime", extra="onnx", why="folding an .onnx file")
    try:
        model = onnx.load(str(path))
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: not an ONNX model: {first_line(exc)}") from exc
    close_inputs(model.graph, inputs, path)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        folded = Path(scratch) / "folded.onnx"
        options.optimized_model_filepath = str(folded)
        try:
            session = runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            model = onnx.load(str(folded))
        except Exception as exc:
            raise ModelLoadError(f"MODEL {path}: it does not run: {first_line(exc)}") from exc
    return onnx.shape_inference.infer_shapes(model, data_prop=True), session


def _converted(model: Any, path: Path) -> tuple[nn.Module, tuple[Tensor, ...]]:
    from onnx import helper, numpy_helper

    graph, root = fx.Graph(), nn.Module()
    values: dict[str, Value] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    sizes = _sizes(model.graph, values)
    examples = []
    for number, info in enumerate(i for i in model.graph.input if i.name not in values):
        values[info.name] = graph.placeholder(_identifier(info.name, f"input_{number}"))
        examples.append(_example(info, helper))
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    for number, each in enumerate(model.graph.node):
        attributes = {a.name: helper.get_attribute_value(a) for a in each.attribute}
        if each.op_type == "Constant":
            values[each.output[0]] = _constant(attributes, numpy_helper)
            continue
        node = Node(
            op=each.op_type,
            name=_identifier(each.output[0], f"node_{number}"),
            attributes=attributes,
            inputs=tuple(values.get(name) if name else None for name in each.input),
            in_shapes=tuple(sizes.get(name) for name in each.input),
            out_shapes=tuple(sizes.get(name) for name in each.output),
            opset=opset,
            root=root,
            graph=graph,
        )
        made = _made(node, each, path)
        if each.op_type == "Split":
            for index, name in enumerate(each.output):
                values[name] = node.call(operator.getitem, made, index)
        else:
            values[each.output[0]] = made
    outputs = [_output(values, info.name, path) for info in model.graph.output]
    graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
    name = _identifier(path.stem, "model")
    return fx.GraphModule(root, graph, class_name=name).eval(), tuple(examples)


def _made(node: Node, each: Any, path: Path) -> fx.Node:
    make = LAYERS.get(each.op_type) or FUNCTIONS.get(each.op_type)
    try:
        if each.domain not in ("", "ai.onnx") or make is None:
            raise UnsupportedError("this op is not turned into torch")
        if any(isinstance(v, np.ndarray) and v.dtype == np.float16 for v in node.inputs):
            raise UnsupportedError("its weights are float16, which are not trained")
        return make(node)
    except UnsupportedError as exc:
        raise ModelLoadError(
            f"MODEL {path}: {each.op_type} {each.name or each.output[0]}: {exc}; compress the "
            "model as its code gives it, or as a .pt2 file"
        ) from exc


def _output(values: Mapping[str, Value], name: str, path: Path) -> fx.Node:
    value = values.get(name)
    if not isinstance(value, fx.Node):
        raise ModelLoadError(f"MODEL {path}: its output {name} follows from no input")
    return value


def _constant(attributes: Mapping[str, Any], numpy_helper: Any) -> Any:
    if "value" in attributes:
        return numpy_helper.to_array(attributes["value"])
    return np.array(next(iter(attributes.values())))


def _sizes(graph: Any, values: Mapping[str, Value]) -> dict[str, tuple[int, ...]]:
    """Of every tensor whose sizes are all known."""
    found = {name: v.shape for name, v in values.items() if isinstance(v, np.ndarray)}
    for info in (*graph.value_info, *graph.input, *graph.output):
        kind = info.type.tensor_type
        dims = kind.shape.dim
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            found[info.name] = tuple(d.dim_value for d in dims)
    return found


def _example(info: Any, helper: Any) -> Tensor:
    """Normal numbers, or ones where whole numbers are asked for."""
    kind = info.type.tensor_type
    shape = tuple(d.dim_value for d in kind.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    draw = np.random.default_rng(0).standard_normal(shape)
    array = draw if np.issubdtype(dtype, np.floating) else np.ones(shape)
    return torch.from_numpy(np.asarray(array, dtype))


def _identifier(text: str, otherwise: str) -> str:
    name = re.sub(r"\W", "_", text)
    return name if name.isidentifier() and not name.startswith("__") else otherwise


def _prove(module: nn.Module, examples: tuple[Tensor, ...], session: Any, path: Path) -> None:
    """The module's outputs are the file's."""
    names = [i.name for i in session.get_inputs()]
    expected = session.run(None, {n: x.numpy() for n, x in zip(names, examples, strict=True)})
    try:
        with torch.no_grad():
            found = module(*examples)
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: as torch it does not run: {first_line(exc)}") from exc
    several = found if isinstance(found, tuple) else (found,)
    agreement = compare_outputs(expected, [t.numpy() for t in several], limit=_LIMIT)
    if not agreement.holds:
        raise ModelLoadError(
            f"MODEL {path}: as torch it computes something else ({agreement}); compress the model "
            "as its code gives it, or as a .pt2 file"
        )
