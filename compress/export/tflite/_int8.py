"""int8 TFLite files by ai-edge-quantizer, which litert-torch brings.

int8 activations, int8 weights with a scale per channel, int32 biases, by the TFLite 8-bit
specification; a QUANTIZE after each float32 input and a DEQUANTIZE before each output, so that the
file is called as the float one is. Ops that it has no int8 form of stay in float32, and so do those
that XNNPACK has no integer kernel for: TFLite's reference kernels take 50 times as long.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latprof.compress.export._int8 import Quantizer
from latprof.compress.export.tflite._write import outputs_in_order, silent
from latprof.compress.graph import first_line
from latprof.errors import ExportError
from latprof.vocabulary import require

__all__ = ["TfliteQuantizer"]

_DENSE = ("BATCH_MATMUL", "CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED")
#: A RELU is mostly part of the op before it, and this is one that is not.
_FLOATS = ("INPUT", "OUTPUT", "HARD_SWISH", "RELU")
_OPS = {"all": ("*",), "contractions": (*_DENSE, "DEPTHWISE_CONV_2D"), "dense": _DENSE}


class TfliteQuantizer(Quantizer):
    """See Quantizer."""

    def quantize(self, choice: str) -> Path:
        path = self.original.with_name(f"{choice}.tflite")
        quantizer = _module("quantizer")
        try:
            with silent():
                recipe = _recipe(choice).get_quantization_recipe()
                made = quantizer.Quantizer(str(self.original), recipe).quantize(
                    self._ranges, enable_progress_bar=False, enable_progress_report=False
                )
        except Exception as exc:
            raise ExportError(f"{choice}: int8 quantization failed: {first_line(exc)}") from exc
        path.write_bytes(made.quantized_model)
        return path

    def run(self, path: Path) -> list[list[NDArray[Any]]]:
        litert = require("ai_edge_litert.interpreter", extra="tflite", why="checking a TFLite file")
        with silent():
            runner = litert.Interpreter(model_path=str(path)).get_signature_runner()
            return [outputs_in_order(runner(**feed)) for feed in self.feeds]

    @cached_property
    def _ranges(self) -> Any:
        """Of every tensor over all feeds. The quantizer's own moving average would cut what few
        inputs reach."""
        update = _module("utils.qsv_utils").min_max_update
        calibrator = _module("calibrator").Calibrator(
            self.original.read_bytes(), num_threads=1, qsv_update_func=update
        )
        (signature,) = calibrator.get_signature_list()
        calibrator.calibrate({signature: self.feeds}, _recipe("all"))
        return calibrator.get_model_qsvs()


def _recipe(choice: str) -> Any:
    """A RecipeManager: what becomes int8, from float32 inputs to float32 outputs."""
    op, recipe = _module("qtyping").TFLOperationName, _module("recipe_manager").RecipeManager()
    for name in _OPS[choice]:
        recipe.add_static_config(".*", op(name), activation_num_bits=8, weight_num_bits=8)
    for name in _FLOATS:
        recipe.add_quantization_config(".*", op(name), algorithm_key="no_quantize")
    return recipe


def _module(name: str) -> Any:
    return require(
        f"ai_edge_quantizer.{name}", extra="tflite-export", why="quantizing a TFLite file"
    )
