"""A TFLite file: the operators of its subgraphs with their shapes and types."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latprof.errors import ModelLoadError, UsageError
from latprof.vocabulary import require

__all__ = ["Operator", "Shape", "TfliteModel", "load_tflite", "reading"]

Shape = tuple[int, ...]

#: By TensorType; integers of 32 bits and more are indices and shapes.
_DTYPES = {
    0: "float32", 1: "float16", 3: "uint8", 7: "int16", 9: "int8", 10: "float64", 18: "bfloat16",
}  # fmt: skip
_BODIES = {
    "CallOnceOptions": ("InitSubgraphIndex",),
    "CallOptions": ("Subgraph",),
    "IfOptions": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "StableHLOCompositeOptions": ("DecompositionSubgraphIndex",),
    "WhileOptions": ("CondSubgraphIndex", "BodySubgraphIndex"),
}


class Operator:
    """One operator with its shapes; ``constant`` says which inputs are weights, ``types`` has the
    TensorType of each."""

    def __init__(self, name: str, options: Any, inputs: list[Any], outputs: list[Any]) -> None:
        self.name, self.options = name, options
        self.shapes: list[Shape] = [s for s, _, _ in inputs]
        self.constant = [c for _, c, _ in inputs]
        self.types = [t for _, _, t in inputs]
        self.made: Shape = outputs[0][0] if outputs else ()
        varying = [t for _, c, t in (*inputs, *outputs) if not c]
        self.is_integer = bool(varying) and set(varying) <= {3, 7, 9} and len(set(varying)) == 1
        #: What it computes in; None for arithmetic of indices and shapes.
        self.dtype = _DTYPES.get(outputs[0][2] if outputs else 0)
        if self.dtype in ("int8", "uint8", "int16") and not self.is_integer:
            self.dtype = "float32"

    @property
    def activation(self) -> int:
        function = getattr(self.options, "FusedActivationFunction", None)
        return int(function()) if function is not None else 0

    @property
    def subgraphs(self) -> list[int]:
        """Numbers of the subgraphs it runs."""
        indices = _BODIES.get(type(self.options).__name__, ())
        return [int(getattr(self.options, index)()) for index in indices]


class TfliteModel:
    """The file, read by the schema that LiteRT ships.

    Args:
        resized: {number of a tensor of the first subgraph: its shape}, where other inputs than
            the file's were asked for.
    """

    def __init__(self, schema: Any, model: Any, resized: Mapping[int, Shape]) -> None:
        self._schema, self._model, self._resized = schema, model, resized
        self._names = _names(schema.BuiltinOperator)
        self.assumed: list[str] = []

    @property
    def graph_count(self) -> int:
        return int(self._model.SubgraphsLength())

    def operators(self, number: int) -> Iterator[Operator]:
        graph = self._model.Subgraphs(number)
        varying = {int(i) for i in _numbers(graph.InputsAsNumpy())} | {
            int(t)
            for o in range(graph.OperatorsLength())
            for t in _numbers(graph.Operators(o).OutputsAsNumpy())
        }
        resized = self._resized if number == 0 else {}
        known = []
        for i in range(graph.TensorsLength()):
            tensor = graph.Tensors(i)
            own = tuple(int(n) for n in _numbers(tensor.ShapeAsNumpy()))
            known.append((resized.get(i, own), i not in varying, int(tensor.Type())))
        for o in range(graph.OperatorsLength()):
            operator = graph.Operators(o)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            # The larger of two fields, as the runtime takes it: quantizers leave one empty.
            yield Operator(
                self._names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
                self._options(operator),
                [known[i] for i in _numbers(operator.InputsAsNumpy()) if i >= 0],
                [known[i] for i in _numbers(operator.OutputsAsNumpy())],
            )

    def _options(self, operator: Any) -> Any:
        """The operator's own options, as their class; None where it has none."""
        for number in ("", "2"):
            table = getattr(operator, f"BuiltinOptions{number}")()
            kinds = _names(getattr(self._schema, f"BuiltinOptions{number}"))
            name = kinds.get(getattr(operator, f"BuiltinOptions{number}Type")(), "NONE")
            if table is not None and name != "NONE":
                options = getattr(self._schema, name)()
                options.Init(table.Bytes, table.Pos)
                return options
        return None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What damaged files make the schema's readers raise, in one line."""
    try:
        yield
    except ModelLoadError:
        raise
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
        UsageError, ValueError, struct.error,
    ) as exc:  # fmt: skip
        raise ModelLoadError(f"MODEL {path}: not a TFLite model that runs: {exc}") from exc


def load_tflite(path: Path, inputs: Mapping[str, Sequence[int]]) -> TfliteModel:
    """Raises as ``workloads_of_file``."""
    schema = require(
        "ai_edge_litert.schema_py_generated", extra="tflite", why="reading a .tflite file"
    )
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ModelLoadError(f"MODEL {path}: not a TFLite model")
    with reading(path):
        model = schema.Model.GetRootAs(data, 0)
        opened = _open_dims(model.Subgraphs(0))
    known = {name: shape for name, (_, shape, _) in opened.items()}
    if unknown := sorted(set(inputs) - set(known)):
        raise UsageError(f"{path} has no input {unknown[0]!r}; it has {', '.join(known)}")
    assumed = []
    for name, (_, shape, dims) in opened.items():
        if name in inputs or not dims:
            continue
        shown = "x".join("?" if d in dims else str(n) for d, n in enumerate(shape))
        if dims != [0]:
            sizes = (224 if d in dims and d else n for d, n in enumerate(shape))
            raise ModelLoadError(
                f"MODEL {path}: input {name} is {shown}, with open dims; give its shape, as "
                f"--input {name}={'x'.join(map(str, sizes))}"
            )
        assumed.append(f"open dim batch of input {name} read as {shape[0]}")
    found = TfliteModel(schema, model, _resized(path, opened, inputs) if inputs else {})
    found.assumed += assumed
    return found


def _open_dims(graph: Any) -> dict[str, tuple[int, Shape, list[int]]]:
    """{input: (number of its tensor, shape, which dims are open)}."""
    found = {}
    for number in _numbers(graph.InputsAsNumpy()):
        tensor = graph.Tensors(int(number))
        shape = tuple(int(n) for n in _numbers(tensor.ShapeAsNumpy()))
        signature = [int(n) for n in _numbers(tensor.ShapeSignatureAsNumpy())]
        name = (tensor.Name() or b"").decode(errors="replace")
        found[name] = (int(number), shape, [d for d, n in enumerate(signature) if n < 0])
    return found


def _resized(
    path: Path,
    opened: Mapping[str, tuple[int, Shape, list[int]]],
    inputs: Mapping[str, Sequence[int]],
) -> dict[int, Shape]:
    """The shapes of all tensors at these shapes of inputs, as the runtime works them out."""
    runtime = require("ai_edge_litert.interpreter", extra="tflite", why="--input of a .tflite file")
    plain = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    sizes = {}
    for name, shape in inputs.items():
        number, own, dims = opened[name]
        fits = len(shape) == len(own) and all(
            n > 0 and (d in dims or n == own[d]) for d, n in enumerate(shape)
        )
        if not fits:
            shown = "x".join("?" if d in dims else str(n) for d, n in enumerate(own))
            raise UsageError(f"{path}: input {name} is {shown}; got {'x'.join(map(str, shape))}")
        sizes[number] = list(shape)
    try:
        interpreter = runtime.Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
        for number, size in sizes.items():
            interpreter.resize_tensor_input(number, size, strict=True)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as exc:
        what = str(exc).partition("\n")[0]
        raise ModelLoadError(f"MODEL {path}: it cannot run at these inputs: {what}") from exc
    return {
        int(t["index"]): tuple(int(n) for n in t["shape"]) for t in interpreter.get_tensor_details()
    }


def _numbers(array: Any) -> Any:
    """An array of the schema; the reader gives 0 for one that is not there."""
    return () if isinstance(array, int) else array


def _names(enumeration: Any) -> dict[int, str]:
    """The names of an enumeration of the schema by value."""
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}
