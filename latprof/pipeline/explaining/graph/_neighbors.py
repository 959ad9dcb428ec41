"""What stands beside nodes and may want another layout than they do, or fuse with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latprof.pipeline.explaining.graph._model import Model

__all__ = ["FUSING", "with_neighbors"]

#: Ops that other ops are fused into, and that have layouts of their own.
FUSING = {"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"}


def with_neighbors(model: Model, nodes: Sequence[Any]) -> tuple[str, ...]:
    """First outputs of the nodes, and of such ops right before and after them: timed without
    those, nodes would not pay for what they break."""
    makers = [model.maker.get(name) for node in nodes for name in node.input if name]
    before = [node for node in makers if node is not None and node.op_type in FUSING]
    after = [
        reader
        for node in nodes
        for out in node.output
        for reader in model.readers(out)
        if reader.op_type in FUSING
    ]
    return tuple(dict.fromkeys(node.output[0] for node in (*before, *nodes, *after)))
