"""int8 ONNX files by ONNX Runtime's static quantizer.

uint8 activations, int8 weights with a scale per channel (U8xS8), in QDQ form, which other
runtimes read too and ``workloads_of_file`` reads back. Its measured reasons:
docs/guide/int8.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latprof.compress.export._check import Arrays
from latprof.compress.export._int8 import Quantizer
from latprof.compress.export._session import onnx_session
from latprof.compress.graph import first_line, quiet
from latprof.errors import ExportError
from latprof.vocabulary import require

__all__ = ["OnnxQuantizer"]

_CONTRACTIONS = ["Conv", "Gemm", "MatMul"]


class OnnxQuantizer(Quantizer):
    """See Quantizer.

    Args:
        reduce_range: weights of 7 bits.
    """

    def __init__(
        self, original: Path, feeds: Sequence[Arrays], *, reduce_range: bool = False
    ) -> None:
        super().__init__(original, feeds)
        self._reduce_range = reduce_range

    def quantize(self, choice: str) -> Path:
        onnx = require("onnx", extra="onnx", why="quantizing an ONNX file")
        q = require("onnxruntime.quantization", extra="onnx", why="quantizing an ONNX file")
        prepared = self.original.with_name("prepared.onnx")
        path = self.original.with_name(f"{choice}.onnx")
        told = logging.root.level
        try:
            with quiet():
                logging.root.setLevel(logging.CRITICAL)  # it logs to the root
                if not prepared.exists():
                    q.quant_pre_process(self.original, prepared, skip_symbolic_shape=True)
                kept = _depthwise(onnx.load(prepared)) if choice == "dense" else []
                q.quantize_static(
                    prepared,
                    path,
                    _Reader(self.feeds),
                    quant_format=q.QuantFormat.QDQ,
                    op_types_to_quantize=None if choice == "all" else _CONTRACTIONS,
                    nodes_to_exclude=kept,
                    per_channel=True,
                    reduce_range=self._reduce_range,
                    activation_type=q.QuantType.QUInt8,
                    weight_type=q.QuantType.QInt8,
                )
        except Exception as exc:
            raise ExportError(f"{choice}: int8 quantization failed: {first_line(exc)}") from exc
        finally:
            logging.root.setLevel(told)
        return path

    def run(self, path: Path) -> list[list[NDArray[Any]]]:
        session = onnx_session(path)
        return [session.run(None, feed) for feed in self.feeds]


def _depthwise(model: Any) -> list[str]:
    """Names of the depthwise convolutions."""
    dims = {t.name: t.dims for t in model.graph.initializer}
    groups = {
        n.name: next((a.i for a in n.attribute if a.name == "group"), 1)
        for n in model.graph.node
        if n.op_type == "Conv" and n.input[1] in dims and dims[n.input[1]][1] == 1
    }
    return [name for name, count in groups.items() if count > 1]


class _Reader:
    """The feeds, one by one; what ``quantize_static`` calls a CalibrationDataReader."""

    def __init__(self, feeds: Sequence[Arrays]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Arrays | None:
        return next(self._feeds, None)
