"""From a network to the file that is deployed, proven to compute the same."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latprof.compress.export._check import Check, save_check
from latprof.compress.export._export_onnx import write_onnx
from latprof.compress.export._few_bits import (
    FEW_BITS_ROUNDING,
    choose_width,
    let_inputs_be_rounded,
    store_few_bits,
)
from latprof.compress.export._pack import MIN_OPSET, check_folded, pack_onnx
from latprof.compress.export._session import onnx_session
from latprof.compress.export.tflite import (
    check_decoded_once,
    multiply_codes,
    pack_tflite,
    run_tflite,
    write_tflite,
)
from latprof.compress.graph import Inputs, flat_outputs
from latprof.compress.read import workloads_of_file
from latprof.compress.shrink import (
    MAX_ROUNDING,
    TOLERANCE,
    Agreement,
    compare_outputs,
    comparing,
    float64_outputs,
    is_half,
    proof_inputs,
    relative_error,
    repeat_fault,
    rounding_error,
)
from latprof.errors import ExportError, UsageError
from latprof.workloads import MatMul

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["export"]

_log = logging.getLogger("latprof")

#: A file may be this many times further from the float64 value than the network itself is, or than
#: rounded weights take it.
_ROUNDING_FACTOR = 4
#: Largest relative error in float32 that rounding is allowed to explain; in half precision it is
#: MAX_ROUNDING.
_MAX_FLOAT32_ROUNDING = 1e-3


def export(
    model: nn.Module,
    example_inputs: Any,
    path: str | Path,
    *,
    opset: int = 18,
    dynamic_batch: bool = False,
    pack: bool = False,
    float16: bool = False,
    surrogate: Surrogate | None = None,
) -> Path:
    """Write the model in eval mode as ``.onnx`` or ``.tflite``, and compare it with the model.

    Everything is in the one file. Beside it lies ``NAME.check.npz``, to verify it with later.

    Args:
        model: stays as it is.
        example_inputs: a tensor, a tuple of positional inputs, or a dict of named ones. Their
            shapes become the file's.
        path: the suffix chooses the format; an existing file is replaced once the new one holds.
        opset: of ONNX.
        dynamic_batch: leave the first dim of every input open (ONNX only).
        pack: store each weight in the fewest bytes that give it back exactly: codes of 1 to 8 bits
            where it has as few values, float16 where all its values are that, the non-zeros and
            their places. The runtime decodes them once, as it loads (ONNX: opset 18 or later). In
            TFLite codes have 8 bits.
        float16: with pack, round the other weights to float16: the file is compared within 1e-2.
        surrogate: with pack: linear layers whose weights lie on a grid of 2 to 8 bits multiply by
            their codes (ONNX: 2 and 4 bits, 8 bits about zero with a scale per output; TFLite: 4
            or 8 bits about zero with a scale per output)
            where it predicts that they take less time so. Their weights are compared before the
            runtime may round their inputs to int8; what that changes by more than 0.3 is warned of.

    Raises:
        UsageError: a suffix of no known format, a folder that does not exist, or pack where it
            cannot be.
        MissingExtraError: the format's packages are not installed.
        ExportError: the exporter fails, the file has another opset or computes something else, or
            the network itself does not compute the same twice.
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".tflite"):
        raise UsageError(f"{path}: suffix is {path.suffix!r}; expected .onnx or .tflite")
    if pack:
        _check_pack(path, opset)
    elif float16 or surrogate is not None:
        name = "float16" if float16 else "surrogate"
        raise UsageError(f"{name} is of weights in a packed file; give pack too")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: {path.parent} is no folder; create it first")
    _refuse_bfloat16(model)
    inputs = Inputs.of(example_inputs)
    shown = proof_inputs(model, inputs)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with comparing(model):
            if fault := repeat_fault(model, shown):
                raise ExportError(f"{type(model).__name__}: {fault}; nothing could be compared")
            expected = [t.detach().cpu() for t in flat_outputs(model(*shown.args, **shown.kwargs))]
            arrays = [t.detach().cpu().numpy() for t in shown.leaves]
            if path.suffix == ".onnx":
                fed, got = write_onnx(model, inputs, arrays, draft, opset, dynamic_batch)
            else:
                fed, got = write_tflite(model, inputs, arrays, draft)
            compare = partial(_compare, model, shown, expected)
            found = compare(got)
            if pack and found.holds:
                written = _Written(draft, path.name, fed, _weights(model), compare)
                found = _packed(written, expected, float16, surrogate)
        if not found.holds:
            raise ExportError(f"{path.name} differs from the network: {found}")
        check = Check(fed, [t.numpy() for t in expected])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    save_check(path, check)
    return path


@dataclass(frozen=True)
class _Written:
    """A file that is to be packed.

    Args:
        path: of the file.
        name: that it will have.
        fed: what it is run on.
        weights: the network's parameters, by name.
        compare: how far outputs are from the network's.
    """

    path: Path
    name: str
    fed: Mapping[str, NDArray[Any]]
    weights: Mapping[str, NDArray[Any]]
    compare: Callable[[Sequence[NDArray[Any]]], Agreement]

    def run(self) -> list[NDArray[Any]]:
        if self.path.suffix == ".onnx":
            return list(onnx_session(self.path).run(None, dict(self.fed)))
        return run_tflite(self.path, self.fed)

    def multiply_codes(self, choose: Callable[[MatMul, Sequence[int]], int]) -> bool:
        """Let linear layers multiply by the codes of their weights; whether one does.

        Raises:
            ExportError: the weights are others.
        """
        if self.path.suffix == ".tflite":
            return bool(multiply_codes(self.path, choose))
        if not store_few_bits(self.path, choose):
            return False
        found = self.compare(self.run())  # inputs are not rounded yet
        if not found.holds:
            raise ExportError(f"{self.name} differs from the network: {found}")
        let_inputs_be_rounded(self.path)
        return True

    def pack(self, half: bool) -> None:
        if self.path.suffix == ".onnx":
            pack_onnx(self.path, self.weights, half=half)
            check_folded(self.path)
        else:
            pack_tflite(self.path, half=half)
            check_decoded_once(self.path)


def _packed(
    written: _Written, expected: Sequence[Tensor], float16: bool, surrogate: Surrogate | None
) -> Agreement:
    """Pack the file; how far it is from the network then."""
    rounds = False
    if surrogate is not None:
        reload_fraction = surrogate.reload_fraction(workloads_of_file(written.path))
        rounds = written.multiply_codes(partial(choose_width, surrogate, reload_fraction))
    written.pack(float16)
    got = written.run()
    if rounds:
        return _with_rounded_inputs(written.name, compare_outputs(expected, got))
    return compare_outputs(expected, got, limit=MAX_ROUNDING) if float16 else written.compare(got)


def _with_rounded_inputs(name: str, found: Agreement) -> Agreement:
    """Of a file whose layers of few bits round their inputs, after its weights were compared: how
    much that is depends on the inputs, so that only a fault refuses it."""
    if not found.fault and found.error > FEW_BITS_ROUNDING:
        _log.warning(
            "%s is %.2g off the network on the example inputs, for its layers of few bits round "
            "what they multiply; judge the file on your own data", name, found.error,
        )  # fmt: skip
    return dataclasses.replace(found, limit=math.inf)


def _check_pack(path: Path, opset: int) -> None:
    if path.suffix == ".onnx" and opset < MIN_OPSET:
        raise UsageError(f"opset is {opset}; a packed file takes {MIN_OPSET} or later")


def _weights(model: nn.Module) -> dict[str, NDArray[Any]]:
    """The parameters in float32, by name."""
    return {
        name: p.detach().cpu().numpy()
        for name, p in model.named_parameters()
        if p.dtype == torch.float32
    }


def _refuse_bfloat16(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.dtype == torch.bfloat16:
            raise ExportError(
                f"{type(model).__name__}: {name} is bfloat16, which the runtimes' CPU kernels "
                "cannot compute in; export model.float() or model.half()"
            )


def _compare(
    model: nn.Module, inputs: Inputs, expected: Sequence[Tensor], got: Sequence[NDArray[Any]]
) -> Agreement:
    """The file against the network, and where that leaves a doubt, against its float64 value."""
    found = compare_outputs(expected, got)
    most = MAX_ROUNDING if is_half(model) else _MAX_FLOAT32_ROUNDING
    if found.holds or found.error > 2 * most:
        return found
    exact = float64_outputs(model, inputs)
    if exact is None:
        return found
    rounding = max(relative_error(exact, expected), rounding_error(model, inputs, exact))
    allowed = min(_ROUNDING_FACTOR * rounding, most)
    return compare_outputs(exact, got, limit=max(TOLERANCE, allowed))
