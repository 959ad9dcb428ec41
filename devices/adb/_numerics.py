"""One inference on the phone: inputs as files, outputs as the bytes the tool saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latprof.devices._device import Array
from latprof.errors import ModelLoadError, ProtocolError
from latprof.vocabulary import require

__all__ = ["Layout", "Tensor", "io_flags", "read_layout", "split_outputs"]

#: TensorType of the schema -> numpy.
_DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16",
    9: "int8",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Layout:
    """Inputs and outputs of a model file, in the file's order, by its signature's names."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def ordered(self, inputs: Mapping[str, Array]) -> list[bytes]:
        """Each input's bytes, in the file's order.

        Raises:
            ModelLoadError: other names, shapes or types than the file's.
        """
        known = {t.name: t for t in self.inputs}
        if sorted(inputs) != sorted(known):
            raise ModelLoadError(f"inputs are {sorted(inputs)}; the model takes {sorted(known)}")
        for name, values in inputs.items():
            tensor = known[name]
            if values.shape != tensor.shape or values.dtype.name != tensor.dtype:
                raise ModelLoadError(
                    f"input {name} is {values.dtype.name} {values.shape}; the model takes "
                    f"{tensor.dtype} {tensor.shape}"
                )
        return [np.ascontiguousarray(inputs[t.name]).tobytes() for t in self.inputs]


def read_layout(path: Path) -> Layout:
    """Raises ModelLoadError where the file is not a TFLite model of fixed shapes."""
    schema = require(
        "ai_edge_litert.schema_py_generated", extra="tflite", why="reading a .tflite file"
    )
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ModelLoadError(f"{path} begins with {data[:8]!r}; expected a TFLite model")
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    names = {}
    if model.SignatureDefsLength() == 1:
        signature = model.SignatureDefs(0)
        for count, get in (
            (signature.InputsLength(), signature.Inputs),
            (signature.OutputsLength(), signature.Outputs),
        ):
            names.update({(e := get(i)).TensorIndex(): e.Name().decode() for i in range(count)})

    def tensors(indices: Sequence[int]) -> tuple[Tensor, ...]:
        found = []
        for index in indices:
            tensor = graph.Tensors(int(index))
            dtype = _DTYPES.get(tensor.Type())
            if dtype is None:
                raise ModelLoadError(f"{path}: tensor {index} has TFLite type {tensor.Type()}")
            shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
            found.append(Tensor(names.get(int(index), tensor.Name().decode()), shape, dtype))
        return tuple(found)

    return Layout(tensors(graph.InputsAsNumpy()), tensors(graph.OutputsAsNumpy()))


def io_flags(layout: Layout, keys: Sequence[str], files: Mapping[str, str]) -> list[str]:
    """Flags: read ``files``, by key, in the model's order, and save its outputs to a file."""
    shapes = [",".join(str(n) for n in tensor.shape) for tensor in layout.inputs]
    return [
        f"--input_layer={','.join(keys)}",
        f"--input_layer_shape={':'.join(shapes)}",
        "--input_layer_value_files=" + ",".join(f"{key}:{files[key]}" for key in keys),
        "--output_filepath=outputs",
    ]


def split_outputs(layout: Layout, data: bytes) -> list[Array]:
    """The tool's output file as arrays. Raises ProtocolError where its size is another."""
    arrays: list[Array] = []
    start = 0
    for tensor in layout.outputs:
        dtype = np.dtype(tensor.dtype)
        count = int(np.prod(tensor.shape))
        end = start + count * dtype.itemsize
        arrays.append(np.frombuffer(data[start:end], dtype, -1).copy())
        if arrays[-1].size != count:
            break
        arrays[-1] = arrays[-1].reshape(tensor.shape)
        start = end
    if start != len(data) or len(arrays) != len(layout.outputs):
        wanted = ", ".join(f"{t.dtype} {t.shape}" for t in layout.outputs)
        raise ProtocolError(f"the phone saved {len(data)} bytes of outputs; expected {wanted}")
    return arrays
