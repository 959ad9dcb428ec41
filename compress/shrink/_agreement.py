"""Do two forms of one network compute the same? The one comparison behind every such claim.

Finite values are compared, infinities must stand at the same places, and NaN is a fault, in any
output. Outputs may be tensors or arrays; arrays ask for no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Agreement", "compare_outputs", "has_nan", "relative_error"]

#: Largest relative difference between what two forms of one network compute, in float32.
TOLERANCE = 1e-5
#: Values that agree exactly and are this many times larger than all that differ (masks of -1e9)
#: set no scale: beside them every difference would vanish.
_MAX_SCALE = 100.0


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Args:
        error: largest |got - expected| of an output over its largest |expected|, of finite
            values; inf where there is a fault.
        limit: largest error that counts as agreement.
        fault: what makes the error meaningless, in one sentence; empty where nothing does.
    """

    error: float
    limit: float = TOLERANCE
    fault: str = ""

    @property
    def holds(self) -> bool:
        return not self.fault and self.error <= self.limit

    def __str__(self) -> str:
        off = f"it is {self.error:.2g} off (relative); expected at most {self.limit:g}"
        return self.fault or off


def compare_outputs(
    expected: Sequence[Any],
    got: Sequence[Any],
    *,
    limit: float = TOLERANCE,
    names: Sequence[str] = (),
) -> Agreement:
    """Compare outputs one by one.

    Args:
        expected, got: tensors or arrays, in order.
        limit: largest relative error that counts as agreement.
        names: of the outputs, for messages; their numbers by default.
    """
    if len(expected) != len(got):
        return _fault(f"there are {len(got)} outputs; expected {len(expected)}", limit)
    worst = 0.0
    for i, (one, other) in enumerate(zip(expected, got, strict=True)):
        name = f"output {names[i] if i < len(names) else i}"
        if tuple(one.shape) != tuple(other.shape):
            sizes = f"{tuple(other.shape)}; expected {tuple(one.shape)}"
            return _fault(f"{name} has the shape {sizes}", limit)
        a, b = _float64(one), _float64(other)
        if fault := _unlike(a, b):
            return _fault(f"{name} {fault}", limit)
        worst = max(worst, _relative(a, b))
    return Agreement(worst, limit)


def relative_error(expected: Sequence[Any], got: Sequence[Any]) -> float:
    """Largest |got - expected| of each output over its largest |expected|; inf where they cannot
    be compared."""
    return compare_outputs(expected, got).error


def has_nan(output: Any) -> bool:
    """True where any value of a tensor or an array is NaN."""
    return bool(np.isnan(_float64(output)).any())


def _float64(value: Any) -> NDArray[np.float64]:
    """A tensor or an array in float64; complex numbers as pairs."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = (tensor.resolve_conj() if tensor.is_complex() else tensor.double()).numpy()
    array = np.asarray(value)
    if np.iscomplexobj(array):
        array = np.stack([array.real, array.imag])
    return array.astype(np.float64)


def _unlike(expected: NDArray[np.float64], got: NDArray[np.float64]) -> str:
    """What keeps two arrays from being compared number by number."""
    if np.isnan(expected).any():
        return "of the original network holds NaN"
    if count := int(np.isnan(got).sum()):
        return f"holds NaN in {count} of {got.size} places"
    infinite = np.isinf(expected) | np.isinf(got)
    if count := int((expected[infinite] != got[infinite]).sum()):
        return f"differs in which values are infinite, at {count} of {got.size} places"
    return ""


def _relative(expected: NDArray[np.float64], got: NDArray[np.float64]) -> float:
    finite = np.isfinite(expected)
    a, b = expected[finite], got[finite]
    difference = np.abs(b - a)
    differs = difference > 0
    if not differs.any():
        return 0.0
    size = np.abs(a)
    largest = float(np.maximum(size, np.abs(b))[differs].max())
    shared = size[differs | (size <= _MAX_SCALE * largest)]
    scale = float(shared.max())
    return float(difference.max()) / scale if scale > 0 else float(difference.max())


def _fault(what: str, limit: float) -> Agreement:
    return Agreement(float("inf"), limit, what)
