"""Linear layers of an ONNX file with their weights in 2, 4 or 8 bits while they are multiplied.

ONNX Runtime's MatMulNBits (2 and 4 bits) and DynamicQuantizeMatMul (8) read the codes and never
make floats of them, which saves time where few rows are multiplied. A weight is stored so where it
lies on a grid already, exactly: whole steps of a scale per output, or, of 2 and 4 bits, per 32
neighboring inputs of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._encodings import packed_codes
from latprof.compress.export._grids import Floats, RowGrid, Steps, row_grids
from latprof.compress.export._int8_overflow import int8_overflows
from latprof.vocabulary import require
from latprof.workloads import WEIGHT_BITS, WEIGHT_BLOCK, MatMul

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = [
    "FEW_BITS_OPS",
    "FEW_BITS_ROUNDING",
    "choose_width",
    "let_inputs_be_rounded",
    "measured_widths",
    "store_few_bits",
]

_IN_BLOCKS, _BY_OUTPUT = "MatMulNBits", "DynamicQuantizeMatMul"
FEW_BITS_OPS = (_IN_BLOCKS, _BY_OUTPUT)
#: Bits of the codes of _BY_OUTPUT, and the most that they are; where 8-bit products overflow, half.
_BYTE, _MOST_CODE, _MOST_IN_7_BITS = 8, 127, 63
#: Of ``accuracy_level``: inputs stay float32; inputs are rounded to int8, 32 at a time, as the
#: rows of a table are measured.
_EXACT_LEVEL, _FAST_LEVEL = 1, 4
#: How far a file may be from the network, relative, because inputs are rounded, without a warning:
#: 10 dB. A layer adds 0.003 to 0.01, and 36 of them in MiniLM 0.12, which costs no accuracy.
FEW_BITS_ROUNDING = 0.3
_MICROSOFT = "com.microsoft"
_PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0}


def measured_widths(surrogate: Surrogate) -> tuple[int, ...]:
    """Widths of weights that the surrogate's table has rows of."""
    forms = {b: MatMul(1, 1, 1, weight_bits=b).label for b in WEIGHT_BITS}
    return tuple(b for b, label in forms.items() if label in surrogate.labels)


def choose_width(
    surrogate: Surrogate, reload_fraction: float, product: MatMul, widths: Sequence[int]
) -> int:
    """Bits in which the weights of a float32 product take the least time inside a model; 0: as
    they are.

    Args:
        reload_fraction: of the model, see ``Surrogate.reload_fraction``.
        widths: that hold its grid.
    """
    known = [b for b in measured_widths(surrogate) if b in widths]
    forms = [product, *(product.with_weight_bits(b) for b in known)]
    return forms[int(np.argmin(surrogate.shares(forms, reload_fraction)))].weight_bits


def store_few_bits(path: Path, choose: Callable[[MatMul, Sequence[int]], int]) -> dict[str, int]:
    """Write the file again with MatMulNBits in place of the products that are to have few bits:
    {output of the product: bits}. Inputs are not rounded yet. Where there is none the file is left
    as it is.

    Args:
        choose: see ``choose_width``; it is asked of products whose weights lie on a grid.
    """
    onnx = require("onnx", extra="onnx", why="weights of few bits in an ONNX file")
    model = onnx.load(str(path))
    graph = _Products(onnx, model)
    stored = {}
    for found in list(graph.products()):
        codes = _Codes.of(found.weight)
        if codes is None:
            continue
        n, k = found.weight.shape
        bits = choose(MatMul(m=found.rows, k=k, n=n), codes.widths)
        if bits:
            stored[graph.replace(found, codes, bits)] = bits
    if stored:
        graph.finish()
        path.write_bytes(model.SerializeToString())
    return stored


def let_inputs_be_rounded(path: Path) -> None:
    """Let every MatMulNBits of the file round its inputs, as those of a table do: of 8 bits it
    becomes a DynamicQuantizeMatMul."""
    onnx = require("onnx", extra="onnx", why="weights of few bits in an ONNX file")
    model = onnx.load(str(path))
    held = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == _IN_BLOCKS:
            own = {a.name: a for a in node.attribute}
            own["accuracy_level"].i = _FAST_LEVEL
            if own["bits"].i == _BYTE:
                _round_by_output(onnx, node, held)
    path.write_bytes(model.SerializeToString())


def _round_by_output(onnx: Any, node: Any, held: Mapping[str, Any]) -> None:
    """Codes as int8 (k, n), and a scale per output, in place of those in blocks."""
    n, k = (next(a.i for a in node.attribute if a.name == name) for name in ("N", "K"))
    codes, scales = (held[name] for name in node.input[1:3])
    steps = onnx.numpy_helper.to_array(codes).reshape(n, -1)[:, :k].astype(np.int16) - 128
    each = onnx.numpy_helper.to_array(scales).reshape(n, -1)[:, 0]
    for tensor, array in ((codes, steps.T.astype(np.int8)), (scales, each)):
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    bias = node.input[5] if len(node.input) > 5 else ""
    inputs = [*node.input[:3], *(("", bias) if bias else ())]
    (out,) = node.output
    node.CopyFrom(onnx.helper.make_node(_BY_OUTPUT, inputs, [out], domain=_MICROSOFT))


@dataclass(frozen=True)
class _Codes:
    """Weights (n, k) as whole steps of a scale for each block of inputs.

    Args:
        steps: (n, blocks, 32); what fills up the last block is zero.
        scales: (n, blocks).
    """

    steps: Steps
    scales: Floats

    @classmethod
    def of(cls, weight: Floats) -> _Codes | None:
        """None where the weight is on no such grid."""
        grid = next((g for g in row_grids(weight) if g.axis == 0), None)
        if grid is None:
            return None
        found = cls(*_blocks(weight, grid))
        return found if found.bits <= WEIGHT_BITS[-1] else None

    @property
    def _ends(self) -> tuple[Steps, Steps]:
        return self.steps.min(-1).clip(max=0), self.steps.max(-1).clip(min=0)

    @property
    def widths(self) -> tuple[int, ...]:
        """That can store it."""
        fewer = tuple(b for b in WEIGHT_BITS if self.bits <= b < _BYTE)
        most = _MOST_IN_7_BITS if int8_overflows() else _MOST_CODE
        by_output = bool((self.scales == self.scales[:, :1]).all())
        return (*fewer, _BYTE) if by_output and np.abs(self.steps).max() <= most else fewer

    @property
    def bits(self) -> int:
        """The least that hold every block."""
        least, most = self._ends
        return max(int((most - least).max()).bit_length(), 1)

    def packed(self, bits: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Codes (n, blocks, 4 * bits), and zeros, flat; None where the middle is every zero."""
        least, most = self._ends
        middle = 2 ** (bits - 1)
        if least.min() >= -middle and most.max() < middle:
            return packed_codes(self.steps + middle, bits), None
        codes = packed_codes(self.steps - least[..., None], bits)
        return codes, packed_codes(-least, bits).ravel()


def _blocks(weight: Floats, grid: RowGrid) -> tuple[Steps, Floats]:
    n, k = weight.shape
    blocks = -(-k // WEIGHT_BLOCK)
    steps = grid.steps.reshape(n, -1)
    steps = np.pad(steps, ((0, 0), (0, blocks * WEIGHT_BLOCK - steps.shape[1])))
    scales = grid.scale.reshape(n, -1)
    scales = np.broadcast_to(scales, (n, blocks))
    return steps.reshape(n, blocks, WEIGHT_BLOCK), np.ascontiguousarray(scales, np.float32)


@dataclass(frozen=True)
class _Product:
    """A product with a constant matrix, and the addition of a constant row that follows it.

    Args:
        nodes: that it replaces, the product first.
        weight: (n, k).
        rows: that are multiplied.
        bias: name of a constant (n,); empty for none.
    """

    nodes: tuple[Any, ...]
    weight: Floats
    rows: int
    bias: str


class _Products:
    """The products of one model, whose graph is changed in place."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self._onnx, self._model, self._graph = onnx, model, model.graph
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self._shapes = {
            v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        self._held = {t.name: t for t in self._graph.initializer}
        self._makers = {out: node for node in self._graph.node for out in node.output}
        self._users = Counter(i for node in self._graph.node for i in node.input)
        self._users.update(v.name for v in self._graph.output)

    def products(self) -> Iterator[_Product]:
        for node in self._graph.node:
            if node.op_type in ("Gemm", "MatMul") and node.domain in ("", "ai.onnx"):
                found = self._product(node)
                if found is not None:
                    yield found

    def _product(self, node: Any) -> _Product | None:
        own = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
        shape = self._shapes.get(node.input[0], [])
        weight = self._matrix(node.input[1])
        if weight is None or not shape or min(shape) < 1:
            return None
        if any(own.get(name, value) != value for name, value in _PLAIN.items()):
            return None
        weight = weight if own.get("transB", 0) else weight.T  # (n, k)
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and not self._is_row(bias, len(weight)):
            return None
        nodes = [node]
        if not bias and (add := self._addition(node, len(weight))) is not None:
            nodes.append(add)
            bias = next(i for i in add.input if i != node.output[0])
        rows = int(np.prod(shape[:-1]))
        return _Product(tuple(nodes), np.ascontiguousarray(weight), rows, bias)

    def _matrix(self, name: str) -> Floats | None:
        """A float32 constant of two dims, also where it is transposed."""
        maker = self._makers.get(name)
        turned = maker is not None and maker.op_type == "Transpose"
        tensor = self._held.get(maker.input[0] if maker is not None and turned else name)
        if tensor is None or len(tensor.dims) != 2:
            return None
        if tensor.data_type != self._onnx.TensorProto.FLOAT:
            return None
        matrix: Floats = self._onnx.numpy_helper.to_array(tensor)
        return matrix.T if turned else matrix

    def _is_row(self, name: str, n: int) -> bool:
        tensor = self._held.get(name)
        kind = self._onnx.TensorProto.FLOAT
        return tensor is not None and list(tensor.dims) == [n] and tensor.data_type == kind

    def _addition(self, node: Any, n: int) -> Any:
        """The only reader of the product, where it adds a constant row; else None."""
        (made,) = node.output
        if self._users[made] != 1:
            return None
        reader = next((r for r in self._graph.node if made in r.input), None)
        if reader is None or reader.op_type != "Add":
            return None
        return reader if any(self._is_row(i, n) for i in reader.input if i != made) else None

    def replace(self, found: _Product, codes: _Codes, bits: int) -> str:
        """Put MatMulNBits in the place of the product; the name of what it makes."""
        n, k = found.weight.shape
        first, last = found.nodes[0], found.nodes[-1]
        (out,) = last.output
        packed, zeros = codes.packed(bits)
        inputs = [
            first.input[0],
            self._hold(packed, f"{out}.codes"),
            self._hold(codes.scales.ravel(), f"{out}.scales"),
            "" if zeros is None else self._hold(zeros, f"{out}.zeros"),
            "",
            found.bias,
        ]
        while not inputs[-1]:
            inputs.pop()
        sizes = {"K": k, "N": n, "bits": bits, "block_size": WEIGHT_BLOCK}
        node = self._onnx.helper.make_node(
            _IN_BLOCKS, inputs, [out], domain=_MICROSOFT, accuracy_level=_EXACT_LEVEL, **sizes
        )
        gone = {each.output[0] for each in found.nodes} - {out}
        self._put(
            [
                node if each.output[0] == out else each
                for each in self._graph.node
                if each.output[0] not in gone
            ]
        )
        return str(out)

    def _hold(self, array: NDArray[Any], name: str) -> str:
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _put(self, nodes: list[Any]) -> None:
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def finish(self) -> None:
        """Leave out what nothing reads any more, and name the domain."""
        outputs = {v.name for v in self._graph.output}
        while True:
            read = {i for node in self._graph.node for i in node.input} | outputs
            kept = [node for node in self._graph.node if read & set(node.output)]
            if len(kept) == len(self._graph.node):
                break
            self._put(kept)
        held = [t for t in self._graph.initializer if t.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(held)
        if all(o.domain != _MICROSOFT for o in self._model.opset_import):
            made = self._onnx.helper.make_opsetid(_MICROSOFT, 1)
            self._model.opset_import.append(made)
