"""The measured kernels that nn-Meter's builder writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from latprof.errors import LatprofError, TableError
from latprof.tables._table import LatencyTable
from latprof.tables.formats._collect import Collected
from latprof.tables.formats._published import require_dtype
from latprof.tables.formats._text import read_text
from latprof.vocabulary import Target
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = ["import_nn_meter"]

Pairs = list[tuple[str, Any]]

#: nn-Meter's name of an activation alone -> ours.
_ACTIVATIONS = {
    "relu": "relu", "hswish": "hard_swish", "swish": "silu", "sigmoid": "sigmoid",
    "addrelu": "add", "add": "add", "add-relu": "add",
}  # fmt: skip


def import_nn_meter(path: Path, target: Target, *, dtype: str = "float32") -> LatencyTable:
    """JSON: name of the kernel -> id -> ``config`` and ``latency`` in milliseconds.

        {"conv-bn-relu": {"id_0": {"latency": "41.8 +- 1.0",
          "config": {"HW": 28, "CIN": 120, "COUT": 48, "KERNEL_SIZE": 5, "STRIDES": 1}}}}

    Convolutions, depthwise convolutions, fully connected layers, pooling and element-wise kernels
    are read; batch norm and the activation behind a convolution belong to it. Other kernels
    (concat, split, channel shuffle, squeeze-excite) are counted and left out.

    Args:
        dtype: of the numbers, which the file does not name.

    Raises:
        TableError: it is not such a file; names the line of the entry.
    """
    require_dtype(dtype)
    text = read_text(path)
    try:
        kernels = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError) as exc:
        raise TableError(f"{path}: is no JSON: {exc}") from exc
    lines = _Lines(text)
    found = Collected(path)
    for kernel, entries in _pairs(path, kernels, "the file"):
        for name, entry in _pairs(path, entries, kernel):
            line = lines.of(name)
            where = f"{path}: line {line} ({kernel} {name})"
            fields = dict(_pairs(path, entry, where))
            try:
                config = dict(_pairs(path, fields["config"], where))
                milliseconds = float(str(fields["latency"]).split("+-")[0])
                workload = _workload(kernel.lower(), config, dtype)
            except KeyError as exc:
                raise TableError(f"{where} has no {exc}") from exc
            except (LatprofError, TypeError, ValueError) as exc:
                found.faults.append((line, f"{kernel} {name}: {exc}"))
                continue
            if workload is None:
                found.leave_out([line], f"the kernel {kernel} is no workload")
            else:
                found.add(line, workload, milliseconds * 1e-3)
    return found.table(target)


def _workload(kernel: str, config: dict[str, Any], dtype: str) -> Workload | None:
    first = kernel.split("-")[0]
    if first in ("conv", "dwconv"):
        c_in = config["CIN"]
        groups = c_in if first == "dwconv" else 1
        c_out = c_in if first == "dwconv" else config["COUT"]
        stride = config.get("STRIDES", 1)
        taps, side = config["KERNEL_SIZE"], config["HW"]
        return Conv2d(side, side, c_in, c_out, taps, stride, groups, dtype=dtype)
    if first == "fc":
        return MatMul(1, config["CIN"], config["COUT"], dtype=dtype)
    if kernel in ("global-avgpool", "gap"):
        return Pool("global_avg", config["HW"], config["HW"], config["CIN"], dtype=dtype)
    if first in ("avgpool", "maxpool"):
        taps, stride = config["KERNEL_SIZE"], config["POOL_STRIDES"]
        op = first.removesuffix("pool")
        return Pool(op, config["HW"], config["HW"], config["CIN"], taps, stride, dtype=dtype)
    if kernel in _ACTIVATIONS:
        op = _ACTIVATIONS[kernel]
        return Elementwise(op, config["HW"], config["HW"], config["CIN"], dtype=dtype)
    return None


def _pairs(path: Path, value: object, where: str) -> Pairs:
    if not isinstance(value, list) or not all(isinstance(v, tuple) for v in value):
        raise TableError(f"{path}: {where} is {str(value)[:60]}; expected a JSON object")
    return value


class _Lines:
    """Lines of entries, in the order in which they are asked for."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def of(self, name: str) -> int:
        """Of the next entry of this name."""
        key = re.compile(re.escape(json.dumps(name)) + r"\s*:\s*\{")
        found = key.search(self._text, self._at)
        if found is not None:
            self._line += self._text.count("\n", self._at, found.start())
            self._at = found.start()
            end = found.end() - 1
            self._line += self._text.count("\n", self._at, end)
            self._at = end
        return self._line
