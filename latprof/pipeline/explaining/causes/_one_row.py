"""Products of one row with float weights: all of them are read for a few operations each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model

__all__ = ["one_row", "pack_4_bits"]

_FLOAT, _BLOCK = 1, 32
#: Smaller ones stay in the near caches.
_LEAST_BYTES = 1 << 17
_MICROSOFT = "com.microsoft"


def one_row(model: Model) -> Iterator[Candidate]:
    """All such products together: they share their reason, and what to do."""
    found = [node for node in model.nodes if _weights(model, node) is not None]
    if not found:
        return
    sizes = [weights.nbytes for node in found if (weights := _weights(model, node)) is not None]
    what = "1 product of one row reads" if len(found) == 1 else (
        f"{len(found)} products of one row read"
    )  # fmt: skip

    def apply(edit: Edit) -> None:
        names = {out for node in edit.graph.node for out in node.output}
        for node in found:
            if node.output[0] in names:
                _quantize(model, node, edit)

    yield Candidate(
        "one-row",
        f"{what} {sum(sizes) / 1e6:.1f} MB of float weights",
        tuple(node.output[0] for node in found),
        (Option("keep the weights in 4 bits (MatMulNBits)", apply, keeps=False),),
    )


def _weights(model: Model, node: Any) -> NDArray[Any] | None:
    """(k, n) of a product with one row on the left; None elsewhere."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in model.constants:
        return None
    left, right = model.shape(node.input[0]), model.shape(node.input[1])
    if left is None or right is None or len(right) != 2 or model.type(node.input[1]) != _FLOAT:
        return None
    if int(np.prod(left[:-1])) != 1 or 4 * int(np.prod(right)) < _LEAST_BYTES:
        return None
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(model.attribute(node, name, value) != value for name, value in plain.items()):
        return None
    weights = model.value(node.input[1])
    return weights.T if model.attribute(node, "transB", 0) else weights


def _quantize(model: Model, node: Any, edit: Edit) -> None:
    weights = _weights(model, node)
    assert weights is not None
    packed, scales = pack_4_bits(weights)
    k, n = weights.shape
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    made = edit.new_name(node.output[0]) if bias else node.output[0]
    inputs = [node.input[0], edit.hold(packed, "weights"), edit.hold(scales, "scales")]
    nodes = [
        edit.make("MatMulNBits", inputs, made, domain=_MICROSOFT, K=k, N=n, bits=4,
                  block_size=_BLOCK, accuracy_level=4)
    ]  # fmt: skip
    if bias:
        nodes.append(edit.make("Add", [made, bias], node.output[0]))
    edit.replace([node.output[0]], nodes)
    if all(opset.domain != _MICROSOFT for opset in edit.proto.opset_import):
        edit.proto.opset_import.append(edit.onnx.helper.make_opsetid(_MICROSOFT, 1))


def pack_4_bits(weights: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(n, blocks, 16) pairs of 4 bits, and (n * blocks,) scales, of weights (k, n): 8 is zero,
    and of each block of 32 along k the largest magnitude is 8 steps."""
    k, n = weights.shape
    blocks = -(-k // _BLOCK)
    padded = np.zeros((n, blocks * _BLOCK), np.float32)
    padded[:, :k] = weights.T
    rows = padded.reshape(n, blocks, _BLOCK)
    largest = np.take_along_axis(rows, np.abs(rows).argmax(-1)[..., None], -1)  # (n, blocks, 1)
    scales = np.where(largest == 0, 1.0, largest / -8.0).astype(np.float32)
    steps = np.clip(np.round(rows / scales) + 8, 0, 15).astype(np.uint8)
    packed = (steps[..., 0::2] | (steps[..., 1::2] << 4)).astype(np.uint8)
    return packed, scales.reshape(-1)
